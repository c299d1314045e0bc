"""Evaluators of models that embed: verification, identification, open-set identification, geometry."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from quire.errors import QuireError
from quire.evaluator import Evaluator
from quire.report import Figure, Report, Score
from quire_amsoftmax.evaluate.folds import Variant  # noqa: TC001 - pydantic reads it
from quire_amsoftmax.evaluate.protocols import PairProtocol, judge_closed_set, judge_open_set, judge_pairs
from quire_amsoftmax.evaluate.store import Embeddings, embed_all
from quire_amsoftmax.evaluate.verification import FARS
from quire_amsoftmax.protocols.identification import IdentificationProtocol

if TYPE_CHECKING:
    from quire.dataset import Dataset
    from quire.errors import InvalidSample
    from quire.model import Model
    from quire.runtime import Runtime


class EmbeddingEvaluator(Evaluator):
    """Embeds a data set and judges the embeddings; `judge` does so without a model."""

    @abstractmethod
    def judge(self, embeddings: Embeddings) -> Report:
        """The report on embeddings from anywhere."""

    def evaluate(self, model: Model, dataset: Dataset, *, runtime: Runtime | None = None) -> Report:
        """The report on `model`, an Embedder. TaskMismatch for another kind of model."""
        self.prepare(model, dataset, runtime)
        left_out: list[InvalidSample] = []
        report = self.judge(embed_all(model, dataset, left_out, on_error=self.options.on_error))
        report.left_out += [str(error) for error in (*dataset.skipped, *left_out)]
        report.n_left_out = len(report.left_out)
        shared = sorted(_trained_on(model) & set(dataset.labels))
        if shared and dataset.split != "train":
            named = ", ".join(shared[:10]) + (" ..." if len(shared) > 10 else "")
            report.notes.append(
                f"{len(shared)} identities of this data are among those that the model may have been trained on: {named}"
            )
        return self.sign(report, model, dataset)


class VerificationEvaluator(EmbeddingEvaluator):
    """Are two images of one person: AUC, EER, accuracy, and verification rates at low false-accept rates, all exact."""

    class Options(Evaluator.Options):
        """What is compared, and how it is reported."""

        protocol: PairProtocol = Field(
            "folder", description="folder: all pairs of the data; else the protocol of `file`"
        )
        file: Path | None = Field(
            None,
            description="pairs.txt (lfw), a CSV path_a,path_b,same[,fold] (pairs-csv), a .bin, BLUFR's .mat, IJB's folder",
        )
        fars: list[float] = Field(list(FARS), min_length=1, description="false-accept rates, each within 0..1")
        variant: Variant = Field("exact", description="how the threshold of a fold is chosen on the others")
        center: bool = Field(False, description="subtract the mean of the other folds, as SphereFace does")
        missing: Literal["error", "skip"] = Field("error", description="what a pair does whose image is not there")

    name: ClassVar[str] = "verification"
    options: Options

    def judge(self, embeddings: Embeddings) -> Report:
        """The report on embeddings from anywhere."""
        options = self.options
        return judge_pairs(
            embeddings,
            options.protocol,
            options.file,
            fars=options.fars,
            variant=options.variant,
            center=options.center,
            missing=options.missing,
        ).report


class RolesOptions(Evaluator.Options):
    """Who is in the gallery."""

    file: Path | None = Field(None, description="a CSV path,identity,role with the roles gallery, probe, distractor")
    missing: Literal["error", "skip"] = Field("error", description="what a line does whose image is not there")

    def resolve(self, embeddings: Embeddings) -> tuple[Embeddings, IdentificationProtocol | None]:
        """The embeddings in the order of the file's lines, and what it says of them."""
        if self.file is None:
            return embeddings, None
        protocol, places = IdentificationProtocol.read(self.file).resolve(embeddings.ids, missing=self.missing)
        return Embeddings(embeddings.vectors[places], protocol.images, protocol.identities.tolist()), protocol


class IdentificationEvaluator(EmbeddingEvaluator):
    """Who is this, of people who are all known: ranks in a gallery or, without one, of each image among all others."""

    class Options(RolesOptions):
        """Who is in the gallery."""

    name: ClassVar[str] = "identification"
    options: Options

    def judge(self, embeddings: Embeddings) -> Report:
        """The report on embeddings from anywhere."""
        return judge_closed_set(*self.options.resolve(embeddings)) if len(embeddings) else _nothing("rank1", "map@r")


class OpenSetIdentificationEvaluator(EmbeddingEvaluator):
    """Who is this, if anybody known: detection and identification rates while strangers are rejected."""

    class Options(RolesOptions):
        """Who is in the gallery, and how many strangers may be accepted."""

        fars: list[float] = Field([0.01, 0.1], min_length=1, description="shares of strangers that may be accepted")

    name: ClassVar[str] = "open-set-identification"
    options: Options

    def judge(self, embeddings: Embeddings) -> Report:
        """The report on embeddings from anywhere."""
        return judge_open_set(*self.options.resolve(embeddings), fars=self.options.fars)


class GeometryEvaluator(EmbeddingEvaluator):
    """How embeddings lie on the sphere: angles to the class's mean and between means; a figure for 2 or 3 dimensions."""

    name: ClassVar[str] = "embedding-geometry"

    def judge(self, embeddings: Embeddings) -> Report:
        """The report on embeddings from anywhere."""
        from quire_amsoftmax.geometry import draw_geometry, measure_geometry

        known = embeddings.known()
        if len(set(known.identities)) < 2:
            return _nothing("angle_within", "angle_to_nearest")
        found = measure_geometry(known.vectors, known.identities)
        report = Report("Geometry of embeddings", n_used=len(known))
        report.metrics = {
            "angle_within": Score(found.mean_within, higher_is_better=False, unit="°"),
            "angle_to_nearest": Score(found.mean_nearest, higher_is_better=True, unit="°"),
        }
        if known.vectors.shape[1] in (2, 3):
            drawing = draw_geometry([("", known.vectors, known.identities)])
            report.figures.append(Figure("Embeddings", drawing))
        return report


def _nothing(*names: str) -> Report:
    reason = "there are no two identities with images"
    return Report("Embeddings", metrics={name: Score(None, reason) for name in names})


def _trained_on(model: Model) -> set[str]:
    try:
        return set(getattr(model, "labels", ()))
    except QuireError:
        return set()
