"""Time-series data sets as the archives release them, and a user's own files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from quire.config import Config
from quire.dataset import OnError, Rows, sort_labels
from quire.errors import DataError, Where
from quire.task import SERIES_CLASSIFICATION

from .formats import SUFFIXES, TEXT_SUFFIXES, Layout, SeriesCollection, Split, has_header, npz_keys, read_series
from .samples import write_release

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quire.modality import Sample

_SPLIT_NAME = re.compile(r"(?:(?P<name>.+)_)?(?P<split>train|test)", re.IGNORECASE)
_RELEASE_NAME = re.compile(r".+_(TRAIN|TEST)|X_(train|test)")
_ONE_CHANNEL_OF_SEVERAL = re.compile(r".+Dimension\d+")
_SPLITS: tuple[Split, ...] = ("train", "test")


class TimeSeriesDataset(Rows):
    """Labelled series in memory: "series" float32 [channels, length_i], NaN = missing; "target" the class as text.

    A path is the folder of one data set (GunPoint/ with GunPoint_TRAIN.tsv and GunPoint_TEST.tsv; likewise .ts,
    .arff, .txt, .csv, .parquet, .npz, .npy, no extension), one of such two files (the other is found beside it), an
    `.mat` or `.npz` that holds both, or one file of another name, which is the split "train".
    """

    task = SERIES_CLASSIFICATION

    class Options(Config):
        """How to read files that do not say it themselves."""

        label_column: int | str | None = Field(
            default=None,
            union_mode="left_to_right",
            description="Where a text file or table holds the label: a position from 0 (-1 is the last column) or the "
            "name of a column. Unset: the first column; in a table with a header the column label, class or target.",
        )
        layout: Layout = Field(
            default="NCT",
            description="Order of the axes in .npy and .npz: NCT is [cases, channels, time], NTC is the transposed "
            "[cases, time, channels].",
        )

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """The splits that `path` has files for; DataError where it holds no series, or those of several data sets."""
        return tuple(_split_files(Path(path)))

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Any) -> TimeSeriesDataset:
        """Read one split; DataError for a file without labels, and for a training file with one class."""
        file = _split_files(path)[split]
        collection = read_series(
            file,
            split="test" if split == "test" else "train",
            label_column=options.label_column,
            layout=options.layout,
            on_error=on_error,
        )
        if collection.labels is None:
            raise DataError(
                "holds no class labels", where=Where(file=file), remedy="Give a file with a label a series."
            )
        labels = sort_labels(collection.labels)
        if split == "train" and len(labels) == 1:
            raise DataError(
                f"all {len(collection)} series are of the class {labels[0]!r}",
                where=Where(file=file),
                remedy="A classifier needs series of at least two classes.",
            )
        return cls(
            [{**sample, "target": label} for sample, label in zip(_inputs(collection), collection.labels, strict=True)],
            task=SERIES_CLASSIFICATION,
            name=_data_set_name(file),
            split=split,
            labels=labels,
            skipped=collection.skipped,
        )

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder or file named as the archives do (NAME_TRAIN, NAME_TEST, X_train), or an .arff file."""
        path = Path(path)
        files: Iterable[Path] = path.iterdir() if path.is_dir() else [path]
        return any(
            file.suffix.lower() in SUFFIXES
            and (_RELEASE_NAME.fullmatch(file.stem) is not None or file.suffix.lower() == ".arff")
            for file in files
        )

    @classmethod
    def read_inputs(cls, path: Path) -> Iterator[Sample] | None:
        """The series of one file, its labels left out; None for a folder and where the core's own reader suffices.

        Which column is a label: .ts and .arff say it in their header, arrays and .mat keep labels apart, tables with a
        header by its name (label, class, target). Text without header holds a label in its first column where the
        file's name ends in _TRAIN or _TEST, as the archives do it; under every other name all its columns are values,
        which `Task.read_samples` reads.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        labelled = _RELEASE_NAME.fullmatch(path.stem) is not None
        if path.is_dir() or suffix not in SUFFIXES or (suffix == ".npy" and not labelled):
            return None
        if suffix in TEXT_SUFFIXES and not labelled and not has_header(path):
            return None
        return _inputs(read_series(path, split="test", labelled=labelled))

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0, name: str = "CBF") -> Path:
        """Write "CBF" or "SyntheticControl", made by their published formulas, as the archive's release holds them."""
        return write_release(folder, name=name, seed=seed)


def _inputs(collection: SeriesCollection) -> Iterator[Sample]:
    for name, series in zip(collection.ids, collection.series, strict=True):
        yield {"id": name, "series": series}


def _split_files(path: Path) -> dict[str, Path]:
    """The file of each split at `path`, "train" first."""
    if path.is_dir():
        return _folder_splits(path)
    found = _SPLIT_NAME.fullmatch(path.stem)
    if found is None:
        return _splits_inside(path)
    pair = {_split_of(file): file for file in path.parent.iterdir() if _is_same_data_set(file, path)}
    return {split: pair[split] for split in _SPLITS if split in pair}


def _is_same_data_set(file: Path, other: Path) -> bool:
    return (
        file.suffix == other.suffix
        and _SPLIT_NAME.fullmatch(file.stem) is not None
        and _data_set_name(file) == _data_set_name(other)
        and file.is_file()
    )


def _splits_inside(path: Path) -> dict[str, Path]:
    """The splits of a file whose name tells none."""
    if path.suffix.lower() == ".mat":
        return dict.fromkeys(_SPLITS, path)
    if path.suffix.lower() == ".npz":
        keys = npz_keys(path)
        inside = [split for split in _SPLITS if f"X_{split}" in keys]
        if inside:
            return dict.fromkeys(inside, path)
    return {"train": path}


def _folder_splits(folder: Path) -> dict[str, Path]:
    found: dict[tuple[str, str], dict[str, Path]] = {}
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in SUFFIXES)
    for file in files:
        name = _data_set_name(file)
        labels_alone = file.suffix == ".npy" and name == "y"
        if _SPLIT_NAME.fullmatch(file.stem) and not labels_alone and not _ONE_CHANNEL_OF_SEVERAL.fullmatch(name):
            found.setdefault((name, file.suffix.lower()), {})[_split_of(file)] = file
    names = sorted({name for name, _ in found})
    if not names:
        holders = [file for file in files if file.suffix.lower() in (".mat", ".npz")]
        if len(holders) == 1:
            return _splits_inside(holders[0])
        raise _no_data_set(folder)
    name = folder.name if folder.name in names else names[0]
    if len(names) > 1 and name != folder.name:
        raise DataError(
            f"holds several data sets ({', '.join(names[:4])})",
            where=Where(file=folder),
            remedy=f"Give one file, such as {next(iter(found[next(iter(found))].values())).name}.",
        )
    suffixes = [suffix for suffix in SUFFIXES if (name, suffix) in found]
    best = found[name, max(suffixes, key=lambda suffix: len(found[name, suffix]))]
    return {split: best[split] for split in _SPLITS if split in best}


def _no_data_set(folder: Path) -> DataError:
    inner = sorted(child for child in folder.iterdir() if child.is_dir() and TimeSeriesDataset.recognises(child))
    if inner:
        return DataError(
            f"holds {len(inner)} data sets in folders of their own",
            where=Where(file=folder),
            remedy=f"Give one of them, such as {inner[0]}.",
        )
    return DataError(
        "holds no series",
        where=Where(file=folder),
        remedy=f"The files of a data set are named {folder.name}_TRAIN.tsv and {folder.name}_TEST.tsv (or .ts, .arff).",
    )


def _split_of(file: Path) -> str:
    found = _SPLIT_NAME.fullmatch(file.stem)
    return found["split"].lower() if found else "train"


def _data_set_name(file: Path) -> str:
    """The file's name up to _TRAIN or _TEST; the folder's name for train.csv; the whole stem where there is neither."""
    found = _SPLIT_NAME.fullmatch(file.stem)
    return file.stem if found is None else found["name"] or file.parent.name
