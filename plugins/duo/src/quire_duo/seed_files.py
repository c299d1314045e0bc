"""Seeds on disk: the tester's own JSONL and CSV files, and the public sets that testers of moderation begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator

from quire.config import Config
from quire.dataset import OnError, Rows, new_release
from quire.errors import DataError, InvalidSample, Where
from quire_duo.options import Names, refuse_minors
from quire_duo.placeholders import write_placeholders
from quire_duo.seed_formats import (
    FORMATS,
    GuessedFormat,
    davidson,
    folder_of_media,
    guess_format,
    hatecheck,
    hateful_memes,
    sms_spam,
)
from quire_duo.seed_rows import seed_rows
from quire_duo.task import CONTENT_MODERATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from quire.modality import Sample
    from quire.task import Task

MOST_FAULTS = 20

_READERS: dict[str, Callable[[Path, Any], Iterator[Sample | InvalidSample]]] = {
    "seeds": seed_rows,
    "sms-spam": sms_spam,
    "davidson": davidson,
    "hatecheck": hatecheck,
    "hateful-memes": hateful_memes,
    "folder": folder_of_media,
}


class SeedFile(Rows):
    """A file of seeds, one split "train" of samples of the task content-moderation.

    The tester's own format is JSONL or CSV, one seed a line: `id` (unique), `kind` (hate, ads, porn, or one's own that
    `kinds` names), `toxic` (true or false), `modality` (text, image, audio, video), either `text` or `path` (relative to
    the file, inside its folder), and optionally `language`, `concept`, `source`, `licence`; these stand in the sample
    beside the task's fields. Also read: the SMS Spam Collection, the tweets of Davidson et al. (CSV), HateCheck (CSV),
    Hateful Memes (JSONL, picture and text), and folders toxic/ and benign/ of pictures, sounds and films.

    All faults are collected, up to 20, and raised as one DataError that names file, line and field of each.
    """

    task: ClassVar[Task] = CONTENT_MODERATION  # type: ignore[misc]  # a reader of one task has it on the class

    class Options(Config):
        """How to read seeds."""

        format: Literal["auto", "seeds", "sms-spam", "davidson", "hatecheck", "hateful-memes", "folder"] = Field(
            "auto", description="the layout; auto tells by the names of files and columns"
        )
        kind: str | None = Field(None, description="the kind of all seeds, where the layout names none")
        kinds: Names = Field((), description="kinds of one's own, beside hate, ads and porn")
        offensive: Literal["toxic", "benign", "skip"] = Field(
            "toxic", description="what tweets count as that are offensive but no hate speech (davidson)"
        )

        @field_validator("kind")
        @classmethod
        def _no_minors(cls, kind: str | None) -> str | None:
            return None if kind is None else refuse_minors(kind)

        @field_validator("kinds")
        @classmethod
        def _no_minors_among(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(map(refuse_minors, kinds))

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Options) -> Self:
        """All seeds; media are read on access."""
        layout = options.format if options.format != "auto" else guess_format(path)
        file = FORMATS[layout].file_of(path)
        rows: list[Sample] = []
        skipped: list[InvalidSample] = []
        for row in _READERS[layout](file, options):
            if not isinstance(row, InvalidSample):
                rows.append(row)
                continue
            skipped.append(row)
            if on_error == "raise" and len(skipped) == MOST_FAULTS:
                break
        if skipped and on_error == "raise":
            raise _all_of(skipped, file)
        name = path.resolve().name if path.is_dir() else path.stem
        return cls(rows, task=CONTENT_MODERATION, name=name, split=split, labels=("benign", "toxic"), skipped=skipped)

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """One: train."""
        return ("train",)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A file or folder with a name of one of the layouts: seeds.jsonl, seeds.csv, SMSSpamCollection."""
        return GuessedFormat.by_name(path) is not None

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """Mild placeholders: advertisements without brands, insults to the glorps, a grey card; texts and pictures."""
        with new_release(folder) as root:
            write_placeholders(root, seed)
        return folder / "seeds.jsonl"


def _all_of(faults: list[InvalidSample], file: Path) -> DataError:
    """One error that tells every fault, a line each."""
    if len(faults) == 1:
        return faults[0]
    more = " or more" if len(faults) == MOST_FAULTS else ""
    lines = "\n".join(f"  {fault}" for fault in faults)
    return DataError(f"{len(faults)}{more} faults in the seeds:\n{lines}", where=Where(file=file))
