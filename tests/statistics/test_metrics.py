"""Metrics against their definitions and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn import metrics as sk
from sklearn.isotonic import IsotonicRegression

from detector.errors import ScoresError, UnknownName
from detector.statistics.metrics import (
    METRICS,
    Tally,
    check_scores,
    det,
    name_operating_point,
    roc,
    tally,
)
from detector.statistics.thresholds import bpcer, threshold_at_apcer, threshold_at_fpr

NAMES = ["ap", "auc", "balanced_accuracy", "brier", "cllr", "cllr_min", "ece", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5"]
RANKS = ["ap", "auc", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "cllr_min"]  # see the order of scores, not their size


def measure(name, labels, scores, **options):
    return METRICS.get(name)(labels, scores, **options)


def simulate(n, seed, *, ties=False, share=0.4):
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) < max(1, round(share * n))).astype(int)
    scores = rng.normal(1.5 * labels - 0.75)
    return labels, np.round(scores, 1) if ties else scores


@st.composite
def samples(draw):
    """Labels of both classes and scores with many ties, on a grid that survives arithmetic."""
    n = draw(st.integers(2, 40))
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))]
    scores = draw(st.lists(st.integers(-12, 12), min_size=n, max_size=n))
    return np.array(labels), np.array(scores) / 4


def test_registry_holds_the_ten_metrics_with_their_direction():
    assert METRICS.names() == NAMES
    lower = {name for name in NAMES if not METRICS.facts(name)["higher"]}
    assert lower == {"brier", "cllr", "cllr_min", "ece", "eer"}
    with pytest.raises(UnknownName, match="did you mean 'auc'"):
        METRICS.get("auk")


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn_agrees(seed, ties):
    y, s = simulate(501, seed, ties=ties)
    weight = np.where(y, 1 / y.sum(), 1 / (1 - y).sum())  # both classes alike: the prior of the scores
    reference = {
        "auc": sk.roc_auc_score(y, s),
        "ap": sk.average_precision_score(y, s),
        "brier": sk.brier_score_loss(y, expit(s), sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(y, s > 0),
        "cllr": sk.log_loss(y, expit(s), sample_weight=weight) / np.log(2),
    }
    fpr, tpr, _ = sk.roc_curve(y, s, drop_intermediate=False)
    reference |= {f"tpr_at_fpr_{x}": tpr[fpr <= x / 100].max() for x in (1, 5)}
    p = IsotonicRegression().fit(s, y, weight).predict(s)
    with np.errstate(divide="ignore"):
        reference["cllr_min"] = -(np.log2(p[y == 1]).mean() + np.log2(1 - p[y == 0]).mean()) / 2
    for name, value in reference.items():
        assert measure(name, y, s) == pytest.approx(value, abs=1e-12), name
    ours = np.array(roc(y, s))
    assert np.allclose(ours, sk.roc_curve(y, s, drop_intermediate=False), rtol=0, atol=1e-12)


def test_eer_is_where_the_roc_meets_the_diagonal():
    y, s = simulate(400, 5, ties=True)
    fpr, tpr, _ = roc(y, s)
    fine = np.linspace(0, 1, 2_000_001)
    x, y_ = np.interp(fine, np.linspace(0, 1, len(fpr)), fpr), np.interp(fine, np.linspace(0, 1, len(fpr)), tpr)
    assert measure("eer", y, s) == pytest.approx(x[np.argmin(np.abs(1 - y_ - x))], abs=1e-5)


def test_ece_by_hand():
    scores = np.log([0.01 / 0.99, 0.02 / 0.98, 0.8 / 0.2, 0.99 / 0.01])
    # one real picture weighs 1/2, each of three fakes 1/6; three bins: .01 / 2 + (.02 - 1) / 6, (.8 - 1) / 6, -.01 / 6
    assert measure("ece", [0, 1, 1, 1], scores) == pytest.approx((0.95 + 0.2 + 0.01) / 6, abs=1e-12)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_calibrated_detector_is_calibrated_whatever_the_share_of_fakes(share):
    """Scores are log-odds at even prior; a set with few fakes must not make them look too high, nor a Brier low."""
    n, rng = 40_000, np.random.default_rng(0)
    y = (np.arange(n) < share * n).astype(int)
    s = 2 * (rng.standard_normal(n) + 2 * (y - 0.5))  # log-odds of two normal classes, two deviations apart
    assert measure("ece", y, s) < 0.02
    assert measure("brier", y, s) == pytest.approx(0.1124, abs=0.005)  # the mean of p (1 - p), by scipy's quad


def test_ece_has_fifteen_bins():
    y, s = simulate(3000, 7)
    p = expit(s)
    weight = np.where(y, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    gaps = [weight[inside] @ (p - y)[inside] for k in range(15) if (inside := (p >= k / 15) & (p < (k + 1) / 15)).any()]
    assert measure("ece", y, s) == pytest.approx(np.abs(gaps).sum(), abs=1e-12)
    together, apart = (np.log(pair / (1 - pair)) for pair in (np.array([0.41, 0.46]), np.array([0.39, 0.41])))
    assert measure("ece", [0, 1], together) == pytest.approx(abs(0.41 + 0.46 - 1) / 2)  # 0.4 to 0.467 is one bin
    assert measure("ece", [0, 1], apart) == pytest.approx((0.39 + 1 - 0.41) / 2)


@pytest.mark.parametrize(("n", "percent"), [(100, 1), (2900, 1), (20, 5), (140, 5)])
def test_a_rate_that_real_pictures_attain_exactly_is_attained(n, percent):
    """One of a hundred is 1 %: that one may be accused. In floating point, 0.01 * 2900 is less than 29."""
    allowed = n * percent // 100
    real = np.arange(n, dtype=float)
    fakes = np.full(10, n - 1 - allowed + 0.5)  # above all real pictures but the `allowed` highest
    labels, scores = np.repeat([0, 1], [n, 10]), np.r_[real, fakes]
    name = f"tpr_at_fpr_{percent}"
    assert measure(name, labels, scores) == 1
    assert measure(name, labels, np.r_[real, fakes - 1]) == 0  # one real picture more would be accused
    assert bpcer(real, threshold_at_fpr(real, percent / 100)) == allowed / n


@pytest.mark.parametrize(
    ("name", "perfect", "inverted", "tied"),
    [("auc", 1, 0, 0.5), ("eer", 0, 1, 0.5), ("ap", 1, 0.5 * (1 / 3 + 2 / 4), 0.5), ("cllr_min", 0, 1, 1),
     ("tpr_at_fpr_1", 1, 0, 0), ("tpr_at_fpr_5", 1, 0, 0), ("balanced_accuracy", 1, 0, 0.5)],
)  # fmt: skip
def test_perfect_inverted_and_tied(name, perfect, inverted, tied):
    y = [0, 0, 1, 1]
    assert measure(name, y, [-2, -1, 1, 2]) == pytest.approx(perfect)
    assert measure(name, y, [2, 1, -1, -2]) == pytest.approx(inverted)
    assert measure(name, y, [0, 0, 0, 0]) == pytest.approx(tied)


def test_no_information_costs_one_bit():
    assert measure("cllr", [0, 0, 0, 1], np.zeros(4)) == pytest.approx(1)
    assert measure("brier", [0, 1], np.zeros(2)) == pytest.approx(0.25)


def test_balanced_accuracy_takes_a_threshold():
    assert measure("balanced_accuracy", [0, 1], [3, 4]) == 0.5
    assert measure("balanced_accuracy", [0, 1], [3, 4], threshold=3) == 1


@given(samples())
@settings(deadline=None)
def test_laws(sample):
    y, s = sample
    order = np.random.default_rng(0).permutation(len(y))
    for name in NAMES:
        value = measure(name, y, s)
        assert measure(name, y[order], s[order]) == pytest.approx(value, abs=1e-12), "order"
        if not name.startswith("tpr"):  # 2 of 200 may be accused where 1 of 100 may: the same share, not the same count
            assert measure(name, np.tile(y, 3), np.tile(s, 3)) == pytest.approx(value, abs=1e-12), "copies"
    for name in RANKS:
        assert measure(name, y, 3 * s**3 + s - 5) == pytest.approx(measure(name, y, s), abs=1e-12), "monotone"
    assert measure("auc", 1 - y, s) == pytest.approx(1 - measure("auc", y, s), abs=1e-12)
    assert measure("eer", 1 - y, -s) == pytest.approx(measure("eer", y, s), abs=1e-12)
    assert measure("cllr", 1 - y, -s) == pytest.approx(measure("cllr", y, s), abs=1e-12)
    assert measure("cllr_min", y, s) <= measure("cllr", y, s) + 1e-12


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [([1, 1], [0, 1], "every picture is fake"), ([0], [0], "every picture is real"), ([], [], "no scores"),
     ([0, 1], [0, np.nan], "1 of 2 scores are NaN"), ([0, 1], [0, np.inf], "infinite"),
     ([0, 1], [0, 1, 2], "differ in shape"), ([0, 2], [0, 1], "neither 0"),
     ([0, 1], ["a", "b"], "not a number")],
)  # fmt: skip
def test_unusable_scores_are_refused_in_one_sentence(name, labels, scores, words):
    with pytest.raises(ScoresError, match=words) as error:
        measure(name, labels, scores)
    assert "\n" not in str(error.value)


def test_curves():
    fpr, tpr, thresholds = roc([0, 0, 1, 1], [0, 1, 1, 2])
    assert fpr.tolist() == [0, 0, 0.5, 1]
    assert tpr.tolist() == [0, 0.5, 1, 1]
    assert thresholds.tolist() == [np.inf, 2, 1, 0]
    x, miss, _ = det([0, 0, 1, 1], [0, 1, 1, 2])
    assert x.tolist() == fpr.tolist()
    assert miss.tolist() == [1, 0.5, 0, 0]


def test_operating_points():
    real, fake = np.arange(100.0), np.arange(90.0, 190.0)
    assert bpcer(real, 94.0) == 0.05
    assert threshold_at_fpr(real, 0.05) == 94
    assert bpcer(real, threshold_at_fpr(real, 0.05)) == 0.05
    assert np.mean(fake <= threshold_at_apcer(fake, 0.05)) == 0.05
    assert bpcer(real, threshold_at_apcer(fake, 0.0)) == 0.1


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=60), st.floats(0, 1))
def test_thresholds_keep_their_rate(scores, rate):
    assert bpcer(scores, threshold_at_fpr(scores, rate)) <= rate + 1e-12
    assert np.mean(np.array(scores) <= threshold_at_apcer(scores, rate)) <= rate + 1e-12


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.3])
def test_every_operating_point_is_a_metric(rate):
    y, s = simulate(3000, 1)
    name = name_operating_point(rate)
    fpr, tpr, _ = sk.roc_curve(y, s, drop_intermediate=False)
    assert measure(name, y, s) == pytest.approx(tpr[fpr <= rate + 1e-12].max())
    assert METRICS.facts(name)["title"] == f"TPR at {100 * rate:g} % FPR"
    assert METRICS.names() == NAMES  # those that are measured unless others are named


@pytest.mark.parametrize("name", ["tpr_at_fpr_0", "tpr_at_fpr_100", "tpr_at_fpr_1.0", "tpr_at_fpr_x", "tpr_at_fpr_"])
def test_other_names_are_no_operating_points(name):
    with pytest.raises(UnknownName):
        METRICS.get(name)


def test_one_class_must_be_there():
    with pytest.raises(ScoresError, match="empty"):
        check_scores([])


@pytest.mark.parametrize("name", NAMES)
def test_a_block_equals_its_rows(name):
    y, s = simulate(80, 3, ties=True)
    whole = tally(y, s)
    weights = np.random.default_rng(0).integers(0, 4, (5, len(y)))
    distinct = whole.axis.scores
    rows = []
    for w in weights:
        assert w[y == 0].any()
        assert w[y == 1].any()
        rows.append(measure(name, np.repeat(y, w), np.repeat(s, w)))
    counts = [
        np.stack([[w[(s == v) & (y == k)].sum() for v in distinct] for w in weights]).astype(float) for k in (0, 1)
    ]
    block = METRICS.facts(name)["block"](Tally(whole.axis, *counts))
    assert np.allclose(block, rows, rtol=0, atol=1e-12)


def drawn(rate, reals, fakes):
    """The TPR at a false-positive rate as it is drawn for intervals."""
    labels = np.repeat([0, 1], [len(reals), len(fakes)])
    facts = METRICS.facts(name_operating_point(rate))
    return facts["drawn"](tally(labels, np.concatenate([reals, fakes]).astype(float)))[0]


def test_the_drawn_tpr_lies_on_lines_between_the_lower_corners_of_the_roc():
    """Corners of the five highest real scores, 10 to 6: 6, 5, 4, 3, 2 of eight fakes lie above."""
    reals, fakes = np.arange(1, 11), np.array([10.5, 10.6, 9.5, 8.5, 7.5, 6.5, 2.5, 0.5])
    assert drawn(0.20, reals, fakes) == pytest.approx(3 / 8)  # at the corner of the second real picture
    assert drawn(0.25, reals, fakes) == pytest.approx(3.5 / 8)
    assert drawn(0.10, reals, fakes) == pytest.approx(2 / 8)
    assert drawn(0.05, reals, fakes) == pytest.approx(1.5 / 8)  # the line goes on above the highest real picture
    assert drawn(0.01, reals, fakes) == pytest.approx(1.1 / 8)


def test_real_pictures_of_one_score_are_one_corner_of_the_drawn_tpr():
    reals, fakes = np.array([1, 2, 3, 4, 4, 4, 4, 8, 9, 10]), np.array([10.5, 9.5, 8.5, 5.5, 5.6, 3.5, 0.5, 0.6])
    assert drawn(0.70, reals, fakes) == pytest.approx(5 / 8)
    assert drawn(0.40, reals, fakes) == pytest.approx((3 + 2 * 1 / 4) / 8)


def test_at_a_rate_of_one_the_threshold_is_the_lowest_score():
    assert threshold_at_fpr([3.0, 1.0, 2.0], 1.0) == 1.0


def test_the_last_two_of_the_fifteen_bins_are_apart():
    """Probabilities of 0.9 (a photograph) and 0.97 (a fake): in one bin their errors would cancel in part."""
    scores = np.log(np.array([0.9, 0.97]) / (1 - np.array([0.9, 0.97])))
    assert measure("ece", [0, 1], scores) == pytest.approx((0.9 + 0.03) / 2)
