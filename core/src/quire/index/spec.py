"""What an index holds: its vectors' length and form, the metric, the kind of its ids, its columns, its model."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

from quire.errors import ConfigError, DataError, Where, nearest
from quire.index.fields import Fixed, Text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from quire.storage import JSON

Metric: TypeAlias = Literal["cosine", "inner_product", "l2", "hamming"]
Storage: TypeAlias = Literal["float32", "float16", "bits"]
IdKind: TypeAlias = Literal["str", "int64"]
ColumnType: TypeAlias = Literal["int64", "float64", "bool", "str"]

SEGMENT_BYTES = 256 << 20
_COLUMN_DTYPES = {"int64": "<i8", "float64": "<f8", "bool": "|b1"}
_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True)
class Spec:
    """What does not change in an index's life.

    dim: floats of a vector, or bits of a code. columns: name -> type of what is kept beside every vector, to filter by.
    fingerprint: the model that made the vectors. segment_bytes: size of vectors after which a new file is begun.
    """

    dim: int
    metric: Metric = "cosine"
    storage: Storage = "float32"
    ids: IdKind = "str"
    columns: Mapping[str, ColumnType] = field(default_factory=dict)
    fingerprint: str | None = None
    segment_bytes: int = SEGMENT_BYTES

    def __post_init__(self) -> None:
        if type(self.dim) is not int or self.dim < 1:
            raise ConfigError(f"vectors of {self.dim!r} dimensions can't be indexed", where=Where(field="dim"))
        for name, known in (("metric", Metric), ("storage", Storage), ("ids", IdKind)):
            _check_choice(name, getattr(self, name), get_args(known))
        if (self.metric == "hamming") != (self.storage == "bits"):
            raise ConfigError(
                f"vectors kept as {self.storage} have no {self.metric} distance",
                remedy="Bits go with metric='hamming'.",
            )
        if type(self.segment_bytes) is not int or self.segment_bytes < 1:
            raise ConfigError(f"{self.segment_bytes!r} is no size of a file", where=Where(field="segment_bytes"))
        if self.fingerprint is not None and not isinstance(self.fingerprint, str):
            raise ConfigError("a model's fingerprint is a string", where=Where(field="fingerprint"))
        for name, kind in self.columns.items():
            if not _COLUMN_NAME.fullmatch(name) or name == "id":
                raise ConfigError(
                    f"a column can't be called {name!r}",
                    remedy="Names are ASCII letters, digits and underscores; 'id' is taken.",
                )
            _check_choice(f"columns.{name}", kind, get_args(ColumnType))

    @property
    def similarity(self) -> bool:
        """Whether larger scores are nearer (cosine, inner product), not smaller ones (l2, Hamming)."""
        return self.metric in ("cosine", "inner_product")

    @property
    def code_bytes(self) -> int:
        """Bytes of a packed code as users give it."""
        return (self.dim + 7) // 8

    @property
    def vectors(self) -> Fixed:
        """How a vector lies on disk. Codes fill whole words, so that a scan compares words and not bytes."""
        if self.storage != "bits":
            return Fixed("vectors", "<f4" if self.storage == "float32" else "<f2", self.dim)
        word = next((size for size in (1, 2, 4) if size >= self.code_bytes), 8)
        return Fixed("vectors", f"<u{word}", -(-self.code_bytes // word))

    @property
    def id_field(self) -> Fixed | Text:
        """How an id lies on disk."""
        return Text("ids") if self.ids == "str" else Fixed("ids", "<i8")

    @property
    def column_fields(self) -> dict[str, Fixed | Text]:
        """How the columns lie on disk, by their names."""
        return {
            name: Text(f"column-{name}") if kind == "str" else Fixed(f"column-{name}", _COLUMN_DTYPES[kind])
            for name, kind in self.columns.items()
        }

    @property
    def fields(self) -> list[Fixed | Text]:
        """All that is kept of a row."""
        norms = [] if self.storage == "bits" else [Fixed("norms", "<f4")]
        return [self.vectors, *norms, self.id_field, *self.column_fields.values()]

    @property
    def segment_rows(self) -> int:
        """Rows after which a new segment is begun."""
        return max(1, self.segment_bytes // self.vectors.row_bytes)

    def to_json(self) -> JSON:
        """The value that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any, file: Path) -> Self:
        """DataError naming `file` if `value` does not describe an index."""
        try:
            return cls(**value)
        except (TypeError, AttributeError, ConfigError) as error:
            raise DataError(f"does not describe an index ({error})", where=Where(file=file)) from None

    def check_fingerprint(self, fingerprint: str | None, file: Path) -> None:
        """DataError naming both models if vectors of model `fingerprint` are of another one than the index's."""
        if fingerprint is None or fingerprint == self.fingerprint:
            return
        built = "without a model's fingerprint" if self.fingerprint is None else f"with model {self.fingerprint!r}"
        raise DataError(
            f"the index was built {built}, not with model {fingerprint!r}",
            where=Where(file=file),
            remedy="Vectors of two models can't be compared: embed everything again into a new index.",
        )


def _check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(
            f"{value!r} is not one of {', '.join(known)}{nearest(str(value), known)}", where=Where(field=name)
        )
