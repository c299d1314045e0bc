"""Thresholds that are kept with a model, galleries that are tied to it, and suspicious images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from PIL import Image

from quire import config
from quire.errors import DataError, InvalidSample, RunError, TaskMismatch
from quire.model import Embedder, Model
from quire.task import IMAGE_CLASSIFICATION
from quire_amsoftmax.data.folder import FaceFolder
from quire_amsoftmax.evaluate.cleaning import suspects, write_suspects
from quire_amsoftmax.evaluate.evaluators import (
    GeometryEvaluator,
    IdentificationEvaluator,
    OpenSetIdentificationEvaluator,
    VerificationEvaluator,
)
from quire_amsoftmax.evaluate.store import Embeddings, embed_all, write_embeddings
from quire_amsoftmax.evaluate.streams import AllPairs, ScoreList
from quire_amsoftmax.evaluate.verification import verify_pairs
from quire_amsoftmax.gallery import (
    FaceVerifier,
    Gallery,
    calibrate,
    embedding_fingerprint,
    threshold_of,
    thresholds_of,
)

if TYPE_CHECKING:
    from pathlib import Path


class Pixels(Embedder):
    """Embeds an image as its pixels, 8 x 8 and grey: enough to tell drawn people apart sometimes."""

    class Config(config.Config):
        """The options of the method."""

        power: float = 1.0

    task = IMAGE_CLASSIFICATION

    def __init__(self, config: Any = None, *, runtime: Any = None) -> None:
        super().__init__(config, runtime=runtime)
        self.mean = np.zeros(64, np.float32)

    def fit(self, train: Any, validation: Any = None, *, runtime: Any = None, run: Any = None) -> Self:
        self.mean = np.mean([self._pixels(sample) for sample in train], axis=0).astype(np.float32)
        return self

    def _pixels(self, sample: dict[str, Any]) -> np.ndarray:
        small = sample["image"].convert("L").resize((8, 8), Image.Resampling.BOX)
        return np.asarray(small, np.float32).ravel() ** self.config.power  # type: ignore[attr-defined]

    def embed(self, samples: Any) -> np.ndarray:
        rows = np.stack([self._pixels(sample) for sample in samples]) - self.mean
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def predict(self, samples: Any) -> list[Any]:
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        return {"mean": self.mean}

    def restore(self, state: dict[str, Any]) -> None:
        self.mean = np.asarray(state["mean"])


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceFolder:
    root = FaceFolder.sample(tmp_path_factory.mktemp("faces") / "faces")
    return FaceFolder.open(root, validation_fraction=0.0, test_fraction=0.0)


@pytest.fixture
def model(faces: FaceFolder) -> Pixels:
    return Pixels().fit(faces)


def all_pairs(model: Embedder, faces: FaceFolder) -> AllPairs:
    found = embed_all(model, faces, [])
    return AllPairs(found.vectors, found.identities)


# ----------------------------------------------------------------------------------------------------------- thresholds


def test_a_threshold_has_its_rate_and_pairs_and_is_saved(model: Pixels, faces: FaceFolder, tmp_path: Path) -> None:
    stream = all_pairs(model, faces)
    (made,) = calibrate(model, stream, [1e-2], source="faces")
    assert (made.k, made.n_impostor, made.n_genuine) == (122, 12160, 560)
    assert made.source == "faces"
    far, k = verify_pairs(stream).far_at(made.value, stream)
    assert k >= made.k
    assert far == pytest.approx(0.01, abs=1e-3)
    loaded = Pixels.load(model.save(tmp_path / "model"))
    assert thresholds_of(loaded) == [made]
    calibrate(loaded, stream, [1e-2, 1e-3], source="again")
    assert [(each.far, each.source) for each in thresholds_of(loaded)] == [(1e-3, "again"), (1e-2, "again")]
    assert threshold_of(loaded).far == 1e-3
    assert threshold_of(loaded, 0.01).far == 0.01


def test_a_rate_that_pairs_can_not_resolve_is_refused(model: Pixels, faces: FaceFolder) -> None:
    with pytest.raises(
        DataError, match=r"12,160 impostor pairs of faces can't resolve .* of 1e-06. Give at least 1,000,000"
    ):
        calibrate(model, all_pairs(model, faces), [1e-6], source="faces")
    assert thresholds_of(model) == []
    with pytest.raises(DataError, match="there is no pair of different people"):
        calibrate(model, ScoreList([0.5], [True]), [1e-2], source="mine.csv")


def test_a_missing_threshold(model: Pixels, faces: FaceFolder) -> None:
    with pytest.raises(RunError, match=r"no threshold. Make one with `quire faces calibrate`"):
        FaceVerifier(model).verify(faces[0], faces[1])
    calibrate(model, all_pairs(model, faces), [1e-2], source="faces")
    with pytest.raises(RunError, match=r"no threshold of the false-accept rate 0.001. It has those of 0.01"):
        threshold_of(model, 1e-3)


def test_a_tie_accepts(model: Pixels, faces: FaceFolder) -> None:
    (made,) = calibrate(model, ScoreList([0.9, 0.2], [True, False]), [1.0], source="x")
    verifier = FaceVerifier(model)
    score = verifier.verify(faces[0], faces[9]).score
    model.artefacts["thresholds"] = [{**vars(made), "value": score}]
    assert verifier.verify(faces[0], faces[9]).same
    model.artefacts["thresholds"] = [{**vars(made), "value": float(np.nextafter(np.float32(score), np.float32(2)))}]
    assert not verifier.verify(faces[0], faces[9]).same


# -------------------------------------------------------------------------------------------------------------- gallery


def enrolled(model: Pixels, faces: FaceFolder, folder: Path, names: list[str]) -> Gallery:
    found = embed_all(model, faces, [])
    gallery = Gallery.create(folder, model, dim=64)
    rows = [i for i, name in enumerate(found.identities) if name in names and i % 8 < 4]
    gallery.enroll([found.ids[i] for i in rows], found.vectors[rows], [found.identities[i] for i in rows])
    return gallery


def test_identification_with_rejection(model: Pixels, faces: FaceFolder, tmp_path: Path) -> None:
    known, strangers = list(faces.labels[:10]), list(faces.labels[10:])
    gallery = enrolled(model, faces, tmp_path / "g", known)
    calibrate(model, all_pairs(model, faces), [1e-2], source="faces")
    samples = [faces[index] for index in range(len(faces)) if index % 8 >= 4]
    answers = FaceVerifier(model, gallery=gallery).identify(samples, k=3)
    found = embed_all(model, samples, []).vectors
    stored = embed_all(model, faces, [])
    rows = [i for i, name in enumerate(stored.identities) if name in known and i % 8 < 4]
    scores = found @ stored.vectors[rows].T
    for sample, answer, row in zip(samples, answers, scores, strict=True):
        best = {name: max(row[j] for j, i in enumerate(rows) if stored.identities[i] == name) for name in known}
        order = sorted(best, key=lambda name, best=best: -best[name])[:3]
        assert [each.identity for each in answer.candidates] == order
        assert answer.candidates[0].score == pytest.approx(best[order[0]], abs=1e-5)
        expected = order[0] if answer.candidates[0].score >= np.float32(answer.threshold.value) else None
        assert answer.identity == expected
        if sample["target"] in strangers and answer.identity is None:
            assert answer.candidates  # a stranger still sees who is nearest
    accepted = [
        answer.identity for sample, answer in zip(samples, answers, strict=True) if sample["target"] in strangers
    ]
    assert accepted.count(None) > 0


def test_a_gallery_of_another_model_is_refused(model: Pixels, faces: FaceFolder, tmp_path: Path) -> None:
    enrolled(model, faces, tmp_path / "g", list(faces.labels[:2])).index.close()
    other = Pixels(Pixels.Config(power=0.5)).fit(faces)
    with pytest.raises(DataError, match="the index was built with model"):
        Gallery.open(tmp_path / "g", other)
    retrained = Pixels()
    with pytest.raises(DataError, match="the index was built with model"):
        Gallery.open(tmp_path / "g", retrained)


def test_a_calibrated_model_still_fits_its_gallery(model: Pixels, faces: FaceFolder, tmp_path: Path) -> None:
    enrolled(model, faces, tmp_path / "g", list(faces.labels[:2])).index.close()
    before, whole = embedding_fingerprint(model), model.fingerprint()
    calibrate(model, all_pairs(model, faces), [1e-2], source="faces")
    assert model.fingerprint() != whole
    assert embedding_fingerprint(model) == before
    model.artefacts["mean"] = np.ones(3)  # what does change embeddings
    assert embedding_fingerprint(model) != before


def test_enrolling_and_removing(model: Pixels, faces: FaceFolder, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no gallery"):
        FaceVerifier(model).identify([faces[0]])
    with Gallery.create(tmp_path / "g", model, dim=64) as gallery:
        with pytest.raises(DataError, match="the gallery is empty"):
            gallery.search(np.ones((1, 64)))
        with pytest.raises(DataError, match="'x' has no identity"):
            gallery.enroll(["x"], np.ones((1, 64)), [""])
        gallery.enroll(["a", "b", "c"], np.eye(3, 64), ["Ann", "Ann", "Bob"])
        gallery.enroll(["b"], np.eye(3, 64)[2:], ["Ann"])  # replaced
        assert len(gallery) == 3
        ((first, second),) = gallery.search(np.eye(3, 64)[2:], k=2)
        assert {first.identity, second.identity} == {"Ann", "Bob"}
        assert len(gallery.search(np.eye(1, 64), k=9)[0]) == 2
        assert gallery.remove("Ann") == 2
        assert [each.identity for each in gallery.search(np.eye(1, 64))[0]] == ["Bob"]


# ---------------------------------------------------------------------------------------------------------------- store


def test_embeddings_are_written_with_what_was_left_out(model: Pixels, faces: FaceFolder, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    mixed = FaceFolder(
        [*faces.entries[:3], type(faces.entries[0])("broken.png", broken, "x")], name="m", split="test", labels=["x"]
    )
    with pytest.raises(InvalidSample, match=r"broken.png"):
        write_embeddings(model, mixed, tmp_path / "out")
    count, left_out = write_embeddings(model, mixed, tmp_path / "out", on_error="skip")
    assert (count, len(left_out)) == (3, 1)
    loaded = Embeddings.load(tmp_path / "out" / "embeddings.npy")
    np.testing.assert_allclose(loaded.vectors, model.embed([faces[i] for i in range(3)]), atol=1e-6)
    assert loaded.identities == [faces.target(i) for i in range(3)]
    assert (tmp_path / "out" / "ids.csv").read_text().splitlines()[-1].startswith(",broken.png,,,")


# ----------------------------------------------------------------------------------------------------------- evaluators


def test_evaluators_of_a_model(model: Pixels, faces: FaceFolder, tmp_path: Path) -> None:
    for evaluator in (VerificationEvaluator(), IdentificationEvaluator(), OpenSetIdentificationEvaluator()):
        report = evaluator.evaluate(model, faces)
        assert report.n_used > 0
        assert report.provenance["data set"] == "faces"
        report.write(tmp_path / evaluator.name)
    assert "vr@far=1e-3" in VerificationEvaluator().evaluate(model, faces).metrics
    geometry = GeometryEvaluator().evaluate(model, faces)
    assert 0 < geometry["angle_within"] < 180


def test_identities_of_the_training_are_told(model: Pixels, faces: FaceFolder) -> None:
    model.labels = ("person-03", "somebody")  # type: ignore[attr-defined]
    held_out = FaceFolder(faces.entries, name="f", split="test", labels=faces.labels)
    notes = VerificationEvaluator().evaluate(model, held_out).notes
    assert any(note.startswith("1 identities of this data") and note.endswith("person-03") for note in notes)


class Guesser(Model):
    """A model that makes no embeddings."""

    task = IMAGE_CLASSIFICATION

    def fit(self, train: Any, validation: Any = None, *, runtime: Any = None, run: Any = None) -> Self:
        return self

    def predict(self, samples: Any) -> list[Any]:
        return [None] * len(samples)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


def test_a_model_without_embeddings(faces: FaceFolder) -> None:
    with pytest.raises(TaskMismatch, match="embeddings are needed, and Guesser makes none"):
        VerificationEvaluator().evaluate(Guesser(), faces)


# ------------------------------------------------------------------------------------------------------------- cleaning


def test_images_under_the_wrong_identity_are_listed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 32))
    labels = np.repeat(np.arange(5), 6)
    vectors = (centres[labels] + 0.2 * rng.normal(size=(30, 32))).astype(np.float32)
    names = [f"p{label}" for label in labels]
    names[7] = "p4"  # an image of p1
    found = suspects(Embeddings(vectors, [f"{i}.jpg" for i in range(30)], names))
    assert [(each.id, each.identity, each.nearest) for each in found] == [("7.jpg", "p4", "p1")]
    assert found[0].angle > 45 > found[0].nearest_angle
    others = [i for i in range(30) if names[i] == "p4" and i != 7]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = unit[others].sum(axis=0)
    assert found[0].angle == pytest.approx(np.degrees(np.arccos(unit[7] @ mean / np.linalg.norm(mean))), abs=1e-3)
    text = write_suspects(found, tmp_path / "clean.csv").read_text()
    assert text.startswith("path,identity,angle,nearest,nearest_angle\n7.jpg,p4,")
    assert suspects(Embeddings(vectors[:1], ["a"], ["x"])) == []
