"""The toy keeps every rule, and for each rule a plugin that breaks it fails that check and no other."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, create_model
from quire import registry
from quire.classification import ClassificationEvaluator
from quire.conformance import Broken, NotApplicable, Outcome, check_class, check_plugin, checks_for, parametrize
from quire.conformance.package import PackageSubject
from quire.conformance.subject import differences
from quire.errors import PluginError
from quire.modality import Vector
from quire.model import Embedder
from quire.report import Report, Score
from quire.storage import content_hash
from quire.task import VECTOR_CLASSIFICATION

Base = Any  # the class that a variant is made of
Maker = Callable[[Base], type]
BREAKS: dict[str, list[tuple[str, Maker]]] = {"model": [], "dataset": [], "evaluator": []}


def breaks(kind: str, check: str) -> Callable[[Maker], Maker]:
    """Marks a function that makes a plugin which breaks exactly `check`."""

    def register(maker: Maker) -> Maker:
        BREAKS[kind].append((check, maker))
        return maker

    return register


def variant(*bases: Base, **members: Any) -> type:
    """A subclass that can be pickled, as any class of a module can."""
    name = f"Variant{len(vars(sys.modules[__name__]))}"
    made = type(name, bases, {"__module__": __name__, **members})
    setattr(sys.modules[__name__], name, made)
    return made


def failed(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.check: outcome.message for outcome in outcomes if outcome.outcome == "failed"}


# ------------------------------------------------------------------------------------------------- what keeps the rules


@pytest.mark.parametrize(
    ("name", "skipped"),
    [
        ("toy", {"embeddings"}),
        ("toy-points", set()),
        ("classification", {"core_version", "device"}),
        ("table", {"core_version", "device"}),
        ("folder", {"core_version", "device"}),
    ],
)
def test_what_keeps_the_rules_passes(toy_plugin: Path, name: str, skipped: set[str]) -> None:
    outcomes = check_plugin(name)
    assert failed(outcomes) == {}
    assert {outcome.check for outcome in outcomes if outcome.outcome == "skipped"} == skipped
    assert all(outcome.plugin == name and bool(outcome.message) == (outcome.outcome == "skipped") for outcome in outcomes)


def test_a_plugin_is_held_to_the_rules_of_its_kind_and_of_its_package(toy_plugin: Path) -> None:
    found = [outcome.check for outcome in check_plugin("toy-points")]
    rules = [check.__name__.removeprefix("check_") for kind in ("package", "dataset") for check in checks_for(kind)]
    assert found == rules
    assert len(found) == len(set(found))


def test_a_plugin_that_is_not_installed(toy_plugin: Path) -> None:
    with pytest.raises(PluginError, match="no plugin named 'toi'"):
        check_plugin("toi")
    with pytest.raises(PluginError, match="no dataset named 'toy'"):
        check_plugin("toy", "dataset")


def test_an_embedder_passes(toy_plugin: Path) -> None:
    toy = registry.get("toy", "model")
    embedder = variant(toy, Embedder, embed=lambda self, samples: toy.predict_proba(self, samples))
    outcomes = check_class("toy", "model", embedder)
    assert {outcome.check: outcome.outcome for outcome in outcomes}["embeddings"] == "passed"


def test_every_rule_has_a_variant_that_breaks_it() -> None:
    for kind, variants in BREAKS.items():
        rules = {check.__name__.removeprefix("check_") for check in checks_for(kind)}
        assert {check for check, _ in variants} == rules
    assert {check for check, _ in EDITS} == {check.__name__.removeprefix("check_") for check in checks_for("package")}


@pytest.mark.parametrize(
    ("kind", "check", "maker"),
    [pytest.param(kind, *each, id=each[1].__name__) for kind, variants in BREAKS.items() for each in variants],
)
def test_a_variant_fails_exactly_the_check_that_it_breaks(
    toy_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, check: str, maker: Maker
) -> None:
    """Filled from below: the parameters are made when all variants are known."""


# ----------------------------------------------------------------------------------------------------------- pytest
