"""d' and the criterion agree with cases computed by hand, and the interval covers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from detector.statistics.sensitivity import measure_sensitivity


def test_a_case_computed_by_hand() -> None:
    """15 of 20 found, 5 of 20 accused: H = 15.5 / 21 = .7381, z = .6375; F = 5.5 / 21, z = -.6375; d' = 1.2750.

    The density at .6375 is .32558; variance 2 * .7381 * .2619 / (20 * .32558 ** 2) = .18236, its root .42704.
    """
    found = measure_sensitivity(15, 20, 5, 20)
    assert found.value == pytest.approx(1.2750, abs=2e-4)
    assert found.criterion == pytest.approx(0)
    assert (found.low, found.high) == pytest.approx((1.2750 - 1.96 * 0.42704, 1.2750 + 1.96 * 0.42704), abs=1e-3)


def test_a_preference_moves_the_criterion_and_not_the_sensitivity() -> None:
    """H = 10.5 / 21 = .5, z = 0; F = 2.5 / 21 = .1190, z = -1.1798: d' 1.1798, criterion .5899 towards "real"."""
    found = measure_sensitivity(10, 20, 2, 20)
    assert found.value == pytest.approx(1.1798, abs=1e-4)
    assert found.criterion == pytest.approx(0.5899, abs=1e-4)
    turned = measure_sensitivity(18, 20, 10, 20)
    assert turned.value == pytest.approx(found.value)
    assert turned.criterion == pytest.approx(-found.criterion)


def test_a_perfect_observer_has_a_finite_sensitivity() -> None:
    found = measure_sensitivity(20, 20, 0, 20)
    assert found.value == pytest.approx(2 * norm.ppf(20.5 / 21))
    assert np.isfinite([found.low, found.high]).all()
    assert measure_sensitivity(10, 20, 10, 20).value == 0
    with pytest.raises(ValueError, match="both classes"):
        measure_sensitivity(0, 0, 1, 20)


def test_the_interval_covers_the_truth() -> None:
    rng, truth = np.random.default_rng(0), 1.0
    pairs = zip(rng.binomial(50, norm.cdf(truth / 2), 400), rng.binomial(50, norm.cdf(-truth / 2), 400), strict=True)
    found = [measure_sensitivity(int(hits), 50, int(alarms), 50) for hits, alarms in pairs]
    assert 0.92 <= np.mean([s.low <= truth <= s.high for s in found]) <= 0.98
