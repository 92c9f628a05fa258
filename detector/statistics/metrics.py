"""Metrics of labels and scores: rank metrics, calibration metrics, operating points and ROC curves.

Every metric is written once, for a block of B reweighted samples (`Tally`): a plain sample is a block of one, and the
bootstrap of `intervals.py` uses blocks of thousands. Equal scores share one point of the ROC.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, xlogy

from detector.errors import ScoresError
from detector.registry import Registry

Floats = NDArray[np.float64]
Block = Callable[..., Floats]  # function of (Tally, options) that returns (B,)
BINS = 15  # number of bins of `ece`
RATES = (0.01, 0.05)  # false-positive rates at which the true-positive rate is measured by default


class Metric(Protocol):
    """A function of labels (N,), 0 real and 1 fake, and scores (N,), log-odds; ScoresError if they cannot be used."""

    def __call__(self, labels: ArrayLike, scores: ArrayLike, **options: float) -> float:
        """Return the metric; options are those of the function, such as a threshold."""
        ...


class Metrics(Registry[Metric]):
    """The metrics. `tpr_at_fpr_X` exists for every percentage X; RATES are those that are listed and measured."""

    def get(self, name: str) -> Metric:
        """Return the metric of that name; UnknownName lists the others."""
        if name not in self._objects and (rate := read_rate(name)) is not None:
            _define_operating_point(rate)
        return super().get(name)

    def names(self) -> list[str]:
        """Return every listed name, sorted."""
        return [name for name in super().names() if read_rate(name) in (None, *RATES)]


METRICS = Metrics("metric", "detector.statistics.metrics")


@dataclass(frozen=True)
class Axis:
    """Distinct scores (U,), ascending, and what depends on them alone; computed once for all resamples."""

    scores: Floats

    @cached_property
    def probability(self) -> Floats:
        """Return (U,): the probability of fake at even prior odds."""
        return np.asarray(expit(self.scores))

    @cached_property
    def cost_real(self) -> Floats:
        """Return (U,): the surprise, in bits, that the picture is real."""
        return np.asarray(np.logaddexp(0, self.scores) / np.log(2))

    @cached_property
    def cost_fake(self) -> Floats:
        """Return (U,): the surprise, in bits, that the picture is fake."""
        return np.asarray(np.logaddexp(0, -self.scores) / np.log(2))


@dataclass(frozen=True)
class Tally:
    """B weighted samples of the same scores, with the numbers of real and fake pictures at each distinct score.

    real, fake: weights (B, U); every row has pictures of both classes.
    """

    axis: Axis
    real: Floats
    fake: Floats

    @cached_property
    def real_below(self) -> Floats:
        """Return (B, U + 1): real pictures below score k; the last column holds all."""
        return _sums(self.real)

    @cached_property
    def fake_below(self) -> Floats:
        """Return (B, U + 1): fake pictures below score k; the last column holds all."""
        return _sums(self.fake)

    @property
    def n_real(self) -> Floats:
        """Return (B,): the number of real pictures."""
        return self.real_below[:, -1]

    @property
    def n_fake(self) -> Floats:
        """Return (B,): the number of fakes."""
        return self.fake_below[:, -1]


def check(labels: ArrayLike, *scores: ArrayLike) -> tuple[NDArray[np.bool_], list[Floats]]:
    """Return labels (N,), True = fake, and each array of scores (N,) as float64; ScoresError if they cannot be used."""
    truth = np.asarray(labels)
    try:
        columns = [np.asarray(s, np.float64) for s in scores]
    except (TypeError, ValueError):
        raise ScoresError("a score is not a number; scores are log-odds, larger = more fake") from None
    if truth.ndim != 1 or any(c.shape != truth.shape for c in columns):
        shapes = " and ".join(str(c.shape) for c in columns)
        raise ScoresError(f"labels {truth.shape} and scores {shapes} differ in shape; give one of each a picture")
    if not len(truth):
        raise ScoresError("there are no scores; give at least one real and one fake picture")
    if not np.isin(truth, [0, 1]).all():
        raise ScoresError("a label is neither 0 (real) nor 1 (fake)")
    for column in columns:
        if bad := int((~np.isfinite(column)).sum()):
            raise ScoresError(
                f"{bad} of {len(column)} scores are NaN or infinite; drop those pictures or score them again"
            )
    fake = truth.astype(bool)
    if fake.all() or not fake.any():
        raise ScoresError(f"every picture is {'fake' if fake.all() else 'real'}; a metric needs both classes")
    return fake, columns


def check_scores(scores: ArrayLike) -> Floats:
    """Return the scores (N,) of one class as float64; ScoresError if there are none or one is not finite."""
    column = np.asarray(scores, np.float64)
    if column.ndim != 1 or not len(column) or not np.isfinite(column).all():
        raise ScoresError("these scores are empty, NaN or infinite; give one finite number a picture")
    return column


def tally(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Tally:
    """Return the sample as a block of one. weights: of each picture (N,); None for 1. Raises ScoresError as `check`."""
    fake, (column,) = check(labels, scores)
    distinct, where = np.unique(column, return_inverse=True)
    each = np.ones(len(column)) if weights is None else np.asarray(weights, np.float64)
    count = [np.bincount(where[m], each[m], len(distinct)).astype(np.float64)[None] for m in (~fake, fake)]
    return Tally(Axis(distinct), *count)


def name_operating_point(rate: float) -> str:
    """Return the name of the metric TPR at that false-positive rate (0..1).

    >>> name_operating_point(0.01)
    'tpr_at_fpr_1'
    """
    return f"tpr_at_fpr_{100 * rate:g}"


def read_rate(name: str) -> float | None:
    """Return the false-positive rate in the name of an operating point; None if it is not the name of one."""
    found = re.fullmatch(r"tpr_at_fpr_(\d+(?:\.\d+)?)", name)
    rate = float(found[1]) / 100 if found else 0.0
    return rate if 0 < rate < 1 and name == name_operating_point(rate) else None


def metric(name: str, *, title: str, higher: bool, summary: str, **facts: Any) -> Callable[[Block], Metric]:
    """Return a decorator that registers a function from a Tally to (B,) as a metric of labels and scores.

    title: name of the metric in reports. higher: whether larger is better. The function itself is kept as the fact
    `block`. Further facts are for `intervals.py`: `drawn`, function to resample instead; `top`, largest value, 1 if
    absent; `bias`, factor of the correction for the bootstrap's bias; `blame`, class (0, 1) in which unobserved errors
    are assumed, both if absent.
    """

    def make(block: Block) -> Metric:
        @wraps(block)
        def single(labels: ArrayLike, scores: ArrayLike, **options: float) -> float:
            return float(block(tally(labels, scores), **options)[0])

        return METRICS.register(name, title=title, higher=higher, summary=summary, block=block, **facts)(single)

    return make


@metric(
    "auc",
    title="AUC",
    higher=True,
    summary="area under the ROC: chance that a fake scores above a real picture, ties count half",
)
def auc(t: Tally) -> Floats:
    """Return the Mann-Whitney statistic over n_real * n_fake.

    Source: Hanley and McNeil, 1982, doi:10.1148/radiology.143.1.7063747.
    """
    middle = t.real_below[:, :-1] + t.real_below[:, 1:]
    return np.asarray(np.einsum("bu,bu->b", t.fake, middle) / (2 * t.n_real * t.n_fake))


@metric(
    "ap", title="AP", higher=True, summary="average precision: mean precision over the fakes found, no interpolation"
)
def ap(t: Tally) -> Floats:
    """Return the sum over thresholds of (rise of recall) * precision."""
    found = t.n_fake[:, None] - t.fake_below[:, :-1]
    taken = found + t.n_real[:, None] - t.real_below[:, :-1]
    precision = found / np.maximum(taken, np.finfo(float).tiny)
    return np.asarray(np.einsum("bu,bu->b", t.fake, precision) / t.n_fake)


@metric(
    "eer", title="EER", higher=False, summary="equal error rate: where the ROC, joined by lines, meets FPR = 1 - TPR"
)
def eer(t: Tally) -> Floats:
    """Return the rate at which the share of fakes that are missed equals the share of real pictures called fake."""
    rows = np.arange(len(t.real))

    def gap(k: NDArray[np.intp]) -> Floats:  # (FNR - FPR) * n_real * n_fake: rises with the threshold, exact
        return t.fake_below[rows, k] * t.n_real + (t.real_below[rows, k] - t.n_real) * t.n_fake

    after = _first(lambda k: gap(k) >= 0, t)
    before = after - 1
    share = gap(before) / (gap(before) - gap(after))
    low, high = t.fake_below[rows, before] / t.n_fake, t.fake_below[rows, after] / t.n_fake
    return low + share * (high - low)


def _tpr_at_fpr(t: Tally, fpr: float) -> Floats:
    """Return the largest TPR with at most that share of real pictures called fake."""
    rows = np.arange(len(t.real))
    allowed = np.floor(fpr * t.n_real * (1 + 1e-12))
    return 1 - t.fake_below[rows, _first(lambda k: t.n_real - t.real_below[rows, k] <= allowed, t)] / t.n_fake


def _tpr_between(t: Tally, fpr: float) -> Floats:
    """Return the TPR at that FPR on lines through the lower corners of the ROC; intervals are computed from it.

    A corner is a threshold just above a real picture, which itself counts as called fake: on average, a share of
    k / (n + 1) of further real pictures scores above the k-th of n. Above the first corner, the line through the first
    two is extended down to 0, because the threshold for that FPR may lie above all real pictures of the sample.
    Compare Hutson, 1999, doi:10.1080/02664769922458, quantiles by fractional order statistics.
    """
    rows = np.arange(len(t.real))

    def accused(k: NDArray[np.intp]) -> Floats:
        return t.n_real - t.real_below[rows, k]

    allowed = fpr * t.n_real * (1 + 1e-12)
    first = t.real[rows, _first(lambda k: accused(k) <= 0, t) - 1]
    lower = np.maximum(_first(lambda k: accused(k) <= np.maximum(allowed, first), t), 1)
    upper = _first(lambda k: accused(k) < accused(lower), t)
    low, high = 1 - t.fake_below[rows, upper] / t.n_fake, 1 - t.fake_below[rows, lower] / t.n_fake
    share = (allowed - accused(lower)) / np.maximum(t.real[rows, lower - 1], 1)
    return np.asarray(np.maximum(low + share * (high - low), 0))


def _define_operating_point(rate: float) -> None:
    """Register the TPR at a false-positive rate."""
    percent = f"{100 * rate:g} %"

    @metric(
        name_operating_point(rate), title=f"TPR at {percent} FPR", higher=True,
        summary=f"share of fakes found while at most {percent} of real pictures are accused",
        drawn=partial(_tpr_between, fpr=rate), blame=(1,),
    )  # fmt: skip
    def tpr_at_fpr(t: Tally) -> Floats:
        """Return the largest TPR of a threshold that the data attain with at most that FPR."""
        return _tpr_at_fpr(t, rate)


for _rate in RATES:
    _define_operating_point(_rate)


@metric(
    "balanced_accuracy",
    title="balanced accuracy",
    higher=True,
    summary="mean of the shares of real and of fake pictures judged right",
)
def balanced_accuracy(t: Tally, threshold: float = 0.0) -> Floats:
    """Return (TPR + TNR) / 2, a score above the threshold counting as fake."""
    k = int(np.searchsorted(t.axis.scores, threshold, side="right"))
    return (1 - t.fake_below[:, k] / t.n_fake + t.real_below[:, k] / t.n_real) / 2


@metric(
    "brier",
    title="Brier",
    higher=False,
    summary="mean squared error of the probability at even prior, both classes weighed alike",
)
def brier(t: Tally) -> Floats:
    """Return the mean of (sigmoid(score) - label) ** 2, half of it over real pictures and half over fakes.

    Scores are log-odds at even prior odds, so their probabilities are evaluated at this prior.
    """
    p = t.axis.probability
    return np.asarray(t.real @ p**2 / t.n_real + t.fake @ (1 - p) ** 2 / t.n_fake) / 2


def _gaps(t: Tally) -> Floats:
    """Return (B, bins): probability minus label, summed over each bin; each class has the weight 1/2."""
    p = t.axis.probability
    starts = np.flatnonzero(np.diff(np.minimum(p * BINS, BINS - 1).astype(int), prepend=-1))
    bins = [slice(start, end) for start, end in pairwise([*starts, len(p)])]  # probabilities rise, so a bin is a slice
    real = np.column_stack([t.real[:, part] @ p[part] for part in bins])
    fake = np.column_stack([t.fake[:, part] @ (1 - p)[part] for part in bins])
    return np.asarray(real / t.n_real[:, None] - fake / t.n_fake[:, None]) / 2


@metric(
    "ece", title="ECE", higher=False, drawn=_gaps,
    summary="expected calibration error of the probability at even prior, both classes weighed alike, in 15 equal bins",
)  # fmt: skip
def ece(t: Tally) -> Floats:
    """Return the mean gap between probability and share of fakes over bins; both classes have the same weight.

    This is the prior of the scores and of the reliability plot, so a calibrated detector has no gap, whatever the share
    of fakes.
    Source: Guo et al., 2017, arXiv:1706.04599, equation 3, on the probability of the fake class.
    """
    return np.asarray(np.abs(_gaps(t)).sum(1))


@metric(
    "cllr",
    title="Cllr",
    higher=False,
    summary="log-likelihood-ratio cost of the scores, in bits; 1 = no information",
    top=np.inf,
)
def cllr(t: Tally) -> Floats:
    """Return the cost of the scores as natural log likelihood ratios; it does not depend on the prevalence.

    Source: Brümmer and du Preez, 2006, doi:10.1016/j.csl.2005.08.001.
    """
    return np.asarray(t.real @ t.axis.cost_real / t.n_real + t.fake @ t.axis.cost_fake / t.n_fake) / 2


@metric(
    "cllr_min",
    title="Cllr min",
    higher=False,
    summary="cllr after the best monotone recalibration: discrimination alone",
    bias=2.0,
)
def cllr_min(t: Tally) -> Floats:
    """Return the cost after isotonic regression (PAV) on the same sample.

    Within a PAV block the posterior is the block's share of fakes, so the cost is the blocks' mean entropy.

    Source: Brümmer and du Preez, 2006, doi:10.1016/j.csl.2005.08.001.
    """
    from scipy.optimize import isotonic_regression  # here, because scipy.optimize takes longer to import than numpy

    cost = np.empty(len(t.real))
    for i in range(len(cost)):
        there = np.flatnonzero(t.real[i] + t.fake[i])
        fake = t.fake[i].take(there) / t.n_fake[i]
        weight = t.real[i].take(there) / t.n_real[i] + fake
        fit = isotonic_regression(fake / weight, weights=weight)
        p = np.clip(fit.x[fit.blocks[:-1]], 0, 1)
        cost[i] = -fit.weights @ (xlogy(p, p) + xlogy(1 - p, 1 - p)) / (2 * np.log(2))
    return cost


def roc(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return FPR, TPR and threshold (U + 1,) from (0, 0) to (1, 1), `score >= threshold` being called fake."""
    t = tally(labels, scores)
    fpr, tpr = 1 - t.real_below[0] / t.n_real, 1 - t.fake_below[0] / t.n_fake
    return fpr[::-1], tpr[::-1], np.append(t.axis.scores, np.inf)[::-1]


def det(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return FPR, FNR and threshold (U + 1,): the points of a detection error trade-off curve.

    Source: Martin et al., 1997, doi:10.21437/Eurospeech.1997-504.
    """
    fpr, tpr, thresholds = roc(labels, scores)
    return fpr, 1 - tpr, thresholds


def _sums(weights: Floats) -> Floats:
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _first(test: Callable[[NDArray[np.intp]], Any], t: Tally) -> NDArray[np.intp]:
    """Return for each row the smallest k in 0..U that passes a monotone test; U passes."""
    low, high = np.zeros(len(t.real), np.intp), np.full(len(t.real), t.real.shape[1], np.intp)
    while (low < high).any():
        middle = (low + high) // 2
        passed = test(middle)
        low, high = np.where(passed, low, np.minimum(middle + 1, high)), np.where(passed, middle, high)
    return low
