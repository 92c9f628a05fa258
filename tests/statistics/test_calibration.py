"""Calibration compared with scikit-learn, with published numbers of the package lir, and with its guarantees."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from detector.errors import CheckpointError, ScoresError
from detector.statistics.calibration import (
    VERBAL_SCALE,
    Calibration,
    describe,
    find_bounds,
    find_lower_threshold,
    fit_calibration,
    state_ratio,
)
from detector.statistics.metrics import METRICS
from detector.types import Opinion


def simulate(n_real, n_fake, seed, gap=3.0, spread=1.0):
    rng = np.random.default_rng(seed)
    scores = np.r_[rng.normal(-gap / 2, spread, n_real), rng.normal(gap / 2, spread, n_fake)]
    return scores, np.r_[np.zeros(n_real, int), np.ones(n_fake, int)]


# from lir.algorithms.bayeserror import elub     (lir 1.3.1)
# elub(*simulate(n_real, n_fake, seed, spread=1.7), 1)
LIR = [
    (50, 50, 1, -0.77, 1.01),
    (300, 300, 2, -0.87, 0.88),
    (1000, 1000, 3, -0.94, 0.81),
    (300, 40, 4, -0.92, 0.68),
    (5000, 5000, 5, -0.91, 0.87),
]


@pytest.mark.parametrize(("n_real", "n_fake", "seed", "low", "high"), LIR)
def test_bounds_equal_those_of_lir(n_real, n_fake, seed, low, high):
    s, y = simulate(n_real, n_fake, seed, spread=1.7)
    assert find_bounds(s[y == 0], s[y == 1]) == pytest.approx((low, high), abs=1e-9)


def test_cllr_equals_that_of_lir():
    # from lir.metrics import cllr, cllr_min; from lir.data.models import LLRData     (lir 1.3.1)
    # s, y = simulate(300, 40, 4, spread=1.7); d = LLRData(features=s / np.log(10), labels=y); cllr(d), cllr_min(d)
    s, y = simulate(300, 40, 4, spread=1.7)
    assert METRICS.get("cllr")(y, s) == pytest.approx(0.6159836060698722, abs=1e-12)
    assert METRICS.get("cllr_min")(y, s) == pytest.approx(0.5263026835165043, abs=1e-12)


def test_bounds_of_small_and_of_useless_sets():
    ratios = np.arange(1.0, 6)
    assert find_bounds(-ratios, ratios) == pytest.approx((-0.69, 0.69))
    assert find_bounds(ratios, -ratios) == (0, 0)
    assert find_bounds([0.0], [0.0]) == (0, 0)


def test_bounds_grow_with_the_set_and_shrink_with_its_groups():
    caps = []
    for n in (50, 300, 1000, 5000):
        highs = [fit_calibration(*simulate(n, n, seed)).high for seed in range(15)]
        caps.append(np.median(highs))
    assert caps == sorted(caps)
    for cap, (least, most) in zip(caps, [(1.2, 1.7), (1.8, 2.5), (2.2, 3.0), (2.6, 3.7)], strict=True):
        assert least <= cap <= most
    s, y = simulate(50, 50, 0)
    alone = fit_calibration(np.repeat(s, 6), np.repeat(y, 6))
    grouped = fit_calibration(np.repeat(s, 6), np.repeat(y, 6), np.repeat(np.arange(100), 6))
    assert grouped.high < alone.high
    assert grouped.fpr_high > alone.fpr_high


def test_the_line_is_that_of_logistic_regression():
    s, y = simulate(4000, 1500, 0)
    reference = LogisticRegression(class_weight="balanced", C=1e6, tol=1e-10).fit(s[:, None], y)
    ours = fit_calibration(s, y)
    assert ours.slope == pytest.approx(reference.coef_[0, 0], rel=0.02)  # softened targets
    assert ours.offset == pytest.approx(reference.intercept_[0], abs=0.03)
    assert (ours.slope, ours.offset) == pytest.approx((3, 0), abs=0.2)  # the truth: gap / variance, even prior


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_unit_of_raw_scores_does_not_matter(scale):
    s, y = simulate(200, 100, 1)
    assert fit_calibration(scale * s + 7, y).log_odds(scale * s + 7) == pytest.approx(
        fit_calibration(s, y).log_odds(s), abs=1e-7
    )


def test_the_zero_of_raw_scores_does_not_change_the_interval():
    """Scores around 7 make slope and offset vary together, which only the covariance undoes."""
    s, y = simulate(300, 300, 1)
    one, moved = fit_calibration(s, y), fit_calibration(s + 7, y)
    points = np.array([-1.0, 0.5, 2.0])
    assert moved.intervals(moved.log_odds(points + 7)) == pytest.approx(one.intervals(one.log_odds(points)), abs=1e-6)


def test_the_interval_of_a_ratio_by_hand():
    c = dataclasses.replace(
        fit_calibration(*simulate(50, 50, 0)), slope=2.0, offset=1.0, low=-9.0, high=9.0, variance=(0.04, 0.09, 0.03)
    )
    # raw = (5 - 1) / 2 = 2, so the variance of 2 slope + offset is 4 * 0.04 + 0.09 + 2 * 2 * 0.03 = 0.37
    half = 1.959964 * np.sqrt(0.37)
    assert c.intervals([5.0])[0] * np.log(10) == pytest.approx([5 - half, 5 + half], abs=1e-4)


def test_softened_targets_are_those_of_platt():
    """Two scores, two classes apart: the line goes through the targets, (n + 1) / (n + 2) and 1 / (m + 2), exactly."""
    y = np.repeat([0, 1], [20, 30])
    c = fit_calibration(np.where(y, 1.0, -1.0), y)
    assert c.log_odds([-1.0, 1.0]) == pytest.approx([-np.log(21), np.log(31)], abs=1e-6)  # log of p / (1 - p)


def test_separated_classes_give_a_finite_line():
    y = np.repeat([0, 1], 30)
    c = fit_calibration(np.where(y, 100.0, -100.0) + np.linspace(0, 1, 60), y)
    odds = c.log_odds([-100, 0, 100])
    assert np.abs(odds).max() < np.log(31) + 1
    assert -np.log10(31) <= c.low < 0 < c.high <= np.log10(31) + 0.01
    assert c.judge(odds) == [Opinion.LIKELY_REAL, Opinion.INCONCLUSIVE, Opinion.LIKELY_FAKE] or c.fake_above == 0


@pytest.mark.parametrize("scores", [-np.arange(40.0), np.zeros(40), np.r_[np.ones(20), -np.ones(20)]])
def test_a_detector_that_errs_is_not_turned_round(scores):
    c = fit_calibration(scores, np.repeat([0, 1], 20))
    assert c.slope > 0
    assert c.log10_lr(c.log_odds([-1e3, 1e3])) == pytest.approx([0, 0], abs=1e-3)


def test_held_out_cost_is_near_the_least():
    c = fit_calibration(*simulate(1000, 1000, 2))
    s, y = simulate(5000, 5000, 3)
    bounded = c.log10_lr(c.log_odds(s)) * np.log(10)
    assert METRICS.get("cllr")(y, bounded) - METRICS.get("cllr_min")(y, c.log_odds(s)) < 0.02


def test_ratios_stay_within_the_bounds_and_scores_keep_their_order():
    s, y = simulate(100, 100, 0)
    c = fit_calibration(s, y)
    odds = c.log_odds(s * 100)
    ratios = c.log10_lr(odds)
    assert ratios.min() == c.low
    assert ratios.max() == c.high
    assert (np.diff(odds[np.argsort(s)]) > 0).all()


def test_thresholds_keep_their_rates():
    s, y = simulate(1000, 400, 0, gap=1.5)
    c = fit_calibration(s, y, fpr=0.02, miss=0.1)
    odds = c.log_odds(s)
    assert np.mean(odds[y == 0] > c.fake_above) == c.fpr == 0.02
    assert np.mean(odds[y == 1] < c.real_below) == c.miss == 0.1
    assert c.real_below < 0 < c.fake_above
    assert 0.02 < c.fpr_high < 0.04
    assert 0.1 < c.miss_high < 0.15


def test_the_generator_that_is_missed_most_sets_the_real_threshold():
    s, y = simulate(400, 300, 0)
    kinds = np.where(y == 1, np.array(["easy", "hard", "rare"])[np.arange(700) % 3], "")
    kinds[np.flatnonzero(kinds == "rare")[:-20]] = "easy"
    s = s - 2.0 * (kinds == "hard") - 9.0 * (kinds == "rare")
    groups = np.arange(len(s))
    threshold, share, high = find_lower_threshold(s, y == 1, kinds, groups, 0.05)
    missed = {kind: float(np.mean(s[kinds == kind] < threshold)) for kind in ("easy", "hard", "rare")}
    assert missed["easy"] < missed["hard"] == share <= 0.05
    assert missed["rare"] == 1.0  # too few to set a threshold
    pooled = find_lower_threshold(s, y == 1, np.full(len(s), ""), groups, 0.05)
    assert high - share > pooled[2] - pooled[1]  # the bound is that of the fakes of one generator


@pytest.mark.parametrize(("n", "counts"), [(30, True), (29, False)])
def test_thirty_fakes_of_a_generator_may_set_the_real_threshold(n, counts):
    s, y = simulate(300, 300, 0)
    kinds = np.where(y == 1, "easy", "")
    kinds[-n:] = "hard"
    s[-n:] -= 4
    threshold, _, _ = find_lower_threshold(s, y == 1, kinds, np.arange(600), 0.05)
    assert (np.mean(s[-n:] < threshold) <= 0.05) == counts


def test_the_bound_on_false_positives_holds_on_new_photographs():
    kept = 0
    for seed in range(200):
        c = fit_calibration(*simulate(150, 150, seed))
        new = np.random.default_rng([seed, 1]).normal(-1.5, 1, 20_000)
        kept += np.mean(c.log_odds(new) > c.fake_above) <= c.fpr_high
    assert kept >= 190  # 97.5 % promised


def test_judge():
    c = dataclasses.replace(fit_calibration(*simulate(50, 50, 0)), fake_above=1.0, real_below=-2.0)
    words = [Opinion.LIKELY_REAL, Opinion.INCONCLUSIVE, Opinion.INCONCLUSIVE, Opinion.LIKELY_FAKE]
    assert c.judge([-2.1, -2.0, 1.0, 1.1]) == words
    assert c.judge(1.1) == [Opinion.LIKELY_FAKE]
    assert c.judge([]) == []


def test_json_round_trip():
    c = fit_calibration(*simulate(50, 50, 0))
    assert Calibration.from_json(json.loads(json.dumps(c.to_json()))) == c
    with pytest.raises(CheckpointError, match="incomplete"):
        Calibration.from_json({k: v for k, v in c.to_json().items() if k != "slope"})
    with pytest.raises(CheckpointError, match="incomplete"):
        Calibration.from_json(c.to_json() | {"slope": "steep"})


@pytest.mark.parametrize(("labels", "scores"), [([1, 1], [0, 1]), ([0, 1], [0, np.nan]), ([0, 1], [1]), ([], [])])
def test_unusable_scores_are_refused(labels, scores):
    with pytest.raises(ScoresError):
        fit_calibration(scores, labels)


@pytest.mark.parametrize(
    ("ratio", "interval", "text"),
    [
        (0.4, (0.2, 0.6), "+0.40 [0.20, 0.60]"),
        (0.4, None, "+0.40"),
        (1.79, (1.2, 1.79), "+1.79 [1.20, 1.79]"),
        (1.79, (1.79, 1.79), "at least +1.79"),
        (1.79, (1.788, 1.79), "at least +1.79"),  # would be [1.79, 1.79]
        (-0.12, (-0.12, -0.12), "at most -0.12"),
        (0.0, (-0.12, 1.79), "+0.00 [-0.12, 1.79]"),
    ],
)
def test_an_interval_without_width_at_a_bound_is_stated_as_open(ratio, interval, text):
    assert state_ratio(ratio, interval, (-0.12, 1.79)) == text


def test_a_score_far_beyond_the_bound_is_stated_as_at_least():
    c = fit_calibration(*simulate(300, 300, 0))
    text = state_ratio(c.log10_lr([20.0])[0], c.intervals([20.0])[0], (c.low, c.high))
    assert text == f"at least {c.high:+.2f}"


def test_the_verbal_scale():
    assert describe(0) == describe(0.3) == "no support for either"
    assert describe(np.log10(2)) == "weak support for fake over real"
    assert describe(-1) == "moderate support for real over fake"
    assert describe(6) == "extremely strong support for fake over real"
    ratios = [ratio for ratio, _ in VERBAL_SCALE]
    assert ratios == sorted(ratios, reverse=True) == [1e6, 1e4, 1e3, 1e2, 10, 2]


@given(st.floats(-10, 10))
def test_the_verbal_scale_is_symmetric(ratio):
    swapped = describe(-ratio).split(" for ")[0]
    assert describe(ratio).split(" for ")[0] == swapped


def test_the_interval_of_a_ratio_covers_the_true_ratio_in_19_of_20_samples() -> None:
    covered, trials = 0, 200
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        raw = np.concatenate([rng.normal(-1, 1, 300), rng.normal(1, 1, 300)])
        calibration = fit_calibration(raw, np.repeat([0, 1], 300))
        intervals = calibration.intervals(calibration.log_odds([0.5]))  # the true log-odds are 2 x 0.5
        assert intervals is not None
        covered += bool(intervals[0, 0] <= 1 / np.log(10) <= intervals[0, 1])
    assert 0.90 < covered / trials < 0.99


def test_related_pictures_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    people = rng.normal(0, 1, 60)
    raw = np.repeat(people + np.repeat([-1.0, 1.0], 30), 10)
    labels, groups = np.repeat([0, 1], 300), np.repeat(np.arange(60), 10)
    alone, together = (fit_calibration(raw, labels, g).intervals([1.0]) for g in (None, groups))
    assert alone is not None
    assert together is not None
    assert np.diff(together)[0] > 1.5 * np.diff(alone)[0]


@pytest.mark.parametrize("n", [1, 3, 10])
def test_a_sample_supports_no_ratio_beyond_its_size(n):
    """Of n ratios in each class, all right and very large, one misleading ratio more is allowed for."""
    low, high = find_bounds(np.full(n, -9.0), np.full(n, 9.0))
    steps = np.arange(0, 100) / 100  # the bound is the last step at which deciding by the ratio is not too costly
    costly = 1 / (n + 1) + 10**steps / (n + 1) > 1 + 1e-12
    last = np.log10(n) if not costly.any() else (np.flatnonzero(costly)[0] - 1) / 100
    assert high == pytest.approx(max(last, 0), abs=0.0101)
    assert low == pytest.approx(-high, abs=1e-9)
