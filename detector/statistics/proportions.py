"""Shares and p-values: exact intervals, effective sample sizes of grouped pictures, corrections for many tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from detector.statistics.metrics import Floats


def holm(p_values: ArrayLike) -> Floats:
    """Return p-values corrected for their number, in input order; those of at most alpha are rejected.

    Source: Holm, 1979, Scandinavian Journal of Statistics 6:65-70.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected


def clopper_pearson(k: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share for k cases in n pictures; both may be fractions (an effective n).

    Source: Clopper and Pearson, 1934, doi:10.1093/biomet/26.4.404; fractions after Korn and Graubard, 1998.
    """
    tail = (1 - level) / 2
    low = 0.0 if k <= 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k >= n else float(betaincinv(k + 1, n - k, 1 - tail))
    return low, high


def effective_count(scores: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Return the effective sample size: the number of unrelated pictures with as much information.

    It is n divided by the design effect 1 + (m - 1) * ICC, where m is the mean size of the group that a picture is in,
    and ICC the intraclass correlation of the scores, from 0 (groups do not matter) to 1 (a group counts once).

    Source: Kish, 1965, Survey Sampling, section 8.2.
    """
    n = len(np.asarray(scores))
    if groups is None:
        return float(n)
    sizes, alike = _intraclass(scores, groups)
    if len(sizes) == 1:
        return 1.0
    return n / (1 + (float((sizes**2).sum() / n) - 1) * alike)


def correct_clusters(values: ArrayLike, groups: ArrayLike) -> tuple[float, float]:
    """Return the factor that makes the variance of a mean over groups unbiased, and its degrees of freedom.

    The variance is estimated from the squared deviations of the groups from the mean. Each group, and a large group
    most, moves the mean towards itself, so the estimate is too small; and a few large groups determine its precision.
    The sum of a group of m pictures is assumed to have the variance m (1 + (m - 1) * ICC). k groups of equal size give
    k / (k - 1) and k - 1 for any correlation. For a single group the variance is unknown: the result is infinity and 0.

    values: (N,), contribution of each picture to the mean. groups: (N,).

    Source: Bell and McCaffrey, 2002, Survey Methodology 28:169-181 (bias and Satterthwaite's degrees of freedom under a
    working model); Carter, Schnepel and Steigerwald, 2017, doi:10.1162/REST_a_00639 (unequal groups are worth fewer).
    """
    sizes, weight = _weigh(values, groups)
    if len(sizes) == 1:
        return float("inf"), 0.0
    share = sizes / sizes.sum()
    expected = weight @ (1 - 2 * share) + share @ share
    return float(1 / expected), float(1 / (weight @ weight) - 1)


def join_freedoms(values: Sequence[ArrayLike], groups: Sequence[ArrayLike]) -> float:
    """Return the degrees of freedom of the variance of the sum of two means, which may have groups in common.

    Without common groups they are Welch's, for two equal variances. A group in both classes contributes to both
    estimates of the variance, whose errors are then correlated: if both classes have the same groups, two means have no
    more degrees of freedom than one. The contributions of a group to both means are assumed to be uncorrelated. The
    result is 0 if a class has a single group.

    values, groups: for each of two classes, the arguments of `correct_clusters`; a group has the same number in both.

    Source: Satterthwaite, 1946, doi:10.2307/3002019: 2 E^2 / Var of the sum of both estimates.
    """
    freedoms = [correct_clusters(*pair)[1] for pair in zip(values, groups, strict=True)]
    if not min(freedoms) > 0:
        return 0.0
    shares, length = [], 1 + max(int(np.max(one)) for one in groups)
    for pair in zip(values, groups, strict=True):
        shares.append(np.zeros(length))
        shares[-1][np.unique(pair[1])] = _weigh(*pair)[1]
    return float(4 / (sum(1 / freedom for freedom in freedoms) + 2 * shares[0] @ shares[1]))


def _weigh(values: ArrayLike, groups: ArrayLike) -> tuple[Floats, Floats]:
    """Return the sizes of the groups (k,), and the share (k,) of the variance of a mean that comes from each."""
    sizes, alike = _intraclass(values, groups)
    weight = sizes * (1 + (sizes - 1) * alike)
    return sizes, weight / weight.sum()


def _intraclass(values: ArrayLike, groups: ArrayLike) -> tuple[Floats, float]:
    """Return the sizes of the groups (k,), and the intraclass correlation, 0..1; 1 if it cannot be estimated.

    Source: by analysis of variance, Donner, 1986, doi:10.2307/1403259.
    """
    column = np.asarray(values, np.float64)
    _, where, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    sizes, n, k = counts.astype(np.float64), len(column), len(counts)
    if k in (1, n):
        return sizes, 1.0
    m = float((sizes**2).sum() / n)
    means = np.bincount(where, column) / sizes
    within = ((column - means[where]) ** 2).sum() / (n - k)
    between = (sizes * (means - column.mean()) ** 2).sum() / (k - 1)
    spread = between + ((n - m) / (k - 1) - 1) * within
    return sizes, float(np.clip((between - within) / spread, 0, 1)) if spread > 0 else 1.0
