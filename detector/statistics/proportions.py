"""Shares and p-values: exact intervals, how many pictures a grouped sample is worth, corrections for many tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from detector.statistics.metrics import Floats


def holm(p_values: ArrayLike) -> Floats:
    """Return p-values corrected for their number, in their order: reject those at most alpha.

    Source: Holm, 1979, Scandinavian Journal of Statistics 6:65-70.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected


def clopper_pearson(k: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share of which k in n were seen; both may be fractions (an effective n).

    Source: Clopper and Pearson, 1934, doi:10.1093/biomet/26.4.404; fractions after Korn and Graubard, 1998.
    """
    tail = (1 - level) / 2
    low = 0.0 if k <= 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k >= n else float(betaincinv(k + 1, n - k, 1 - tail))
    return low, high


def effective_count(scores: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Return how many unrelated pictures would say as much as these, whose groups score alike.

    n over the design effect 1 + (m - 1) * ICC: m the mean size of the group a picture is in, ICC the one-way
    intraclass correlation of the scores, from 0 (groups do not matter) to 1 (a group counts once).

    Source: Kish, 1965, Survey Sampling, section 8.2; ICC by analysis of variance, Donner, 1986, doi:10.2307/1403259.
    """
    column = np.asarray(scores, np.float64)
    n = len(column)
    if groups is None:
        return float(n)
    _, where, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    m, k = float((sizes**2).sum() / n), len(sizes)
    if k == n:
        return float(n)
    if k == 1:
        return 1.0
    means = np.bincount(where, column) / sizes
    within = ((column - means[where]) ** 2).sum() / (n - k)
    between = (sizes * (means - column.mean()) ** 2).sum() / (k - 1)
    spread = between + ((n - m) / (k - 1) - 1) * within
    icc = (between - within) / spread if spread > 0 else 1.0
    return n / (1 + (m - 1) * float(np.clip(icc, 0, 1)))
