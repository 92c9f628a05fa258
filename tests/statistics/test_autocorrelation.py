"""The interval of a mean whose values depend on each other: how often it holds the mean, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from detector.statistics.autocorrelation import mean_interval


def draw(rng: np.random.Generator, r: float, n: int) -> list[float]:
    """A stationary series of mean 0 and variance 1, autocorrelation r at lag 1."""
    values = [rng.normal()]
    while len(values) < n:
        values.append(r * values[-1] + np.sqrt(1 - r**2) * rng.normal())
    return values


@pytest.mark.parametrize(("r", "least", "most"), [(0, 0.94, 0.99), (0.6, 0.86, 0.96), (0.9, 0.78, 0.90)])
def test_how_often_the_interval_holds_the_mean(r: float, least: float, most: float) -> None:
    """As the docstring says; an interval of independent values would hold it in 67 % and 32 % for the latter two."""
    rng = np.random.default_rng(0)
    held = [low <= 0 <= high for low, high in (mean_interval(draw(rng, r, 16)) or (1, 0) for _ in range(600))]
    assert least < np.mean(held) < most


def test_few_values_have_no_interval_and_equal_ones_a_point() -> None:
    assert mean_interval([1.0, 2.0, 1.5, 1.0]) is None
    assert mean_interval([2.0] * 6) == (2.0, 2.0)


def test_a_drifting_series_counts_as_few_values() -> None:
    mixed = mean_interval([0.0, 3, 1, 2, 0, 3, 1, 2, 0, 3, 1, 2])
    drifting = mean_interval(sorted([0.0, 3, 1, 2] * 3))
    assert mixed is not None
    assert drifting is not None
    assert drifting[1] - drifting[0] > 2 * (mixed[1] - mixed[0])


def test_values_that_alternate_have_the_interval_of_student() -> None:
    """Their autocorrelation is negative, which counts as none; then this is the interval of independent values."""
    values = [0.0, 3, 1, 2, 0, 3, 1, 2]
    reach = stats.t.ppf(0.975, 7) * np.std(values, ddof=1) / np.sqrt(8)
    assert mean_interval(values) == pytest.approx((1.5 - reach, 1.5 + reach), abs=1e-12)
