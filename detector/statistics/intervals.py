"""Confidence intervals of metrics, and tests of the difference between two detectors on the same pictures.

The AUC has a formula (DeLong). Every other metric is bootstrapped: whole groups (identity, video, seed) are resampled,
those of real and of fake pictures separately. If a sample has no error, neither method gives an interval; then it is
computed from the largest share of errors that is compatible with no error in so many pictures. If all pictures of a
class belong to one group there is no interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtri, stdtr, stdtrit

from detector.errors import ScoresError
from detector.statistics.metrics import METRICS, Axis, Block, Floats, Tally, check
from detector.statistics.proportions import clopper_pearson, correct_clusters, effective_count, join_freedoms

BLOCK = 2**20  # weights that are computed at a time: 8 MB for each array
MAX_DEVIATION = np.log(10)  # largest distance of a resample from the sample, in log-odds of the metric
ROUNDING = 1e-9  # an interval narrower than this has no width but for rounding


@dataclass(frozen=True)
class Estimate:
    """A metric, its interval, and the numbers of pictures; low and high are NaN if a class has only one group."""

    value: float
    low: float
    high: float
    n_real: int
    n_fake: int


@dataclass(frozen=True)
class Difference:
    """A metric of detector B minus that of detector A on the same pictures.

    p_worse: one-sided p-value, small if B is worse than A by more than the margin. freedom: degrees of freedom of se.
    groups: number of groups of the class that has fewer. With one group se, low and high are NaN and p_worse is 1.
    """

    value: float
    se: float
    low: float
    high: float
    p_worse: float
    freedom: float
    groups: int

    @property
    def p_apart(self) -> float:
        """Two-sided p-value, small if A and B differ, whichever of them is better; 1 with one group."""
        return min(2 * _tail(-abs(self.value), self.se, self.freedom, self.groups), 1.0) if self.groups >= 2 else 1.0


def measure(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike | None = None,
    metrics: Sequence[str] | None = None,
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> dict[str, Estimate]:
    """Return each metric with its interval.

    labels, scores, groups: (N,). groups: group of each picture; None makes every picture its own group. metrics: names
    of metrics; None takes all. Raises ScoresError if labels or scores cannot be used, UnknownName for a metric.
    """
    sample = _Sample(labels, [scores], groups)
    whole = sample.tally(0)
    names = METRICS.names() if metrics is None else list(metrics)
    counts = int((~sample.fake).sum()), int(sample.fake.sum())
    values = {name: float(METRICS.facts(name)["block"](whole)[0]) for name in names}
    if sample.scarcest < 2:
        return {name: Estimate(value, math.nan, math.nan, *counts) for name, value in values.items()}
    drawn = {name: METRICS.facts(name).get("drawn", METRICS.facts(name)["block"]) for name in names if name != "auc"}
    draws = sample.bootstrap(drawn, resamples, seed)[0]
    scale, freedom = sample.correct(sample.scores[0])
    estimates = {}
    for name, value in values.items():
        if name == "auc":
            low, high = _auc_ends(sample, level)
        else:
            low, high = _ends(drawn[name](whole)[0], draws[name], METRICS.facts(name), scale, freedom, level)
        if not high - low > ROUNDING:
            low, high = _unseen(name, sample, level)
        estimates[name] = Estimate(value, min(low, value), max(high, value), *counts)
    return estimates


def compare_auc(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    level: float = 0.95,
    margin: float = 0.0,
) -> Difference:
    """Return the AUC of B minus that of A, on the same pictures, by the paired DeLong test.

    Source: DeLong, DeLong and Clarke-Pearson, 1988, doi:10.2307/2531595; clustered after Obuchowski, 1997.
    """
    sample = _Sample(labels, [scores_a, scores_b], groups)
    (auc_a, *parts_a), (auc_b, *parts_b) = (split_auc(sample.fake, s) for s in sample.scores)
    value, variance, freedom = auc_b - auc_a, math.nan, 0.0
    if sample.scarcest >= 2:
        variance, freedom = sample.variance(parts_b[0] - parts_a[0], parts_b[1] - parts_a[1])
    return _differ(value, math.sqrt(variance), freedom, sample.scarcest, level, value + margin)


def compare(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    groups: ArrayLike | None = None,
    metrics: Sequence[str] | None = None,
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
    margin: float = 0.0,
) -> dict[str, Difference]:
    """Return each metric of B minus that of A on the same pictures, both measured on the same resamples.

    margin: difference by which B may be worse, in the unit of the metric. Raises the errors of `measure`.
    """
    sample = _Sample(labels, [scores_a, scores_b], groups)
    names = METRICS.names() if metrics is None else list(metrics)
    blocks = {name: METRICS.facts(name)["block"] for name in names if name != "auc"}
    draws = sample.bootstrap(blocks, resamples, seed)
    scale, freedom = sample.correct(sample.scores[1] - sample.scores[0])
    differences = {}
    for name in names:
        if name == "auc":
            differences[name] = compare_auc(labels, scores_a, scores_b, groups, level=level, margin=margin)
            continue
        value = float(blocks[name](sample.tally(1))[0] - blocks[name](sample.tally(0))[0])
        se = float((draws[1][name] - draws[0][name]).std(ddof=1)) * math.sqrt(scale)
        better = 1 if METRICS.facts(name)["higher"] else -1
        differences[name] = _differ(value, se, freedom, sample.scarcest, level, better * value + margin)
    return differences


def _differ(value: float, se: float, freedom: float, groups: int, level: float, spare: float) -> Difference:
    """Return a difference with its interval and p-value; spare: distance from the worst difference that is allowed."""
    if groups < 2:
        return Difference(value, math.nan, math.nan, math.nan, 1.0, 0.0, groups)
    reach = float(stdtrit(freedom, (1 + level) / 2)) * se
    return Difference(value, se, value - reach, value + reach, _tail(spare, se, freedom, groups), freedom, groups)


def _tail(spare: float, se: float, freedom: float, groups: int) -> float:
    """Return the one-sided p-value of a distance, not below that of a sign test in which all groups agree."""
    return max(float(stdtr(freedom, spare / se)) if se > 0 else float(spare >= 0), 0.5**groups)


class _Sample:
    """Labels, one or two columns of scores, and groups, checked and numbered."""

    def __init__(self, labels: ArrayLike, scores: Sequence[ArrayLike], groups: ArrayLike | None) -> None:
        self.fake, self.scores = check(labels, *scores)
        n = len(self.fake)
        named = np.arange(n) if groups is None else np.asarray(groups)
        if named.shape != (n,):
            raise ScoresError(f"there are {len(named)} groups for {n} scores; give one for each picture")
        self.groups = np.unique(named, return_inverse=True)[1]
        count = int(self.groups.max()) + 1
        self.has_real = np.bincount(self.groups[~self.fake], minlength=count) > 0
        self.has_fake = np.bincount(self.groups[self.fake], minlength=count) > 0

    @property
    def scarcest(self) -> int:
        """Return the number of groups of the class that has fewer."""
        return int(min(self.has_real.sum(), self.has_fake.sum()))

    def correct(self, values: Floats) -> tuple[float, float]:
        """Return the factor that corrects the bootstrap's variance, and its degrees of freedom.

        values: (N,), from which the correlation within groups is estimated. Resamples vary around the mean of the
        sample itself, so their variance is too small (`correct_clusters`). The larger factor of both classes is used.
        """
        parts = values[self.fake], values[~self.fake]
        scales = [correct_clusters(*pair)[0] for pair in zip(parts, self._split_groups(), strict=True)]
        return max(scales), self._join(*parts)

    def tally(self, column: int) -> Tally:
        """Return the sample itself, as a block of one."""
        return next(self._tallies(column, iter([np.ones((1, len(self.has_real)))])))

    def bootstrap(self, blocks: Mapping[str, Block], resamples: int, seed: int) -> list[dict[str, Floats]]:
        """Return for each column of scores the values (resamples, ...) of each block, on the same resamples."""
        answers = []
        for column in range(len(self.scores)):
            values: dict[str, list[Floats]] = {name: [] for name in blocks}
            for drawn in self._tallies(column, self._weights(resamples if blocks else 0, seed)):
                for name, block in blocks.items():
                    values[name].append(block(drawn))
            answers.append({name: np.concatenate(parts) for name, parts in values.items()})
        return answers

    def variance(self, fake_parts: Floats, real_parts: Floats) -> tuple[float, float]:
        """Return the variance of a mean over fakes plus a mean over real pictures, and its degrees of freedom.

        It is computed from the parts of both means, summed by group. If every picture is its own group, it is
        S_10 / n_fake + S_01 / n_real of DeLong et al. Source: Obuchowski, 1997, doi:10.2307/2533958.
        """
        sums = np.zeros(len(self.has_real))
        for groups, parts in zip(self._split_groups(), (fake_parts, real_parts), strict=True):
            moves = np.bincount(groups, parts - parts.mean(), minlength=len(sums))
            sums += np.sqrt(correct_clusters(parts, groups)[0]) * moves / len(parts)
        return float(sums @ sums), self._join(fake_parts, real_parts)

    def _split_groups(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the groups of the fakes and of the real pictures."""
        return self.groups[self.fake], self.groups[~self.fake]

    def _join(self, fake_parts: Floats, real_parts: Floats) -> float:
        """Return the degrees of freedom of a sum over both classes, from what each picture contributes.

        Both classes are assumed to have equal variances, because it depends on the metric which class matters more. The
        result is at most the number of groups of the scarcer class minus one, and at least 1; 0 if a class has a single
        group.
        """
        if self.scarcest < 2:
            return 0.0
        return max(min(self.scarcest - 1.0, join_freedoms([fake_parts, real_parts], self._split_groups())), 1.0)

    def _weights(self, resamples: int, seed: int) -> Iterator[Floats]:
        """Yield blocks (B, groups): how often each resample drew each group; groups are drawn within their kind."""
        kinds = [np.flatnonzero(k) for k in (self.has_real & ~self.has_fake, self.has_fake & ~self.has_real,
                                             self.has_real & self.has_fake)]  # fmt: skip
        rngs = [np.random.default_rng([seed, i]) for i in range(len(kinds))]
        rows = max(1, BLOCK // len(self.fake))
        for start in range(0, resamples, rows):
            b = min(rows, resamples - start)
            weights = np.zeros((b, len(self.has_real)))
            for kind, rng in zip(kinds, rngs, strict=True):
                if n := len(kind):
                    drawn = rng.integers(n, size=(b, n)) + n * np.arange(b)[:, None]
                    weights[:, kind] = np.bincount(drawn.ravel(), minlength=b * n).reshape(b, n)
            yield weights

    def _tallies(self, column: int, weights: Iterator[Floats]) -> Iterator[Tally]:
        order = np.argsort(self.scores[column], kind="stable")
        scores = self.scores[column][order]
        starts = np.flatnonzero(np.diff(scores, prepend=-np.inf))
        axis = Axis(scores[starts])
        groups, fake = self.groups[order], self.fake[order].astype(np.float64)
        for block in weights:
            both = block.take(groups, axis=1)
            fakes = both * fake
            if len(starts) < len(scores):
                both, fakes = np.add.reduceat(both, starts, axis=1), np.add.reduceat(fakes, starts, axis=1)
            yield Tally(axis, both - fakes, fakes)


def split_auc(fake: NDArray[np.bool_], scores: Floats) -> tuple[float, Floats, Floats]:
    """Return the AUC, the share of reals below each fake (M,), and the share of fakes above each real picture (N,).

    These are the placements of DeLong et al.; sorting makes the cost n log n. Source: Sun and Xu, 2014,
    doi:10.1109/LSP.2014.2337313.
    """
    fakes, reals = scores[fake], scores[~fake]

    def share_below(of: Floats, among: Floats) -> Floats:
        among = np.sort(among)
        return (np.searchsorted(among, of, "left") + np.searchsorted(among, of, "right")) / (2 * len(among))

    above = share_below(fakes, reals)
    return float(above.mean()), above, 1 - share_below(reals, fakes)


def _auc_ends(sample: _Sample, level: float) -> tuple[float, float]:
    """Return the ends of DeLong's interval on the logit scale; the source is that of `compare_auc`."""
    auc, fakes, reals = split_auc(sample.fake, sample.scores[0])
    if not 0 < auc < 1:
        return auc, auc
    variance, freedom = sample.variance(fakes, reals)
    reach = float(stdtrit(freedom, (1 + level) / 2)) * np.sqrt(variance) / (auc * (1 - auc))
    return float(expit(logit(auc) - reach)), float(expit(logit(auc) + reach))


def _ends(
    centre: Any, draws: Floats, facts: Mapping[str, Any], scale: float, freedom: float, level: float
) -> tuple[float, float]:
    """Return the ends of the interval of a metric from its values in resamples (draws): centre -+ t * spread.

    The interval is computed on the logit scale, which keeps it within 0 and 1, or on the log scale if the metric has no
    largest value. Each draw is transformed by itself: a slope at the centre would be too flat towards the nearer end,
    and would be taken at the wrong place if the metric is biased and its draws lie below the centre. Draws farther than
    MAX_DEVIATION from the centre are clipped to this distance, also those without an error, which are infinite on this
    scale. If the centre is 0 or the largest value, both ends are the centre (see `_unseen`).

    scale, freedom: from `_Sample.correct`.

    Source: Efron and Tibshirani, 1993, An Introduction to the Bootstrap, section 12.6 (the standard error is estimated
    on the scale of the interval); Boyd, Eng and Page, 2013, doi:10.1007/978-3-642-40994-3_29 (logit).
    """
    reach = float(stdtrit(freedom, (1 + level) / 2)) * np.sqrt(scale)
    if draws.ndim == 2:
        return _invert(centre, centre + (draws - centre) * reach / ndtri((1 + level) / 2), level)
    top, bias = facts.get("top", 1.0), facts.get("bias", 0.0)
    if bias:  # the metric is optimistic on the sample, and again on each resample
        centre = min(centre + bias * (centre - draws.mean()), top)
    onto, back = (np.log, np.exp) if bias or np.isinf(top) else (logit, expit)
    with np.errstate(divide="ignore"):
        middle, ends = onto(centre), onto(np.clip(draws, 0, top))
    if np.isinf(middle):
        return float(centre), float(centre)
    spread = np.clip(ends, middle - MAX_DEVIATION, middle + MAX_DEVIATION).std()
    with np.errstate(over="ignore"):
        return float(back(middle - reach * spread)), min(float(back(middle + reach * spread)), top)


def _invert(addends: Floats, draws: Floats, level: float) -> tuple[float, float]:
    """Return the ends of the interval of a sum of absolute values, which noise can only enlarge.

    addends: (K,). draws: (resamples, K). The true addends are assumed to be the observed ones times a factor; the ends
    belong to the smallest and the largest factor for which a sum as large (as small) as the observed one is not rare.

    Source: Carpenter, 1999, doi:10.1111/1467-9868.00169, test-inversion bootstrap intervals.
    """
    observed, noise, tail = np.abs(addends).sum(), draws - addends, (1 - level) / 2

    def share(factor: float) -> float:
        return float(np.mean(np.abs(factor * addends + noise).sum(1) < observed))

    def solve(target: float) -> float:  # the factor at which `share` falls to the target
        low, high = 0.0, 4.0
        for _ in range(30):
            low, high = ((low + high) / 2, high) if share((low + high) / 2) > target else (low, (low + high) / 2)
        return low

    return float(solve(1 - tail) * observed), float(solve(tail) * observed)


def _unseen(name: str, sample: _Sample, level: float) -> tuple[float, float]:
    """Return the extremes of a metric if a share of one class, too small to show, lay beyond all other scores.

    The share is the upper Clopper-Pearson limit for no case in the effective number of pictures of the class.
    Compare Obuchowski and Lieber, 2002, Academic Radiology 9:526-530, on an observed AUC of 1.
    """
    whole = sample.tally(0)
    scores = whole.axis.scores
    axis = Axis(np.concatenate([[np.nextafter(scores[0], -np.inf)], scores, [np.nextafter(scores[-1], np.inf)]]))
    counts = [np.pad(c, ((0, 0), (1, 1))) for c in (whole.real, whole.fake)]
    facts = METRICS.facts(name)
    values = [float(facts["block"](whole)[0])]
    for kind in facts.get("blame", (0, 1)):
        mask = sample.fake == kind
        n = effective_count(sample.scores[0][mask], sample.groups[mask])
        share = clopper_pearson(0, n, level)[1]
        for end in (0, -1):
            moved = [c.copy() for c in counts]
            moved[kind] *= 1 - share
            moved[kind][:, end] = share * mask.sum()
            values.append(float(facts["block"](Tally(axis, *moved))[0]))
    return min(values), min(max(values), facts.get("top", 1.0))
