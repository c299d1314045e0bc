"""The networks of a configuration, for the series that it was fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from quire_tsc.augment import Slicing, mcnn_slicing, tlenet_slicing
from quire_tsc.networks import NETWORKS, Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from quire_tsc.config import TSCConfig
    from quire_tsc.preprocess import Preprocessing


class Members(nn.Module):
    """Networks that are trained one after the other: an ensemble, or the points of a grid."""

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def __iter__(self) -> Iterator[Network]:
        return (cast("Network", member) for member in self.members)


@dataclass(frozen=True)
class Construction:
    """What a network's shape depends on. chosen: the point of MCNN's grid, None before its choice."""

    config: TSCConfig
    preprocessing: Preprocessing
    classes: int
    cases: int
    chosen: Mapping[str, Any] | None = None

    @property
    def slicing(self) -> Slicing | None:
        """How series are cut into slices; None for a network that takes them whole."""
        length = self.preprocessing.length
        match self.config.architecture:
            case "mcnn":
                return mcnn_slicing(length)
            case "tlenet":
                return tlenet_slicing(length, self.cases)
        return None

    @property
    def grid(self) -> list[dict[str, Any]]:
        """MCNN's candidates, in order."""
        options = self.config.mcnn
        return [
            {"pool_factor": pool, "filter_size": size} for pool in options.pool_factors for size in options.filter_sizes
        ]

    def build(self) -> nn.Module:
        """The configured network; several for an ensemble or, before its choice, MCNN's grid."""
        name, options = self.config.architecture, {}
        match name:
            case "mcnn" if self.chosen is None:
                return Members([self._mcnn(point) for point in self.grid])
            case "mcnn":
                return self._mcnn(cast("Mapping[str, Any]", self.chosen))
            case "inception_time":
                return Members([self._inception() for _ in range(self.config.inception.n_ensemble)])
            case "inception":
                return self._inception()
            case "encoder":
                options = self.config.encoder.model_dump()
            case "tlenet":
                options = {"length": cast("Slicing", self.slicing).size}
        return self._new(name, **options)

    def _new(self, name: str, **options: Any) -> Network:
        fitted = self.preprocessing
        shape = {"channels": fitted.channels, "length": fitted.length, "classes": self.classes}
        return NETWORKS[name](**{**shape, **options})

    def _inception(self) -> Network:
        return self._new("inception", **self.config.inception.model_dump(exclude={"n_ensemble"}))

    def _mcnn(self, point: Mapping[str, Any]) -> Network:
        length = cast("Slicing", self.slicing).size
        return self._new("mcnn", length=length, series_length=self.preprocessing.length, **point)
