"""Rules for models."""

from __future__ import annotations

import json
import pickletools
import signal
import threading
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from quire import registry
from quire.conformance.subject import NotApplicable, Subject, differences, listed, once, resting_on
from quire.discovery import reader_options
from quire.errors import InvalidSample
from quire.hooks import hookimpl
from quire.model import Classifier, Embedder
from quire.predictions import predict_all
from quire.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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
    def twin(self) -> Model:
        """Another training with the same seed."""
        with resting_on("check_fit"):
            model = self.new()
            model.fit(self.train, runtime=self.runtime)
            return model


def answers(model: Model, samples: Sequence[Sample]) -> list[Any]:
    """What the model says of each sample: a classifier's probabilities, else its outputs."""
    return list(model.predict_proba(samples) if isinstance(model, Classifier) else model.predict(samples))


def check_demo(subject: ModelSubject) -> None:
    """The model says with which sampled data it can be tried, and its task fits them."""
    mend = "Set the class attribute demo = Demo(dataset=..., settings=..., quick=...)."
    subject.require(subject.cls.demo is not None, "has no demo", mend)
    for dataset in subject.data:
        subject.new().task.require_fit(dataset.task, this=subject.name, that=dataset.name)


def check_fit(subject: ModelSubject) -> None:
    """The model trains on its demo's data without a validation set, and fit returns the model itself."""
    model, returned = subject.training
    subject.require(returned is model, f"returns {type(returned).__name__} from fit", "Return self.")


def check_outputs(subject: ModelSubject) -> None:
    """predict gives one output per sample, of the task's target modality."""
    model = subject.trained
    outputs = model.predict(subject.samples)
    mend = "Return a list with one output of the task's target modality per sample."
    subject.require(
        isinstance(outputs, list) and len(outputs) == len(subject.samples),
        f"answers {len(subject.samples)} samples with {type(outputs).__name__} of {len(outputs)}",
        mend,
    )
    if model.task.target is None:
        return
    for output in outputs:
        try:
            different = list(differences(output, model.task.target.check(output, field="target")))
        except InvalidSample as error:
            different = [str(error)]
        subject.require(not different, f"predicts what its target is not: {listed(different)}", mend)


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


def check_saving(subject: ModelSubject) -> None:
    """A model that is saved and loaded predicts the same."""
    model = subject.trained
    folder = model.save(subject.new_folder() / "model")
    loaded = subject.cls.load(folder, runtime=subject.runtime)
    different = list(differences(answers(model, subject.samples), answers(loaded, subject.samples)))
    subject.require(
        not different,
        f"predicts something else after save and load: {listed(different)}",
        "Put everything that predictions depend on into state() or artefacts, and take it back in restore().",
    )


def check_saved_files(subject: ModelSubject) -> None:
    """A saved model is JSON, safetensors and plain text: nothing in it can run code."""
    folder = subject.trained.save(subject.new_folder() / "model")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        fault = _fault(file)
        subject.require(
            not fault, f"saves {file.relative_to(folder)}, which {fault}", "Keep values in state() or artefacts."
        )


def check_seed(subject: ModelSubject) -> None:
    """Two trainings with one seed give the same weights, bit by bit."""
    different = list(differences(subject.trained.state(), subject.twin.state()))
    subject.require(
        not different,
        f"differs between two trainings with the same seed: {listed(different)}",
        "Draw from torch's global generator, which the runtime seeds, or from the generator that collate is given.",
    )


def check_resume(subject: ModelSubject) -> None:
    """A training that was interrupted twice and resumed ends with the weights of one that was not, bit by bit."""
    if threading.current_thread() is not threading.main_thread():
        raise NotApplicable("only the main thread can be interrupted")
    subject.rest_on(check_seed)
    counter = _StepCounter()
    path = _new_run(subject)
    _train_in(subject, path, counter)
    if counter.steps < 2:
        raise NotApplicable("its training is not made of steps")
    path = _new_run(subject)
    for stop in (1, counter.steps // 2):
        with suppress(KeyboardInterrupt):
            _train_in(subject, path, _StepCounter(stop))
        subject.require(
            Run.open(path).checkpoint_path.is_file(),
            "leaves no checkpoint when it is interrupted",
            "Train with quire.training, or write run.checkpoint_path before KeyboardInterrupt leaves fit.",
        )
    resumed = _train_in(subject, path, _StepCounter())
    different = list(differences(subject.trained.state(), resumed.state()))
    subject.require(
        not different,
        f"ends with other weights when it was interrupted and resumed: {listed(different)}",
        "Keep what changes during training in modules or observers that the checkpoint holds, not in attributes.",
    )


def check_sample_order(subject: ModelSubject) -> None:
    """What is predicted for a sample does not depend on where it stands among others."""
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


def check_probabilities(subject: ModelSubject) -> None:
    """A classifier's probabilities are float32 [samples, classes], finite, not negative, and rows sum to one."""
    model = _classifier(subject)
    found = model.predict_proba(subject.samples)
    due = (len(subject.samples), len(model.labels))
    mend = "Return the softmax of the logits, in float32, as a NumPy array."
    subject.require(isinstance(found, np.ndarray), f"gives probabilities as {type(found).__name__}", mend)
    subject.require(found.shape == due, f"gives probabilities {found.shape} where {due} are due", mend)
    subject.require(found.dtype == np.float32, f"gives probabilities of {found.dtype}", mend)
    subject.require(bool(np.isfinite(found).all()), "gives probabilities that are not finite", mend)
    subject.require(bool((found >= 0).all()), "gives negative probabilities", mend)
    sums = found.sum(axis=1)
    subject.require(
        bool(np.allclose(sums, 1, atol=1e-4)),
        f"gives probabilities that sum to {sums.min():.4g}..{sums.max():.4g}",
        mend,
    )


def check_labels(subject: ModelSubject) -> None:
    """A classifier's labels are those of its training set, in the same order."""
    known, given = _classifier(subject).labels, subject.train.labels
    subject.require(
        known == given,
        f"has the labels {listed(known)} after training on {listed(given)}",
        "Keep the training set's labels as they are: study() does.",
    )


def check_most_probable(subject: ModelSubject) -> None:
    """A classifier predicts the label whose probability is highest."""
    model = _classifier(subject)
    subject.rest_on(check_outputs)
    columns = model.predict_proba(subject.samples).argmax(axis=1)
    subject.require(
        model.predict(subject.samples) == [model.labels[column] for column in columns],
        "predicts labels that are not the most probable ones",
        "Leave predict to Classifier.",
    )


def check_embeddings(subject: ModelSubject) -> None:
    """An embedder's vectors are float32 [samples, dim] and finite."""
    model = subject.trained
    if not isinstance(model, Embedder):
        raise NotApplicable("it is no Embedder")
    vectors = model.embed(subject.samples)
    mend = "Return a NumPy array, float32 [samples, dim]."
    shaped = isinstance(vectors, np.ndarray) and vectors.ndim == 2 and len(vectors) == len(subject.samples)
    subject.require(shaped and vectors.dtype == np.float32, "gives vectors of another shape or type", mend)
    subject.require(bool(np.isfinite(vectors).all()), "gives vectors that are not finite", mend)


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


class _StepCounter:
    """Counts the steps of a training, and interrupts it like Ctrl-C after `stop` of them."""

    def __init__(self, stop: int | None = None) -> None:
        self.steps = 0
        self._stop = stop

    @hookimpl
    def quire_step_finished(self) -> None:
        """One more."""
        self.steps += 1
        if self.steps == self._stop:
            signal.raise_signal(signal.SIGINT)


def _new_run(subject: ModelSubject) -> Path:
    config = subject.new().config.model_dump(mode="json")
    return Run.create(subject.new_folder(), model=subject.name, config=config, runtime=subject.runtime).path


def _train_in(subject: ModelSubject, path: Path, counter: _StepCounter) -> Model:
    """A new model trained in the run at `path`, from its checkpoint if there is one."""
    run, model = Run.open(path), subject.new()
    run.hooks.add("conformance", counter)
    with run.writing():
        model.fit(subject.train, runtime=subject.runtime, run=run)
    return model


def _classifier(subject: ModelSubject) -> Classifier:
    model = subject.trained
    if not isinstance(model, Classifier):
        raise NotApplicable("it is no Classifier")
    return model


def _raised(model: Model, samples: Sequence[Sample]) -> Exception | None:
    try:
        model.predict(samples)
    except Exception as error:
        return error
    return None


def _fault(file: Path) -> str:
    """What makes a file of a saved model a danger or a riddle; the empty string for a good one."""
    content = file.read_bytes()
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="np"):
                return ""
        except SafetensorError:
            return "is no safetensors file"
    if file.suffix not in (".json", ".jsonl", ".csv", ".tsv", ".txt", ".md"):
        return "is neither JSON nor safetensors nor plain text"
    if _is_pickle(content):
        return "is a pickle"
    try:
        text = content.decode()
        if file.suffix == ".json":
            json.loads(text)
    except ValueError:
        return "is not what its name says"
    return ""


def _is_pickle(content: bytes) -> bool:
    """Whether the bytes are a pickle from end to end, and one that names something to import."""
    with suppress(ValueError, IndexError, UnicodeDecodeError):
        names = {opcode.name for opcode, _, _ in pickletools.genops(content)}
        return content[:1] == b"\x80" or bool(names & {"GLOBAL", "INST", "STACK_GLOBAL"})
    return False
