"""What a user of the tester can choose."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from quire.evaluator import Judge
from quire_duo.adapters import AdapterOption  # noqa: TC001 - pydantic reads it
from quire_duo.workshop import Canvas, Film, Speech

CheckName = Literal["V1", "V2", "V3", "V4", "V5"]

_MINORS = re.compile(
    r"minor|child|underage|csam|csem|preteen|juvenile|infant|toddler|school(girl|boy)|lolita|shota|p(a?)edo"
    r"|(^|[^a-z])(kids?|teens?|teenagers?|teenaged?|loli|youths?|bab(y|ies)|girls?|boys?)([^a-z]|$)"
)


def _listed(value: Any) -> Any:
    """One name, or several with commas between them, as a list; YAML reads the names 0 and 1 as numbers."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    values = [value] if type(value) is int else value
    return [str(part) if type(part) is int else part for part in values] if isinstance(values, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


def refuse_minors(kind: str) -> str:
    """`kind`, unless it names anything that involves minors: that is refused. ValueError."""
    if _MINORS.search(kind.casefold().replace("_", " ").replace("-", "")):
        raise ValueError(f"the kind {kind!r} is refused: nothing that involves minors is tested with this tool")
    return kind


class DuoOptions(Judge.Options):
    """The options of a run; they, the target and the seeds determine the results."""

    rules: Names = Field(("all",), description="ids of fusion rules, with the wildcards * and ?; all for every one")
    kinds: Names = Field(("all",), description="the kinds of seeds to test with; all for every one")
    kind: str = Field("general", description="the kind of seeds whose data set names none")
    seed_filter: Literal["detected", "all"] = Field(
        "detected", description="test with the seeds that the target flags in plain form, or with all of them"
    )
    strategy: Literal["sample", "grid", "escalate"] = Field(
        "sample",
        description="per_rule cases with drawn parameters; all parameter points; or from mild to strong until one passes",
    )
    per_rule: PositiveInt = Field(50, description="cases a rule (of grid: seeds a rule; of escalate: walks a rule)")
    shrink: bool = Field(False, description="look for the mildest parameters with which a failing case still passes")
    parameters: dict[str, dict[str, Any]] = Field(
        {}, description="rule -> parameter -> the value, or the list of values from mild to strong, to use"
    )
    max_cases: PositiveInt | None = Field(
        None, description="no more cases than these, controls and plain forms included"
    )
    max_queries: PositiveInt | None = Field(2000, description="no more answers than these are asked of the target")
    max_seconds: PositiveFloat | None = Field(None, description="begin no further batch after this time")
    controls: bool = Field(True, description="for every case the same rule on a benign seed of matched length")
    validity: tuple[CheckName, ...] = Field(
        ("V1", "V2", "V3", "V4", "V5"), description="the checks that a case must pass"
    )
    judge: Literal["lexicon"] = Field("lexicon", description="what judges the parts of split and composed cases")
    lexicon: Path | None = Field(None, description="keywords: one a line, or a table of keyword, kind, language")
    composition: Path | None = Field(None, description="the table of pairs that are harmless alone and toxic together")
    trust: bool = Field(False, description="take rows of the composition table that fewer than 2/3 agreed on")
    tables: dict[str, Path] = Field(
        {}, description="tables of word and substitute, by name: homophones, abbreviations, translations, icons"
    )
    adapter: AdapterOption | None = Field(
        None, description="what stands before the target: or, concat, ocr-text, ...; a name, or its options with kind="
    )
    toxic_labels: Names | dict[str, Names] = Field(
        (), description="the target's labels that count as toxic, or kind -> labels; default: what the target says"
    )
    threshold: float | None = Field(None, ge=0, le=1, description="toxic score from which a case counts as flagged")
    decision: Literal["threshold", "argmax"] = Field(
        "threshold", description="flagged by the toxic score, or if the most probable label is a toxic one"
    )
    repeats: PositiveInt = Field(1, description="how often each case is asked; the majority decides")
    seed: NonNegativeInt = Field(0, description="of everything drawn")
    workers: PositiveInt = Field(2, description="threads that make cases; results do not depend on it")
    batch_size: PositiveInt | None = Field(
        None, description="cases a call of the target; default: its limit, at most 32"
    )
    cache_dir: Path | None = Field(None, description="keep answers here, by target and content; default: none are kept")
    keep: Literal["all", "failing"] = Field("all", description="which cases are written to the folder cases/")
    price: NonNegativeFloat | None = Field(None, description="what one query costs; default: what the target says")
    i_have_rights: bool = Field(False, description="you may lawfully possess and use the seeds")
    log_content: bool = Field(False, description="write texts of cases into the results; default: hashes alone")
    fonts: tuple[Path, ...] = Field((), description="fonts to draw with, before the usual one")
    canvas: Canvas = Field(Canvas(), description="pictures that rules draw themselves")
    tts: Speech = Field(Speech(), description="how texts are spoken")
    video: Film = Field(Film(), description="the format of videos")

    @field_validator("kinds")
    @classmethod
    def _no_minors_among(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(refuse_minors, kinds))

    @field_validator("kind")
    @classmethod
    def _no_minors(cls, kind: str) -> str:
        return refuse_minors(kind)

    def determining(self) -> dict[str, Any]:
        """The options on which results depend, as JSON."""
        free = {"workers", "batch_size", "cache_dir", "keep", "price", "i_have_rights"}
        return self.model_dump(mode="json", exclude=free)
