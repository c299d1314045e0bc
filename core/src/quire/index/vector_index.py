"""The index as its users see it: a folder that is opened, searched and, by one process at a time, changed."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from quire.errors import DataError, QuireError, RunError, Where
from quire.index.accelerated import accelerated
from quire.index.accelerator import Accelerator, Built, remove_leftovers, save
from quire.index.checks import check_ids, check_queries, to_codes
from quire.index.engine import Device, Engine, build, load_faiss
from quire.index.filters import Filter, allowed_rows
from quire.index.hits import Hits, RangeHits
from quire.index.kernels import nothing_score
from quire.index.manifest import NAME, Manifest
from quire.index.scan import nearest, within
from quire.index.segments import trim
from quire.index.snapshot import Snapshot
from quire.index.spec import SEGMENT_BYTES, ColumnType, IdKind, Metric, Spec, Storage
from quire.index.threads import thread_count
from quire.index.transaction import Transaction
from quire.index.verify import faults
from quire.storage import lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from pandas import DataFrame

_log = logging.getLogger(__name__)


class VectorIndex:
    """Nearest neighbours over float vectors or binary codes, in a folder that a crash at any moment leaves whole.

    Many processes may read while one writes; each sees the state that was committed when it opened the index or called
    `refresh`. Searches may run in several threads at once.
    """

    def __init__(self, folder: Path, *, writable: bool, threads: int | None, device: Device) -> None:
        """Use `create` or `open`."""
        self.folder = folder
        self._threads = thread_count(threads)
        self._device: Device = device
        self._held = ExitStack()
        self._transaction: Transaction | None = None
        self._writable = writable
        if writable:
            self._held.enter_context(lock(folder / "write.lock", purpose=f"the index {folder}"))
        try:
            self._snapshot = Snapshot.open(folder)
            if writable:
                trim(folder, self._snapshot.manifest)
                remove_leftovers(folder)
            self._engine: Engine | None = None
            self._without_engine = "no accelerator was built"
            self._read_engine()
        except BaseException:
            self._held.close()
            raise

    @classmethod
    def create(
        cls,
        folder: Path | str,
        *,
        dim: int,
        metric: Metric = "cosine",
        storage: Storage | None = None,
        ids: IdKind = "str",
        columns: Mapping[str, ColumnType] | None = None,
        fingerprint: str | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        threads: int | None = None,
        device: Device = "auto",
    ) -> Self:
        """A new index in `folder`, open for writing.

        dim: floats of a vector, or bits of a code. metric: "cosine", "inner_product", "l2" (Euclidean) or "hamming".
        storage: "float32", "float16", or "bits", which is what "hamming" takes. ids: "str" or "int64". columns: name -> type
        ("int64", "float64", "bool", "str") of what is kept of every vector to filter by. fingerprint: of the model that the
        vectors are from. DataError if there is an index already.
        """
        folder = Path(folder)
        storage = storage or ("bits" if metric == "hamming" else "float32")
        spec = Spec(dim, metric, storage, ids, dict(columns or {}), fingerprint, segment_bytes)
        (folder / "segments").mkdir(parents=True, exist_ok=True)
        with lock(folder / "write.lock", purpose=f"the index {folder}"):
            if (folder / NAME).exists():
                raise DataError("there is an index already", where=Where(file=folder), remedy="Open it, or remove it.")
            Manifest(spec).write(folder)
        return cls(folder, writable=True, threads=threads, device=device)

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        writable: bool = False,
        fingerprint: str | None = None,
        threads: int | None = None,
        device: Device = "auto",
    ) -> Self:
        """The index in `folder`, as it was committed last.

        writable: RunError if another process writes. fingerprint: DataError if the index is of another model. threads: of a
        search; None is OMP_NUM_THREADS, or four at most. device: where an accelerator works; "auto" is a GPU if faiss sees
        one. DataError if there is no index, it is of another format, or files of it are missing or cut.
        """
        folder = Path(folder)
        Manifest.read(folder).spec.check_fingerprint(fingerprint, folder)
        return cls(folder, writable=writable, threads=threads, device=device)

    def close(self) -> None:
        """Let another process write. What was searched and read stays valid."""
        self._writable = False
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._snapshot.count

    def __contains__(self, an_id: object) -> bool:
        try:
            return bool(self._snapshot.find(check_ids(self.spec, [an_id]))[0] >= 0)
        except DataError:
            return False

    @property
    def spec(self) -> Spec:
        """What was decided when the index was created."""
        return self._snapshot.spec

    @property
    def generation(self) -> int:
        """The number of commits that this view has seen."""
        return self._snapshot.manifest.generation

    @property
    def n_removed(self) -> int:
        """Vectors that were removed and still take room; `compact` frees it."""
        return self._snapshot.rows - self._snapshot.count

    # ---------------------------------------------------------------------------------------------------- changing

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Changes that are committed together when the block ends, and not at all if it raises or the process dies."""
        self._check_writable()
        if self._transaction is not None:
            raise RunError("a transaction is open already", where=Where(file=self.folder))
        self._transaction = transaction = Transaction(self.folder, self._snapshot)
        try:
            yield transaction
        except BaseException:
            transaction.rollback()
            raise
        else:
            self._snapshot = transaction.commit()
        finally:
            self._transaction = None

    def _check_writable(self) -> None:
        if not self._writable:
            raise RunError(
                "the index is open for reading", where=Where(file=self.folder), remedy="Open it with writable=True."
            )

    def add(self, ids: Any, vectors: Any, columns: Mapping[str, Any] | None = None, *, replace: bool = False) -> None:
        """`Transaction.add`, committed at once: all of it is in the index when this returns, or nothing if it raises."""
        with self.transaction() as transaction:
            transaction.add(ids, vectors, columns, replace=replace)

    def remove(self, ids: Any, *, missing: Literal["error", "ignore"] = "error") -> int:
        """`Transaction.remove`, committed at once."""
        with self.transaction() as transaction:
            return transaction.remove(ids, missing=missing)

    def compact(self) -> None:
        """Free the room of removed vectors. An accelerator is out of use until `accelerate` is called again."""
        with self.transaction() as transaction:
            transaction.compact()
        self._read_engine()

    def accelerate(self, options: Accelerator | None = None) -> None:
        """Build an accelerator over the vectors that are there; None is the options of the last one.

        Later additions are found beside it and removals are left out, so that it need not be built after every change.
        MissingExtra without faiss; ConfigError for options that do not fit the index.
        """
        self._check_writable()
        if options is None:
            built = Built.read(self.folder)
            if built is None:
                raise DataError("no accelerator was built yet", remedy="Name one, as in accelerate(HNSW()).")
            options = built.options
        engine = build(self._snapshot, options, self._threads)
        save(
            self.folder,
            options,
            layout=engine.layout,
            rows=engine.rows,
            faiss=str(load_faiss().__version__),
            write=engine.write,
        )
        self._read_engine()

    # ---------------------------------------------------------------------------------------------------- searching

    def refresh(self) -> bool:
        """See what was committed since; whether there was anything."""
        if self._writable or Manifest.read(self.folder).generation == self.generation:
            changed = False
        else:
            self._snapshot, changed = Snapshot.open(self.folder), True
        self._read_engine()
        return changed

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        where: Filter | None = None,
        exact: bool = False,
        fingerprint: str | None = None,
    ) -> Hits:
        """The k nearest of each query.

        queries: floats [queries, dim] or codes [queries, ceil(bits / 8)], or one of them. where: the vectors that count: a
        function from the table of ids and columns (`table`) to a flag for each row, such flags, or ids. exact: pass over an
        approximate accelerator. fingerprint: of the model that made the queries.
        """
        snapshot, engine = self._snapshot, self._engine
        snapshot.spec.check_fingerprint(fingerprint, self.folder)
        if type(k) is not int or k < 1:
            raise DataError(f"{k!r} neighbours can't be searched for; k is a whole number from 1")
        asked = check_queries(snapshot.spec, queries)
        allowed = allowed_rows(snapshot, where)
        usable = engine is not None and engine.layout == snapshot.manifest.layout and engine.rows <= snapshot.rows
        most = min(k, snapshot.rows)  # beyond, there is nothing; k may be any number
        if not most or not len(asked):
            rows = np.empty((len(asked), 0), np.int64)
            scores: NDArray[Any] = np.empty(rows.shape, np.int32 if snapshot.spec.storage == "bits" else np.float32)
            certain = True
        elif engine is not None and usable and (engine.options.exact or not exact):
            rows, scores, certain = accelerated(snapshot, engine, asked, most, allowed, threads=self._threads)
        else:
            rows, scores = nearest(snapshot, asked, most, allowed, threads=self._threads)
            certain = True
        return self._hits(snapshot, rows, scores, k, certain)

    def _hits(self, snapshot: Snapshot, rows: NDArray[np.int64], scores: NDArray[Any], k: int, exact: bool) -> Hits:
        found = np.zeros((len(rows), k), bool)
        found[:, : rows.shape[1]] = rows >= 0
        ids = np.full(found.shape, *((None, object) if snapshot.spec.ids == "str" else (-1, np.int64)))
        ids[found] = snapshot.ids_of(rows[rows >= 0])
        values = np.full(found.shape, nothing_score(snapshot.spec), scores.dtype)
        values[found] = scores[rows >= 0]
        return Hits(ids, values, found, exact)

    def search_range(
        self, queries: Any, radius: float, *, where: Filter | None = None, fingerprint: str | None = None
    ) -> RangeHits:
        """All within `radius` of each query, exactly: at most that distance (l2, hamming) or at least that similarity."""
        snapshot = self._snapshot
        snapshot.spec.check_fingerprint(fingerprint, self.folder)
        if not isinstance(radius, int | float | np.number) or not np.isfinite(radius):
            raise DataError(f"{radius!r} is no radius")
        asked = check_queries(snapshot.spec, queries)
        allowed = allowed_rows(snapshot, where)
        limits, rows, scores = within(snapshot, asked, float(radius), allowed, threads=self._threads)
        return RangeHits(limits, snapshot.ids_of(rows), scores)

    def recall(self, queries: Any, k: int = 10) -> float:
        """The share of the exact k nearest that `search` finds, over `queries`: 1 without an approximate accelerator."""
        wanted, got = self.search(queries, k, exact=True), self.search(queries, k)
        pairs = zip(wanted.ids, wanted.found, got.ids, got.found, strict=True)
        kept = sum(len(set(some[there]) & set(others[here])) for some, there, others, here in pairs)
        return kept / max(1, int(wanted.found.sum()))

    # ---------------------------------------------------------------------------------------------------- reading

    def ids(self) -> NDArray[Any]:
        """All ids, in the order in which they were added: int64, or an object array of strings."""
        ids: NDArray[Any] = self._snapshot.column("ids").copy()
        return ids

    def get(self, ids: Any) -> NDArray[Any]:
        """The vectors under `ids`: float32 [n, dim], or codes uint8 [n, ceil(bits / 8)]. DataError: an id is not there."""
        stored = self._snapshot.take("vectors", self._rows(ids))
        if self.spec.storage == "bits":
            return to_codes(self.spec, stored)
        return stored.astype(np.float32)

    def table(self, ids: Any = None) -> DataFrame:
        """Ids and columns of `ids`, or of all vectors in the order in which they were added."""
        if ids is None:
            return self._snapshot.table.copy()
        import pandas as pd

        rows = self._rows(ids)
        fields = self.spec.column_fields.items()
        columns = {name: self._snapshot.take(field.name, rows) for name, field in fields}
        return pd.DataFrame({"id": self._snapshot.ids_of(rows), **columns})

    def _rows(self, ids: Any) -> NDArray[np.int64]:
        checked = check_ids(self.spec, ids)
        rows = self._snapshot.find(checked)
        if (rows < 0).any():
            raise DataError(f"id {checked[rows < 0][0]!r} is not in the index", where=Where(file=self.folder))
        return rows

    def verify(self) -> list[str]:
        """One sentence for each fault of the files, compared with their checksums; none if the index is whole."""
        return faults(self._snapshot)

    def describe(self) -> dict[str, Any]:
        """What is in the index and what a search of it uses, as plain values."""
        manifest, engine = self._snapshot.manifest, self._engine
        size = sum(state.bytes for segment in manifest.all_segments for state in segment.files.values())
        described: dict[str, Any] = {
            **{name: value for name, value in vars(self.spec).items() if name != "columns"},
            "columns": dict(self.spec.columns),
            "vectors": len(self),
            "removed": self.n_removed,
            "bytes": size,
            "generation": self.generation,
            "accelerator": None if engine is None else engine.options.kind,
        }
        if engine is None:
            return {**described, "accelerator_missing": self._without_engine}
        return {**described, "accelerated": engine.rows, "accelerator_device": "gpu" if engine.on_gpu else "cpu"}

    def _read_engine(self) -> None:
        """Take the accelerator that fits, if there is one and faiss; without it every search is exact, and right."""
        try:
            built = Built.read(self.folder)
            if built is None:
                self._engine, self._without_engine = None, "no accelerator was built"
            elif built.layout != self._snapshot.manifest.layout or built.rows > self._snapshot.rows:
                self._engine, self._without_engine = (
                    None,
                    "the accelerator is of another state: call accelerate() again",
                )
            elif self._engine is None or self._engine.built != built:
                self._engine = Engine.read(self.folder, built, self._device)
        except QuireError as error:
            if self._device == "gpu":
                raise
            self._engine, self._without_engine = None, str(error)
            _log.warning("%s is searched without its accelerator: %s", self.folder, error)
