"""What the readers of memes share: checked records, joined with captions and attributes by exact name."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from PIL import Image as PillowImage
from PIL import ImageFile
from pydantic import Field

from quire.config import Config
from quire.dataset import OnError, Rows, Subset, skipping, sort_labels
from quire.errors import DataError, InvalidSample, Where
from quire.modality import Image, path_inside, placed
from quire.storage import content_hash, read_json
from quire.table import Row, table_columns, table_rows
from quire_memefier.attributes import count_crowded, face_key, read_attributes
from quire_memefier.heads import Head, derive_head
from quire_memefier.task import MEME_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from quire.dataset import Dataset
    from quire.modality import Sample

MOST_NAMED = 10
MAX_FACES = 7
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """One row of a release: `image` is a file, absent or not yet looked for; `labels` by head, `target` the first's."""

    id: str
    image: Path | None
    text: str | None
    labels: Mapping[str, str]
    target: str | None
    where: Where


class MemeOptions(Config):
    """What all readers of memes take."""

    captions: Path | None = Field(
        None, description="JSON or CSV of captions by image name, for the caption supervision in training"
    )
    attributes: Path | None = Field(
        None, description="FairFace's CSV of faces, for external knowledge and for metrics by group"
    )
    verify: bool = Field(
        False, description="read every image when opening: unreadable ones, animations, images of several splits"
    )
    allow_truncated: bool = Field(
        False, description="take images whose file ends too early, grey where data is missing"
    )


@dataclass(frozen=True)
class TolerantImage(Image):
    """An image whose file may end too early."""

    def load(self, source: Path | bytes) -> PillowImage.Image:
        """The image, as far as it goes."""
        with _truncated_allowed():
            return super().load(source)


_pillow = threading.Lock()


@contextmanager
def _truncated_allowed() -> Iterator[None]:
    """Pillow's switch is one for the whole process."""
    with _pillow:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


class MemeRows(Rows):
    """Memes: "image", "text" (either may be missing), "target" and, where there are, "heads" {head: label}, "caption",
    "attributes" [{race, gender, age}]. `heads` are the questions that the release answers, `toxic` the labels of the
    target that count as toxic, `notes` what was found that is no error.
    """

    task = MEME_CLASSIFICATION

    class Options(MemeOptions):
        """What all readers of memes take."""

    heads: tuple[Head, ...] = ()
    toxic: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    @abstractmethod
    def records(cls, path: Path, *, split: str, options: Any) -> Iterator[Record | InvalidSample]:
        """The rows of one split; a bad one comes as its error."""

    @classmethod
    @abstractmethod
    def questions(cls, path: Path, options: Any) -> tuple[Head, ...]:
        """The release's heads, the target's first."""

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Any) -> Self:
        """The rows of one split with all that belongs to them; images are read on access."""
        skipped: list[InvalidSample] = []
        records = list(_good(cls.records(path, split=split, options=options), on_error, skipped))
        records = _with_images(records, on_error, skipped)
        records, notes = _unique(records)
        rows = [_row(record) for record in records]
        notes += _count_blank(rows)
        names = {record.image.name for record in records if record.image is not None}
        if options.captions is not None:
            notes += join_captions(rows, options.captions, names)
        if options.attributes is not None:
            notes += join_attributes(rows, options.attributes, names)
        heads = cls.questions(path, options)
        task = cls.task if not options.allow_truncated else _tolerant(cls.task)
        dataset = cls(
            rows, task=task, name=path.resolve().stem, split=split, labels=sort_labels(heads[0].labels), skipped=skipped
        )
        dataset.heads, dataset.toxic = heads, heads[0].toxic
        if options.verify:
            dataset.verify(on_error)
            notes += _animations(dataset._rows) + cls._shared_images(path, dataset, options)
        dataset.notes = tuple(notes)
        for note in notes:
            log.warning("%s, %s: %s", dataset.name, split, note)
        return dataset

    def annotation(self, index: int) -> Sample:
        """The sample without its image, which is not read."""
        row = self._rows[self.position(index)]
        return {field: self._value(row, field) for field in row if field != "image"}

    def fingerprint(self) -> str:
        """A hash of samples as `Rows` makes it, and of labels, captions and attributes."""
        names = ("heads", "caption", "attributes")
        extra: list[Any] = [{name: row[name] for name in names if name in row} for row in self._rows]
        return content_hash(super().fingerprint(), extra)

    @classmethod
    def _shared_images(cls, path: Path, dataset: MemeRows, options: Any) -> list[str]:
        """Images of this split that stand in another one too."""
        own = {content_hash(row["image"]): row["id"] for row in dataset._rows if "image" in row}
        notes = []
        for other in cls.splits(path):
            if other == dataset.split:
                continue
            found = (record for record in cls.records(path, split=other, options=options) if isinstance(record, Record))
            hashes = {
                content_hash(record.image) for record in found if record.image is not None and record.image.is_file()
            }
            shared = [own[each] for each in own.keys() & hashes]
            if shared:
                notes.append(f"{len(shared)} images stand in the split {other!r} too: {listed(sorted(shared))}")
        return notes


def _good(
    records: Iterable[Record | InvalidSample], on_error: OnError, skipped: list[InvalidSample]
) -> Iterator[Record]:
    for record in records:
        with skipping(on_error, skipped):
            if isinstance(record, InvalidSample):
                raise record
            yield record


def _with_images(records: list[Record], on_error: OnError, skipped: list[InvalidSample]) -> list[Record]:
    """The records whose image file is there; those that name none are kept."""
    missing = [each for each in records if each.image is not None and not _has_content(each.image)]
    if missing and on_error == "raise":
        others = "; ".join(f"line {each.where.line} ({each.image})" for each in missing[1 : MOST_NAMED + 1])
        more = f"; so do {len(missing) - 1} more rows: {others}" if len(missing) > 1 else ""
        raise InvalidSample(
            f"there is no image {missing[0].image}{more}",
            where=missing[0].where,
            remedy='Complete the images, or leave such rows out with on_error="skip".',
        )
    skipped += [InvalidSample(f"there is no image {each.image}", where=each.where) for each in missing]
    gone = {id(each) for each in missing}
    return [each for each in records if id(each) not in gone]


def _has_content(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:  # a name that no file can have
        return False


def _unique(records: list[Record]) -> tuple[list[Record], list[str]]:
    """The records with unique ids, and a note about those that were not."""
    seen: dict[str, int] = {}
    unique = []
    for record in records:
        seen[record.id] = seen.get(record.id, 0) + 1
        unique.append(replace(record, id=f"{record.id}#{seen[record.id]}") if seen[record.id] > 1 else record)
    twice = [name for name, count in seen.items() if count > 1]
    return unique, [f"{len(twice)} ids come more than once: {listed(twice)}"] if twice else []


def _row(record: Record) -> Sample:
    row: Sample = {"id": record.id}
    if record.image is not None:
        row["image"] = record.image
    if record.text is not None and record.text.strip():
        row["text"] = record.text
    if record.target is not None:
        row["target"] = record.target
    return {**row, "heads": dict(record.labels)} if record.labels else row


def _count_blank(rows: Sequence[Sample]) -> list[str]:
    blank = [row["id"] for row in rows if "text" not in row]
    return [f"{len(blank)} memes have no text: {listed(blank)}"] if blank else []


def _animations(rows: Sequence[Sample]) -> list[str]:
    moving = []
    for row in rows:
        if "image" in row:
            with PillowImage.open(row["image"]) as opened:
                if getattr(opened, "n_frames", 1) > 1:
                    moving.append(row["image"].name)
    return [f"of {len(moving)} animations the first frame counts: {listed(moving)}"] if moving else []


def _tolerant(task: Any) -> Any:
    image = task.inputs["image"]
    return replace(task, inputs={**task.inputs, "image": TolerantImage(image.mode, image.max_pixels)})


def listed(names: Iterable[str]) -> str:
    """The first ten names."""
    known = list(names)
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return ", ".join(known[:MOST_NAMED]) + more


# ------------------------------------------------------------------------------------------------------- exact-key joins


def read_captions(path: Path) -> dict[str, str]:
    """Image name -> caption, of a JSON object or a table with the columns image and caption."""
    if path.suffix.lower() == ".json":
        captions = read_json(path)
        if not isinstance(captions, dict) or not all(isinstance(value, str) for value in captions.values()):
            raise DataError("captions are an object of image names and texts", where=Where(file=path))
        return captions
    lacking = [name for name in ("image", "caption") if name not in table_columns(path)]
    if lacking:
        raise DataError(f"there is no column {lacking[0]!r}", where=Where(file=path))
    rows = [row for row in table_rows(path) if isinstance(row, Row)]
    return {str(row.cells["image"]): str(row.cells["caption"]) for row in rows}


def join_captions(rows: Sequence[Sample], path: Path, names: set[str]) -> list[str]:
    """Give every row the caption of its image's exact name; says how many were found."""
    captions = read_captions(path)
    for row in rows:
        if "image" in row and row["image"].name in captions:
            row["caption"] = captions[row["image"].name]
    return [coverage("captions", path, names, captions.keys())]


def join_attributes(rows: Sequence[Sample], path: Path, names: set[str]) -> list[str]:
    """Give every row with an image the faces of its exact name, none if it has none; says how many were found."""
    faces = read_attributes(path)
    for row in rows:
        if "image" in row:
            row["attributes"] = faces.get(face_key(row["image"].name, faces), [])
    notes = [coverage("attributes", path, {face_key(name, faces) for name in names}, faces.keys())]
    crowded = count_crowded(faces, MAX_FACES)
    if crowded:
        notes.append(f"{len(crowded)} images have more than {MAX_FACES} faces: {listed(crowded)}")
    return notes


def coverage(what: str, path: Path, wanted: set[str], given: Iterable[str]) -> str:
    """How many images have an entry, how many lack one, and the entries of images that are unknown here."""
    known = set(given)
    extra = sorted(known - wanted)
    unknown = f", such as {listed(extra[:3])}" if extra else ""
    return (
        f"{what} of {path.name}: {len(wanted & known)} images matched, {len(wanted - known)} have none, "
        f"{len(extra)} entries are of images that are not in this split{unknown}"
    )


# ------------------------------------------------------------------------------------- what a model wants of a data set


def origin(dataset: Dataset) -> Dataset:
    """The data set that a view of views looks at."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


def annotation_of(dataset: Dataset, index: int) -> Sample:
    """The sample without its image, which is not read where the data set can do without."""
    while isinstance(dataset, Subset):
        index, dataset = int(dataset.indices[index]), dataset.dataset
    if isinstance(dataset, MemeRows):
        return dataset.annotation(index)
    return {name: value for name, value in dataset[index].items() if name != "image"}


def declared_heads(dataset: Dataset) -> tuple[Head, ...]:
    """The heads that the data set declares, or the one that follows from its labels."""
    source = origin(dataset)
    if isinstance(source, MemeRows):
        return source.heads
    return (derive_head(dataset.labels, ()),)


def relative_image(folder: Path, name: str, where: Where) -> Path:
    """The image that a cell names, inside `folder`; InvalidSample for a path that leads out of it."""
    with placed(where):
        return path_inside(folder, name)
