"""Intervals against the naive formulas, and their coverage on simulated scores."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr

from detector.errors import ScoresError, UnknownName
from detector.statistics import intervals, proportions
from detector.statistics.intervals import compare, compare_auc, measure
from detector.statistics.metrics import METRICS
from detector.statistics.proportions import clopper_pearson, correct_clusters, effective_count, holm, join_freedoms

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
def test_a_sample_without_errors_has_an_interval_with_width(name):
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


@functools.cache
def measure_whole(name, gap):
    """The metric of a very large sample, which is taken for its true value."""
    return METRICS.get(name)(*simulate(np.random.default_rng(99), 200_000, gap)[:2])


def coverage(names, runs, **options):
    hits = dict.fromkeys(names, 0)
    truth = {name: measure_whole(name, options.get("gap", 2.0)) for name in names}
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


def draw_people(rng, k, sizes, *, alike=0.5, gap=2.0):
    """k people of each class with unequal numbers of pictures."""
    people = np.arange(2 * k)
    groups = np.repeat(people, rng.choice(sizes, 2 * k))
    labels = (groups >= k).astype(int)
    noise = np.sqrt(alike) * rng.standard_normal(2 * k)[groups] + np.sqrt(1 - alike) * rng.standard_normal(len(groups))
    return labels, gap * (noise + gap * (labels - 0.5)), groups


def test_coverage_with_few_unequal_groups():
    """Ten people a class with one or twenty pictures: without the correction the AUC's covered 0.81, Brier's 0.90."""
    names, runs = ["auc", "brier", "cllr", "tpr_at_fpr_1"], 200
    truth = {name: measure_whole(name, 2.0) for name in names}
    hits = dict.fromkeys(names, 0)
    for run in range(runs):
        y, s, groups = draw_people(np.random.default_rng([8, run]), 10, [1, 1, 1, 20])
        for name, e in measure(y, s, groups, names, seed=run, resamples=200).items():
            hits[name] += e.low <= truth[name] <= e.high
    assert min(hits.values()) >= 0.91 * runs, hits


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_the_correction_for_groups_makes_the_variance_of_a_mean_unbiased(alike):
    """Against the variance of 20,000 simulated means; the plain sum of squares falls short by a fifth and more."""
    rng = np.random.default_rng(0)
    sizes = np.array([1, 2, 3, 10, 20])
    groups = np.repeat(np.arange(5), sizes)
    noise = np.sqrt(alike) * rng.standard_normal((20_000, 5))[:, groups]
    values = noise + np.sqrt(1 - alike) * rng.standard_normal((20_000, 36))
    sums = np.stack([(values - values.mean(1, keepdims=True))[:, groups == g].sum(1) for g in range(5)], 1)
    plain = (sums**2).sum(1).mean() / 36**2
    # The correlation is an estimate; here it is what many groups of these sizes show.
    many = np.repeat(np.arange(5 * 400), np.tile(sizes, 400))
    shown = np.sqrt(alike) * rng.standard_normal(2000)[many] + np.sqrt(1 - alike) * rng.standard_normal(len(many))
    share = sizes / 36
    spread = correct_clusters(shown, many)[1] + 1  # of 400 times as many groups
    weight = sizes * (1 + (sizes - 1) * alike)
    assert spread == pytest.approx(400 * weight.sum() ** 2 / (weight @ weight), rel=0.03)
    scale = weight.sum() / (weight @ (1 - 2 * share) + share @ share * weight.sum())
    assert plain * scale == pytest.approx(values.mean(1).var(), rel=0.03)
    assert scale > 1.25


@given(st.integers(2, 30), st.integers(1, 6), st.integers(0, 5))
def test_groups_of_one_size_get_the_usual_correction(k, size, seed):
    values = np.random.default_rng(seed).standard_normal(k * size)
    assert correct_clusters(values, np.repeat(np.arange(k), size)) == pytest.approx((k / (k - 1), k - 1))


def test_two_means_of_the_same_groups_have_no_more_degrees_of_freedom_than_one():
    """Apart they have Welch's degrees of freedom; in common, those of one; of half the groups in common, between."""
    rng = np.random.default_rng(0)
    k, size = 30, 4
    values = rng.standard_normal((2, k * size)) + np.repeat(rng.standard_normal((2, k)), size, axis=1)
    own = np.repeat(np.arange(k), size)
    apart, half, same = (join_freedoms(values, [own, own + shift]) for shift in (k, k // 2, 0))
    assert apart == pytest.approx(2 * (k - 1))
    assert k - 1 <= same <= k
    assert 1.2 * same < half < 0.8 * apart
    assert join_freedoms(values, [own, np.full(k * size, k)]) == 0


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_degrees_of_freedom_are_those_of_the_simulated_variance(shared):
    """2 E^2 / Var of the sum of squares that estimates the variance of the sum of two means of unequal groups."""
    rng, k = np.random.default_rng(1), 40
    sizes = np.tile([1, 1, 2, 6, 10], k // 5)
    own = np.repeat(np.arange(k), sizes)
    other = np.where(own % 20 < 20 * shared, own, own + k)
    found, freedoms = [], []
    for _ in range(3000):
        people = rng.standard_normal((2, 2 * k))
        parts = [
            effects[groups] + rng.standard_normal(len(own))
            for effects, groups in zip(people, (own, other), strict=True)
        ]
        moves = sum(np.bincount(g, p - p.mean(), minlength=2 * k) for g, p in zip((own, other), parts, strict=True))
        found.append(moves @ moves)
        freedoms.append(join_freedoms(parts, [own, other]))
    assert np.median(freedoms) == pytest.approx(2 * np.mean(found) ** 2 / np.var(found), rel=0.2)


def test_one_group_has_no_correction_and_no_interval():
    assert correct_clusters([1.0, 2.0], ["a", "a"]) == (np.inf, 0)
    rng = np.random.default_rng(0)
    y, s, _ = simulate(rng, 50)
    for groups in (y, np.zeros(100), np.where(y, np.arange(100), -1), np.where(y, -1, np.arange(100))):
        for name, e in measure(y, s, groups, seed=0, resamples=20).items():
            assert e.value == METRICS.get(name)(y, s)
            assert np.isnan([e.low, e.high]).all()
        for d in compare(y, s, s - y, groups, seed=0, resamples=20).values():
            assert np.isnan([d.se, d.low, d.high]).all()
            assert (d.p_worse, d.groups) == (1, 1)


def test_groups_without_any_difference_between_them_are_no_certainty():
    """Two copies of everything: rounding alone is left of the variance, as an interval of the width 1e-16."""
    y, s, _ = simulate(np.random.default_rng(1), 50)
    for name, e in measure(np.tile(y, 2), np.tile(s, 2), np.repeat([0, 1], 100), seed=0, resamples=50).items():
        assert e.high - e.low > 0.01, name


@pytest.mark.parametrize("k", [2, 3, 4, 6])
def test_no_p_value_is_smaller_than_that_of_a_sign_test(k):
    """A detector turned round in k groups a class: the chance of that is one half to the power of k (sign test)."""
    groups = np.repeat(np.arange(2 * k), 5)
    y = (groups >= k).astype(int)
    s = 4.0 * y - 2 + np.random.default_rng(0).normal(0, 0.1, len(y))
    for name, d in compare(y, s, -s, groups, seed=0, resamples=200).items():
        assert d.p_worse == 0.5**k, name
        assert d.groups == k


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_equal_detectors_with_few_groups_are_seldom_worse_by_any_metric(k):
    """Without a floor p <= 0.05 came in 51, 19, 13 and 10 of 100 runs with 1, 2, 3 and 5 groups a class."""
    runs, found = 100 if k == 5 else 40, dict.fromkeys(NAMES, 0)
    for run in range(runs):
        rng = np.random.default_rng([7, k, run])
        groups = np.repeat(np.arange(2 * k), 10)
        y = (groups >= k).astype(int)
        face = 2 * y - 1 + 0.7 * rng.standard_normal(2 * k)[groups] + 0.5 * rng.standard_normal(len(y))
        a, b = (2 * (face + 0.4 * rng.standard_normal(2 * k)[groups] + 0.4 * rng.standard_normal(len(y))) for _ in "ab")
        for name, d in compare(y, a, b, groups, seed=run, resamples=100).items():
            found[name] += d.p_worse <= 0.05
    assert max(found.values()) <= (9 if k == 5 else 0), found


@pytest.mark.parametrize("k", [3, 5])
def test_the_bootstrap_is_as_wide_as_the_formula_for_few_groups(k):
    """Two class means of k pictures each: the variance is the sum of s^2 / k, and Student's t has k - 1 degrees."""
    rng = np.random.default_rng(k)
    y = np.repeat([0, 1], k)
    s = np.where(y, 1.0, -1.0) + rng.normal(0, 0.02, 2 * k)
    cost = np.logaddexp(0, np.where(y, -s, s)) / np.log(2) / 2
    se = np.sqrt(sum(cost[y == label].var(ddof=1) / k for label in (0, 1)))
    e = measure(y, s, None, ["cllr"], seed=0, resamples=20_000)["cllr"]
    assert np.log(e.high / e.low) / 2 == pytest.approx(stats.t.ppf(0.975, k - 1) * se / cost.mean() / 2, rel=0.03)
    b = s + rng.normal(0, 0.02, 2 * k)
    change = np.logaddexp(0, np.where(y, -b, b)) / np.log(2) / 2 - cost
    se = np.sqrt(sum(change[y == label].var(ddof=1) / k for label in (0, 1)))
    d = compare(y, s, b, None, ["cllr"], seed=0, resamples=20_000)["cllr"]
    assert (d.se, d.freedom) == pytest.approx((se, k - 1), rel=0.03)
    assert d.high - d.value == pytest.approx(stats.t.ppf(0.975, k - 1) * d.se)


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


def test_the_simulated_auc_is_that_of_theory():
    y, s, _ = simulate(np.random.default_rng(3), 200_000)
    e = measure(y, s, metrics=["auc"], seed=0)["auc"]
    assert e.low < ndtr(2 / np.sqrt(2)) < e.high
    assert e.high - e.low < 0.003


def test_scores_that_are_all_wrong_have_an_interval_too():
    y = np.repeat([0, 1], 40)
    e = measure(y, -y + np.linspace(0, 0.5, 80), None, ["auc"], seed=0)["auc"]
    assert (e.value, e.low) == (0, 0)
    assert e.high == pytest.approx(1 - 0.025 ** (1 / 40), abs=1e-12)


def test_the_intraclass_correlation_of_unequal_groups():
    """By hand: Donner's estimate (between - within) / (between + (n0 - 1) within), with n0 of unequal groups."""
    values, groups = np.array([1.0, 2.0, 4.0, 5.0, 6.0, 2.0]), np.array(["a", "a", "b", "b", "b", "c"])
    sizes = np.array([2, 3, 1])
    n0 = (6 - (sizes**2).sum() / 6) / 2  # 11 / 6
    within = (0.5 + 2.0) / 3  # sums of squares around the means 1.5, 5 and 2
    mean = 20 / 6
    between = (2 * (1.5 - mean) ** 2 + 3 * (5 - mean) ** 2 + (2 - mean) ** 2) / 2
    expected = (between - within) / (between + (n0 - 1) * within)
    assert 0.5 < expected < 0.95
    weight = sizes * (1 + (sizes - 1) * expected)
    found, share = proportions._weigh(values, groups)
    assert list(found) == [2, 3, 1]
    assert share == pytest.approx(weight / weight.sum(), abs=1e-12)


def test_the_extremes_of_a_separated_sample_lie_just_beyond_its_scores():
    """A share of one class, which ten pictures cannot exclude, is moved to the lowest or to the highest score."""
    real, fake = np.arange(10.0), np.arange(10.0) + 10
    sample = intervals._Sample(np.repeat([0, 1], 10), [np.concatenate([real, fake])], None)
    share = clopper_pearson(0, 10, 0.95)[1]
    assert intervals._unseen("auc", sample, 0.95) == pytest.approx((1 - share, 1.0), abs=1e-12)

    def cost(odds):  # of a class, in bits
        return np.log2(1 + np.exp(odds)).mean()

    moved = [((1 - share) * cost(real) + share * cost(end) + cost(-fake)) / 2 for end in (0, 19)]
    moved += [(cost(real) + (1 - share) * cost(-fake) + share * cost(-end)) / 2 for end in (0, 19)]
    extremes = min(*moved, (cost(real) + cost(-fake)) / 2), max(moved)
    assert intervals._unseen("cllr", sample, 0.95) == pytest.approx(extremes, abs=1e-9)


def test_every_metric_is_compared():
    labels, scores, groups = simulate(np.random.default_rng(0), 40)
    assert set(compare(labels, scores, -scores, groups, seed=0, resamples=50)) == set(NAMES)
    assert list(compare(labels, scores, -scores, groups, ["auc", "ece"], seed=0, resamples=50)) == ["auc", "ece"]


def test_two_people_of_each_class_are_enough_for_an_interval_and_one_is_not():
    labels, groups = np.repeat([0, 1], 4), np.repeat([0, 1, 2, 3], 2)
    scores = np.array([0.0, 1, 2, 5, 3, 4, 6, 7])
    two = compare_auc(labels, np.zeros(8), scores, groups)
    assert np.isfinite([two.low, two.high, two.se]).all()
    assert np.isnan(compare_auc(labels, np.zeros(8), scores, np.repeat([0, 0, 2, 3], 2)).low)
