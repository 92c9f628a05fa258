"""Intervals against the naive formulas, and their coverage on simulated scores."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr

from detector.errors import ScoresError, UnknownName
from detector.statistics.intervals import compare, compare_auc, measure
from detector.statistics.metrics import METRICS
from detector.statistics.proportions import clopper_pearson, effective_count, holm

NAMES = METRICS.names()


def simulate(rng, n, gap=2.0, *, members=1, alike=0.0):
    """Scores of n real and n fake pictures, their log-odds well calibrated, and their groups."""
    groups = np.repeat(np.arange(2 * n // members), members)
    shared = rng.standard_normal(2 * n // members)[groups]
    labels = np.arange(2 * n) // n
    noise = np.sqrt(alike) * shared + np.sqrt(1 - alike) * rng.standard_normal(2 * n)
    return labels, gap * (noise + gap * (labels - 0.5)), groups


def naive_delong(labels, *columns):
    """DeLong et al., 1988, by the n_fake x n_real matrix: AUCs and their covariance."""
    v10, v01 = [], []
    for s in columns:
        wins = np.sign(s[labels == 1][:, None] - s[labels == 0][None]) / 2 + 0.5
        v10.append(wins.mean(1))
        v01.append(wins.mean(0))
    s10, s01 = np.atleast_2d(np.cov(v10)), np.atleast_2d(np.cov(v01))
    return np.mean(v10, axis=1), s10 / len(v10[0]) + s01 / len(v01[0])


@pytest.mark.parametrize("ties", [False, True])
def test_delong_equals_the_naive_formula(ties):
    rng = np.random.default_rng(0)
    y, a, _ = simulate(rng, 60)
    b = a + rng.normal(0, 2, len(a))
    if ties:
        a, b = np.round(a), np.round(b)
    (auc_a, auc_b), covariance = naive_delong(y, a, b)
    difference = compare_auc(y, a, b)
    assert difference.value == pytest.approx(auc_b - auc_a, abs=1e-12)
    assert difference.se**2 == pytest.approx(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], abs=1e-12)
    estimate = measure(y, a, metrics=["auc"], seed=0)["auc"]
    t = stats.t.ppf(0.975, 59) * np.sqrt(covariance[0, 0]) / (auc_a * (1 - auc_a))
    assert estimate.value == pytest.approx(auc_a, abs=1e-12)
    assert [estimate.low, estimate.high] == pytest.approx(1 / (1 + (1 / auc_a - 1) * np.exp([t, -t])), abs=1e-12)


def test_copies_in_a_group_do_not_narrow_the_auc_interval():
    y, s, groups = simulate(np.random.default_rng(1), 100)
    once = measure(y, s, groups, ["auc"], seed=0)["auc"]
    copied = measure(np.tile(y, 5), np.tile(s, 5), np.tile(groups, 5), ["auc"], seed=0)["auc"]
    assert [copied.low, copied.high] == pytest.approx([once.low, once.high], abs=1e-12)
    assert copied.n_real == 500


def test_copies_in_a_group_do_not_narrow_the_bootstrap_either():
    y, s, groups = simulate(np.random.default_rng(1), 100)
    once = measure(y, s, groups, seed=0, resamples=200)
    copied = measure(np.tile(y, 5), np.tile(s, 5), np.tile(groups, 5), seed=0, resamples=200)
    for name in NAMES:
        assert [copied[name].low, copied[name].high] == pytest.approx([once[name].low, once[name].high], abs=1e-9)


def test_every_metric_comes_with_its_interval_and_counts():
    y, s, groups = simulate(np.random.default_rng(2), 150, members=3, alike=0.3)
    found = measure(y, s, groups, seed=3, resamples=300)
    assert list(found) == NAMES
    for name, estimate in found.items():
        assert estimate.value == METRICS.get(name)(y, s)
        assert estimate.low <= estimate.value <= estimate.high
        assert 0 <= estimate.low < estimate.high
        assert estimate.high <= METRICS.facts(name).get("top", 1)
        assert (estimate.n_real, estimate.n_fake) == (150, 150)
    assert found == measure(y, s, groups, seed=3, resamples=300)
    assert found["eer"] != measure(y, s, groups, ["eer"], seed=4, resamples=300)["eer"]
    assert found["eer"] == measure(y, s, groups, ["eer"], seed=3, resamples=300)["eer"]


@pytest.mark.parametrize("name", NAMES)
def test_an_interval_widens_with_its_level_and_narrows_with_n(name):
    y, s, _ = simulate(np.random.default_rng(2), 2000)
    width = {}
    for n, level in ((2000, 0.95), (2000, 0.5), (200, 0.95)):
        rows = np.r_[:n, 2000 : 2000 + n]
        e = measure(y[rows], s[rows], None, [name], seed=0, level=level, resamples=200)[name]
        width[n, level] = e.high - e.low
    assert width[2000, 0.5] < width[2000, 0.95] < width[200, 0.95]


@pytest.mark.parametrize("name", ["auc", "ap", "eer", "balanced_accuracy", "tpr_at_fpr_1", "tpr_at_fpr_5", "cllr_min"])
def test_no_error_seen_is_not_no_error(name):
    y = np.repeat([0, 1], 40)
    s = np.where(y, 5.0, -5.0) + np.linspace(0, 1, 80)
    e = measure(y, s, None, [name], seed=0, resamples=100)[name]
    assert (e.high if METRICS.facts(name)["higher"] else e.low) == e.value
    assert 0.03 < e.high - e.low < 0.45
    paired = measure(y, s, np.arange(80) // 20, [name], seed=0, resamples=100)[name]
    assert paired.high - paired.low > e.high - e.low  # two groups a class say less than forty pictures
    if name in ("auc", "tpr_at_fpr_1"):
        assert e.low == pytest.approx(0.025 ** (1 / 40), abs=1e-12)


def test_groups_that_hold_both_classes_are_drawn_whole():
    rng = np.random.default_rng(0)
    shared = np.repeat(rng.normal(0, 5, 100), 2)
    y = np.tile([0, 1], 100)
    s = shared + y + rng.normal(0, 0.1, 200)  # a fake beats its own real picture, whatever their level
    apart = compare(y, shared, s, None, ["brier"], seed=0, resamples=200)["brier"]
    pairs = compare(y, shared, s, np.arange(200) // 2, ["brier"], seed=0, resamples=200)["brier"]
    assert pairs.value == apart.value
    assert (
        measure(y, s, np.arange(200) // 2, ["auc"], seed=0)["auc"].high
        < measure(y, s, None, ["auc"], seed=0)["auc"].high
    )


def coverage(names, runs, **options):
    hits = dict.fromkeys(names, 0)
    whole = simulate(np.random.default_rng(99), 500_000, options.get("gap", 2.0))[:2]
    truth = {name: METRICS.get(name)(*whole) for name in names}
    n = options.pop("n")
    for run in range(runs):
        y, s, groups = simulate(np.random.default_rng([5, run]), n, **options)
        for name, e in measure(y, s, groups, names, seed=run, resamples=200).items():
            hits[name] += e.low <= truth[name] <= e.high
    return hits


@pytest.mark.parametrize("options", [{"n": 200}, {"n": 320, "members": 8, "alike": 0.5}])
def test_coverage(options):
    runs = 200
    low, high = stats.binom.ppf([0.0005, 0.9995], runs, 0.95)  # what chance allows 200 runs of a 95 % interval
    for name, hits in coverage(NAMES, runs, **options).items():
        assert low - 4 <= hits <= high, (name, hits)


def test_the_spread_is_that_of_the_scale_of_the_interval():
    """Few errors: the draws of a biased metric lie far below its centre, and a slope at the centre covered 0.83."""
    assert coverage(["cllr_min"], 200, n=200, gap=4.0)["cllr_min"] >= 186


def test_the_paired_test_holds_its_level_and_has_power():
    rejected = {0.0: 0, 1.5: 0}
    for run in range(300):
        rng = np.random.default_rng([1, run])
        y, s, _ = simulate(rng, 100)
        noise = rng.normal(0, 1.5, (2, len(s)))
        for extra in rejected:
            worse = s + noise[1] + extra * rng.normal(0, 1.5, len(s))
            rejected[extra] += compare_auc(y, s + noise[0], worse).p_worse < 0.05
    assert 4 <= rejected[0.0] <= 28
    assert rejected[1.5] > 100


def test_a_detector_is_no_worse_than_itself():
    y, s, groups = simulate(np.random.default_rng(0), 80, members=4)
    for seed in range(3):
        for name, d in compare(y, s, s, groups, seed=seed, resamples=50).items():
            assert (d.value, d.se, d.low, d.high, d.p_worse) == (0, 0, 0, 0, 1), name


def test_a_broken_detector_is_worse_by_every_metric_unless_the_margin_allows():
    rng = np.random.default_rng(0)
    y, s, groups = simulate(rng, 300, 3.0)
    broken = s + rng.normal(0, 8, len(s))
    for name, d in compare(y, s, broken, groups, seed=0, resamples=400).items():
        assert d.p_worse < 0.01, name
        assert (d.value < 0) == METRICS.facts(name)["higher"], name
        assert d.low <= d.value <= d.high, name
    for name, d in compare(y, broken, s, groups, seed=0, resamples=400).items():
        assert d.p_worse > 0.99, name
    for name, d in compare(y, s, broken, groups, seed=0, resamples=400, margin=5.0).items():
        assert d.p_worse > 0.99, name


def test_swapping_detectors_turns_the_difference_round():
    rng = np.random.default_rng(0)
    y, a, groups = simulate(rng, 100, members=2, alike=0.5)
    b = a + rng.normal(0, 1, len(a))
    for there, back in zip(compare(y, a, b, groups, seed=0, resamples=99).values(),
                           compare(y, b, a, groups, seed=0, resamples=99).values(), strict=True):  # fmt: skip
        assert [there.value, there.low, there.high] == pytest.approx([-back.value, -back.high, -back.low], abs=1e-9)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    assert holm([]).tolist() == []


@given(st.integers(1, 400), st.data())
def test_clopper_pearson_against_scipy(n, data):
    k = data.draw(st.integers(0, n))
    reference = stats.binomtest(k, n).proportion_ci(method="exact")
    assert clopper_pearson(k, n) == pytest.approx((reference.low, reference.high), abs=1e-9)


def test_effective_count():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 5)
    assert effective_count(rng.normal(size=1000)) == 1000
    assert effective_count(rng.normal(size=1000), groups) > 800
    assert effective_count(rng.normal(size=200)[groups], groups) == pytest.approx(200)
    half = rng.normal(size=200)[groups] + rng.normal(size=1000)
    assert effective_count(half, groups) == pytest.approx(1000 / 3, rel=0.15)
    assert effective_count([1.0, 2.0], ["a", "a"]) == 1


def test_bad_input():
    with pytest.raises(ScoresError, match="3 groups for 2 scores"):
        measure([0, 1], [0, 1], [1, 2, 3], seed=0)
    with pytest.raises(UnknownName):
        measure([0, 1], [0, 1], metrics=["auk"], seed=0)
    with pytest.raises(ScoresError, match="needs both classes"):
        compare_auc([1, 1], [0, 1], [1, 0])
    with pytest.raises(ScoresError, match="NaN"):
        compare([0, 1], [0, 1], [1, np.nan], seed=0)


def test_estimates_are_frozen():
    e = measure([0, 1, 0, 1], [0, 1, 2, 3], metrics=["auc"], seed=0)["auc"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        e.value = 1.0
    assert 0 <= e.low <= e.high <= 1


def test_simulated_auc_is_what_theory_says():
    y, s, _ = simulate(np.random.default_rng(3), 200_000)
    e = measure(y, s, metrics=["auc"], seed=0)["auc"]
    assert e.low < ndtr(2 / np.sqrt(2)) < e.high
    assert e.high - e.low < 0.003
