"""The review's benchmarks as studies: 85 and 128 univariate data sets, 12 multivariate ones, every architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quire.report import Figure, Table
from quire.study import Method, Published, Results, Source, Study
from quire_tsc.architectures import ARCHITECTURES
from quire_tsc.catalogue import CatalogueEntry, catalogue
from quire_tsc.reference import TITLES, Benchmark, reference_results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from quire.report import Cell

UNTIMED = frozenset({"mcnn"})
"""Models whose published seconds (about five for a grid of nine networks) can't be those of a training."""
UNCOUNTED = {
    "ElectricDevices": 8926 * 96,
    "EthanolLevel": 504 * 1751,
    "FordA": 3601 * 500,
    "FordB": 3636 * 500,
    "HandOutlines": 1000 * 2709,
    "MixedShapesRegularTrain": 500 * 1024,
    "NonInvasiveFetalECGThorax1": 1800 * 750,
    "NonInvasiveFetalECGThorax2": 1800 * 750,
    "SemgHandGenderCh2": 300 * 1500,
    "SemgHandMovementCh2": 450 * 1500,
    "SemgHandSubjectCh2": 450 * 1500,
    "StarLightCurves": 1000 * 1024,
    "UWaveGestureLibraryAll": 896 * 945,
}
"""Training series times length of data sets that the catalogue does not count: unconfirmed, and used for nothing but the
order and the estimated cost of cells."""
MULTIVARIATE = {
    "ArabicDigits": 6600 * 93,
    "AUSLAN": 1140 * 136,
    "CharacterTrajectories": 300 * 205,
    "CMUsubject16": 29 * 580,
    "ECG": 100 * 152,
    "JapaneseVowels": 270 * 29,
    "KickvsPunch": 16 * 841,
    "Libras": 180 * 45,
    "NetFlow": 803 * 997,
    "UWave": 200 * 315,
    "Wafer": 298 * 198,
    "WalkvsRun": 28 * 1918,
}
"""The review's multivariate data sets (Baydogan's archive): training series times the greatest length; unconfirmed, and
used for nothing but the order and the estimated cost of cells."""


class Review(Study):
    """A benchmark of the review: every architecture, under the recipe that `recipe=paper` changes."""

    benchmark: Benchmark

    def methods(self) -> Sequence[Method]:
        """One per architecture, named by it."""
        return [Method(name, "tsc", {"architecture": name, "recipe": "fast"}) for name in ARCHITECTURES]

    def published(self) -> Mapping[tuple[str, str], Published]:
        """The benchmark's figures; training times that it lacks are those of the authors' later run of 128.

        Figures that are known to be wrong (see `reference.INVALID`) stand without their mean.
        """
        later = reference_results("ucr128").set_index(["model", "dataset"])["train_seconds"].to_dict()
        return {
            (row["model"], row["dataset"]): Published(
                mean=row["accuracy"] if row["valid"] else None,
                std=_known(row["std"]),
                n=int(row["n_runs"]),
                seconds=None if row["model"] in UNTIMED else self._seconds(row, later),
            )
            for row in reference_results(self.benchmark).to_dict("records")
        }

    def _seconds(self, row: Mapping[Any, Any], later: Mapping[Any, Any]) -> float | None:
        """The published training time or, where the benchmark lacks it, that of the later run of 128."""
        known = _known(row["train_seconds"])
        return known if known or self.benchmark == "mts12" else _known(later.get((row["model"], row["dataset"])))

    def tables(self, results: Results) -> Sequence[Table]:
        """Mean ranks, and the data sets that a model alone wins, over the data sets that all models have."""
        from quire_tsc.stats import rank_table, wins

        ours = results.means().dropna()
        if ours.shape[1] < 2 or ours.empty:
            return ()
        theirs = results.published_means().loc[ours.index].dropna(axis="columns")
        ranks, won = rank_table(ours).mean(), wins(ours)
        published = rank_table(theirs).mean().to_dict() if theirs.shape[1] > 1 else {}
        rows: list[list[Cell]] = [
            [TITLES.get(model, model), float(ranks[model]), int(won[model]), published.get(model)]
            for model in map(str, ranks.sort_values(kind="stable").index)
        ]
        note = (
            f"Over the {len(ours)} data sets that all models have. The published ranks are among the models with "
            "published figures for all of these."
        )
        return [Table("Ranks", ["model", "mean rank", "wins alone", "published mean rank"], rows, note)]

    def figures(self, results: Results) -> Sequence[Figure]:
        """The critical-difference diagram and, for the UCR archive, ranks by theme and length."""
        from quire_tsc.stats import plot_critical_difference

        scores = results.means().dropna()
        if scores.shape[1] < 3 or len(scores) < 3:
            return ()
        note = f"Over the {len(scores)} data sets that all models have."
        figures = [Figure("Critical differences", plot_critical_difference(scores), note)]
        return figures if self.benchmark == "mts12" else figures + _by_group(scores)


def _by_group(scores: pd.DataFrame) -> list[Figure]:
    from quire_tsc.stats import group_table, plot_groups

    entries = catalogue()
    figures = []
    if any(entries[str(name)].theme for name in scores.index):
        figures.append(Figure("By theme", plot_groups(group_table(scores, "theme"))))
    if any(entries[str(name)].length for name in scores.index):
        figures.append(Figure("By length", plot_groups(group_table(scores, "length"))))
    return figures


class Archive(Review):
    """Data sets of the UCR archive, which go by their names of 2018."""

    def entries(self) -> Sequence[CatalogueEntry]:
        """The data sets as the catalogue has them."""
        return list(catalogue().values())

    def sources(self, data: Path | None) -> Sequence[Source]:
        """Folders by their names of 2018 or 2015."""
        there = _children(data)
        return [
            Source(
                entry.name,
                there.get(entry.name.lower()) or there.get((entry.name_2015 or entry.name).lower()),
                reader="time-series",
                size=_size(entry),
            )
            for entry in self.entries()
        ]


class UCR128(Archive):
    """The archive of 2018, on which the review's authors ran their networks later, 5 times."""

    title = "Time-series classification: the 128 data sets of the UCR archive"
    benchmark = "ucr128"
    seeds = tuple(range(5))


class UCR85(Archive):
    """The review's 85 data sets, 10 runs."""

    title = "Time-series classification: the review's 85 univariate data sets"
    benchmark = "ucr85"
    seeds = tuple(range(10))

    def entries(self) -> Sequence[CatalogueEntry]:
        """Those that the archive of 2015 has."""
        return [entry for entry in super().entries() if entry.name_2015]


class MTS12(Review):
    """The review's 12 multivariate data sets, 10 runs."""

    title = "Time-series classification: the review's 12 multivariate data sets"
    benchmark = "mts12"
    seeds = tuple(range(10))

    def sources(self, data: Path | None) -> Sequence[Source]:
        """NAME.mat, or folders by their names."""
        there = _children(data)
        return [
            Source(name, there.get(f"{name.lower()}.mat") or there.get(name.lower()), reader="time-series", size=size)
            for name, size in MULTIVARIATE.items()
        ]


def _children(folder: Path | None) -> dict[str, Path]:
    """What a folder holds, by its name in lower case."""
    return {path.name.lower(): path for path in sorted(folder.iterdir())} if folder is not None else {}


def _size(entry: CatalogueEntry) -> float | None:
    """Training series times length."""
    if entry.n_train is None or entry.length is None:
        return UNCOUNTED.get(entry.name)
    return entry.n_train * entry.length


def _known(value: float | None) -> float | None:
    return None if value is None or value != value else float(value)  # noqa: PLR0124 - NaN alone differs from itself
