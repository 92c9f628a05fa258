"""KID, precision and recall in cases with known results."""

from __future__ import annotations

import numpy as np
import pytest

from detector.statistics.distances import kid, precision_recall, squared_distances


def test_kid_is_about_nothing_for_one_distribution_and_large_for_two() -> None:
    rng = np.random.default_rng(0)
    one, same, other = rng.normal(0, 1, (200, 8)), rng.normal(0, 1, (200, 8)), rng.normal(1, 1, (200, 8))
    value, error = kid(one, same, size=100)
    assert abs(value) < 100
    assert error > 0
    assert kid(one, other, size=100)[0] > 1000


def test_kid_of_a_case_computed_by_hand() -> None:
    """Points 1, 1 and 1, -1 of one dimension: (k(1,1) - twice the mean of k(1,1) and k(1,-1)) of k(a, b) = (ab + 1)^3.

    Within the reals 8, within the fakes 0, between them 4: 8 + 0 - 8 = 0.
    """
    assert kid(np.array([[1.0], [1.0]]), np.array([[1.0], [-1.0]]), size=2)[0] == pytest.approx(0)


def test_precision_and_recall() -> None:
    rng = np.random.default_rng(0)
    reals = rng.normal(0, 1, (100, 2))
    assert precision_recall(reals, reals) == (1.0, 1.0)
    assert precision_recall(reals, reals + 100) == (0.0, 0.0)
    precision, recall = precision_recall(reals, reals[reals[:, 0] > 0])
    assert precision == 1.0
    assert recall < 0.9


def test_squared_distances() -> None:
    a, b = np.array([[0.0, 0], [3, 4]]), np.array([[0.0, 0]])
    assert squared_distances(a, b).tolist() == [[0], [25]]
