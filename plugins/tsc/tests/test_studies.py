"""The review's benchmarks as studies: which cells, with which published figures, found where."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from quire.study import Results, Row
from quire_tsc.config import TSCConfig
from quire_tsc.reference import published
from quire_tsc.studies import ARCHITECTURES, MTS12, UCR85, UCR128, Review

if TYPE_CHECKING:
    from collections.abc import Sequence

STUDIES = {"ucr85": UCR85, "ucr128": UCR128, "mts12": MTS12}


@pytest.mark.parametrize(("benchmark", "datasets", "runs"), [("ucr85", 85, 10), ("ucr128", 128, 5), ("mts12", 12, 10)])
def test_a_benchmark_has_the_cells_of_the_paper(benchmark: str, datasets: int, runs: int) -> None:
    study: Review = STUDIES[benchmark]()
    sources = study.sources(None)
    assert len(sources) == datasets
    assert all(source.path is None and source.size for source in sources)  # every cell can be ordered and estimated
    assert study.seeds == tuple(range(runs))
    assert [method.name for method in study.methods()] == list(ARCHITECTURES)
    for method in study.methods():
        assert TSCConfig.parse(method.config, owner="tsc").architecture == method.name


def test_the_review_trained_8730_models() -> None:
    reviewed = [name for name in ARCHITECTURES if published("ucr85", name, "CBF") and name != "inception_time"]
    cells = sum(len(study.sources(None)) * len(study.seeds) for study in (UCR85(), MTS12()))
    assert cells * len(reviewed) == 8730


@pytest.mark.parametrize("benchmark", STUDIES)
def test_published_figures_fit_the_cells(benchmark: str) -> None:
    study = STUDIES[benchmark]()
    figures = study.published()
    names = {source.name for source in study.sources(None)}
    assert {dataset for _, dataset in figures} == names
    assert {model for model, _ in figures} <= set(ARCHITECTURES)
    fcn = published(benchmark, "fcn", "ECG" if benchmark == "mts12" else "GunPoint")
    assert fcn is not None
    figure = figures["fcn", "ECG" if benchmark == "mts12" else "GunPoint"]
    assert (figure.mean, figure.std, figure.n) == (fcn.mean, fcn.std, fcn.n_runs)
    assert all(figure.mean is None for (model, _), figure in figures.items() if model == "tlenet")  # an artefact
    if benchmark != "mts12":  # whose times are unknown for most models
        assert all(figure.seconds for (model, _), figure in figures.items() if model in ("fcn", "resnet", "twiesn"))


def test_data_sets_are_found_by_either_name(tmp_path: Path) -> None:
    for name in ("Gun_Point", "CBF", "synthetic_control"):
        (tmp_path / name).mkdir()
    (tmp_path / "ECG.mat").touch()
    (tmp_path / "UWave").mkdir()
    found = {source.name: source.path for source in UCR85().sources(tmp_path) if source.path}
    expected = {"GunPoint": "Gun_Point", "CBF": "CBF", "SyntheticControl": "synthetic_control"}
    assert found == {name: tmp_path / folder for name, folder in expected.items()}
    found = {source.name: source.path for source in MTS12().sources(tmp_path) if source.path}
    assert found == {"ECG": tmp_path / "ECG.mat", "UWave": tmp_path / "UWave"}


def test_the_archive_at_hand_is_found() -> None:
    if "QUIRE_DATA" not in os.environ:
        pytest.skip("QUIRE_DATA is not set")
    data = Path(os.environ["QUIRE_DATA"]) / "tsc" / "ucr_tsv"
    there = {path.name for path in data.iterdir() if not path.name.startswith("Missing_value")}
    assert {source.name for source in UCR128().sources(data) if source.path} == there


def results(models: Sequence[str], datasets: Sequence[str], accuracies: list[list[float | None]]) -> Results:
    rows = [
        Row("done", metrics={"accuracy": value}, model=model, dataset=dataset)
        for dataset, values in zip(datasets, accuracies, strict=True)
        for model, value in zip(models, values, strict=True)
        if value is not None
    ]
    return Results(rows, metric="accuracy", published=UCR85().published(), models=ARCHITECTURES)


def test_ranks_by_hand() -> None:
    datasets = ["CBF", "Coffee", "Trace"]
    found = results(["fcn", "mlp", "minirocket"], datasets, [[0.9, 0.8, 1.0], [1.0, 0.7, 1.0], [0.9, 0.8, None]])
    (table,) = UCR85().tables(found)
    ranks = {row[0]: row[1:] for row in table.rows}
    # over CBF (2, 3, 1) and Coffee (1.5, 3, 1.5), the two that all models have
    assert ranks == {"MiniRocket": [1.25, 1, None], "FCN": [1.75, 0, 1.0], "MLP": [3.0, 0, 2.0]}
    assert [row[0] for row in table.rows] == ["MiniRocket", "FCN", "MLP"]
    assert "2 data sets" in table.note


def test_figures_of_a_whole_study() -> None:
    rng = np.random.default_rng(0)
    datasets = ["CBF", "Coffee", "Trace", "GunPoint", "ECG200", "OSULeaf"]
    found = results(["fcn", "mlp", "twiesn"], datasets, rng.uniform(0.5, 1.0, (6, 3)).tolist())
    titles = [figure.title for figure in UCR85().figures(found)]
    assert titles == ["Critical differences", "By theme", "By length"]
    assert all(figure.image()[1] for figure in UCR85().figures(found))
    few = results(["fcn", "mlp"], datasets[:2], [[0.5, 0.6], [0.5, 0.6]])
    assert UCR85().figures(few) == ()
