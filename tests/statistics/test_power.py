"""The drop of the AUC that a paired test notices, against a solution of the same equation by bisection."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import stdtrit

from detector.statistics.intervals import compare_auc, measure
from detector.statistics.power import CORRELATION, find_visible_drop


def simulate(n: int, gap: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], n)
    return labels, rng.normal(gap * labels)


def solve(auc: float, se: float, freedom: float, *, margin: float, level: float, power: float) -> float:
    """Return the root of drop = margin + reach * (standard error of the difference), by bisection."""
    reach = stdtrit(freedom, 1 - level) + stdtrit(freedom, power)

    def excess(drop: float) -> float:
        worse = max(auc - drop, 0.5)
        other = se * math.sqrt(max(worse * (1 - worse) / (auc * (1 - auc)), 1))
        return drop - margin - reach * math.sqrt(se**2 + other**2 - 2 * CORRELATION * se * other)

    return float(brentq(excess, 0, 5, xtol=1e-12))


@pytest.mark.parametrize(("n", "gap"), [(400, 1.5), (60, 2.5), (12, 1.2)])  # the last drop leads below an AUC of 0.5
@pytest.mark.parametrize(("margin", "comparisons", "power"), [(0.0, 1, 0.8), (0.02, 3, 0.8), (0.01, 1, 0.95)])
def test_the_drop_solves_its_equation(n: int, gap: float, margin: float, comparisons: int, power: float) -> None:
    labels, scores = simulate(n, gap)
    compared = compare_auc(labels, np.zeros(2 * n), scores, None)
    expected = solve(compared.value + 0.5, compared.se, compared.freedom, margin=margin, level=0.05 / comparisons,
                     power=power)  # fmt: skip
    found = find_visible_drop(labels, scores, margin=margin, comparisons=comparisons, power=power)
    assert found == (pytest.approx(expected, abs=1e-9) if expected <= compared.value + 0.5 else math.inf)


def test_one_of_the_cases_leads_below_chance_and_is_finite() -> None:
    labels, scores = simulate(12, 1.2)
    auc = measure(labels, scores, None, ["auc"], seed=0)["auc"].value
    assert auc - 0.5 < find_visible_drop(labels, scores) < auc


def test_a_sample_without_an_error_takes_its_uncertainty_from_the_interval() -> None:
    labels = np.repeat([0, 1], 40)
    scores = labels + np.linspace(0, 0.5, 80)
    interval = measure(labels, scores, None, ["auc"], seed=0)["auc"]
    auc, se = (interval.high + interval.low) / 2, (interval.high - interval.low) / 4
    freedom = compare_auc(labels, np.zeros(80), scores, None).freedom
    expected = solve(auc, se, freedom, margin=0.01, level=0.05, power=0.8)
    assert find_visible_drop(labels, scores, margin=0.01) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("groups", "visible"), [(4, False), (5, True)])
def test_too_few_groups_cannot_reach_the_level(groups: int, visible: bool) -> None:
    """Of k groups the least p-value is 0.5**k: 0.0625 for four, 0.03125 for five."""
    labels, scores = simulate(100, 3.0)
    found = find_visible_drop(labels, scores, np.arange(200) % groups)
    assert math.isfinite(found) is visible
