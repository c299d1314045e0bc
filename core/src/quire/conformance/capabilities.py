"""Rules for what a model can do beside predicting: classify, embed, generate, transform, adapt, explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from quire.conformance.models import answers, check_outputs, check_repetition, require_outputs
from quire.conformance.subject import NotApplicable, differences, listed
from quire.errors import InvalidSample
from quire.model import Classifier, Embedder, Explainer, FewShot, Generator, Transform

if TYPE_CHECKING:
    from quire.conformance.models import ModelSubject


def check_probabilities(subject: ModelSubject) -> None:
    """A classifier's probabilities are float32 [samples, classes], finite, in 0..1, and, of classes that exclude each
    other, rows sum to one."""
    model: Classifier = _able(subject, Classifier)
    found = model.predict_proba(subject.samples)
    due = (len(subject.samples), len(model.labels))
    mend = "Return the softmax of the logits, in float32, as a NumPy array."
    subject.require(isinstance(found, np.ndarray), f"gives probabilities as {type(found).__name__}", mend)
    subject.require(found.shape == due, f"gives probabilities {found.shape} where {due} are due", mend)
    subject.require(found.dtype == np.float32, f"gives probabilities of {found.dtype}", mend)
    subject.require(bool(np.isfinite(found).all()), "gives probabilities that are not finite", mend)
    inside = bool(((found >= 0) & (found <= 1 + 1e-6)).all())
    subject.require(inside, f"gives probabilities in {found.min():.4g}..{found.max():.4g}", mend)
    if model.label_kind == "multiclass":
        sums = found.sum(axis=1)
        subject.require(
            bool(np.allclose(sums, 1, atol=1e-4)),
            f"gives probabilities that sum to {sums.min():.4g}..{sums.max():.4g}",
            mend,
        )


def check_labels(subject: ModelSubject) -> None:
    """A classifier's labels are those of its training set, in the same order."""
    model: Classifier = _able(subject, Classifier)
    known, given = model.labels, subject.train.labels
    subject.require(
        known == given,
        f"has the labels {listed(known)} after training on {listed(given)}",
        "Keep the training set's labels as they are: study() does.",
    )


def check_most_probable(subject: ModelSubject) -> None:
    """A classifier predicts the label whose probability is highest."""
    model: Classifier = _able(subject, Classifier)
    if model.label_kind != "multiclass":
        raise NotApplicable("its labels do not exclude each other")
    subject.rest_on(check_outputs)
    columns = model.predict_proba(subject.samples).argmax(axis=1)
    subject.require(
        model.predict(subject.samples) == [model.labels[column] for column in columns],
        "predicts labels that are not the most probable ones",
        "Leave predict to Classifier.",
    )


def check_declarations(subject: ModelSubject) -> None:
    """What a classifier declares of its labels and fields speaks of labels and fields that it has."""
    model: Classifier = _able(subject, Classifier)
    labels = {*model.toxic_labels, *model.thresholds} - set(model.labels)
    subject.require(
        not labels,
        f"declares toxic labels or thresholds of labels that it does not have: {listed(sorted(labels))}",
        "Name labels that stand in self.labels.",
    )
    outside = [label for label, threshold in model.thresholds.items() if not 0 <= threshold <= 1]
    subject.require(not outside, f"has thresholds outside 0..1, of {listed(outside)}", "A threshold is a probability.")
    fields = {*model.required_fields, *model.optional_fields} - set(model.task.inputs)
    subject.require(
        not fields,
        f"declares required or optional fields that its task does not have: {listed(sorted(fields))}",
        "Name input fields of self.task.",
    )


def check_optional_fields(subject: ModelSubject) -> None:
    """A sample that lacks a field which is not required gets an answer, as long as it has another one."""
    model, good = subject.trained, subject.samples[0]
    required = model.required_fields if isinstance(model, Classifier) else set(model.task.inputs) - model.task.optional
    spare = [field for field in model.task.inputs if field in good and field not in required]
    lacking = {field: {key: value for key, value in good.items() if key != field} for field in spare}
    asked = {field: sample for field, sample in lacking.items() if sample.keys() & model.task.inputs.keys()}
    if not asked:
        raise NotApplicable("every field is required")
    refused = []
    for field, sample in asked.items():
        try:
            model.predict([sample])
        except InvalidSample:
            refused.append(field)
    subject.require(
        not refused,
        f"refuses a sample without {listed(refused)}, which it does not require",
        "Let the task's `optional`, or required_fields, name only what the model can do without.",
    )


def check_embeddings(subject: ModelSubject) -> None:
    """An embedder's vectors are float32 [samples, dim] and finite."""
    model: Embedder = _able(subject, Embedder)
    vectors = model.embed(subject.samples)
    mend = "Return a NumPy array, float32 [samples, dim]."
    shaped = isinstance(vectors, np.ndarray) and vectors.ndim == 2 and len(vectors) == len(subject.samples)
    subject.require(shaped and vectors.dtype == np.float32, "gives vectors of another shape or type", mend)
    subject.require(bool(np.isfinite(vectors).all()), "gives vectors that are not finite", mend)


def check_generation(subject: ModelSubject) -> None:
    """A generator gives a list with one output per condition, of the task's target modality."""
    model: Generator = _able(subject, Generator)
    require_outputs(subject, model.generate(subject.samples, seed=0), "generates")


def check_generation_seed(subject: ModelSubject) -> None:
    """What is generated depends on the seed, and on no other chance: neither on what was drawn before nor on saving."""
    import torch

    model: Generator = _able(subject, Generator)
    subject.rest_on(check_generation)
    first = model.generate(subject.samples, seed=0)
    np.random.random(3)  # the global generators have moved on when the same is asked for again
    torch.rand(3)
    mend = "Draw from np.random.default_rng(seed) or from a torch.Generator that is seeded with it."
    again = list(differences(first, model.generate(subject.samples, seed=0)))
    subject.require(not again, f"generates something else with the same seed: {listed(again)}", mend)
    twin: Any = subject.loaded
    loaded = list(differences(first, twin.generate(subject.samples, seed=0)))
    subject.require(not loaded, f"generates something else after save and load: {listed(loaded)}", mend)
    other = list(differences(first, model.generate(subject.samples, seed=1)))
    subject.require(bool(other), "generates the same with another seed", mend)


def check_transformation(subject: ModelSubject) -> None:
    """A transform gives a list with one output per sample, of the task's target modality: the same as predict."""
    model: Transform = _able(subject, Transform)
    subject.rest_on(check_repetition)
    found = model.transform(subject.samples)
    require_outputs(subject, found, "transforms samples into")
    different = list(differences(found, model.predict(subject.samples)))
    subject.require(
        not different,
        f"predicts something else than it transforms to: {listed(different)}",
        "Leave predict to Transform.",
    )


def check_adaptation(subject: ModelSubject) -> None:
    """A few-shot model becomes a classifier of the support set's labels, which can be saved and loaded by itself."""
    model: FewShot = _able(subject, FewShot)
    adapted = model.adapt(subject.train)
    mend = "Return a Classifier whose labels are the support set's, and whose state() holds all that it needs."
    subject.require(isinstance(adapted, Classifier), f"adapts to a {type(adapted).__name__}", mend)
    known, given = adapted.labels, subject.train.labels
    subject.require(known == given, f"has the labels {listed(known)} after adapting to {listed(given)}", mend)
    folder = adapted.save(subject.new_folder() / "adapted")
    loaded = type(adapted).load(folder, runtime=subject.runtime)
    different = list(differences(answers(adapted, subject.samples), answers(loaded, subject.samples)))
    subject.require(
        not different, f"adapts to what predicts something else after save and load: {listed(different)}", mend
    )


def check_explanations(subject: ModelSubject) -> None:
    """An explainer gives one explanation per sample, in order, which names the sample and has a figure."""
    from matplotlib.figure import Figure

    model: Explainer = _able(subject, Explainer)
    if not model.can_explain:
        raise NotApplicable("this configuration of the model does not explain")
    samples = subject.samples[:3]
    explained = list(model.explain(samples))
    names = [str(sample.get("id", index)) for index, sample in enumerate(samples)]
    given = [explanation.sample for explanation in explained]
    subject.require(given == names, f"explains {listed(given)} where {listed(names)} are due", "Keep ids and order.")
    drawn = all(isinstance(explanation.figure, Figure) for explanation in explained)
    subject.require(drawn, "explains without a figure", "Draw with quire.report.subplots.")


def _able(subject: ModelSubject, ability: type[Any]) -> Any:
    """The trained model, if it has this ability; NotApplicable if it has not."""
    if not issubclass(subject.cls, ability):
        raise NotApplicable(f"it is no {ability.__name__}")
    return subject.trained
