"""Two data sets of the archive that are made by published formulas, written as the archive's release holds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quire.dataset import new_release
from quire.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

Float64 = NDArray[np.float64]

CBF_LENGTH = 128
SYNTHETIC_CONTROL_LENGTH = 60


def cylinder_bell_funnel(kind: int, rng: np.random.Generator) -> Float64:
    """One series float64 [128] of class 1 (cylinder), 2 (bell) or 3 (funnel); N. Saito, PhD thesis, Yale 1994.

    On [a, b] the amplitude 6 + eta, constant, rising or falling; standard normal noise everywhere. a is uniform on
    16..32, b - a on 32..96, eta standard normal.
    """
    t = np.arange(1, CBF_LENGTH + 1)
    a = rng.integers(16, 32, endpoint=True)
    b = a + rng.integers(32, 96, endpoint=True)
    ramp = (t - a) / (b - a)
    shape = {1: np.ones(CBF_LENGTH), 2: ramp, 3: 1 - ramp}[kind]
    inside = (t >= a) & (t <= b)
    return (6 + rng.normal()) * inside * shape + rng.normal(size=CBF_LENGTH)


def control_chart(kind: int, rng: np.random.Generator) -> Float64:
    """One series float64 [60]: class 1 normal, 2 cyclic, 3 rising, 4 falling, 5 shifted up, 6 shifted down.

    R. Alcock, Y. Manolopoulos, "Time-series similarity queries employing a feature-based approach", 1999: mean 30 and
    noise 2 r(t), r uniform on -3..3; amplitude and period of the cycle uniform on 10..15, the trend's gradient on
    0.2..0.5, the shift's size on 7.5..20 and its moment in the middle third.
    """
    t = np.arange(1, SYNTHETIC_CONTROL_LENGTH + 1)
    series: Float64 = 30 + 2 * rng.uniform(-3, 3, size=SYNTHETIC_CONTROL_LENGTH)
    sign = 1 if kind in (3, 5) else -1
    if kind == 2:
        series += rng.uniform(10, 15) * np.sin(2 * np.pi * t / rng.uniform(10, 15))
    elif kind in (3, 4):
        series += sign * rng.uniform(0.2, 0.5) * t
    elif kind in (5, 6):
        moment = rng.uniform(SYNTHETIC_CONTROL_LENGTH / 3, 2 * SYNTHETIC_CONTROL_LENGTH / 3)
        series += sign * rng.uniform(7.5, 20) * (t >= moment)
    return series


_MAKERS: dict[str, tuple[Callable[[int, np.random.Generator], Float64], int, int, int, str]] = {
    "CBF": (
        cylinder_bell_funnel, 3, 30, 900,
        "Cylinder, bell and funnel after N. Saito (1994): class 1 a plateau, class 2 a rising, class 3 a falling ramp, "
        "in noise.",
    ),
    "SyntheticControl": (
        control_chart, 6, 300, 300,
        "Control charts after R. Alcock and Y. Manolopoulos (1999): class 1 normal, 2 cyclic, 3 rising trend, "
        "4 falling trend, 5 upward shift, 6 downward shift.",
    ),
}  # fmt: skip


def write_release(folder: Path, *, name: str = "CBF", seed: int = 0) -> Path:
    """Write NAME/NAME_TRAIN.tsv, NAME_TEST.tsv and README.md to the new or empty `folder`; returns folder/NAME.

    The sizes are the archive's: CBF 30 and 900 series of 128, SyntheticControl 300 and 300 of 60, classes in equal
    shares, each series normalised to mean 0 and deviation 1. ConfigError for another name, DataError if `folder`
    holds anything.
    """
    if name not in _MAKERS:
        raise ConfigError(
            f"there are no formulas for {name!r}{nearest(name, _MAKERS)}", remedy=f"There are: {', '.join(_MAKERS)}."
        )
    make, n_classes, n_train, n_test, about = _MAKERS[name]
    rng = np.random.default_rng(seed)
    with new_release(Path(folder)) as building:
        release = building / name
        release.mkdir()
        for split, size in (("TRAIN", n_train), ("TEST", n_test)):
            labels = rng.permutation(np.arange(size) % n_classes + 1)
            rows = [_row(int(label), make(int(label), rng)) for label in labels]
            (release / f"{name}_{split}.tsv").write_text("".join(rows), encoding="utf-8")
        length = rows[0].count("\t")
        (release / "README.md").write_text(
            f"# {name}\n\n{about}\n\nMade by the published formulas with seed {seed}; not the archive's own series.\n\n"
            f"- Train size: {n_train}\n\n- Test size: {n_test}\n\n- Missing value: No\n\n"
            f"- Number of classes: {n_classes}\n\n- Time series length: {length}\n",
            encoding="utf-8",
        )
    return Path(folder) / name


def _row(label: int, series: Float64) -> str:
    normal = (series - series.mean()) / series.std()
    return "\t".join([str(label), *(f"{value:.8g}" for value in normal)]) + "\n"
