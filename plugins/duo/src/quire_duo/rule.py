"""Fusion rules: contracts that turn seeds into an input whose toxicity is known by construction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from quire import registry
from quire.errors import ConfigError, Where, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from quire_duo.content import Content
    from quire_duo.seeds import Seed
    from quire_duo.witness import Witness
    from quire_duo.workshop import Workshop

GROUP = "quire.fusion_rules"
"""The entry-point group of rules: anyone's package may add some."""

Guarantee = Literal["carrier", "split", "compose"]
"""carrier: the whole toxic seed is present in one modality. split: its tokens, cut at one place or more, stand in
different modalities or regions in natural order. compose: two harmless parts that a user's table vouches for."""
Role = Literal["toxic", "benign", "pair"]


@dataclass(frozen=True)
class Slot:
    """One or several seeds that a rule takes. `toxic` marks the slot of the seed whose meaning the input must keep.

    In a control case a benign seed of matched length fills the toxic slot. least and most: how many seeds.
    """

    name: str
    modality: str
    role: Role
    least: int = 1
    most: int = 1


@dataclass(frozen=True)
class Parameter:
    """An option of a rule. `grid` are its usual values from mild to strong; the first is the default.

    low and high bound numbers; values of other types must be in `grid` unless `free`.
    """

    name: str
    grid: tuple[Any, ...]
    description: str
    low: float | None = None
    high: float | None = None
    free: bool = False

    @property
    def default(self) -> Any:
        """The mildest value."""
        return self.grid[0]

    def check(self, value: Any, rule: str) -> Any:
        """`value`, if the parameter takes it. ConfigError otherwise."""
        number = isinstance(self.default, int | float) and not isinstance(self.default, bool)
        if number and isinstance(value, int | float) and not isinstance(value, bool):
            if (self.low is None or value >= self.low) and (self.high is None or value <= self.high):
                return value
            raise ConfigError(f"{value} is outside {self.low}..{self.high}", where=Where(field=f"{rule}.{self.name}"))
        if value in self.grid or (self.free and isinstance(value, type(self.default))):
            return value
        raise ConfigError(
            f"{value!r} is none of {', '.join(map(repr, self.grid))}", where=Where(field=f"{rule}.{self.name}")
        )


@dataclass(frozen=True)
class Fused:
    """What a rule makes: the content that the target is shown, and where the toxic seed sits in it."""

    content: Content
    witness: Witness


class FusionRule(ABC):
    """A rule, under its `id` in the entry-point group `quire.fusion_rules`.

    `produces` are the kinds of content of what it makes: it is applicable to targets that take all of them. Rules hold
    no state; whatever is drawn comes from `rng`, so that a case depends on its own seed alone.
    """

    id: ClassVar[str]
    summary: ClassVar[str]
    slots: ClassVar[tuple[Slot, ...]]
    produces: ClassVar[frozenset[str]]
    guarantee: ClassVar[Guarantee]
    parameters: ClassVar[tuple[Parameter, ...]] = ()

    @abstractmethod
    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """Fuse `parts`, the seeds by the names of their slots. NotApplicable where these seeds don't admit it."""

    def unavailable(self, workshop: Workshop) -> str | None:
        """Why the rule can't work here, with what to install or to give ("install espeak-ng: apt-get ..."); None if it can."""
        return None

    @property
    def toxic_slot(self) -> Slot:
        """The slot of the seed whose meaning the input keeps; of a composing rule, its pair."""
        return next(slot for slot in self.slots if slot.role in ("toxic", "pair"))

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters, with defaults for those that `values` leaves out. ConfigError for one that is wrong."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in values:
            if name not in known:
                raise ConfigError(f"{self.id} has no parameter {name!r}{nearest(name, known)}")
        return {
            name: parameter.check(values.get(name, parameter.default), self.id) for name, parameter in known.items()
        }


def find_rules(patterns: Sequence[str] = ("*",)) -> list[FusionRule]:
    """The installed rules whose ids match a pattern (wildcards *, ?), sorted by id; "all" is "*".

    Raises PluginError for a rule that can't be imported, ConfigError for a pattern that matches none.
    """
    from fnmatch import fnmatchcase

    names = registry.names(GROUP)
    chosen: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, "*" if pattern == "all" else pattern)]
        if not found:
            raise ConfigError(
                f"no rule matches {pattern!r}{nearest(pattern, names)}", remedy="`quire duo rules` lists all rules."
            )
        chosen.update(found)
    return [registry.get(name, GROUP)() for name in sorted(chosen)]
