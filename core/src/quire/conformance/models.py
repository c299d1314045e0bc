"""Rules for what a model predicts, saves and loads."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from quire import registry
from quire.conformance.saved import fault_of
from quire.conformance.subject import NotApplicable, Subject, differences, listed, once, resting_on
from quire.discovery import reader_options
from quire.errors import InvalidSample
from quire.model import Classifier, Embedder
from quire.predictions import predict_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.model import Demo, Model
    from quire.runtime import Runtime

TOLERANCE = 1e-5  # between sums of the same float32 numbers in another order
SAMPLES = 12  # to predict for


class ModelSubject(Subject):
    """A model, its demo's data, and trainings with the demo's quick settings on one CPU thread.

    `name` must be installed as a model.
    """

    cls: type[Model]

    @property
    def schema(self) -> type[BaseModel]:
        """The model's configuration."""
        return self.cls.Config

    @cached_property
    def runtime(self) -> Runtime:
        """Where trainings must be repeatable bit by bit."""
        from quire.runtime import Runtime

        return Runtime(device="cpu", precision="fp32", threads=1)

    @property
    def demo(self) -> Demo:
        """The model's demo."""
        if self.cls.demo is None:
            raise NotApplicable("check_demo comes first: there is no demo, so no data to train on")
        return self.cls.demo

    def new(self) -> Model:
        """An untrained model."""
        settings = {**self.demo.settings, **self.demo.quick}
        return self.cls(self.cls.Config.parse(settings, owner=self.name), runtime=self.runtime)

    @once
    def data(self) -> tuple[Dataset, Dataset]:
        """The demo's data: its first split to train on, its last one to predict for."""
        reader: type[Dataset] = registry.get(self.demo.dataset, "dataset")
        path = reader.sample(self.new_folder() / self.demo.dataset, seed=0)
        splits = reader.splits(path)
        options = reader_options(reader, self.new().task)
        return (
            reader.open(path, split=splits[0], **options),
            reader.open(path, split=splits[-1], **options),
        )

    @property
    def train(self) -> Dataset:
        """The training set."""
        with resting_on("check_demo"):
            return self.data[0]

    @once
    def samples(self) -> list[Sample]:
        """A few samples of the test set, without their targets."""
        return self.read_samples()

    def read_samples(self) -> list[Sample]:
        """The same, read anew."""
        with resting_on("check_demo"):
            test = self.data[1]
            picked = np.linspace(0, len(test) - 1, min(SAMPLES, len(test))).astype(int)
            return [{key: value for key, value in test[int(i)].items() if key != "target"} for i in picked]

    @once
    def training(self) -> tuple[Model, object]:
        """A trained model, and what its `fit` returned."""
        train, model = self.train, self.new()
        return model, model.fit(train, runtime=self.runtime)

    @property
    def trained(self) -> Model:
        """A trained model."""
        with resting_on("check_fit"):
            return self.training[0]

    @once
    def loaded(self) -> Model:
        """The trained model, after it was saved and loaded."""
        folder = self.trained.save(self.new_folder() / "model")
        return self.cls.load(folder, runtime=self.runtime)

    @once
    def twin(self) -> Model:
        """Another training with the same seed."""
        with resting_on("check_fit"):
            model = self.new()
            model.fit(self.train, runtime=self.runtime)
            return model


def answers(model: Model, samples: Sequence[Sample]) -> list[Any]:
    """What the model says of each sample: a classifier's probabilities, else its output; with an embedder's vector."""
    said = list(model.predict_proba(samples) if isinstance(model, Classifier) else model.predict(samples))
    return list(zip(said, model.embed(samples), strict=True)) if isinstance(model, Embedder) else said


def check_outputs(subject: ModelSubject) -> None:
    """predict gives a list with one output per sample, of the task's target modality."""
    require_outputs(subject, subject.trained.predict(subject.samples), "predicts")


def require_outputs(subject: ModelSubject, outputs: Any, does: str) -> None:
    """Raise Broken unless there is one output for each of the subject's samples, in the form of the target's modality."""
    target = subject.trained.task.target
    mend = "Return a list with one output of the task's target modality per sample."
    subject.require(isinstance(outputs, list), f"{does} a {type(outputs).__name__}", mend)
    due = len(subject.samples)
    subject.require(len(outputs) == due, f"{does} {len(outputs)} outputs for {due} samples", mend)
    if target is None:
        return
    for output in outputs:
        try:
            different = list(differences(output, target.check(output, field="target")))
        except InvalidSample as error:
            different = [str(error)]
        subject.require(not different, f"{does} what its target is not: {listed(different)}", mend)


def check_evaluation(subject: ModelSubject) -> None:
    """The evaluators that are usual for the task can judge the model, and count every sample."""
    model, test = subject.trained, subject.data[1]
    if not model.task.evaluators:
        raise NotApplicable("the task names no evaluator")
    for name in model.task.evaluators:
        report = registry.create(name, kind="evaluator").evaluate(model, test)
        counted = report.n_used + report.n_left_out
        subject.require(
            counted == len(test),
            f"is judged by {name!r} on {counted} of {len(test)} samples",
            "Name evaluators in the task that suit it.",
        )


def check_json(subject: ModelSubject) -> None:
    """Outputs can be written as JSON and read back: that is what `quire predict --json` prints and a server sends."""
    subject.rest_on(check_outputs)
    target, outputs = subject.trained.task.target, subject.trained.predict(subject.samples)
    for output in outputs:
        written = output if target is None else target.encode(output)
        try:
            read = json.loads(json.dumps(written, allow_nan=False))
        except (TypeError, ValueError) as error:
            subject.require(False, f"predicts what is no JSON: {error}", "Give the task a target whose encode is JSON.")
        # What JSON holds may be rounder than the output (a sound of 16 bits); written again, it must be the same.
        again = read if target is None else target.encode(target.decode(read, field="target"))
        different = list(differences(written, again))
        subject.require(
            not different,
            f"predicts what JSON does not give back: {listed(different)}",
            "Let the target's decode undo its encode, and predict values that survive both.",
        )


def check_repetition(subject: ModelSubject) -> None:
    """On the CPU, the same samples get the same predictions whenever they are asked for."""
    model = subject.trained
    different = list(differences(answers(model, subject.samples), answers(model, subject.samples)))
    subject.require(
        not different,
        f"predicts something else when it is asked again: {listed(different)}",
        "Predict in evaluation mode, draw nothing, and keep no state of what was asked.",
    )


def check_inputs_unchanged(subject: ModelSubject) -> None:
    """Predicting leaves the samples as they are."""
    samples = subject.read_samples()
    before = deepcopy(samples)
    answers(subject.trained, samples)
    different = list(differences(before, samples))
    subject.require(
        not different,
        f"changes the samples that it predicts for: {listed(different)}",
        "Work on copies: np.array(value), tensor.clone().",
    )


def check_runtime(subject: ModelSubject) -> None:
    """A model predicts with the runtime that fit and load were given."""
    given = {"fit": subject.trained.runtime, "load": subject.loaded.runtime}
    for where, runtime in given.items():
        subject.require(
            runtime is subject.runtime,
            f"has another runtime than the one that {where} was given",
            "Make no Runtime of your own: self.runtime is the one to use.",
        )


def check_saving(subject: ModelSubject) -> None:
    """A model that is saved and loaded predicts the same."""
    subject.rest_on(check_repetition)
    before, after = answers(subject.trained, subject.samples), answers(subject.loaded, subject.samples)
    different = list(differences(before, after))
    subject.require(
        not different,
        f"predicts something else after save and load: {listed(different)}",
        "Put everything that predictions depend on into state() or artefacts, and take it back in restore().",
    )


def check_fingerprint(subject: ModelSubject) -> None:
    """The fingerprint is the same after save and load, and another one when what outputs depend on changes."""
    model, loaded = subject.trained, subject.loaded
    mend = "Leave fingerprint to Model, or hash class, configuration, state and artefacts."
    subject.require(loaded.fingerprint() == model.fingerprint(), "has another fingerprint after save and load", mend)
    before = loaded.fingerprint()
    loaded.artefacts = {**loaded.artefacts, "conformance": 1}
    after = loaded.fingerprint()
    del loaded.artefacts["conformance"]
    subject.require(after != before, "has one fingerprint for two different models", mend)


def check_saved_files(subject: ModelSubject) -> None:
    """A saved model is JSON, safetensors and plain text: nothing in it can run code."""
    folder = subject.trained.save(subject.new_folder() / "model")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        fault = fault_of(file)
        subject.require(
            not fault, f"saves {file.relative_to(folder)}, which {fault}", "Keep values in state() or artefacts."
        )


def check_sample_order(subject: ModelSubject) -> None:
    """What is predicted for a sample does not depend on where it stands among others."""
    subject.rest_on(check_repetition)
    model, samples = subject.trained, subject.samples
    backwards = answers(model, samples[::-1])[::-1]
    different = list(differences(answers(model, samples), backwards, tolerance=TOLERANCE))
    subject.require(
        not different,
        f"predicts something else when the samples come in another order: {listed(different)}",
        "Let nothing in collate or forward depend on a sample's position.",
    )


def check_batching(subject: ModelSubject) -> None:
    """A batch of n gives what n batches of one give."""
    subject.rest_on(check_sample_order)
    model, samples = subject.trained, subject.samples
    single = [answers(model, [sample])[0] for sample in samples]
    different = list(differences(answers(model, samples), single, tolerance=TOLERANCE))
    subject.require(
        not different,
        f"predicts something else for a sample that is alone in its batch: {listed(different)}",
        "Predict in evaluation mode, and mask what pads samples of other sizes.",
    )


def check_invalid_samples(subject: ModelSubject) -> None:
    """predict raises InvalidSample that names the field, for a value of the wrong type and for a missing field."""
    model, good = subject.trained, subject.samples[0]
    for field in (field for field in model.task.inputs if field in good):
        spoiled = {"a value of another type": {**good, field: object()}}
        if field not in model.task.optional:
            spoiled["nothing"] = {key: value for key, value in good.items() if key != field}
        for given, bad in spoiled.items():
            raised = _raised(model, [good, bad])
            where = getattr(raised, "where", None)
            named = isinstance(raised, InvalidSample) and where is not None and where.field == field
            told = "nothing" if raised is None else f"{type(raised).__name__} ({raised})"
            subject.require(
                named,
                f"raises {told} from predict for {given} in the field {field!r}",
                "Call self.task.check(sample) in collate.",
            )


def check_skipping(subject: ModelSubject) -> None:
    """One bad sample in a job is left out and reported, and the others are predicted, with on_error="skip"."""
    model, good = subject.trained, subject.samples[:2]
    field = next(field for field in model.task.inputs if field in good[0])
    bad = {**good[0], field: object(), "id": "the bad one"}
    found = predict_all(model, [good[0], bad, *good[1:]], on_error="skip")
    alone = predict_all(model, good)
    reported = [str(error.where) for error in found.left_out]
    subject.require(
        len(reported) == 1 and "the bad one" in reported[0],
        f"reports {listed(reported) or 'nothing'} for one bad sample",
        "Raise InvalidSample for the sample that is bad, and for no other.",
    )
    different = list(differences(alone.outputs, found.outputs, tolerance=TOLERANCE))
    subject.require(
        not different, f"predicts something else beside a bad sample: {listed(different)}", "Keep no state of it."
    )


def _raised(model: Model, samples: Sequence[Sample]) -> Exception | None:
    try:
        model.predict(samples)
    except Exception as error:
        return error
    return None
