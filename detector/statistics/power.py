"""The smallest loss that a comparison of two detectors notices."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from detector.statistics.intervals import compare_auc, measure

POWER = 0.8  # probability with which the drop is noticed
CORRELATION = 0.5  # assumed correlation of the sampling errors of the AUCs of two versions of a detector
STEPS = 100  # number of iterations of the search for the drop, which converges in far fewer


def find_visible_drop(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    margin: float = 0.0,
    comparisons: int = 1,
    alpha: float = 0.05,
    power: float = POWER,
) -> float:
    """Return the smallest drop of the AUC that the paired one-sided test notices with the power asked for.

    labels, scores, groups: (N,), as in `intervals.measure`. margin: allowed drop, which is added. comparisons: number
    of tests that share `alpha` (Bonferroni, which is the first step of Holm's method). The result is infinite if no
    drop can be noticed: if there are too few groups for so small a p-value, or if the drop would exceed the AUC itself.

    The errors of both AUCs are assumed to have a correlation of CORRELATION, because the pictures are the same. The
    variance of the worse AUC is assumed to be larger in proportion to A (1 - A), where A is the AUC.

    Source: Hanley and McNeil, 1983, doi:10.1148/radiology.148.3.6878708 (correlated areas).
    """
    column = np.asarray(scores, np.float64)
    against_chance = compare_auc(labels, np.zeros_like(column), column, groups)  # a constant score has AUC 0.5
    level = alpha / comparisons
    if against_chance.groups < 2 or 0.5**against_chance.groups > level:
        return math.inf
    auc, se = against_chance.value + 0.5, against_chance.se
    if not se > 0:  # the sample has no error; the interval gives the uncertainty
        found = measure(labels, column, groups, ["auc"], seed=0)["auc"]
        auc, se = (found.high + found.low) / 2, (found.high - found.low) / 4
    reach = float(stdtrit(against_chance.freedom, 1 - level) + stdtrit(against_chance.freedom, power))
    drop = margin
    for _ in range(STEPS):  # the error of the worse AUC depends on the drop, and the drop on this error
        worse = max(auc - drop, 0.5)
        other = se * math.sqrt(max(worse * (1 - worse) / (auc * (1 - auc)), 1.0))
        drop = margin + reach * math.sqrt(se**2 + other**2 - 2 * CORRELATION * se * other)
    return drop if drop <= auc else math.inf
