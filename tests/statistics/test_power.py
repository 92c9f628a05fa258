"""The drop that a comparison can notice: against simulated detectors that are worse by just that much."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from detector.statistics.intervals import compare_auc
from detector.statistics.power import find_visible_drop


def draw(rng: np.random.Generator, n: int, gap: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([0, 1], n)
    return labels, rng.normal(gap * labels)


@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_a_drop_of_that_size_is_noticed_in_four_of_five_runs(margin: float) -> None:
    gap, noticed, runs = 1.6, 0, 400
    drop = np.mean([find_visible_drop(*draw(np.random.default_rng([1, i]), 150, gap), margin=margin) for i in range(9)])
    worse = np.sqrt(2) * norm.ppf(norm.cdf(gap / np.sqrt(2)) - drop)
    for run in range(runs):
        rng = np.random.default_rng([2, run])
        labels = np.repeat([0, 1], 150)
        shared, *own = np.sqrt([[0.55], [0.45], [0.45]]) * rng.standard_normal((3, 300))  # AUCs correlate by about 0.5
        a, b = gap * labels + shared + own[0], worse * labels + shared + own[1]
        noticed += compare_auc(labels, a, b, margin=margin).p_worse <= 0.05
    assert 0.74 < noticed / runs < 0.88


def test_more_pictures_see_a_smaller_drop_and_more_comparisons_only_a_larger_one() -> None:
    labels, scores = draw(np.random.default_rng(0), 2000, 1.6)
    rows = np.r_[:200, 2000:2200]
    few, many = find_visible_drop(labels[rows], scores[rows]), find_visible_drop(labels, scores)
    assert few > 2.5 * many
    assert find_visible_drop(labels, scores, comparisons=50) > 1.3 * many
    assert find_visible_drop(labels, scores, margin=0.01) == pytest.approx(many + 0.01, abs=0.001)
    assert find_visible_drop(labels, scores, np.arange(4000) // 20) > 0.9 * many


@pytest.mark.parametrize(("people", "comparisons"), [(1, 1), (4, 1), (5, 2)])
def test_with_too_few_groups_no_drop_can_be_noticed(people: int, comparisons: int) -> None:
    labels, scores = draw(np.random.default_rng(0), 100, 1.6)
    groups = labels * people + np.tile(np.arange(100) % people, 2)
    assert find_visible_drop(labels, scores, groups, comparisons=comparisons) == np.inf
    assert find_visible_drop(labels, scores, np.arange(200), comparisons=comparisons) < 0.2


def test_a_perfect_detector_may_still_have_lost_something_unnoticed() -> None:
    labels, scores = draw(np.random.default_rng(0), 40, 50.0)
    assert 0.02 < find_visible_drop(labels, scores) < 0.3
