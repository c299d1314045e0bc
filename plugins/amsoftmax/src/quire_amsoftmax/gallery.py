"""Verification and identification with a trained model: thresholds kept beside it, and galleries that are tied to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from quire.errors import DataError, RunError, Where
from quire.index import VectorIndex
from quire.run import Run
from quire.storage import tree_hash
from quire_amsoftmax.evaluate.store import embed_all
from quire_amsoftmax.evaluate.streams import unit_rows
from quire_amsoftmax.evaluate.verification import verify_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from quire.modality import Sample
    from quire.model import Embedder
    from quire.runtime import Runtime
    from quire_amsoftmax.evaluate.streams import PairStream

THRESHOLDS = "thresholds"
"""The artefact that holds the thresholds of a model."""


@dataclass(frozen=True)
class Threshold:
    """A score from which two images are taken to be of one person, and what it is known from.

    far: the false-accept rate asked for; k of n_impostor pairs are at or above `value`. vr: share of n_genuine pairs that
    are. source: the data it was measured on.
    """

    far: float
    value: float
    k: int
    n_impostor: int
    n_genuine: int
    vr: float
    source: str


@dataclass(frozen=True)
class Verdict:
    """The decision on two images."""

    score: float
    same: bool
    threshold: Threshold


@dataclass(frozen=True)
class Candidate:
    """An enrolled identity, the image of it that is nearest, and the cosine."""

    identity: str
    image: str
    score: float


@dataclass(frozen=True)
class Identification:
    """The nearest identities, the nearest first, and which of them it is: None for a stranger."""

    candidates: list[Candidate]
    identity: str | None
    threshold: Threshold


def embedding_fingerprint(model: Embedder) -> str:
    """A hash of all that embeddings depend on.

    Not `model.fingerprint()`, which thresholds change: a calibrated model must still fit its galleries.
    """
    artefacts = {name: value for name, value in model.artefacts.items() if name != THRESHOLDS}
    return tree_hash([type(model).__qualname__, model.config.model_dump(mode="json"), model.state(), artefacts])


def calibrate(model: Embedder, stream: PairStream, fars: Sequence[float], *, source: str) -> list[Threshold]:
    """Thresholds of `model` at false-accept rates, from pairs; they replace those of the same rates in its artefacts.

    DataError where the impostor pairs can't resolve a rate, or there are no pairs of one kind.
    """
    found = verify_pairs(stream, fars)
    if found.reason:
        raise DataError(f"{source}: {found.reason}", remedy="Calibration needs pairs of both kinds.")
    new = []
    for point in found.points:
        if not point.resolvable:
            raise DataError(
                f"{found.n_impostor:,} impostor pairs of {source} can't resolve a false-accept rate of {point.far:g}",
                remedy=f"Give at least {round(1 / point.far) if point.far else 0:,} of them, or ask for a larger rate.",
            )
        new.append(Threshold(point.far, point.threshold, point.k, found.n_impostor, found.n_genuine, point.vr, source))
    kept = [each for each in thresholds_of(model) if each.far not in fars]
    model.artefacts[THRESHOLDS] = [asdict(each) for each in sorted([*kept, *new], key=lambda each: each.far)]
    return new


def thresholds_of(model: Embedder) -> list[Threshold]:
    """Those that are kept with the model."""
    return [Threshold(**each) for each in model.artefacts.get(THRESHOLDS, ())]


def threshold_of(model: Embedder, far: float | None = None) -> Threshold:
    """The threshold of a false-accept rate; None: the one there is, of several the strictest.

    RunError where it is missing.
    """
    known = thresholds_of(model)
    if not known:
        raise RunError("the model has no threshold", remedy="Make one with `quire faces calibrate`.")
    if far is None:
        return known[0]
    chosen = next((each for each in known if np.isclose(each.far, far, rtol=1e-9)), None)
    if chosen is None:
        rates = ", ".join(f"{each.far:g}" for each in known)
        raise RunError(
            f"the model has no threshold of the false-accept rate {far:g}",
            remedy=f"It has those of {rates}; `quire faces calibrate` makes others.",
        )
    return chosen


class Gallery:
    """Enrolled images with their identities, in a folder, that only the model which embedded them can search."""

    def __init__(self, index: VectorIndex) -> None:
        self.index = index

    @classmethod
    def create(cls, folder: Path, model: Embedder, *, dim: int) -> Self:
        """A new, empty gallery."""
        fingerprint = embedding_fingerprint(model)
        return cls(VectorIndex.create(folder, dim=dim, columns={"identity": "str"}, fingerprint=fingerprint))

    @classmethod
    def open(cls, folder: Path, model: Embedder, *, writable: bool = False) -> Self:
        """The gallery in `folder`. DataError if another model made it."""
        return cls(VectorIndex.open(folder, writable=writable, fingerprint=embedding_fingerprint(model)))

    def __len__(self) -> int:
        return len(self.index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.index.close()

    def enroll(self, ids: Sequence[str], vectors: NDArray[Any], identities: Sequence[str]) -> None:
        """Add images; one of an id that is there is replaced. DataError where an identity is empty."""
        unnamed = next((an_id for an_id, name in zip(ids, identities, strict=True) if not name), None)
        if unnamed is not None:
            raise DataError(f"{unnamed!r} has no identity", remedy="Put the images of each person in a folder.")
        self.index.add(list(ids), vectors, {"identity": list(identities)}, replace=True)

    def remove(self, identity: str) -> int:
        """Take out all images of an identity; how many there were."""
        table = self.index.table()
        return self.index.remove(table["id"][table["identity"] == identity].tolist())

    def search(self, vectors: NDArray[Any], k: int = 5) -> list[list[Candidate]]:
        """The k nearest identities of each vector, by their nearest image. DataError for an empty gallery."""
        if not len(self):
            raise DataError(
                "the gallery is empty",
                where=Where(file=self.index.folder),
                remedy="Enrol somebody: quire faces enroll.",
            )
        rows = unit_rows(vectors)
        answers: list[list[Candidate]] = [[] for _ in rows]
        asked, wanted = np.arange(len(rows)), min(k, len(self))
        while len(asked):  # several images of one person may stand before the next person
            hits = self.index.search(rows[asked], wanted)
            names = self._identities(hits.ids[hits.found])
            for query, found in zip(asked.tolist(), hits, strict=True):
                answers[query] = _by_identity(found, names)[:k]
            short = [query for query in asked.tolist() if len(answers[query]) < k]
            asked = np.array(short if wanted < len(self) else [], np.int64)
            wanted = min(2 * wanted, len(self))
        return answers

    def _identities(self, ids: NDArray[Any]) -> dict[str, str]:
        """Id -> identity."""
        table = self.index.table(list(dict.fromkeys(ids.tolist())))
        return dict(zip(table["id"], table["identity"], strict=True))


def _by_identity(found: list[tuple[Any, float]], names: dict[str, str]) -> list[Candidate]:
    """The best of each identity, the nearest first."""
    best: dict[str, Candidate] = {}
    for an_id, score in found:
        best.setdefault(names[an_id], Candidate(names[an_id], an_id, score))
    return list(best.values())


class FaceVerifier:
    """A trained model with its thresholds and, where one is named, a gallery."""

    def __init__(self, model: Embedder, *, gallery: Gallery | None = None) -> None:
        self.model = model
        self.gallery = gallery

    @classmethod
    def load(cls, path: Path, *, gallery: Path | None = None, runtime: Runtime | None = None) -> Self:
        """From a run's folder or a saved model's."""
        model = load_embedder(path, runtime=runtime)
        return cls(model, gallery=None if gallery is None else Gallery.open(gallery, model))

    def embed(self, samples: Iterable[Sample]) -> NDArray[np.float32]:
        """Unit rows, float32 [n, dim]."""
        return embed_all(self.model, samples, []).vectors

    def verify(self, one: Sample, other: Sample, *, far: float | None = None) -> Verdict:
        """Whether two images are of one person, at the threshold of `far`. RunError without a threshold."""
        threshold = threshold_of(self.model, far)
        left, right = self.embed([one, other])
        score = float(left @ right)
        return Verdict(score, bool(np.float32(score) >= np.float32(threshold.value)), threshold)

    def identify(self, samples: Iterable[Sample], *, k: int = 5, far: float | None = None) -> list[Identification]:
        """Who each image shows: the nearest identity if its score reaches the threshold, else nobody."""
        if self.gallery is None:
            raise RunError("there is no gallery", remedy="Name one; `quire faces enroll` makes it.")
        threshold = threshold_of(self.model, far)
        answers = []
        for candidates in self.gallery.search(self.embed(samples), k):
            best = candidates[0]
            known = np.float32(best.score) >= np.float32(threshold.value)
            answers.append(Identification(candidates, best.identity if known else None, threshold))
        return answers


def load_embedder(path: Path, *, runtime: Runtime | None = None) -> Embedder:
    """The model of a run's folder or of a saved model's folder. RunError where it is no embedder."""
    from quire.model import Embedder
    from quire_amsoftmax.model import AMSoftmax

    path = Path(path)
    if (path / "run.json").is_file():
        model = Run.open(path).load_model(runtime=runtime)
        if not isinstance(model, Embedder):
            raise RunError(f"{type(model).__name__} makes no embeddings", where=Where(file=path))
        return model
    return AMSoftmax.load(path, runtime=runtime)


def save_thresholds(model: Embedder, path: Path) -> None:
    """Write the model with its thresholds back to where `load_embedder` read it."""
    if (path / "run.json").is_file():
        run = Run.open(path)
        with run.writing():
            model.save(run.model_path)
    else:
        model.save(path)
