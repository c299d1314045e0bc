"""A folder for each class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from quire.dataset import (
    SPLITS,
    OnError,
    Rows,
    canonical_split,
    new_release,
    skipping,
    sort_labels,
)
from quire.errors import ConfigError, DataError, InvalidSample, Where
from quire.modality import Audio, Image, Label, Modality, Sample, Video

if TYPE_CHECKING:
    from quire.task import Task

    pass
from quire.readers.options import ReaderOptions, in_usual_order, tables_in

_DESKTOP_FILES = {"thumbs.db", "desktop.ini"}


_SHAPES = {"circle": (220, 70, 60), "square": (70, 190, 90), "triangle": (80, 110, 230)}


class FolderDataset(Rows):
    """root/class/file or root/split/class/file: the folder of a file (at any depth) is its class.

    For tasks with one input and a Label. Ids are paths relative to the root. Without split folders, samples are divided
    by the fractions of `Options`, stratified. Hidden files and files beside the class folders are not samples.
    Classes are those of all splits. Raises InvalidSample for an empty class folder, and for a file in one that is not
    of the input's kind.
    """

    class Options(ReaderOptions):
        """Options of a folder of classes."""

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Options) -> Self:
        """Every file of one split, in the order of the paths; files are read on access."""
        field, modality = _only_input(options.task)
        split_folders = _split_folders(path)
        roots = [root for name, root in split_folders.items() if name in {*SPLITS, split}] or [path]
        skipped: list[InvalidSample] = []
        rows: list[Sample] = []
        for folder in _subfolders(split_folders.get(split, path)):
            with skipping(on_error, skipped):
                files = _files(folder)
                if not files:
                    raise InvalidSample("the class folder is empty", where=Where(file=folder))
                for file in files:
                    with skipping(on_error, skipped):
                        _require_kind(file, modality)
                        name = file.relative_to(path).as_posix()
                        rows.append({"id": name, field: file, "target": folder.name})
        dataset = cls(
            rows if split_folders else options.part(rows, split),
            task=options.task,
            name=path.resolve().name,
            split=split,
            labels=sort_labels(folder.name for root in roots for folder in _subfolders(root)),
            skipped=skipped,
        )
        if options.verify:
            dataset.verify(on_error)
        return dataset

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """The split folders' usual names, or train, validation and test where there are none."""
        return tuple(_split_folders(path)) or SPLITS

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder of folders that hold images, sounds or videos, and no table beside them."""
        if not path.is_dir() or tables_in(path):
            return False
        media = {suffix for kind in (Image, Audio, Video) for suffix in kind.suffixes}
        folders = (inner for folder in _subfolders(path) for inner in (folder, *_subfolders(folder)))
        return any(file.suffix.lower() in media for folder in folders for file in folder.iterdir())

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """Images of 32 x 32 pixels for image classification: coloured circles, squares and triangles."""
        rng = np.random.default_rng(seed)
        with new_release(folder) as root:
            for split, size in zip(SPLITS, (12, 4, 4), strict=True):
                for shape in _SHAPES:
                    (root / split / shape).mkdir(parents=True)
                    for number in range(size):
                        _draw(shape, rng).save(root / split / shape / f"{number:02}.png")
        return Path(folder)


def _only_input(task: Task) -> tuple[str, Modality[Any]]:
    inputs = list(task.inputs.items())
    if len(inputs) != 1 or not isinstance(task.target, Label):
        raise ConfigError(
            f"a folder of classes serves tasks with one input and a label, not {task.name}",
            where=Where(field="task"),
            remedy="Describe the data in a table.",
        )
    return inputs[0]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _split_folders(path: Path) -> dict[str, Path]:
    """Usual split name -> folder, or nothing if the subfolders are classes.

    Subfolders are splits if one of them has a split's name and class folders in it.
    """
    if not path.is_dir():
        raise DataError("this is a file, not a folder of classes", where=Where(file=path))
    found: dict[str, Path] = {}
    for folder in _subfolders(path):
        name = canonical_split(folder.name)
        if name in found:
            raise DataError(f"{found[name].name} and {folder.name} are both {name}", where=Where(file=path))
        found[name] = folder
    if not any(name in SPLITS and _subfolders(folder) for name, folder in found.items()):
        return {}
    return {name: found[name] for name in in_usual_order(found)}


def _files(folder: Path) -> list[Path]:
    """The files in `folder`, at any depth, but those that file managers leave there."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and file.name.lower() not in _DESKTOP_FILES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _require_kind(file: Path, modality: Modality[Any]) -> None:
    if file.suffix.lower() not in modality.suffixes:
        raise InvalidSample(
            f"the ending is not that of {modality.kind} ({', '.join(modality.suffixes)})",
            where=Where(file=file),
            remedy="Move it out of the class folder.",
        )
    if not file.stat().st_size:
        raise InvalidSample("the file is empty", where=Where(file=file))


def _draw(shape: str, rng: np.random.Generator) -> PillowImage.Image:
    """One shape in about its colour, anywhere on a dark, noisy ground."""
    picture = PillowImage.fromarray(rng.integers(0, 60, (32, 32, 3), dtype=np.uint8))
    x, y = rng.integers(12, 21, 2).tolist()
    radius = int(rng.integers(7, 12))
    red, green, blue = (np.array(_SHAPES[shape]) + rng.integers(-30, 26, 3)).tolist()
    pen = ImageDraw.Draw(picture)
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(red, green, blue))
    else:
        sides = {"square": 4, "triangle": 3}[shape]
        pen.regular_polygon((x, y, radius), sides, rotation=int(rng.integers(0, 90)), fill=(red, green, blue))
    return picture
