"""The mean of several AUCs that may share pictures, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, stdtrit

from detector.statistics.intervals import ROUNDING, measure, split_auc
from detector.statistics.metrics import Floats, check
from detector.statistics.proportions import correct_clusters, join_freedoms

Sample = tuple[ArrayLike, ArrayLike, ArrayLike]  # labels, scores and groups, each (N,)


def average_auc(samples: Sequence[Sample], *, level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of the AUCs of several samples, and the ends of its interval.

    samples: one or more. A group has the same name in all samples, so that photographs which are compared with several
    generators change all those AUCs together. The ends are NaN if a class of a sample has a single group.

    The error of the mean is the sum of the contributions of all groups (DeLong's components, clustered as in
    Obuchowski, 1997, doi:10.2307/2533958). Its degrees of freedom are Satterthwaite's over the samples, and at most the
    number of groups of the scarcer class in all samples together, minus one.
    """
    names = np.unique(np.concatenate([np.asarray(groups).astype(str) for _, _, groups in samples]))
    parts = [_split(sample, names) for sample in samples]
    mean = float(np.mean([auc for auc, *_ in parts]))
    if any(freedom == 0 for *_, freedom in parts):
        return mean, math.nan, math.nan
    moves = np.array([row for _, row, _, _ in parts])
    se = float(np.linalg.norm(moves.mean(0)))
    if not se > ROUNDING:  # no sample has an error
        ends = [measure(*sample, ["auc"], seed=0, level=level)["auc"] for sample in samples]
        return mean, float(np.mean([e.low for e in ends])), float(np.mean([e.high for e in ends]))
    spreads, present = (moves**2).sum(1), np.any([there for _, _, there, _ in parts], axis=0)
    freedom = spreads.sum() ** 2 / (spreads**2 / [freedom for *_, freedom in parts]).sum()
    freedom = max(min(freedom, float(present.sum(1).min()) - 1), 1.0)
    reach = float(stdtrit(freedom, (1 + level) / 2)) * se / (mean * (1 - mean))
    return mean, float(expit(logit(mean) - reach)), float(expit(logit(mean) + reach))


def _split(sample: Sample, names: NDArray[np.str_]) -> tuple[float, Floats, NDArray[np.bool_], float]:
    """Return the AUC, each group's contribution to its error (G,), presence in each class (2, G), and the freedom.

    names: names of the groups (G,). The freedom is that of `join_freedoms`; 0 if a class has a single group.
    """
    labels, scores, groups = sample
    fake, (column,) = check(labels, scores)
    where = np.searchsorted(names, np.asarray(groups).astype(str))
    auc, *parts = split_auc(fake, column)
    own = [where[fake], where[~fake]]
    present = np.array([np.bincount(groups, minlength=len(names)) > 0 for groups in own])
    freedom, moves = join_freedoms(parts, own), np.zeros(len(names))
    for part, groups in zip(parts, own, strict=True) if freedom else ():
        scale = correct_clusters(part, groups)[0]
        moves += np.sqrt(scale) * np.bincount(groups, part - part.mean(), minlength=len(names)) / len(part)
    return auc, moves, present, freedom
