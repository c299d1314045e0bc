"""faiss, on the CPU or a GPU: building its structures from a snapshot and asking them for candidates."""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from quire.errors import ConfigError, DataError, require
from quire.index.accelerator import HNSW, IVF, Accelerator, Built, Flat, MultiHash, check_options
from quire.index.checks import norms_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from quire.index.snapshot import Snapshot
    from quire.index.spec import Spec

Device: TypeAlias = Literal["auto", "cpu", "gpu"]

_BUILD_BYTES = 64 << 20
_TRAINING = 64  # vectors for each list of an IVF that its centroids are found from
_LEAST_TRAINING = 39  # below which faiss warns that centroids are poor
_GPU_MOST = 2048  # results of one query on a GPU


def load_faiss() -> Any:
    """The module. MissingExtra if it is not installed."""
    return require("faiss", extra="faiss", purpose="an accelerated search")


def gpus(faiss: Any) -> int:
    """How many GPUs this faiss can use; faiss-cpu has none."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


class Engine:
    """A faiss index over the first `rows` rows of a layout; its positions are row numbers."""

    def __init__(
        self,
        index: Any,
        options: Accelerator,
        *,
        layout: int,
        rows: int,
        device: Device = "auto",
        built: Built | None = None,
    ) -> None:
        self._faiss = load_faiss()
        self._lock = threading.Lock()
        self.options = options
        self.layout = layout
        self.rows = rows
        self.built = built
        self.binary = isinstance(index, self._faiss.IndexBinary)
        self.on_gpu = self._goes_to_gpu(device)
        if isinstance(options, IVF):
            index.nprobe = options.probes
        if isinstance(options, MultiHash):
            index.nflip = options.flips
        self._index = self._faiss.index_cpu_to_all_gpus(index) if self.on_gpu else index

    def _goes_to_gpu(self, device: Device) -> bool:
        supported = isinstance(self.options, Flat) or (isinstance(self.options, IVF) and not self.binary)
        if device == "gpu" and not gpus(self._faiss):
            raise ConfigError(
                "this faiss sees no GPU",
                remedy="Replace faiss-cpu by faiss-gpu (pip install 'quire-core[faiss-gpu]'), or leave device at 'auto'.",
            )
        if device == "gpu" and not supported:
            kind = f"{self.options.kind} over {'bits' if self.binary else 'floats'}"
            raise ConfigError(f"faiss has no {kind} on a GPU", remedy="Take Flat(), or IVF() over floats.")
        return (
            supported and device != "cpu" and hasattr(self._faiss, "index_cpu_to_all_gpus") and bool(gpus(self._faiss))
        )

    @classmethod
    def read(cls, folder: Path, built: Built, device: Device) -> Engine:
        """The engine that was saved. DataError if its file is missing or cut, or faiss can't read it."""
        faiss = load_faiss()
        path = folder / built.file
        if not path.is_file() or path.stat().st_size != built.bytes:
            raise DataError(f"the accelerator's file {path} is missing or cut")
        try:
            index = faiss.read_index_binary(str(path)) if _is_binary(path) else faiss.read_index(str(path))
        except RuntimeError as error:
            raise DataError(f"the accelerator's file {path} can't be read ({error})") from None
        if index.ntotal != built.rows:
            raise DataError(f"the accelerator's file {path} has {index.ntotal} vectors, not {built.rows}")
        return cls(index, built.options, layout=built.layout, rows=built.rows, device=device, built=built)

    @property
    def filters(self) -> bool:
        """Whether faiss can leave out rows itself."""
        return not self.on_gpu and (not self.binary or isinstance(self.options, Flat))

    @property
    def most(self) -> int:
        """How many candidates of a query it can give."""
        return min(self.rows, _GPU_MOST) if self.on_gpu else self.rows

    def candidates(
        self, spec: Spec, queries: NDArray[Any], k: int, allowed: NDArray[np.bool_] | None, threads: int
    ) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Rows int64 [queries, k] (-1: none), the nearest first, and keys as in `kernels`.

        allowed: only if `filters`; bool of at least [rows].
        """
        asked = queries.view(np.uint8) if self.binary else queries
        if spec.metric == "cosine":
            asked = (queries / norms_of(queries)[:, None]).astype(np.float32)
        parameters = self._parameters(k, allowed)
        with omp_threads(self._faiss, threads):
            if self.binary and isinstance(self.options, HNSW):
                with self._lock:  # the only one whose breadth belongs to the index and not to the search
                    self._index.hnsw.efSearch = max(self.options.breadth, k)
                    distances, rows = self._index.search(asked, k)
            else:
                distances, rows = self._index.search(asked, k, params=parameters)
        if self.binary:
            return rows, distances
        keys = -distances.astype(np.float64) if spec.similarity else distances - norms_of(queries)[:, None] ** 2
        return rows, keys

    def _parameters(self, k: int, allowed: NDArray[np.bool_] | None) -> Any:
        if self.binary or self.on_gpu:
            if allowed is None:
                return None
            return self._faiss.SearchParameters(sel=self._selector(allowed))
        options: dict[str, Any] = {} if allowed is None else {"sel": self._selector(allowed)}
        if isinstance(self.options, HNSW):
            return self._faiss.SearchParametersHNSW(efSearch=max(self.options.breadth, k), **options)
        if isinstance(self.options, IVF):
            return self._faiss.SearchParametersIVF(nprobe=self.options.probes, **options)
        return self._faiss.SearchParameters(**options) if options else None

    def _selector(self, allowed: NDArray[np.bool_]) -> Any:
        return self._faiss.IDSelectorBitmap(np.packbits(allowed[: self.rows], bitorder="little"))

    def write(self, path: Path) -> None:
        """Write the structure, as it is on a CPU."""
        (self._faiss.write_index_binary if self.binary else self._faiss.write_index)(self._index, str(path))


def build(snapshot: Snapshot, options: Accelerator, threads: int) -> Engine:
    """The engine over all rows of `snapshot`, on the CPU. MissingExtra; ConfigError for options that do not fit."""
    faiss = load_faiss()
    check_options(options)
    if not snapshot.count:
        raise DataError("there is nothing to accelerate: the index is empty")
    binary = snapshot.spec.storage == "bits"
    make = _binary_index if binary else _float_index
    with omp_threads(faiss, threads):
        index = make(faiss, snapshot, options)
        size = max(1, _BUILD_BYTES // snapshot.spec.vectors.row_bytes)
        for block in snapshot.blocks(0, snapshot.rows, size):
            index.add(_form(snapshot.spec, block.vectors))
    return Engine(index, options, layout=snapshot.manifest.layout, rows=snapshot.rows, device="cpu")


def _float_index(faiss: Any, snapshot: Snapshot, options: Accelerator) -> Any:
    dim = snapshot.spec.dim
    metric = faiss.METRIC_INNER_PRODUCT if snapshot.spec.similarity else faiss.METRIC_L2
    if isinstance(options, Flat):
        return faiss.IndexFlat(dim, metric)
    if isinstance(options, HNSW):
        index = faiss.IndexHNSWFlat(dim, options.links, metric)
        index.hnsw.efConstruction = options.build_breadth
        return index
    if isinstance(options, IVF):
        lists = _lists(snapshot, options)
        quantizer = faiss.IndexFlat(dim, metric)
        return _trained(faiss.IndexIVFFlat(quantizer, dim, lists, metric), quantizer, snapshot, lists)
    raise ConfigError("multihash is for codes; these are floats", remedy="Take Flat(), HNSW() or IVF().")


def _binary_index(faiss: Any, snapshot: Snapshot, options: Accelerator) -> Any:
    bits = 8 * snapshot.spec.vectors.row_bytes
    if isinstance(options, Flat):
        return faiss.IndexBinaryFlat(bits)
    if isinstance(options, HNSW):
        index = faiss.IndexBinaryHNSW(bits, options.links)
        index.hnsw.efConstruction = options.build_breadth
        return index
    if isinstance(options, IVF):
        lists = _lists(snapshot, options)
        quantizer = faiss.IndexBinaryFlat(bits)
        return _trained(faiss.IndexBinaryIVF(quantizer, bits, lists), quantizer, snapshot, lists)
    if options.tables * options.bits > snapshot.spec.dim:
        raise ConfigError(
            f"{options.tables} tables of {options.bits} bits take more than the {snapshot.spec.dim} bits of a code"
        )
    return faiss.IndexBinaryMultiHash(bits, options.tables, options.bits)


def _lists(snapshot: Snapshot, options: IVF) -> int:
    if options.lists is None:
        return max(1, min(4 * math.isqrt(snapshot.count), snapshot.count // _LEAST_TRAINING))
    if options.lists > snapshot.count:
        raise ConfigError(f"{snapshot.count} vectors can't make {options.lists} lists")
    return options.lists


def _trained(index: Any, quantizer: Any, snapshot: Snapshot, lists: int) -> Any:
    """Train on vectors spread evenly over the living ones; the quantizer is the index's own from here on."""
    quantizer.this.disown()
    index.own_fields = True
    chosen = np.linspace(0, snapshot.count - 1, min(snapshot.count, _TRAINING * lists)).astype(np.int64)
    index.train(_form(snapshot.spec, snapshot.take("vectors", snapshot.living[np.unique(chosen)])))
    return index


def _form(spec: Spec, vectors: NDArray[Any]) -> NDArray[Any]:
    """As faiss takes them: bytes of codes, or float32, of length one under cosine."""
    if spec.storage == "bits":
        return np.ascontiguousarray(vectors).view(np.uint8)
    form = np.ascontiguousarray(vectors, dtype=np.float32)
    return (form / norms_of(form)[:, None]).astype(np.float32) if spec.metric == "cosine" else form


def _is_binary(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"IB"  # the four letters that faiss files of binary indexes begin with


@contextmanager
def omp_threads(faiss: Any, threads: int) -> Iterator[None]:
    """Let faiss take `threads` threads for calls from this one."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
