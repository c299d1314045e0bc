"""The toy keeps every rule, and for each rule a plugin that breaks it fails that check and no other."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, create_model

from quire import registry
from quire.conformance import Broken, Outcome, capabilities, check_class, check_plugin, checks_for, parametrize
from quire.conformance.subject import differences
from quire.errors import PluginError
from quire.modality import Label, Vector
from quire.report import Report, Score
from quire.storage import content_hash
from quire.task import VECTOR_CLASSIFICATION

if TYPE_CHECKING:
    from quire.evaluator import Evaluator

Class = Any  # of the plugin that a variant is made of
Maker = Callable[[Class], type]
BREAKS: dict[str, list[tuple[str, Maker]]] = {"model": [], "dataset": [], "evaluator": []}
EDITS: list[tuple[str, str, Callable[[Path], None]]] = []
NUMBERS = count()
ABILITIES = {"generation", "generation_seed", "transformation", "adaptation", "explanations"}


def breaks(check: str, *kinds: str) -> Callable[[Maker], Maker]:
    """Marks a function that makes a plugin which breaks exactly `check`."""

    def register(maker: Maker) -> Maker:
        for kind in kinds:
            BREAKS[kind].append((check, maker))
        return maker

    return register


def variant(*bases: Class, **members: Any) -> type:
    """A subclass that can be pickled, as any class of a module can."""
    described = {"__module__": __name__, "__doc__": "A variant."}
    made = type(f"Variant{next(NUMBERS)}", bases, described | members)
    setattr(sys.modules[__name__], made.__name__, made)
    return made


def failed(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.check: outcome.message for outcome in outcomes if outcome.outcome == "failed"}


# ----------------------------------------------------------------------------------------------- options of every kind


def with_options(base: Class, options: Any, **members: Any) -> type:
    return variant(base, **{"Config" if hasattr(base, "Config") else "Options": options}, **members)


def options_of(base: Class) -> Any:
    return base.Config if hasattr(base, "Config") else base.Options


@breaks("documentation", "model", "dataset", "evaluator")
def without_a_docstring(base: Class) -> type:
    return variant(base, __doc__=None)


@breaks("options_schema", "dataset")
def option_without_a_schema(base: Class) -> type:
    field: Any = (Callable[[], int], Field(int, description="a function"))
    return with_options(base, create_model("Options", __base__=base.Options, function=field))


@breaks("options_are_described", "model", "dataset", "evaluator")
def undescribed_option(base: Class) -> type:
    return with_options(base, create_model("Options", __base__=options_of(base), depth=(int, 1)))


@breaks("options_are_described", "model")
def undescribed_option_in_a_group(toy: Class) -> type:
    group = create_model("Group", __config__=ConfigDict(extra="forbid"), depth=(int, 1))
    return with_options(
        toy, create_model("Options", __base__=toy.Config, group=(group | None, Field(None, description="a group")))
    )


@breaks("options_are_strict", "model", "dataset", "evaluator")
def lax_options(base: Class) -> type:
    group = create_model("Group", depth=(int, Field(1, description="of it")))
    field: Any = (list[group], Field([], description="groups"))
    return with_options(base, create_model("Options", __base__=options_of(base), groups=field))


@breaks("options_have_defaults", "model", "dataset", "evaluator")
def required_option(base: Class) -> type:
    options = create_model("Options", __base__=options_of(base), depth=(int, Field(description="of it")))
    return with_options(
        base, options, **({"demo": replace(base.demo, settings={"depth": 2})} if hasattr(base, "demo") else {})
    )


@breaks("options_have_defaults", "evaluator")
def invalid_default(base: Class) -> type:
    return with_options(
        base, create_model("Options", __base__=base.Options, depth=(int, Field(0, gt=0, description="of it")))
    )


# -------------------------------------------------------------------------------------------------------------- models


@breaks("demo", "model")
def no_demo(toy: Class) -> type:
    return variant(toy, demo=None)


@breaks("demo", "model")
def demo_on_pictures(toy: Class) -> type:
    return variant(toy, demo=replace(toy.demo, dataset="folder"))


@breaks("fit", "model")
def fit_returns_nothing(toy: Class) -> type:
    def fit(self: Any, *arguments: Any, **options: Any) -> None:
        toy.fit(self, *arguments, **options)

    return variant(toy, fit=fit)


@breaks("fit", "model")
def fit_needs_a_validation_set(toy: Class) -> type:
    def fit(self: Any, train: Any, validation: Any = None, **options: Any) -> Any:
        return toy.fit(self, train, validation[:1], **options)

    return variant(toy, fit=fit)


@breaks("outputs", "model")
def predicts_nothing(toy: Class) -> type:
    return variant(toy, predict=lambda self, samples: [None for _ in toy.predict(self, samples)])


@breaks("outputs", "model")
def predicts_one_too_few(toy: Class) -> type:
    return variant(toy, predict=lambda self, samples: toy.predict(self, samples)[1:])


@breaks("evaluation", "model")
def unknown_evaluator(toy: Class) -> type:
    return variant(toy, task=replace(toy.task, evaluators=("no-such",)))


@dataclass(frozen=True)
class UnwritableLabel(Label):
    def encode(self, value: str) -> Any:
        return {value}


@breaks("json", "model")
def output_that_is_no_json(toy: Class) -> type:
    return variant(toy, task=replace(toy.task, target=UnwritableLabel()))


@dataclass(frozen=True)
class ShoutedLabel(Label):
    def encode(self, value: str) -> Any:
        return value.upper() if value.islower() else f"{value}!"


@breaks("json", "model")
def output_that_json_does_not_give_back(toy: Class) -> type:
    return variant(toy, task=replace(toy.task, target=ShoutedLabel()))


@breaks("repetition", "model")
def less_sure_with_every_call(toy: Class) -> type:
    def predict_proba(self: Any, samples: Any) -> Any:
        self.calls += 1
        return mixed(toy.predict_proba(self, samples), 1e-6 * self.calls)

    return variant(toy, calls=0, predict_proba=predict_proba)


@breaks("inputs_unchanged", "model")
def marks_its_samples(toy: Class) -> type:
    def predict_proba(self: Any, samples: Any) -> Any:
        for sample in samples:
            sample["seen"] = True
        return toy.predict_proba(self, samples)

    return variant(toy, predict_proba=predict_proba)


@breaks("inputs_unchanged", "model")
def centres_in_place(toy: Class) -> type:
    def predict_proba(self: Any, samples: Any) -> Any:
        found = toy.predict_proba(self, samples)
        for sample in samples:
            sample["vector"] /= np.abs(sample["vector"]).max()
        return found

    return variant(toy, predict_proba=predict_proba)


@breaks("runtime", "model")
def a_runtime_of_its_own(toy: Class) -> type:
    def fit(self: Any, *arguments: Any, runtime: Any = None, **options: Any) -> Any:
        return toy.fit(self, *arguments, runtime=replace(runtime), **options)

    return variant(toy, fit=fit)


@breaks("fingerprint", "model")
def one_fingerprint_for_every_model(toy: Class) -> type:
    return variant(toy, fingerprint=lambda self: "0")


@breaks("fingerprint", "model")
def fingerprint_of_the_object(toy: Class) -> type:
    return variant(toy, fingerprint=lambda self: f"{id(self)}{sorted(self.artefacts)}")


@breaks("saving", "model")
def forgotten_temperature(toy: Class) -> type:
    def fit(self: Any, *arguments: Any, **options: Any) -> Any:
        self.temperature = 2.0
        return toy.fit(self, *arguments, **options)

    def forward(self: Any, batch: Any) -> Any:
        return toy.forward(self, batch) / self.temperature

    return variant(toy, temperature=1.0, fit=fit, forward=forward)


def saves_also(toy: Class, name: str, content: bytes) -> type:
    def save(self: Any, folder: Path) -> Path:
        toy.save(self, folder)
        (folder / name).write_bytes(content)
        return folder

    return variant(toy, save=save)


@breaks("saved_files", "model")
def saves_a_pickle(toy: Class) -> type:
    return saves_also(toy, "labels.pkl", pickle.dumps(["a"]))


@breaks("saved_files", "model")
def saves_a_pickle_as_text(toy: Class) -> type:
    return saves_also(toy, "notes.txt", pickle.dumps(PurePosixPath("a"), protocol=0))


@breaks("saved_files", "model")
def saves_a_pickle_as_safetensors(toy: Class) -> type:
    return saves_also(toy, "more.safetensors", pickle.dumps(["a"]))


@breaks("seed", "model")
def unseeded_network(toy: Class) -> type:
    def build(self: Any) -> Any:
        import torch

        torch.manual_seed(int.from_bytes(os.urandom(7)))
        return toy.build(self)

    return variant(toy, build=build)


@breaks("resume", "model")
def forgotten_step_count(toy: Class) -> type:
    def training_step(self: Any, parts: Any, context: Any) -> Any:
        self.steps += 1
        return toy.training_step(self, [part._replace(weight=part.weight * self.steps) for part in parts], context)

    return variant(toy, steps=0, training_step=training_step)


@breaks("resume", "model")
def no_checkpoint(toy: Class) -> type:
    def fit(self: Any, *arguments: Any, run: Any = None, **options: Any) -> Any:
        try:
            return toy.fit(self, *arguments, run=run, **options)
        except KeyboardInterrupt:
            run.checkpoint_path.unlink()
            raise

    return variant(toy, fit=fit)


def changed_probabilities(toy: Class, change: Callable[[Any], Any]) -> type:
    return variant(toy, predict_proba=lambda self, samples: change(toy.predict_proba(self, samples)))


def mixed(probabilities: Any, share: Any) -> Any:
    """With a share of the uniform distribution."""
    return ((1 - share) * probabilities + share / probabilities.shape[1]).astype(np.float32)


@breaks("sample_order", "model")
def position_counts(toy: Class) -> type:
    return changed_probabilities(toy, lambda found: mixed(found, np.linspace(0, 0.1, len(found))[:, None]))


@breaks("batching", "model")
def batch_size_counts(toy: Class) -> type:
    return changed_probabilities(toy, lambda found: mixed(found, 0.1 / len(found)))


@breaks("invalid_samples", "model")
def unchecked_samples(toy: Class) -> type:
    return variant(toy, outputs=outputs_unchecked)


def outputs_unchecked(self: Any, samples: Any) -> Any:
    self.network.eval()
    with torch.inference_mode():
        return self.forward(self.collate(samples))


@dataclass(frozen=True)
class BluntVector(Vector):
    def check(self, value: object, *, field: str, sample: str | int | None = None) -> Any:
        if not isinstance(value, np.ndarray):
            raise ValueError("not an array")
        return super().check(value, field=field, sample=sample)


@breaks("skipping", "model")
def field_that_raises_something_else(toy: Class) -> type:
    return variant(
        toy,
        task=replace(toy.task, inputs={"vector": BluntVector()}),
        outputs=lambda self, samples: outputs_unchecked(
            self, [VECTOR_CLASSIFICATION.check(sample, index=index) for index, sample in enumerate(samples)]
        ),
    )


# ----------------------------------------------------------------------------------------------------------- data sets


def changed_sample(points: Class, change: Callable[[Any, Any], Any]) -> type:
    """`change(dataset, sample)` is what the data set gives for a sample."""
    return variant(points, __getitem__=lambda self, index: change(self, points.__getitem__(self, index)))


def changed_reading(points: Class, change: Callable[[Any, Path], None], **members: Any) -> type:
    """`change(dataset, path)` is what happens after opening."""

    def read(cls: Any, /, path: Path, **options: Any) -> Any:
        dataset = points.read.__func__(cls, path, **options)
        change(dataset, path)
        return dataset

    return variant(points, read=classmethod(read), **members)


def changed_sampling(points: Class, sample: Callable[[Any, Path, int], Path]) -> type:
    """`sample(write, folder, seed)`, where `write` is what makes the release."""
    write = points.sample.__func__

    def changed(cls: Any, /, folder: Path, *, seed: int = 0) -> Path:
        return sample(lambda place, chosen: write(cls, place, seed=chosen), folder, seed)

    return variant(points, sample=classmethod(changed))


@breaks("sample", "dataset")
def unseeded_sample(points: Class) -> type:
    return changed_sampling(points, lambda write, folder, seed: write(folder, int.from_bytes(os.urandom(4))))


@breaks("sample_stays_inside", "dataset")
def writes_beside_its_sample(points: Class) -> type:
    def sample(write: Any, folder: Path, seed: int) -> Path:
        (folder.parent / "log.txt").write_text("written")
        path: Path = write(folder, seed)
        return path

    return changed_sampling(points, sample)


@breaks("sample_stays_inside", "dataset")
def writes_where_it_runs(points: Class) -> type:
    def sample(write: Any, folder: Path, seed: int) -> Path:
        Path("log.txt").write_text("written")
        path: Path = write(folder, seed)
        return path

    return changed_sampling(points, sample)


@breaks("recognition", "dataset")
def recognises_nothing(points: Class) -> type:
    return variant(points, recognises=classmethod(lambda cls, path: False))


@breaks("recognition", "dataset")
def recognises_everything(points: Class) -> type:
    return variant(points, recognises=classmethod(lambda cls, path: True))


@breaks("splits", "dataset")
def one_split_twice(points: Class) -> type:
    return variant(points, splits=classmethod(lambda cls, path: ("train", "train", "test")))


@breaks("splits", "dataset")
def split_without_a_file(points: Class) -> type:
    return variant(points, splits=classmethod(lambda cls, path: ("train", "validation", "test")))


@breaks("access", "dataset")
def samples_that_drift(points: Class) -> type:
    def drift(self: Any, sample: Any) -> Any:
        self.calls += 1
        return {**sample, "vector": sample["vector"] + np.float32(self.calls)}

    made = changed_sample(points, drift)
    made.calls = 0  # type: ignore[attr-defined]
    return made


@breaks("access", "dataset")
def endless_samples(points: Class) -> type:
    return variant(points, __getitem__=lambda self, index: points.__getitem__(self, index % len(self)))


@breaks("workers", "dataset")
def other_samples_in_workers(points: Class) -> type:
    return changed_sample(
        points,
        lambda self, sample: {
            **sample,
            "vector": sample["vector"] + np.float32(multiprocessing.parent_process() is not None),
        },
    )


@breaks("pickling", "dataset")
def holds_a_lambda(points: Class) -> type:
    return changed_reading(points, lambda dataset, path: setattr(dataset, "handle", lambda: None))


@breaks("samples", "dataset")
def double_samples(points: Class) -> type:
    return changed_sample(points, lambda self, sample: {**sample, "vector": sample["vector"].astype(np.float64)})


@breaks("samples", "dataset")
def matrices_as_samples(points: Class) -> type:
    return changed_sample(points, lambda self, sample: {**sample, "vector": sample["vector"][None]})


@breaks("labels", "dataset")
def labels_backwards(points: Class) -> type:
    return changed_reading(points, lambda dataset, path: setattr(dataset, "labels", dataset.labels[::-1]))


@breaks("labels", "dataset")
def labels_of_one_split(points: Class) -> type:
    return changed_reading(
        points, lambda dataset, path: setattr(dataset, "labels", dataset.labels[: 3 if dataset.split == "train" else 2])
    )


@breaks("ids", "dataset")
def one_id_for_all(points: Class) -> type:
    return changed_sample(points, lambda self, sample: {**sample, "id": "a"})


@breaks("ids", "dataset")
def numbers_as_ids(points: Class) -> type:
    return changed_sample(points, lambda self, sample: {**sample, "id": int(sample["id"].rpartition("-")[2])})


@breaks("target", "dataset")
def target_of_another_sample(points: Class) -> type:
    return variant(points, target=lambda self, index: points.target(self, 0))


@breaks("stable_fingerprint", "dataset")
def fingerprint_of_the_path(points: Class) -> type:
    return changed_reading(
        points,
        lambda dataset, path: setattr(dataset, "path", path),
        fingerprint=lambda self: content_hash(points.fingerprint(self), str(self.path)),
    )


@breaks("telling_fingerprint", "dataset")
def one_fingerprint_for_all(points: Class) -> type:
    return variant(points, fingerprint=lambda self: "0")


@breaks("unknown_split", "dataset")
def any_split_is_train(points: Class) -> type:
    def open_(cls: Any, /, path: Path, *, split: str = "train", **options: Any) -> Any:
        return points.open.__func__(cls, path, split=split if split in cls.splits(path) else "train", **options)

    return variant(points, open=classmethod(open_))


@breaks("unknown_option", "dataset")
def options_are_dropped(points: Class) -> type:
    def open_(cls: Any, /, path: Path, *, split: str = "train", **_: Any) -> Any:
        return points.open.__func__(cls, path, split=split)

    return variant(points, open=classmethod(open_))


@breaks("release_unchanged", "dataset")
def writes_an_index(points: Class) -> type:
    def write(dataset: Any, path: Path) -> None:
        (path / "index.json").write_text("{}")

    return changed_reading(points, write)


# ---------------------------------------------------------------------------------------------------------- evaluators


def changed_report(evaluator: Class, change: Callable[[Report], Report]) -> type:
    return variant(
        evaluator, evaluate=lambda self, *arguments, **options: change(evaluator.evaluate(self, *arguments, **options))
    )


def reported_as(base: Class, **members: Any) -> type:
    kind = variant(Report, **members)
    return changed_report(base, lambda report: kind(**vars(report)))


@breaks("report", "evaluator")
def report_without_counts(evaluator: Class) -> type:
    def to_json(self: Report) -> dict[str, Any]:
        return {key: value for key, value in Report.to_json(self).items() if key != "n_used"}

    return reported_as(evaluator, to_json=to_json)


@breaks("report", "evaluator")
def counts_nothing(evaluator: Class) -> type:
    return changed_report(evaluator, lambda report: replace(report, n_used=0))


@breaks("page", "evaluator")
def page_with_a_script(evaluator: Class) -> type:
    return reported_as(evaluator, to_html=lambda self: Report.to_html(self) + "<script>1</script>")


@breaks("page", "evaluator")
def page_with_a_font_from_outside(evaluator: Class) -> type:
    style = "<style>@font-face { src: url(https://example.org/a.woff) }</style>"
    return reported_as(evaluator, to_html=lambda self: Report.to_html(self) + style)


@breaks("page", "evaluator")
def page_with_a_picture_beside_it(evaluator: Class) -> type:
    return reported_as(evaluator, to_html=lambda self: Report.to_html(self) + '<img src="a.png">')


def with_accuracy(evaluator: Class, change: Callable[[Score], Score]) -> type:
    def changed(report: Report) -> Report:
        return replace(report, metrics={**report.metrics, "accuracy": change(report.metrics["accuracy"])})

    return changed_report(evaluator, changed)


@breaks("perfect_predictions", "evaluator")
def accuracy_in_percent(evaluator: Class) -> type:
    return with_accuracy(
        evaluator, lambda score: score if score.value is None else replace(score, value=100 * score.value)
    )


@breaks("known_mistakes", "evaluator")
def rounded_accuracy(evaluator: Class) -> type:
    return with_accuracy(
        evaluator, lambda score: score if score.value is None else replace(score, value=float(round(score.value)))
    )


@breaks("directions", "evaluator")
def praises_mistakes(evaluator: Class) -> type:
    def changed(report: Report) -> Report:
        nll = replace(report.metrics["nll"], higher_is_better=True)
        return replace(report, metrics={**report.metrics, "nll": nll})

    return changed_report(evaluator, changed)


@breaks("any_order", "evaluator")
def looks_at_the_first_sample(evaluator: Class) -> type:
    def evaluate(self: Evaluator, model: Any, dataset: Any, **options: Any) -> Report:
        report: Report = evaluator.evaluate(self, model, dataset, **options)
        first = Score(float(dataset[0]["vector"][0])) if len(dataset) else Score(None, "there is no sample")
        return replace(report, metrics={**report.metrics, "first": first})

    return variant(evaluator, evaluate=evaluate)


@breaks("no_samples", "evaluator")
def accuracy_of_nothing(evaluator: Class) -> type:
    return with_accuracy(evaluator, lambda score: Score(0.0) if score.value is None else score)


@breaks("no_samples", "evaluator")
def raises_without_samples(evaluator: Class) -> type:
    def evaluate(self: Evaluator, model: Any, dataset: Any, **options: Any) -> Report:
        dataset[0]
        report: Report = evaluator.evaluate(self, model, dataset, **options)
        return report

    return variant(evaluator, evaluate=evaluate)


@breaks("left_out", "evaluator")
def silent_about_what_is_left_out(evaluator: Class) -> type:
    return changed_report(evaluator, lambda report: replace(report, left_out=[], n_left_out=0))


# ------------------------------------------------------------------------------------------------------------ packages


def edit(check: str, name: str, file: str, before: str, after: str) -> None:
    """An edit of the toy's source that breaks exactly `check`; without `before`, `after` goes to the end of the file."""

    def apply(project: Path) -> None:
        path = project / file
        text = path.read_text() if path.exists() else ""
        assert before in text
        path.write_text(text.replace(before, after) if before else text + after)

    EDITS.append((check, name, apply))


MODEL, MANIFEST = "src/quire_variant/model.py", "pyproject.toml"
TASKS = '[project.entry-points."quire.tasks"]\n'
edit("entry_points", "missing module", MANIFEST, "[tool.", f'{TASKS}lost = "quire_variant.lost:LOST"\n\n[tool.')
edit("kinds", "a model as a task", MANIFEST, "[tool.", f'{TASKS}odd = "quire_variant.model:Toy"\n\n[tool.')
edit("kinds", "an instance as a class", MANIFEST, "quire_variant.data:ToyPoints", "quire_variant.data:CENTRES")
edit("readme_names", "no data set", "README.md", "variant-points", "points")
edit("discovery", "sitecustomize", "src/sitecustomize.py", "", "import quire_variant\n")
edit("light_import", "torch at the top", "src/quire_variant/__init__.py", "", "import torch\n")
edit("licence", "none", MANIFEST, 'license = "Apache-2.0"\n', "")
edit("version", "a word", MANIFEST, 'version = "0.1.0"', 'version = "new"')
edit("summary", "none", MANIFEST, "description", "# description")
edit("readme", "none", MANIFEST, "readme", "# readme")
edit("core_version", "no upper bound", MANIFEST, ">=0.1,<0.2", ">=0.1")
edit("core_version", "no requirement", MANIFEST, '"quire-core>=0.1,<0.2", ', "")
EDITS.append(("typed", "no marker", lambda project: (project / "src" / "quire_variant" / "py.typed").unlink()))
edit("imports", "statement", MODEL, "", "\n\ndef f():\n    import quire_other.model\n")
edit("imports", "from", MODEL, "", "\n\nif TYPE_CHECKING:\n    from quire_other.model import M\n")
edit("imports", "by name", MODEL, "", "\n\ndef f(importlib):\n    importlib.import_module('quire_other.model')\n")
for code in (
    "module.cuda()",
    "module.to('cuda')",
    "module.to(device='cuda:1')",
    "module.half()",
    "torch.set_default_device(module)",
    "torch.cuda.is_available()",
    "torch.backends.cudnn.benchmark",
):
    edit("device", code, MODEL, "", f"\n\ndef f(module):\n    return {code}\n")


@pytest.mark.parametrize(("check", "apply"), [pytest.param(check, fn, id=f"{check}-{n}") for check, n, fn in EDITS])
def test_an_edit_of_the_package_fails_exactly_the_check_that_it_breaks(
    installed_variant: Callable[[Callable[[Path], None]], str], check: str, apply: Callable[[Path], None]
) -> None:
    found = failed(check_plugin(installed_variant(apply), "package"))
    assert set(found) == {check}
    assert found[check].startswith("quire-variant ")


def test_comments_and_docstrings_choose_no_device(
    installed_variant: Callable[[Callable[[Path], None]], str],
) -> None:
    def mention(project: Path) -> None:
        path = project / MODEL
        path.write_text(path.read_text() + '\n\ndef f():\n    """Nothing calls x.cuda() or says "cuda"."""  # cuda\n')

    assert failed(check_plugin(installed_variant(mention), "package")) == {}


# --------------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize(
    ("name", "skipped"),
    [
        ("toy", {"optional_fields", "embeddings", *ABILITIES}),
        ("toy-points", set()),
        ("classification", {"readme_names", "core_version", "device"}),
        ("table", {"readme_names", "core_version", "device"}),
        ("folder", {"readme_names", "core_version", "device"}),
    ],
)
def test_what_keeps_the_rules_passes(toy_plugin: Path, name: str, skipped: set[str]) -> None:
    outcomes = check_plugin(name)
    assert failed(outcomes) == {}
    assert {outcome.check for outcome in outcomes if outcome.outcome == "skipped"} == skipped
    assert all(outcome.plugin == name for outcome in outcomes)


@pytest.mark.parametrize(
    ("kind", "check", "maker"),
    [
        pytest.param(kind, check, maker, id=f"{kind}-{check}-{maker.__name__}")
        for kind, variants in BREAKS.items()
        for check, maker in variants
    ],
)
def test_a_variant_fails_exactly_the_check_that_it_breaks(
    toy_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, check: str, maker: Maker
) -> None:
    monkeypatch.chdir(tmp_path)
    name = {"model": "toy", "dataset": "toy-points", "evaluator": "classification"}[kind]
    made = maker(registry.get(name, kind))
    found = failed(check_class(name, kind, made))
    assert set(found) == {check}, found
    assert found[check].startswith(f"{__name__}:{made.__qualname__} ")
    assert found[check].count(". ") >= 1, "it says how to mend it"


def test_every_check_has_a_variant_that_breaks_it() -> None:
    broken = {kind: {check for check, _ in variants} for kind, variants in BREAKS.items()}
    broken["package"] = {check for check, _, _ in EDITS}
    broken["model"] |= {"options_schema"}  # a model's configuration must be JSON to be saved at all
    broken["evaluator"] |= {"options_schema"}  # and an evaluator's options stand in its report
    for kind, found in broken.items():
        rules = [rule for rule in checks_for(kind) if rule.__module__ != capabilities.__name__]
        assert found == {rule.__name__.removeprefix("check_") for rule in rules}


def test_a_plugin_is_held_to_the_rules_of_its_package_and_of_its_kind(toy_plugin: Path) -> None:
    found = [outcome.check for outcome in check_plugin("toy-points")]
    rules = [check.__name__.removeprefix("check_") for kind in ("package", "dataset") for check in checks_for(kind)]
    assert found == rules
    assert len(found) == len(set(found))


def test_a_plugin_that_is_not_installed(toy_plugin: Path) -> None:
    with pytest.raises(PluginError, match="no plugin named 'toi'"):
        check_plugin("toi")
    with pytest.raises(PluginError, match="no dataset named 'toy'"):
        check_plugin("toy", "dataset")


def test_a_plugin_that_can_not_be_imported(installed_variant: Callable[[Callable[[Path], None]], str]) -> None:
    def damage(project: Path) -> None:
        (project / MODEL).write_text("import no_such_module\n")

    outcomes = check_plugin(installed_variant(damage), "model")
    assert set(failed(outcomes)) == {"entry_points"}
    assert {o.check for o in outcomes if o.outcome == "skipped"} == {
        check.__name__.removeprefix("check_") for check in checks_for("model")
    }


def test_pytest_runs_one_test_for_each_check(toy_plugin: Path) -> None:
    mark = parametrize("toy-points").mark
    assert mark.args[0] == "check"
    for case in mark.args[1]:
        (check,) = case.values
        check()
    assert [case.id for case in mark.args[1]] == [f"toy-points-{o.check}" for o in check_plugin("toy-points")]


def test_pytest_skips_what_does_not_apply(toy_plugin: Path) -> None:
    cases = {case.id: case.values[0] for case in parametrize("classification").mark.args[1]}
    with pytest.raises(pytest.skip.Exception, match="core itself"):
        cases["classification-device"]()


def test_pytest_shows_what_is_broken(installed_variant: Callable[[Callable[[Path], None]], str]) -> None:
    def edited(project: Path) -> None:
        (project / "src" / "quire_variant" / "py.typed").unlink()

    cases = {case.id: case.values[0] for case in parametrize(installed_variant(edited), "model").mark.args[1]}
    with pytest.raises(Broken, match=r"quire-variant 0\.1\.0 has no py\.typed in quire_variant"):
        cases["variant-typed"]()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_a_value_does_not_differ_from_its_copy(value: Any) -> None:
    assert list(differences(value, pickle.loads(pickle.dumps(value)))) == []


@given(st.lists(values, min_size=1, max_size=4), st.data())
def test_a_change_is_found_where_it_is(value: list[Any], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(value) - 1))
    changed = [*value]
    changed[place] = object
    (found,) = differences(value, changed)
    assert found.startswith(f"[{place}] ")


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (np.array([1, 2], np.float32), np.array([1, 2.00001], np.float32), False),
        (np.array([1, 2], np.float32), np.array([1, 2.1], np.float32), True),
        (np.array([1e6], np.float32), np.array([1e6 + 1], np.float32), False),
        (np.array([np.nan], np.float32), np.array([np.nan], np.float32), False),
        (np.array([np.nan], np.float32), np.array([0], np.float32), True),
        (np.array([1, 2], np.float32), np.array([1, 2], np.float64), True),
        (np.array([1], np.float32), np.array([[1]], np.float32), True),
        (np.array([7], np.uint8), np.array([8], np.uint8), False),
        (np.array([0], np.uint8), np.array([255], np.uint8), True),
        ("a", "b", True),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ([1], [1, 2], True),
    ],
)
def test_what_differs_within_a_tolerance(one: Any, other: Any, differ: bool) -> None:
    assert bool(list(differences(one, other, tolerance=1e-5))) == differ
