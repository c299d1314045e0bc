"""Any data set as seeds: what is known of each, read once, and the seeds themselves, loaded when they are needed."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.errors import InvalidSample, Where
from quire_duo.content import Placement
from quire_duo.placeholders import SOURCE
from quire_duo.seeds import Seed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from quire.dataset import Dataset
    from quire.modality import Sample

PAIR = "pair"
"""The modality of a seed of several contents that are meant together; its value is a Content."""
_LOADED = 64  # seeds that are kept in memory
_CLIPPED = 0.01  # the share of samples at full scale from which a recording counts as clipped
_LONGEST_SIDE = 16_384  # pixels


@dataclass(frozen=True)
class SeedInfo:
    """What is known of a seed without its value. label: the target that its data set gives it."""

    id: str
    kind: str
    toxic: bool
    modality: str
    length: float
    label: str
    index: int = field(compare=False, default=-1)
    language: str | None = None
    concept: str | None = None
    source: str | None = None
    licence: str | None = None

    def share(self, salt: str = "") -> float:
        """A number in [0, 1) that depends on the id alone: by it seeds are divided, whatever else is in the set."""
        digest = hashlib.sha256(f"{salt}|{self.id.removesuffix(f'#{self.modality}')}".encode()).digest()
        return float(int.from_bytes(digest[:8], "big") / 2**64)


class SeedSet:
    """The seeds of a data set, or seeds that a program made. Values are loaded on access, a few are kept.

    skipped: why samples of the data set are no seeds.
    """

    def __init__(self, name: str, infos: Sequence[SeedInfo], *, fingerprint: str, skipped: Iterable[str] = ()) -> None:
        self.name = name
        self.infos = tuple(infos)
        self.fingerprint = fingerprint
        self.skipped = list(skipped)
        self._dataset: Dataset | None = None
        self._made: dict[str, Seed] = {}
        self._loaded: OrderedDict[str, Seed] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.infos)

    def __iter__(self) -> Iterator[SeedInfo]:
        return iter(self.infos)

    def select(self, *, toxic: bool, modality: str | None = None, kinds: Iterable[str] | None = None) -> list[SeedInfo]:
        """The seeds with these properties, in the data set's order."""
        wanted = None if kinds is None else set(kinds)
        return [
            info
            for info in self.infos
            if info.toxic == toxic
            and (modality is None or info.modality == modality)
            and (wanted is None or info.kind in wanted)
        ]

    def load(self, info: SeedInfo) -> Seed:
        """The seed with its value. InvalidSample for a file that can't be read."""
        made = self._made.get(info.id)
        if made is not None:
            return made
        with self._lock:
            if info.id in self._loaded:
                self._loaded.move_to_end(info.id)
                return self._loaded[info.id]
        seed = self._read(info)
        with self._lock:
            self._loaded[info.id] = seed
            while len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
        return seed

    def extended(self, seeds: Sequence[Seed], labels: Sequence[str]) -> SeedSet:
        """With further seeds that a program made, such as the pairs of a composition table."""
        infos = [
            SeedInfo(seed.id, seed.kind, seed.toxic, seed.modality, seed.length, label, concept=seed.concept)
            for seed, label in zip(seeds, labels, strict=True)
        ]
        more = SeedSet(self.name, (*self.infos, *infos), fingerprint=self.fingerprint, skipped=self.skipped)
        more._dataset = self._dataset
        more._made = {**self._made, **{seed.id: seed for seed in seeds}}
        return more

    def only(self, infos: Iterable[SeedInfo]) -> SeedSet:
        """The set of some of its seeds."""
        fewer = SeedSet(self.name, list(infos), fingerprint=self.fingerprint, skipped=self.skipped)
        fewer._dataset, fewer._made = self._dataset, self._made
        return fewer

    @property
    def are_placeholders(self) -> bool:
        """Whether all of them came with this package."""
        return all(info.source == SOURCE for info in self.infos)

    def _read(self, info: SeedInfo) -> Seed:
        if self._dataset is None:
            raise KeyError(info.id)
        content = _content(self._dataset, self._dataset[info.index])
        value = content if info.modality == PAIR else content[info.modality]
        return Seed(
            info.id,
            info.kind,
            info.toxic,
            info.modality,
            value,
            language=info.language,
            concept=info.concept,
            source=info.source,
            licence=info.licence,
        )


def seeds_of(dataset: Dataset, toxic_labels: Iterable[str], kind: str = "general") -> SeedSet:
    """The samples of any data set of labels as seeds: those whose target is among `toxic_labels` are toxic.

    A sample with one field is a seed of that field's kind of content. One with several fields is a seed of the modality
    "pair": which part of it bears the meaning is not known. If it is benign, each of its fields is a seed of its own too
    ("id#text", "id#image"). `kind` is that of samples that name none. All samples are read once: what can't be
    read, and a recording that is clipped, is left out and told in `skipped`.
    """
    toxic = frozenset(toxic_labels)
    infos: list[SeedInfo] = []
    skipped = [str(error) for error in dataset.skipped]
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
            label = str(dataset.target(index))
            content = _content(dataset, sample)
            for modality, value in content.items():
                _require_usable(modality, value, str(sample.get("id", index)))
        except InvalidSample as error:
            skipped.append(str(error))
            continue
        infos += _infos(sample, content, index, label, label in toxic, kind)
    seeds = SeedSet(dataset.name, infos, fingerprint=dataset.fingerprint(), skipped=skipped)
    seeds._dataset = dataset
    return seeds


def _infos(
    sample: Sample, content: dict[str, Any], index: int, label: str, toxic: bool, kind: str
) -> Iterator[SeedInfo]:
    identifier = str(sample.get("id", index))
    notes = {name: sample.get(name) for name in ("language", "concept", "source", "licence")}
    several = len(content) > 1
    values = ({PAIR: content} if several else {}) | ({} if several and toxic else content)
    for modality, value in values.items():
        name = f"{identifier}#{modality}" if several and modality != PAIR else identifier
        length = Seed(name, kind, toxic, modality, value).length if modality != PAIR else 0.0
        yield SeedInfo(name, str(sample.get("kind") or kind), toxic, modality, length, label, index, **notes)


def _content(dataset: Dataset, sample: Sample) -> dict[str, Any]:
    """Kind of content -> value; of two fields of one kind, the first."""
    fields = Placement.of_task(dataset.task).fields
    return {kind: sample[name] for kind, name in fields.items() if sample.get(name) is not None}


def _require_usable(modality: str, value: Any, identifier: str) -> None:
    """InvalidSample for what can be read and yet is no seed."""
    if modality == "image" and max(value.size) > _LONGEST_SIDE:
        where = Where(sample=identifier, field="image")
        raise InvalidSample(f"{value.width} x {value.height} pixels are too large for a seed", where=where)
    if modality == "audio":
        share = float(np.mean(np.abs(value.samples) >= 1 - 2**-15))
        if share > _CLIPPED:
            raise InvalidSample(
                f"{share:.1%} of the recording is clipped", where=Where(sample=identifier, field="audio")
            )
