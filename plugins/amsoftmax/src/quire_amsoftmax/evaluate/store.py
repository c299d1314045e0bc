"""Embeddings kept apart from the model: `embeddings.npy` (float32 [n, dim], mappable) and `ids.csv` beside it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.errors import DataError, InvalidSample, TaskMismatch, Where
from quire.model import Embedder
from quire.storage import atomic_file
from quire.table import table_rows
from quire_amsoftmax.evaluate.streams import unit_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from quire.dataset import Dataset, OnError
    from quire.modality import Sample
    from quire.model import Model

    Floats = NDArray[np.float32]

COLUMNS = ("index", "path", "identity", "norm", "status")
BATCH = 256


@dataclass(frozen=True)
class Embeddings:
    """vectors float32 [n, dim] (possibly a memory map), ids, and identities ("" where not known)."""

    vectors: Floats
    ids: list[str]
    identities: list[str]

    def __post_init__(self) -> None:
        if not len(self.vectors) == len(self.ids) == len(self.identities):
            raise DataError(
                f"{len(self.vectors)} embeddings, {len(self.ids)} ids and {len(self.identities)} identities"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def known(self) -> Embeddings:
        """Those whose identity is known."""
        kept = [position for position, identity in enumerate(self.identities) if identity]
        if len(kept) == len(self):
            return self
        return Embeddings(self.vectors[kept], [self.ids[i] for i in kept], [self.identities[i] for i in kept])

    @classmethod
    def load(cls, vectors: Path, ids: Path | None = None) -> Embeddings:
        """`vectors` (.npy) and its ids; default: ids.csv beside it. Rows of another status than "ok" have no vector.

        DataError where the two do not have the same number of rows, or the array is no matrix of numbers.
        """
        ids = ids or vectors.parent / "ids.csv"
        try:
            array = np.load(vectors, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"this is no array that can be read ({error})", where=Where(file=vectors)) from error
        if array.ndim != 2 or array.dtype.kind != "f":
            raise DataError(
                f"embeddings are floats [n, dim], not {array.dtype} {list(array.shape)}", where=Where(file=vectors)
            )
        names, identities = [], []
        for row in table_rows(ids):
            if isinstance(row, InvalidSample):
                raise row
            if "path" not in row.cells:
                raise DataError("there is no column 'path'", where=Where(file=ids))
            if row.cells.get("status", "ok") in ("ok", ""):
                names.append(str(row.cells["path"]))
                identities.append(str(row.cells.get("identity") or ""))
        if len(names) != len(array):
            raise DataError(
                f"{ids.name} has {len(names)} rows, {vectors.name} {len(array)}",
                where=Where(file=ids),
                remedy="Give the two files of one run.",
            )
        return cls(array, names, identities)


def write_embeddings(
    model: Model, samples: Iterable[Sample], folder: Path, *, on_error: OnError = "raise"
) -> tuple[int, list[InvalidSample]]:
    """Embed `samples` into folder/embeddings.npy and folder/ids.csv; (how many, why others were left out).

    Left-out samples are in ids.csv with the reason as their status and no index.
    """
    left_out: list[InvalidSample] = []
    rows: list[tuple[Any, ...]] = []
    parts: list[Floats] = []
    for names, identities, vectors, norms in _embedded(model, samples, left_out, on_error):
        for name, identity, norm in zip(names, identities, norms.tolist(), strict=True):
            rows.append((len(rows), name, identity, f"{norm:.6g}", "ok"))
        parts.append(vectors)
    rows += [("", (error.where or Where()).sample or "", "", "", error.message) for error in left_out]
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "embeddings.npy") as file:
        np.save(file, np.concatenate(parts) if parts else np.zeros((0, 0), np.float32))
    with atomic_file(folder / "ids.csv", "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return sum(map(len, parts)), left_out


def embed_all(
    model: Model, dataset: Dataset | Iterable[Sample], left_out: list[InvalidSample], *, on_error: OnError = "raise"
) -> Embeddings:
    """The embeddings of a data set, unit rows, read one batch at a time. TaskMismatch for a model that gives none."""
    names: list[str] = []
    identities: list[str] = []
    parts: list[Floats] = []
    for some_names, some_identities, vectors, _ in _embedded(model, dataset, left_out, on_error):
        names += some_names
        identities += some_identities
        parts.append(unit_rows(vectors))
    return Embeddings(np.concatenate(parts) if parts else np.zeros((0, 1), np.float32), names, identities)


def _embedded(
    model: Model, samples: Iterable[Sample], left_out: list[InvalidSample], on_error: OnError
) -> Iterator[tuple[list[str], list[str], Floats, Floats]]:
    """(ids, identities, vectors, norms) of one batch after the other."""
    if not isinstance(model, Embedder):
        raise TaskMismatch(f"embeddings are needed, and {type(model).__name__} makes none")
    with_norms = getattr(model, "embed_with_norms", None)
    for batch in _batches(samples, left_out, on_error):
        if with_norms is not None:
            vectors, norms = with_norms(batch)
        else:
            vectors = model.embed(batch)
            norms = np.linalg.norm(vectors, axis=1)
        identities = [str(sample["target"]) if sample.get("target") is not None else "" for sample in batch]
        yield [str(sample["id"]) for sample in batch], identities, vectors, norms


def _batches(samples: Iterable[Sample], left_out: list[InvalidSample], on_error: OnError) -> Iterator[list[Sample]]:
    """Samples in lists of BATCH; those that can't be read are left out where that is asked for."""
    batch: list[Sample] = []
    iterator = iter(samples)
    n = 0
    while True:
        try:
            sample = next(iterator)
        except StopIteration:
            break
        except InvalidSample as error:
            if on_error == "raise":
                raise
            left_out.append(error)
            continue
        batch.append({"id": str(n), **sample})
        n += 1
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
