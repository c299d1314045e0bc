"""Rules of series: where the pattern stands, how much of it is left, and what happens to lengths, channels and gaps."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.modality import Series
from quire_duo.case import Case
from quire_duo.patterns import filled, most_unlike, piece_of, stretched
from quire_duo.rules import series as rules
from quire_duo.seeds import NotApplicable, Seed
from quire_duo.validity import series as validity
from quire_duo.witness import SeriesInterval, Witness
from quire_duo.workshop import Workshop

RULES = [
    rule()
    for _, rule in inspect.getmembers(rules, inspect.isclass)
    if issubclass(rule, rules.SeriesRule) and rule is not rules.SeriesRule
]
DATA = os.environ.get("QUIRE_DATA")
WITH_HOST = [rule for rule in RULES if len(rule.slots) > 1]
STRENGTHS = [
    (rule, {parameter.name: parameter.grid[min(level, len(parameter.grid) - 1)] for parameter in rule.parameters})
    for rule in RULES
    for level in range(3)
]


def wave(length=120, channels=1, cycles=3.0, name="wave", toxic=True):
    time = np.linspace(0, 1, length)
    value = np.stack([(1 + k) * np.sin(2 * np.pi * cycles * time + k) + 5 * k for k in range(channels)])
    return Seed(name, "general", toxic, "series", value.astype(np.float32))


def noise(length=120, channels=1, seed=1):
    value = np.random.default_rng(seed).normal(3, 2, (channels, length)).astype(np.float32)
    return Seed(f"noise-{seed}", "general", False, "series", value)


def seed_of(value):
    return Seed("made", "general", True, "series", np.asarray(value, np.float32))


def fuse(rule, toxic, host, parameters=None, seed=0):
    parts = {"toxic": [toxic], "host": [host]} if len(rule.slots) > 1 else {"toxic": [toxic]}
    return rule.apply(parts, rule.check(parameters or {}), np.random.default_rng(seed), Workshop())


def case_of(rule, toxic, fused):
    return Case(rule.id, {}, (toxic,), "general", "toxic", rule.guarantee, fused.content, fused.witness, 0)


@pytest.mark.parametrize(("rule", "parameters"), STRENGTHS, ids=lambda value: getattr(value, "id", None))
@pytest.mark.parametrize("channels", [1, 3])
def test_the_pattern_stands_where_the_witness_says(rule, parameters, channels):
    toxic, host = wave(110, channels), noise(150, channels)
    fused = fuse(rule, toxic, host, parameters)
    series = Series(channels=channels).check(fused.content["series"], field="series")
    assert {place.place.channels for place in fused.witness.units} == {(channel,) for channel in range(channels)}
    for unit in fused.witness.units:
        place = unit.place
        (channel,) = place.channels
        # Found again by hand: resample, take the part, scale, compare.
        old = np.linspace(0, 1, toxic.value.shape[1])
        whole = np.interp(np.linspace(0, 1, place.stretched or len(old)), old, toxic.value[channel])
        first, last = place.source or (0, len(whole))
        expected = place.gain * whole[first:last] + place.offset
        error = series[channel, place.start : place.end] - expected
        assert np.sqrt(np.mean(error**2)) / np.std(place.gain * whole[first:last]) == pytest.approx(
            place.residual, abs=1e-5
        )
    assert series.shape[1] == (150 if len(rule.slots) > 1 else 110)
    check = validity.check(case_of(rule, toxic, fused))
    assert check.passed
    assert check.measured["residual"] == pytest.approx(max(unit.place.residual for unit in fused.witness.units))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_seed_of_the_draw_decides_everything(rule):
    toxic, host = wave(), noise()
    first, again = fuse(rule, toxic, host, seed=4), fuse(rule, toxic, host, seed=4)
    assert first.content["series"].tobytes() == again.content["series"].tobytes()
    assert first.witness == again.witness
    assert Witness.from_json(first.witness.to_json()) == first.witness


@pytest.mark.parametrize("name", ["S.embed", "S.concat", "S.warp", "S.noise"])
def test_another_draw_gives_another_case(name):
    rule = next(rule for rule in RULES if rule.id == name)
    made = {fuse(rule, wave(), noise(), seed=seed).content["series"].tobytes() for seed in range(8)}
    assert len(made) > 2


@pytest.mark.parametrize(("name", "parameter"), [("S.overlay", "ratio"), ("S.noise", "snr")])
@pytest.mark.parametrize("decibels", [20.0, 10.0, 5.0, 0.0])
def test_ratios_are_realised(name, parameter, decibels):
    rule = next(rule for rule in RULES if rule.id == name)
    toxic = wave(200, channels=2)
    fused = fuse(rule, toxic, noise(200, channels=2), {parameter: decibels})
    added = fused.content["series"] - toxic.value
    for channel in range(2):
        realised = 20 * np.log10(toxic.value[channel].std() / added[channel].std())
        assert realised == pytest.approx(decibels, abs=0.01)
        assert fused.witness.units[channel].place.residual == pytest.approx(10 ** (-decibels / 20), rel=1e-3)


def test_a_pattern_weaker_than_its_host_is_dropped():
    toxic = wave()
    fused = fuse(rules.Overlay(), toxic, noise(), {"ratio": -3.0})
    check = validity.check(case_of(rules.Overlay(), toxic, fused))
    assert not check.passed
    assert "1.41 times as strong" in check.detail


def test_a_pattern_that_was_changed_after_the_fact_is_found_out():
    toxic = wave()
    fused = fuse(rules.Embed(), toxic, noise())
    place = fused.witness.units[0].place
    fused.content["series"][:, place.start : place.end] = 0
    assert not validity.check(case_of(rules.Embed(), toxic, fused)).passed
    assert "0% of the pattern's amplitude" in validity.check(case_of(rules.Embed(), toxic, fused)).detail
    fused.content["series"][:, place.start] = np.nan
    assert not validity.check(case_of(rules.Embed(), toxic, fused)).passed


def test_a_host_that_cancels_the_pattern_is_dropped():
    toxic = wave()
    opposite = seed_of(-toxic.value)
    fused = fuse(rules.Overlay(), toxic, opposite, {"ratio": 0.0})
    assert np.abs(fused.content["series"] - toxic.value.mean()).max() < 1e-5
    assert not validity.check(case_of(rules.Overlay(), toxic, fused)).passed


def test_embedding_leaves_the_host_alone_elsewhere():
    host = noise()
    fused = fuse(rules.Embed(), wave(), host, {"share": 0.25, "fade": 0.0})
    place = fused.witness.units[0].place
    outside = np.ones(120, bool)
    outside[place.start : place.end] = False
    assert place.end - place.start == 30
    assert np.array_equal(fused.content["series"][:, outside], host.value[:, outside])


def test_embedding_without_resampling_keeps_the_steps():
    toxic = wave(40)
    fused = fuse(rules.Embed(), toxic, noise(), {"resample": False, "fade": 0.0})
    place = fused.witness.units[0].place
    assert place.stretched is None
    assert np.array_equal(fused.content["series"][:, place.start : place.end], toxic.value)
    with pytest.raises(NotApplicable, match="200 steps of a pattern do not fit a series of 120"):
        fuse(rules.Embed(), wave(200), noise(), {"resample": False})


def test_splicing_takes_the_part_that_tells_the_two_apart():
    host = np.zeros(100)
    host[::2] = 1
    toxic = host.copy()
    toxic[60:80] = np.linspace(-4, 4, 20)
    fused = fuse(rules.Splice(), seed_of(toxic), seed_of(host), {"share": 0.2, "fade": 0.0})
    place = fused.witness.units[0].place
    assert (place.start, place.end) == (60, 80) == place.source
    assert np.allclose(fused.content["series"][0], toxic)


def test_the_most_unlike_window_agrees_with_a_slow_search():
    rng = np.random.default_rng(3)
    pattern, host = rng.normal(size=(2, 2, 50))
    norm = lambda x: (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)  # noqa: E731
    slow = [np.square(norm(pattern)[:, i : i + 12] - norm(host)[:, i : i + 12]).sum() for i in range(39)]
    assert most_unlike(pattern, host, 12) == int(np.argmax(slow))


def test_joints_are_crossfaded():
    toxic, host = seed_of(10 + wave(100).value), seed_of(-10 + wave(100, cycles=1).value)
    hard, soft = (fuse(rules.Splice(), toxic, host, {"share": 0.3, "fade": fade}) for fade in (0.0, 0.1))
    jumps = [np.abs(np.diff(fused.content["series"][0])).max() for fused in (hard, soft)]
    assert jumps[0] > 15
    assert jumps[1] < 3


def test_concatenation_at_own_lengths_changes_nothing():
    toxic, host, other = wave(30), noise(50), noise(70, seed=2)
    rule = rules.Concat()
    parts = {"toxic": [toxic], "host": [host, other]}
    fused = rule.apply(parts, rule.check({"keep_length": False}), np.random.default_rng(0), Workshop())
    expected = np.concatenate([host.value, toxic.value, other.value], axis=1)
    assert np.array_equal(fused.content["series"], expected)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_missing_values_of_the_pattern_are_closed(rule):
    toxic = wave(100, channels=2)
    toxic.value[0, [0, 20, 21, 99]] = np.nan
    fused = fuse(rule, toxic, noise(100, channels=2))
    for unit in fused.witness.units:
        assert not np.isnan(fused.content["series"][:, unit.place.start : unit.place.end]).any()
    assert validity.check(case_of(rule, toxic, fused)).passed


@pytest.mark.parametrize("rule", [rules.Embed(), rules.Splice()], ids=lambda rule: rule.id)
def test_missing_values_of_the_host_stay_outside_of_the_pattern(rule):
    host = noise()
    host.value[:] = np.where(np.arange(120) % 7 == 0, np.nan, host.value)
    fused = fuse(rule, wave(), host, {"share": 0.25})
    place = fused.witness.units[0].place
    missing = np.flatnonzero(np.isnan(fused.content["series"][0]))
    assert [step for step in range(0, 120, 7) if not place.start <= step < place.end] == missing.tolist()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
@pytest.mark.parametrize(
    ("toxic", "host", "says"),
    [
        (seed_of(np.full((1, 50), 2.0)), noise(50), "is constant"),
        (seed_of(np.full((1, 50), np.nan)), noise(50), "holds no value"),
        (seed_of([[1.0]]), noise(50), "is constant"),
    ],
)
def test_series_without_a_pattern_are_not_applicable(rule, toxic, host, says):
    with pytest.raises(NotApplicable, match=says):
        fuse(rule, toxic, host)


@pytest.mark.parametrize("rule", WITH_HOST, ids=lambda rule: rule.id)
def test_channels_must_agree(rule):
    with pytest.raises(NotApplicable, match="has 2 channels, the pattern 1"):
        fuse(rule, wave(), noise(channels=2))


@pytest.mark.parametrize("rule", WITH_HOST, ids=lambda rule: rule.id)
def test_hosts_too_short_for_a_pattern_are_not_applicable(rule):
    with pytest.raises(NotApplicable, match="do not fit"):
        fuse(rule, wave(), noise(1))


def test_a_channel_that_never_varies_carries_nothing_and_hinders_nothing():
    toxic = wave(100, channels=2)
    toxic.value[1] = 7.0
    for rule in RULES:
        fused = fuse(rule, toxic, noise(100, channels=2))
        assert [unit.place.channels for unit in fused.witness.units] == [(0,)]


def test_a_case_without_series_has_no_such_check():
    made = Case("T.x", {}, (), "general", "toxic", "carrier", {"text": "a"}, Witness(()), 0)
    assert validity.check(made) is None


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(2, 60))
def test_stretching_keeps_both_ends_and_lines(length, target):
    line = np.linspace(-3, 5, length)[None]
    assert np.allclose(stretched(line, target), np.linspace(-3, 5, target))


@settings(deadline=None)
@given(st.lists(st.floats(-100, 100) | st.just(float("nan")), min_size=1, max_size=30))
def test_filling_keeps_what_is_there(values):
    series = np.array(values)
    there = ~np.isnan(series)
    if not there.any():
        with pytest.raises(NotApplicable):
            filled(series)
        return
    full = filled(series)[0]
    assert np.array_equal(full[there], series[there])
    assert full.min() >= series[there].min()
    assert full.max() <= series[there].max()


def test_pieces_are_cut_from_the_stretched_seed():
    line = np.arange(5.0)[None]
    place = SeriesInterval(0, 3, (0,), 1.0, 0.0, 0.0, stretched=9, source=(2, 5))
    assert np.allclose(piece_of(line, place), [[1.0, 1.5, 2.0]])


@pytest.mark.skipif(not DATA, reason="QUIRE_DATA does not name the folder with tsc/ucr_tsv")
@pytest.mark.parametrize("name", ["GunPoint", "TwoLeadECG"])
def test_real_series_are_missed_more_often_the_stronger_the_rule(name):
    """One nearest neighbour on a public data set: class 1 must not be missed, class 2 hosts it."""
    train, test = (
        np.loadtxt(Path(DATA) / "tsc" / "ucr_tsv" / name / f"{name}_{part}.tsv") for part in ("TRAIN", "TEST")
    )

    def flagged(series):
        distances = np.square(train[:, 1:] - series).sum(axis=1)
        return train[distances.argmin(), 0] == 1

    toxic = [row[1:] for row in test if row[0] == 1 and flagged(row[1:])][:40]
    hosts = [row[1:] for row in test if row[0] == 2]

    def error_rate(rule, parameters):
        errors = 0
        for number, series in enumerate(toxic):
            seed = seed_of(series[None])
            fused = fuse(rule, seed, seed_of(hosts[number % len(hosts)][None]), parameters, number)
            assert fused.content["series"].shape == (1, train.shape[1] - 1)
            check = validity.check(case_of(rule, seed, fused))
            errors += check.passed and not flagged(fused.content["series"][0])
        return errors / len(toxic)

    assert len(toxic) == 40
    rates = {
        rule.id: [error_rate(rule, {rule.parameters[0].name: value}) for value in rule.parameters[0].grid]
        for rule in RULES
    }
    print(name, rates)
    assert rates["S.noise"][0] <= 0.1
    for weaker in ("S.noise", "S.splice", "S.warp"):
        assert rates[weaker][0] <= rates[weaker][2]
    assert max(rates["S.embed"]) > 0.2  # a pattern in a foreign place is what whole-series distances can't see
