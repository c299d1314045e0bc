"""Cases: fused inputs with all that says why their toxicity is known, and how to make them again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from quire.storage import content_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire.storage import JSON
    from quire_duo.content import Content
    from quire_duo.rule import Guarantee
    from quire_duo.seeds import Seed
    from quire_duo.witness import Witness

Expected = Literal["toxic", "benign"]


@dataclass(frozen=True)
class Check:
    """The outcome of one validity check (V1 to V5): what was found, in a sentence; measured holds the numbers."""

    name: str
    passed: bool
    detail: str = ""
    measured: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One fused input.

    expected: "benign" for a control case, which is made by the same rule and parameters from a benign seed. seeds: by
    slot, the toxic one first. partial: a split or compose case one of whose single-modality projections is judged
    toxic by itself, which is reported apart.
    """

    rule: str
    parameters: dict[str, Any]
    seeds: tuple[Seed, ...]
    kind: str
    expected: Expected
    guarantee: Guarantee
    content: Content
    witness: Witness
    rng_seed: int
    replicate: int = 0
    checks: tuple[Check, ...] = ()
    partial: bool = False

    @property
    def id(self) -> str:
        """Known by what it is made of: equal in every run that makes it."""
        return case_id(
            self.rule, self.parameters, [seed.id for seed in self.seeds], self.expected, self.replicate, self.rng_seed
        )

    @property
    def valid(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def checked(self, checks: Sequence[Check], *, partial: bool) -> Self:
        """The case with the outcome of its checks."""
        return replace(self, checks=tuple(checks), partial=partial)

    def to_json(self) -> dict[str, JSON]:
        """Everything but the content."""
        return {
            "id": self.id,
            "rule": self.rule,
            "parameters": self.parameters,
            "seeds": [seed.id for seed in self.seeds],
            "kind": self.kind,
            "expected": self.expected,
            "guarantee": self.guarantee,
            "partial": self.partial,
            "replicate": self.replicate,
            "rng_seed": self.rng_seed,
            "witness": self.witness.to_json(),
            "checks": [
                {"name": one.name, "passed": one.passed, "detail": one.detail, "measured": dict(one.measured)}
                for one in self.checks
            ],
        }


def case_id(
    rule: str, parameters: dict[str, Any], seeds: Sequence[str], expected: Expected, replicate: int, rng_seed: int
) -> str:
    """The id of the case that is made of these, known before it is made."""
    made_of: list[Any] = [rule, parameters, list(seeds), expected, replicate, rng_seed]
    return f"{rule}-{content_hash(*made_of)[:12]}"


def case_rng_seed(
    run_seed: int, rule: str, parameters: dict[str, Any], seeds: Sequence[str], replicate: int = 0
) -> int:
    """The first eight bytes of SHA-256 of what makes the case, so that it depends on neither order nor workers."""
    parts = (
        str(run_seed),
        rule,
        json.dumps(parameters, sort_keys=True, separators=(",", ":")),
        json.dumps(sorted(seeds)),
        str(replicate),
    )
    return int.from_bytes(hashlib.sha256("|".join(parts).encode()).digest()[:8], "big")
