"""Failing cases as a page shows them: media in the page itself, with the evidence that they are what they should be."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image as PillowImage

from quire.modality import Frames, Waveform
from quire_duo.journal import without_content
from quire_duo.media import encoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quire.modality import Modality
    from quire_duo.case import Case
    from quire_duo.journal import Outcome

MOST_SHOWN = 60
_WIDEST = 640  # pixels of a picture on the page
_LONGEST = 15.0  # seconds of sound on the page


@dataclass(frozen=True)
class Medium:
    """One content of a case: text as it is, others as data of a page. note: what was shortened."""

    kind: str
    shown_as: Literal["text", "image", "audio"]
    value: str
    note: str = ""


@dataclass(frozen=True)
class Exhibit:
    """A case with its evidence, in words. units: (kind of content, tokens, surface, place) of the witness."""

    case: str
    rule: str
    kind: str
    verdict: str
    score: float | None
    seeds: str
    parameters: str
    guarantee: str
    media: tuple[Medium, ...]
    units: tuple[tuple[str, str, str, str], ...] = ()
    checks: tuple[tuple[str, str, str], ...] = ()
    minimal: str = field(default="")


def choose(outcomes: Iterable[Outcome], most: int = MOST_SHOWN) -> list[Outcome]:
    """Failing outcomes for the page, surest of being benign first, in turn of each rule."""
    by_rule: dict[str, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda one: (one.toxic_score or 0.0, one.case)):
        by_rule.setdefault(outcome.rule, []).append(outcome)
    turns = max(map(len, by_rule.values()), default=0)
    return [one for turn in range(turns) for name in sorted(by_rule) for one in by_rule[name][turn : turn + 1]][:most]


def exhibit(
    case: Case, modalities: dict[str, Modality[Any]], outcome: Outcome | None = None, minimal: str = ""
) -> Exhibit:
    """The case as the page shows it."""
    verdict = "" if outcome is None or outcome.flagged is None else ("flagged" if outcome.flagged else "passed")
    return Exhibit(
        case=case.id,
        rule=case.rule,
        kind=case.kind,
        verdict=verdict,
        score=None if outcome is None else outcome.toxic_score,
        seeds=", ".join(seed.id for seed in case.seeds[:6]) + (" ..." if len(case.seeds) > 6 else ""),
        parameters=", ".join(f"{name}={value}" for name, value in case.parameters.items()) or "none",
        guarantee="partial carrier" if case.partial else case.guarantee,
        media=tuple(medium(kind, value, modalities[kind]) for kind, value in case.content.items()),
        units=tuple(
            (unit.kind, " ".join(unit.tokens), unit.surface, _place(unit.place)) for unit in case.witness.units
        ),
        checks=tuple((check.name, "passed" if check.passed else "failed", _told(check)) for check in case.checks),
        minimal=minimal,
    )


def medium(kind: str, value: Any, modality: Modality[Any]) -> Medium:
    """One content in a form that any browser shows without a script: text, PNG or JPEG, GIF, WAV, else a drawing."""
    if isinstance(value, str):
        return Medium(kind, "text", value)
    if isinstance(value, PillowImage.Image):
        return Medium(kind, "image", _picture(value))
    if isinstance(value, Waveform):
        frames = int(_LONGEST * value.rate)
        note = f"the first {_LONGEST:g} of {value.seconds:.0f} s" if value.samples.shape[1] > frames else ""
        suffix, data = encoded(Waveform(value.samples[:, :frames], value.rate), modality)
        return Medium(kind, "audio", _uri(f"audio/{suffix[1:]}", data), note)
    if isinstance(value, Frames):
        return Medium(kind, "image", _animation(value))
    return Medium(kind, "image", _drawing(value, modality))


def _picture(value: PillowImage.Image) -> str:
    picture = value.convert("RGB")
    picture.thumbnail((_WIDEST, _WIDEST))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=85)
    return _uri("image/jpeg", buffer.getvalue())


def _animation(value: Frames) -> str:
    pictures = [PillowImage.fromarray(frame) for frame in value.frames[:120]]
    for picture in pictures:
        picture.thumbnail((320, 320))
    buffer = io.BytesIO()
    first, *rest = pictures
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=round(1000 / value.fps), loop=0)
    return _uri("image/gif", buffer.getvalue())


def _drawing(value: Any, modality: Modality[Any]) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 2.2))
    axes = figure.add_axes((0.09, 0.18, 0.88, 0.78))
    modality.show(value, axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return _uri("image/png", buffer.getvalue())


def _uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _told(check: Any) -> str:
    measured = ", ".join(f"{name} {value:.3g}" for name, value in check.measured.items())
    return "; ".join(part for part in (without_content(check.detail), measured) if part)


def _place(place: Any) -> str:
    """A place in a few words: what of it is a number, as it stands in the witness."""
    parts: Sequence[tuple[str, Any]] = [(name, value) for name, value in vars(place).items() if value not in (None, ())]
    return ", ".join(f"{name} {_short(value)}" for name, value in parts)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_short, value))})"
    return str(value) if not hasattr(value, "quad") else _place(value)
