"""The generated data sets: the formulas' properties, and the release's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from quire.errors import ConfigError, DataError
from quire_tsc.data import TimeSeriesDataset
from quire_tsc.formats import load_ucr_tsv
from quire_tsc.samples import control_chart, cylinder_bell_funnel

if TYPE_CHECKING:
    from pathlib import Path


def drawn(make: object, kind: int, count: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(kind)
    return np.stack([make(kind, rng) for _ in range(count)])  # type: ignore[operator]


def test_cylinder_bell_funnel_expectations() -> None:
    """Before a >= 16 all is noise; where every a has passed and few b have, the means are those of the formula."""
    cylinder, bell, funnel = (drawn(cylinder_bell_funnel, kind) for kind in (1, 2, 3))
    for values in (cylinder, bell, funnel):
        assert values.shape == (2000, 128)
        np.testing.assert_allclose(values[:, :15].mean(), 0, atol=0.03)
        np.testing.assert_allclose(values[:, :15].std(), 1, atol=0.03)
    # t = 33..48 lies in [a, b] for every a <= 32 and b >= 48
    inside = slice(32, 48)
    np.testing.assert_allclose(cylinder[:, inside].mean(), 6, atol=0.15)
    np.testing.assert_allclose(cylinder[:, inside].mean(axis=1).std(), np.sqrt(1 + 1 / 16), atol=0.1)  # eta, mean noise
    # the two ramps of one amplitude add up to the plateau
    np.testing.assert_allclose(
        bell[:, inside].mean(axis=0) + funnel[:, inside].mean(axis=0), np.full(16, 6.0), atol=0.3
    )
    assert np.diff(bell[:, inside].mean(axis=0)).mean() > 0
    assert np.diff(funnel[:, inside].mean(axis=0)).mean() < 0


def test_cylinder_length_is_uniform_on_32_to_96() -> None:
    values = drawn(cylinder_bell_funnel, 1, count=4000)
    # E[(b - a) + 1] of the 128 points carry 6 on average; b <= 128 always holds
    np.testing.assert_allclose(values.sum(axis=1).mean(), 6 * (64 + 1), rtol=0.02)


def test_control_chart_expectations() -> None:
    t = np.arange(1, 61)
    means = {kind: drawn(control_chart, kind).mean(axis=0) for kind in range(1, 7)}
    np.testing.assert_allclose(means[1], 30, atol=0.4)
    np.testing.assert_allclose(means[3], 30 + 0.35 * t, atol=0.5)
    np.testing.assert_allclose(means[4], 30 - 0.35 * t, atol=0.5)
    for kind, sign in ((5, 1), (6, -1)):
        np.testing.assert_allclose(means[kind][:19], 30, atol=0.4)
        np.testing.assert_allclose(means[kind][41:], 30 + sign * 13.75, atol=0.5)
    noise = drawn(control_chart, 1)
    assert np.abs(noise - 30).max() <= 6
    np.testing.assert_allclose(noise.std(), 2 * np.sqrt(3), rtol=0.01)  # 2 r, r uniform on -3..3
    assert np.abs(drawn(control_chart, 2) - 30).max() <= 21


def test_cycles_have_a_period_of_10_to_15() -> None:
    power = np.abs(np.fft.rfft(drawn(control_chart, 2) - 30, axis=1))[:, 1:].argmax(axis=1) + 1
    assert np.isin(power, [4, 5, 6]).mean() > 0.99  # 60 / 15 to 60 / 10 cycles


@pytest.mark.parametrize(
    ("name", "sizes", "length", "classes"), [("CBF", (30, 900), 128, 3), ("SyntheticControl", (300, 300), 60, 6)]
)
def test_release_layout(tmp_path: Path, name: str, sizes: tuple[int, int], length: int, classes: int) -> None:
    path = TimeSeriesDataset.sample(tmp_path / "new", name=name)
    assert path == tmp_path / "new" / name
    assert sorted(file.name for file in path.iterdir()) == sorted(
        ["README.md", f"{name}_TRAIN.tsv", f"{name}_TEST.tsv"]
    )
    for split, size in zip(("train", "test"), sizes, strict=True):
        opened = TimeSeriesDataset.open(path, split=split)
        assert (opened.name, len(opened)) == (name, size)
        assert opened.labels == tuple(str(kind) for kind in range(1, classes + 1))
        targets = [opened.target(index) for index in range(size)]
        assert {targets.count(label) for label in opened.labels} == {size // classes}
        values = np.concatenate([sample["series"] for sample in opened])
        assert values.shape == (size, length)
        np.testing.assert_allclose(values.mean(axis=1), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(axis=1), 1, atol=1e-5)


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    one, again, other = (
        TimeSeriesDataset.sample(tmp_path / str(index), seed=seed) for index, seed in enumerate((3, 3, 4))
    )
    for file in one.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes()
    assert (one / "CBF_TRAIN.tsv").read_bytes() != (other / "CBF_TRAIN.tsv").read_bytes()


def test_unknown_name_and_full_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no formulas for 'CFB' \(did you mean 'CBF'\?\)"):
        TimeSeriesDataset.sample(tmp_path / "new", name="CFB")
    (tmp_path / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="not an empty folder"):
        TimeSeriesDataset.sample(tmp_path)


def test_classes_mean_what_they_mean_in_the_archive(tmp_path: Path, release: Path) -> None:
    """Nearest class mean of the archive's training series recognises the generated control charts."""
    real = load_ucr_tsv(release / "ucr_tsv/SyntheticControl/SyntheticControl_TRAIN.tsv")
    ours = load_ucr_tsv(
        TimeSeriesDataset.sample(tmp_path / "new", name="SyntheticControl") / "SyntheticControl_TEST.tsv"
    )
    labels = np.array(real.labels)
    kinds = sorted(set(labels))
    means = np.stack([np.concatenate(real.series)[labels == kind].mean(axis=0) for kind in kinds])
    distances = np.linalg.norm(np.concatenate(ours.series)[:, None] - means, axis=2)
    told = np.array(kinds)[distances.argmin(axis=1)]
    trends = np.isin(np.array(ours.labels), ["3", "4", "5", "6"])
    assert (told == np.array(ours.labels))[trends].mean() > 0.9
