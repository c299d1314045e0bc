"""From embeddings and a protocol to a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from quire.errors import ConfigError, DataError
from quire.report import Report, Score
from quire_amsoftmax.evaluate.folds import Variant, centred_accuracy, fold_accuracy
from quire_amsoftmax.evaluate.identification import leave_one_out, megaface, open_set, rank_probes, retrieval
from quire_amsoftmax.evaluate.reports import identification_table, rate_name, trials_table, verification_report
from quire_amsoftmax.evaluate.streams import AllPairs, PairStream, ProbesAndDistractors, ScoreList, unit_rows
from quire_amsoftmax.evaluate.templates import paired_scores, pool_templates
from quire_amsoftmax.evaluate.verification import FARS, verify_pairs
from quire_amsoftmax.protocols.blufr import BlufrProtocol, Trial
from quire_amsoftmax.protocols.ijb import IjbProtocol
from quire_amsoftmax.protocols.pairs import Missing, NameIndex, PairsProtocol, missing_images

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from quire_amsoftmax.evaluate.store import Embeddings
    from quire_amsoftmax.evaluate.verification import Verification
    from quire_amsoftmax.protocols.identification import IdentificationProtocol
    from quire_amsoftmax.protocols.pairs import Scores

PairProtocol = Literal["folder", "lfw", "pairs-csv", "insightface-bin", "blufr", "ijb"]


@dataclass
class Judged:
    """A report and, where there is one stream of pairs, its figures (for roc.csv and thresholds)."""

    report: Report
    verification: Verification | None = None
    stream: PairStream | None = field(default=None, repr=False)


def judge_pairs(
    embeddings: Embeddings,
    protocol: PairProtocol,
    file: Path | None = None,
    *,
    fars: Sequence[float] = FARS,
    variant: Variant = "exact",
    center: bool = False,
    missing: Missing = "error",
) -> Judged:
    """The verification report of embeddings under `protocol`, whose own file is `file`.

    folder: all pairs, by identity. center: SphereFace's subtraction of the mean of the other folds (with its variant).
    """
    if protocol == "folder":
        return judge_folder(embeddings, fars)
    if file is None:
        raise ConfigError(f"the protocol {protocol} needs its file", remedy="Name it with file=PATH.")
    if protocol == "blufr":
        return judge_blufr(embeddings, BlufrProtocol.read(file), fars=fars, missing=missing)
    if protocol == "ijb":
        return judge_ijb(embeddings, IjbProtocol.read(file), fars=fars)
    readers = {
        "lfw": PairsProtocol.read_lfw,
        "pairs-csv": PairsProtocol.read_csv,
        "insightface-bin": PairsProtocol.read_bin,
    }
    pairs = readers[protocol](file).resolve(embeddings.ids, missing=missing)
    vectors = unit_rows(embeddings.vectors)
    left, right = vectors[pairs.left], vectors[pairs.right]
    scores = np.einsum("ij,ij->i", left, right)
    folds = None
    if pairs.folds is not None:
        if center:
            folds = centred_accuracy(left, right, pairs.same, pairs.folds.tolist())
        else:
            folds = fold_accuracy(scores, pairs.same, pairs.folds.tolist(), variant=variant)
    stream = ScoreList(scores, pairs.same)
    found = verify_pairs(stream, fars)
    report = verification_report(found, f"Verification ({protocol})", folds=folds)
    report.notes += pairs.notes
    report.provenance |= {"protocol": protocol, "variant": "sphereface, centred" if center else variant}
    report.metrics["skipped_pairs"] = Score(pairs.n_skipped)
    return Judged(report, found, stream)


def judge_scores(scores: Scores, *, fars: Sequence[float] = FARS, variant: Variant = "exact") -> Judged:
    """The report of any system's scores."""
    folds = None
    if scores.folds is not None:
        folds = fold_accuracy(scores.scores, scores.same, scores.folds.tolist(), variant=variant)
    stream = ScoreList(scores.scores, scores.same)
    found = verify_pairs(stream, fars)
    return Judged(verification_report(found, "Verification (scores)", folds=folds), found, stream)


def judge_folder(embeddings: Embeddings, fars: Sequence[float] = FARS) -> Judged:
    """All pairs of the embeddings whose identity is known."""
    known = embeddings.known()
    stream = AllPairs(known.vectors, np.array(known.identities, dtype=str))
    found = verify_pairs(stream, fars)
    report = verification_report(found, "Verification (all pairs)")
    report.n_used = len(known)
    return Judged(report, found, stream)


def judge_blufr(
    embeddings: Embeddings, protocol: BlufrProtocol, *, fars: Sequence[float], missing: Missing = "error"
) -> Judged:
    """Ten trials: VR at the false-accept rates, DIR at 1 % and rank 1; mean, std and mean - std."""
    protocol, places = protocol.resolve(embeddings.ids, missing=missing)
    vectors = unit_rows(embeddings.vectors[places])
    figures: dict[str, list[float]] = {f"vr@far={rate_name(far)}": [] for far in fars}
    figures["dir@far=1e-2"] = []
    for trial in protocol.trials:
        found = verify_pairs(AllPairs(vectors[trial.test], protocol.labels[trial.test]), fars)
        for point in found.points:
            figures[f"vr@far={rate_name(point.far)}"].append(point.vr if point.resolvable else float("nan"))
        figures["dir@far=1e-2"].append(_trial_dir(vectors, protocol.labels, trial))
    table, scores = trials_table("Trials", figures)
    report = Report("BLUFR", metrics=scores, tables=[table], n_used=len(places), notes=list(protocol.notes))
    report.notes.append("The official figure of BLUFR is mean - std over the trials.")
    return Judged(report)


def _trial_dir(vectors: NDArray[np.float32], labels: NDArray[np.int64], trial: Trial) -> float:
    """DIR at FAR = 1 %, rank 1: probes whose person is in the gallery are genuine, others impostors."""
    if not len(trial.gallery) or not len(trial.probes):
        return float("nan")
    ranks = rank_probes(vectors[trial.probes], labels[trial.probes], vectors[trial.gallery], labels[trial.gallery])
    strangers = ~ranks.has_mate
    if not strangers.any() or not ranks.has_mate.any():
        return float("nan")
    return open_set(ranks, ranks.best_other[strangers], 0.01).rates[1]


def judge_ijb(
    embeddings: Embeddings, protocol: IjbProtocol, *, fars: Sequence[float], weighted: bool = False
) -> Judged:
    """1:1 verification of templates."""
    find = NameIndex(embeddings.ids)
    places = np.array([find(name) for name in protocol.images], np.int64)
    if find.missing:
        raise missing_images(find.missing, "ijb")
    ids, pooled = pool_templates(
        embeddings.vectors[places],
        protocol.templates,
        protocol.media,
        detector_scores=protocol.detector_scores if weighted else None,
    )
    stream = ScoreList(paired_scores(pooled, ids, protocol.left, protocol.right), protocol.same)
    found = verify_pairs(stream, fars)
    report = verification_report(found, "Verification (ijb)")
    report.notes.append(f"{len(ids):,} templates of {len(places):,} images.")
    return Judged(report, found, stream)


def judge_megaface(
    probes: Embeddings, distractors: NDArray[np.float32], *, sizes: Sequence[int] | None = None, seed: int = 0
) -> Judged:
    """Rank 1 and 10 at some numbers of distractors, and VR at FAR = 1e-6 of probes with all distractors."""
    found = megaface(probes.vectors, probes.identities, distractors, sizes=sizes, seed=seed)
    stream = ProbesAndDistractors(probes.vectors, probes.identities, distractors)
    verified = verify_pairs(stream, (1e-6, 1e-5, 1e-4))
    report = verification_report(verified, "MegaFace")
    for size, rates in found.rates.items():
        for rank, rate in rates.items():
            report.metrics[f"rank{rank}@{size}"] = Score(rate, higher_is_better=True)
    report.n_used = len(probes)
    report.notes.append(f"{found.n_pairs:,} ordered pairs of a probe and a mate.")
    return Judged(report, verified, stream)


def judge_closed_set(embeddings: Embeddings, protocol: IdentificationProtocol | None = None) -> Report:
    """Rank 1, 5, 10 and, without a protocol, recall and mAP@R of each image among all others.

    Probes without a mate are left out and counted.
    """
    if protocol is None:
        known = embeddings.known()
        ranks = leave_one_out(known.vectors, known.identities)
        more = retrieval(known.vectors, known.identities)
    else:
        gallery, probes = protocol.roles != "probe", protocol.roles == "probe"
        vectors = embeddings.vectors
        ranks = rank_probes(
            vectors[probes], protocol.identities[probes], vectors[gallery], protocol.identities[gallery]
        )
        more = {}
    n_mated = int(ranks.has_mate.sum())
    rates = {rank: ranks.hit_rate(rank) for rank in (1, 5, 10)}
    reason = "no probe has a mate"
    metrics = {f"rank{rank}": Score(rate, reason, higher_is_better=True) for rank, rate in rates.items()}
    for name in ("recall@1", "recall@10", "map@r") if protocol is None else ():
        metrics[name] = Score(more.get(name), reason, higher_is_better=True)
    report = Report("Identification", metrics=metrics, tables=[identification_table(rates)], n_used=n_mated)
    if n_mated < len(ranks.rank):
        report.notes.append(f"{len(ranks.rank) - n_mated} probes have no mate in the gallery and were left out.")
    return report


def judge_open_set(
    embeddings: Embeddings,
    protocol: IdentificationProtocol | None = None,
    *,
    fars: Sequence[float] = (0.01, 0.1),
    ranks: Sequence[int] = (1, 5),
) -> Report:
    """DIR: how many probes of known people are found and accepted, while that share of strangers is accepted.

    Without a protocol, every second identity (in order of name) is enrolled with its first image (in order of id); its
    other images are genuine probes, and all images of the others are strangers.
    """
    report = Report("Open-set identification")
    names = [f"dir@far={rate_name(far)},rank={rank}" for far in fars for rank in ranks]
    try:
        found = _enrolled(embeddings.known()) if protocol is None else _roles(embeddings, protocol)
    except DataError as error:
        report.metrics = {name: Score(None, error.message, higher_is_better=True) for name in names}
        return report
    vectors, labels, gallery, probes = found
    ranked = rank_probes(vectors[probes], labels[probes], vectors[gallery], labels[gallery])
    strangers = ranked.best_other[~ranked.has_mate]
    report.n_used = int(probes.sum())
    report.notes.append(f"{int(ranked.has_mate.sum())} probes of known people, {len(strangers)} of strangers.")
    for far in fars:
        if not len(strangers) or not ranked.has_mate.any():
            reason = f"no probe is of {'a stranger' if not len(strangers) else 'an enrolled person'}"
            report.metrics |= {f"dir@far={rate_name(far)},rank={rank}": Score(None, reason) for rank in ranks}
            continue
        point = open_set(ranked, strangers, far, ranks)
        for rank, rate in point.rates.items():
            reason = f"{len(strangers)} strangers can't resolve a rate of {rate_name(far)}"
            value = rate if point.k else None
            report.metrics[f"dir@far={rate_name(far)},rank={rank}"] = Score(value, reason, higher_is_better=True)
    return report


Enrolled = tuple["NDArray[np.float32]", "NDArray[np.str_]", "NDArray[np.bool_]", "NDArray[np.bool_]"]


def _enrolled(known: Embeddings) -> Enrolled:
    labels = np.array(known.identities, dtype=str)
    enrolled = np.unique(labels)[::2]
    first: dict[str, int] = {}
    for position in sorted(range(len(known)), key=known.ids.__getitem__):
        first.setdefault(known.identities[position], position)
    gallery = np.zeros(len(known), bool)
    gallery[[first[name] for name in enrolled.tolist()]] = True
    if not gallery.any():
        raise DataError("there is no image with an identity")
    return known.vectors, labels, gallery, ~gallery


def _roles(embeddings: Embeddings, protocol: IdentificationProtocol) -> Enrolled:
    probes = protocol.roles == "probe"
    return embeddings.vectors, protocol.identities, ~probes, probes
