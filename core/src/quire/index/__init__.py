"""Nearest neighbours over float vectors and binary codes, kept on disk.

The index's own files are the truth: vectors, ids, columns, removals. numpy searches them exactly; faiss, where it is
installed, makes that faster from structures that can be built again at any time.
"""

from quire.index.accelerator import HNSW, IVF, Accelerator, Flat, MultiHash
from quire.index.checks import pack_bits
from quire.index.filters import Filter
from quire.index.hits import Hits, RangeHits
from quire.index.spec import Spec
from quire.index.transaction import Transaction
from quire.index.vector_index import VectorIndex

__all__ = [
    "HNSW",
    "IVF",
    "Accelerator",
    "Filter",
    "Flat",
    "Hits",
    "MultiHash",
    "RangeHits",
    "Spec",
    "Transaction",
    "VectorIndex",
    "pack_bits",
]
