"""Galleries and probes of one's own: a CSV `path,identity,role`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quire.errors import DataError, InvalidSample, Where
from quire.table import table_rows
from quire_amsoftmax.protocols.pairs import Missing, NameIndex, missing_images

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

ROLES = ("gallery", "probe", "distractor")


@dataclass(frozen=True)
class IdentificationProtocol:
    """Images with identities, and what each is for; distractors are in the gallery and need no identity."""

    images: list[str]
    identities: NDArray[np.str_]
    roles: NDArray[np.str_]

    @classmethod
    def read(cls, path: Path) -> IdentificationProtocol:
        """The table. DataError or InvalidSample with line and column; there must be a gallery and a probe."""
        images, identities, roles = [], [], []
        for row in table_rows(path):
            if isinstance(row, InvalidSample):
                raise row
            lacking = [name for name in ("path", "identity", "role") if name not in row.cells]
            if lacking:
                raise DataError(f"there is no column {lacking[0]!r}", where=Where(file=path))
            role = str(row.cells["role"]).strip().lower()
            if role not in ROLES:
                where = Where(file=path, line=row.line, column="role")
                raise InvalidSample(f"{role!r} is none of {', '.join(ROLES)}", where=where)
            identity = str(row.cells["identity"] or "").strip()
            if not identity and role != "distractor":
                raise InvalidSample("the identity is missing", where=Where(file=path, line=row.line, column="identity"))
            images.append(str(row.cells["path"]).strip().replace("\\", "/"))
            identities.append(identity or f"distractor {row.line}")
            roles.append(role)
        for role in ("gallery", "probe"):
            if role not in roles:
                raise DataError(f"no image has the role {role}", where=Where(file=path))
        return cls(images, np.array(identities), np.array(roles))

    def resolve(
        self, ids: Sequence[str], *, missing: Missing = "error"
    ) -> tuple[IdentificationProtocol, NDArray[np.int64]]:
        """The images that are there, and their positions among `ids`."""
        find = NameIndex(ids)
        places = np.array([find(name) for name in self.images], np.int64)
        if find.missing and missing == "error":
            raise missing_images(find.missing, "the identification list")
        kept = np.flatnonzero(places >= 0)
        images = [self.images[position] for position in kept]
        return IdentificationProtocol(images, self.identities[kept], self.roles[kept]), places[kept]
