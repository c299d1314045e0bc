"""Small models with one ability each keep its rules, and for each rule one that breaks it fails that check alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
import torch

from quire import registry
from quire.conformance import Outcome, capabilities, check_class, checks_for
from quire.errors import InvalidSample, Where
from quire.modality import Text
from quire.model import Classifier, Demo, Embedder, Explainer, Explanation, FewShot, Generator, Model, Transform
from quire.report import subplots
from quire.task import VECTOR_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from quire.modality import Sample

Class = Any  # of the model that a variant is made of
Maker = Callable[[Class], type]
BREAKS: list[tuple[str, type, Maker]] = []
NUMBERS = count()


class Means(Model):
    """The label whose mean is nearest, for every vector."""

    task = VECTOR_CLASSIFICATION
    demo = Demo(dataset="toy-points")

    def fit(self, train: Any, validation: Any = None, *, runtime: Any = None, run: Any = None) -> Self:
        targets = np.array([sample["target"] for sample in train])
        vectors = np.stack([sample["vector"] for sample in train])
        self._state = {
            "labels": list(train.labels),
            "means": np.stack([vectors[targets == label].mean(axis=0) for label in train.labels]),
        }
        return self

    def distances(self, samples: Any) -> Any:
        checked = [self.task.check(sample, index=index) for index, sample in enumerate(samples)]
        for index, sample in enumerate(checked):
            if len(sample["vector"]) != self._state["means"].shape[1]:
                raise InvalidSample("another length", where=Where(sample=index, field="vector"))
        return np.stack([np.linalg.norm(self._state["means"] - sample["vector"], axis=1) for sample in checked])

    def predict(self, samples: Any) -> list[str]:
        return [self._state["labels"][column] for column in self.distances(samples).argmin(axis=1)]

    def state(self) -> dict[str, Any]:
        return self._state

    def restore(self, state: dict[str, Any]) -> None:
        self._state = state


class Nearest(Means, Classifier):
    """A classifier: the softmax of the negative distances."""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._state["labels"])

    def predict_proba(self, samples: Any) -> Any:
        weights = np.exp(-self.distances(samples))
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


class Vectors(Means, Embedder):
    """An embedder: the distances from the means."""

    def embed(self, samples: Any) -> Any:
        return self.distances(samples).astype(np.float32)


class Guess(Means, Generator):
    """A generator: any label, the nearest ones more often."""

    def generate(self, conditions: Any, *, seed: int = 0) -> list[Any]:
        chances = np.exp(-self.distances(conditions))
        rngs = [np.random.default_rng([seed, index]) for index in range(len(chances))]
        labels = self._state["labels"]
        return [str(rng.choice(labels, p=row / row.sum())) for rng, row in zip(rngs, chances, strict=True)]


class Named(Means, Transform):
    """A transform: a label for a vector."""

    def transform(self, samples: Any) -> list[Any]:
        return Means.predict(self, samples)


class Few(Means, FewShot):
    """A few-shot model: the means of the support set."""

    def adapt(self, support: Any) -> Classifier:
        return Nearest().fit(support)


class Shown(Means, Explainer):
    """An explainer: a bar for the distance from each mean."""

    def explain(self, samples: Any) -> Iterator[Explanation]:
        for index, (sample, distances) in enumerate(zip(samples, self.distances(samples), strict=True)):
            figure, axes = subplots()
            axes.bar(self._state["labels"], distances)
            yield Explanation(str(sample.get("id", index)), figure, {"distances": distances})


ABILITIES = (Nearest, Vectors, Guess, Named, Few, Shown)


def breaks(check: str, base: type) -> Callable[[Maker], Maker]:
    """Marks a function that makes of `base` a model which breaks exactly `check`."""

    def register(maker: Maker) -> Maker:
        BREAKS.append((check, base, maker))
        return maker

    return register


def variant(base: Class, **members: Any) -> type:
    made = type(f"Variant{next(NUMBERS)}", (base,), {"__module__": __name__, "__doc__": "A variant.", **members})
    setattr(sys.modules[__name__], made.__name__, made)
    return made


def failed(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.check: outcome.message for outcome in outcomes if outcome.outcome == "failed"}


# --------------------------------------------------------------------------------------------------------- classifiers


def changed_probabilities(base: Class, change: Callable[[Any], Any], **members: Any) -> type:
    return variant(base, predict_proba=lambda self, samples: change(base.predict_proba(self, samples)), **members)


@breaks("probabilities", Nearest)
def double_probabilities(base: Class) -> type:
    return changed_probabilities(base, lambda found: found.astype(np.float64))


@breaks("probabilities", Nearest)
def halved_probabilities(base: Class) -> type:
    return changed_probabilities(base, lambda found: found / 2)


@breaks("probabilities", Nearest)
def probabilities_beyond_one(base: Class) -> type:
    return changed_probabilities(base, lambda found: found * 3, label_kind="multilabel")


@breaks("probabilities", Nearest)
def probabilities_as_a_list(base: Class) -> type:
    class Rows(list[Any]):
        """Has of an array what predictions need."""

        shape = property(lambda self: (len(self), 3))
        argmax = lambda self, axis: np.array(self).argmax(axis)  # noqa: E731
        astype = lambda self, *_, **__: np.array(self, np.float32)  # noqa: E731

    return changed_probabilities(base, Rows)


@breaks("labels", Nearest)
def reversed_labels(base: Class) -> type:
    return variant(base, labels=property(lambda self: base.labels.fget(self)[::-1]), predict=Classifier.predict)


@breaks("most_probable", Nearest)
def least_probable(base: Class) -> type:
    def predict(self: Any, samples: Any) -> list[str]:
        return [self.labels[column] for column in self.predict_proba(samples).argmin(axis=1)]

    return variant(base, predict=predict)


@breaks("declarations", Nearest)
def toxic_label_that_it_does_not_have(base: Class) -> type:
    return variant(base, toxic_labels=frozenset({"low", "vile"}))


@breaks("declarations", Nearest)
def threshold_of_a_label_that_it_does_not_have(base: Class) -> type:
    return variant(base, thresholds={"vile": 0.5})


@breaks("declarations", Nearest)
def threshold_that_is_no_probability(base: Class) -> type:
    return variant(base, thresholds={"low": 50})


@breaks("declarations", Nearest)
def field_that_the_task_does_not_have(base: Class) -> type:
    return variant(base, required_fields=frozenset({"vector", "picture"}))


# ---------------------------------------------------------------------------------------------------- other capabilities


@breaks("embeddings", Vectors)
def double_vectors(base: Class) -> type:
    return variant(base, embed=lambda self, samples: self.distances(samples).astype(np.float64))


@breaks("embeddings", Vectors)
def infinite_vectors(base: Class) -> type:
    return variant(base, embed=lambda self, samples: base.embed(self, samples) + np.float32("inf"))


@breaks("batching", Vectors)
def vectors_of_unit_variance(base: Class) -> type:
    def embed(self: Any, samples: Any) -> Any:
        found = base.embed(self, samples)
        return found / (1 + found.std())

    return variant(base, embed=embed)


def changed_generation(base: Class, change: Callable[[Any], Any]) -> type:
    return variant(
        base, generate=lambda self, conditions, *, seed=0: change(base.generate(self, conditions, seed=seed))
    )


@breaks("generation", Guess)
def generates_an_array(base: Class) -> type:
    return changed_generation(base, np.array)


@breaks("generation", Guess)
def generates_one_too_few(base: Class) -> type:
    return changed_generation(base, lambda found: found[1:])


@breaks("generation", Guess)
def generates_no_labels(base: Class) -> type:
    return changed_generation(base, lambda found: [len(label) for label in found])


@breaks("generation_seed", Guess)
def the_same_for_every_seed(base: Class) -> type:
    return variant(base, generate=lambda self, conditions, *, seed=0: base.generate(self, conditions, seed=7))


@breaks("generation_seed", Guess)
def chance_that_no_seed_controls(base: Class) -> type:
    def generate(self: Any, conditions: Any, *, seed: int = 0) -> Any:
        return base.generate(self, conditions, seed=int(np.random.randint(1 << 30)))

    return variant(base, generate=generate)


@breaks("generation_seed", Guess)
def torch_chance_that_no_seed_controls(base: Class) -> type:
    def generate(self: Any, conditions: Any, *, seed: int = 0) -> Any:
        return base.generate(self, conditions, seed=int(torch.randint(1 << 30, ())))

    return variant(base, generate=generate)


@breaks("generation_seed", Guess)
def what_fit_knew_is_forgotten(base: Class) -> type:
    def fit(self: Any, *arguments: Any, **options: Any) -> Any:
        self.offset = 1000
        return base.fit(self, *arguments, **options)

    def generate(self: Any, conditions: Any, *, seed: int = 0) -> Any:
        return base.generate(self, conditions, seed=seed + self.offset)

    return variant(base, offset=0, fit=fit, generate=generate)


@breaks("transformation", Named)
def transforms_to_an_array(base: Class) -> type:
    return variant(
        base, transform=lambda self, samples: np.array(base.transform(self, samples)), predict=base.transform
    )


@breaks("transformation", Named)
def predicts_what_it_does_not_transform_to(base: Class) -> type:
    return variant(base, predict=lambda self, samples: ["low" for _ in base.transform(self, samples)])


@breaks("adaptation", Few)
def adapts_to_no_classifier(base: Class) -> type:
    return variant(base, adapt=lambda self, support: self)


@breaks("adaptation", Few)
def adapts_to_other_labels(base: Class) -> type:
    class Backwards(Nearest):
        """Its labels stand the other way round."""

        labels = property(lambda self: super().labels[::-1])

    return variant(base, adapt=lambda self, support: Backwards().fit(support))


@breaks("adaptation", Few)
def adapts_to_what_can_not_be_saved(base: Class) -> type:
    class Forgetful(Nearest):
        """Its temperature is no part of its state."""

        temperature = 1.0

        def distances(self, samples: Any) -> Any:
            return super().distances(samples) / self.temperature

    def adapt(self: Any, support: Any) -> Classifier:
        adapted = Forgetful().fit(support)
        adapted.temperature = 3.0
        return adapted

    return variant(base, adapt=adapt)


@breaks("explanations", Shown)
def explains_backwards(base: Class) -> type:
    return variant(base, explain=lambda self, samples: base.explain(self, samples[::-1]))


@breaks("explanations", Shown)
def explains_one_too_few(base: Class) -> type:
    return variant(base, explain=lambda self, samples: base.explain(self, samples[1:]))


@breaks("explanations", Shown)
def explains_without_a_figure(base: Class) -> type:
    return variant(
        base, explain=lambda self, samples: (replace(each, figure=None) for each in base.explain(self, samples))
    )


# --------------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("model", ABILITIES, ids=lambda model: model.__name__)
def test_a_model_of_each_ability_passes(toy_plugin: Path, model: type) -> None:
    outcomes = check_class("toy", "model", model)
    assert failed(outcomes) == {}
    passed = {outcome.check for outcome in outcomes if outcome.outcome == "passed"}
    of_abilities = {rule.__name__.removeprefix("check_") for rule in checks_for("model") if from_capabilities(rule)}
    own = {
        Nearest: {"probabilities", "labels", "most_probable", "declarations"},
        Vectors: {"embeddings"},
        Guess: {"generation", "generation_seed"},
        Named: {"transformation"},
        Few: {"adaptation"},
        Shown: {"explanations"},
    }
    assert passed & of_abilities == own[model]


def from_capabilities(rule: Any) -> bool:
    return bool(rule.__module__ == capabilities.__name__)


@pytest.mark.parametrize(
    ("check", "base", "maker"),
    [pytest.param(check, base, maker, id=f"{check}-{maker.__name__}") for check, base, maker in BREAKS],
)
def test_a_variant_fails_exactly_the_check_that_it_breaks(
    toy_plugin: Path, check: str, base: type, maker: Maker
) -> None:
    made = maker(base)
    found = failed(check_class("toy", "model", made))
    assert set(found) == {check}, found
    assert found[check].startswith(f"{__name__}:{made.__qualname__} ")
    assert ". " in found[check], "it says how to mend it"


def test_every_rule_for_an_ability_has_a_variant_that_breaks_it() -> None:
    rules = {rule.__name__.removeprefix("check_") for rule in checks_for("model") if from_capabilities(rule)}
    elsewhere = {"optional_fields"}  # a test of its own, below
    assert rules == {check for check, _, _ in BREAKS if check != "batching"} | elsewhere


def test_labels_that_do_not_exclude_each_other_need_not_sum_to_one(toy_plugin: Path) -> None:
    several = changed_probabilities(Nearest, lambda found: np.minimum(found * 2, 1), label_kind="multilabel")
    outcomes = {outcome.check: outcome.outcome for outcome in check_class("toy", "model", several)}
    assert (outcomes["probabilities"], outcomes["most_probable"]) == ("passed", "skipped")


def test_an_explainer_that_can_not_explain_is_not_asked(toy_plugin: Path) -> None:
    silent = variant(Shown, can_explain=False, explain=None)
    outcomes = {outcome.check: outcome.outcome for outcome in check_class("toy", "model", silent)}
    assert outcomes["explanations"] == "skipped"


NOTED = replace(
    VECTOR_CLASSIFICATION, inputs={**VECTOR_CLASSIFICATION.inputs, "note": Text()}, optional=frozenset({"note"})
)


@pytest.mark.parametrize("needs_note", [False, True])
def test_a_field_that_is_not_required_may_be_absent(
    toy_plugin: Path, monkeypatch: pytest.MonkeyPatch, needs_note: bool
) -> None:
    points = registry.get("toy-points", "dataset")

    class NotedPoints(points):  # type: ignore[misc,valid-type]
        """Points with a note on each."""

        task = NOTED

        def __getitem__(self, index: int) -> Sample:
            return {**super().__getitem__(index), "note": "near the centre"}

    class Noted(Nearest):
        """Reads the note, if there is one."""

        task = NOTED

        def distances(self, samples: Any) -> Any:
            for index, sample in enumerate(samples):
                if needs_note and "note" not in sample:
                    raise InvalidSample("the note is missing", where=Where(sample=index, field="note"))
            return super().distances(samples)

    get = registry.get
    monkeypatch.setattr(registry, "get", lambda name, kind: NotedPoints if name == "toy-points" else get(name, kind))
    outcomes = check_class("toy", "model", Noted)
    assert set(failed(outcomes)) == ({"optional_fields"} if needs_note else set())
    assert "optional_fields" not in {outcome.check for outcome in outcomes if outcome.outcome == "skipped"}
