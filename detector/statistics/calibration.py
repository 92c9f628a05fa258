"""Calibration: turn raw scores into log-odds at even prior odds, bounded likelihood ratios, and verdicts.

Raw scores only rank pictures. A straight line turns them into natural log-odds at even prior odds, which are log
likelihood ratios. Two bounds limit these ratios to what the calibration set supports. Two thresholds decide when a
picture is called likely-fake or likely-real; between them the verdict is inconclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from detector.errors import CheckpointError
from detector.statistics.metrics import check, check_scores
from detector.statistics.proportions import clopper_pearson, effective_count
from detector.statistics.thresholds import bpcer, threshold_at_apcer, threshold_at_fpr
from detector.types import Opinion, Scores

MAX_FPR = 0.01  # largest share of photographs that may be called likely-fake
MAX_MISS = 0.05  # largest share of fakes that may be called likely-real
MIN_FAKES = 30  # a generator with fewer fakes sets no threshold by itself
STEP = 0.01  # step of the search for the bounds, in log10
SMALLEST_WIDTH = 0.005  # smallest width of an interval that shows in two decimals, log10

# Smallest likelihood ratio for each phrase; for ratios below 1 the phrases refer to the other proposition.
# Source: ENFSI Guideline for Evaluative Reporting in Forensic Science, 2015, version 3.0, example scale.
VERBAL_SCALE = (
    (1e6, "extremely strong support"),
    (1e4, "very strong support"),
    (1e3, "strong support"),
    (1e2, "moderately strong support"),
    (1e1, "moderate support"),
    (2.0, "weak support"),
)


@dataclass(frozen=True)
class Calibration:
    """The line, the bounds and the thresholds of one detector, and the data that they are based on.

    slope, offset: log-odds = slope * raw + offset. low, high: bounds of the log10 likelihood ratio.
    fake_above, real_below: thresholds on the log-odds; between them the verdict is inconclusive.
    fpr, fpr_high: share of photographs above `fake_above`, and the upper end of its 95 % Clopper-Pearson interval,
    which holds although the same photographs chose the threshold: a share above an order statistic is a beta variable.
    miss, miss_high: the same for fakes below `real_below`; over several sources, for the generator missed most.
    n_real, n_fake: numbers of pictures that determine the line and the bounds. n_threshold: number of photographs that
    determine `fake_above`. variance: variance of the slope, variance of the offset, and their covariance; None if the
    card does not have it.
    """

    slope: float
    offset: float
    low: float
    high: float
    fake_above: float
    real_below: float
    fpr: float
    fpr_high: float
    miss: float
    miss_high: float
    n_real: int
    n_fake: int
    n_threshold: int
    variance: tuple[float, float, float] | None = None

    def log_odds(self, raw: ArrayLike) -> Scores:
        """Return natural log-odds (N,) at even prior of raw scores (N,): the scores of every table."""
        return np.asarray(self.slope * np.asarray(raw, np.float64) + self.offset)

    def log10_lr(self, scores: ArrayLike) -> Scores:
        """Return log10 likelihood ratios fake:real (N,) of log-odds (N,), no further from 0 than the bounds."""
        return np.asarray(np.clip(np.asarray(scores, np.float64) / np.log(10), self.low, self.high))

    def intervals(self, scores: ArrayLike) -> NDArray[np.float64] | None:
        """Return 95 % intervals (N, 2) of the log10 likelihood ratios of log-odds (N,), within the bounds.

        They cover the sampling error of the calibration line, for pictures of the same kind; other kinds of pictures
        may change it more. None if the card does not have the variance.
        """
        if self.variance is None:
            return None
        column = np.atleast_1d(np.asarray(scores, np.float64))
        raw = (column - self.offset) / self.slope
        of_slope, of_offset, both = self.variance
        half = 1.96 * np.sqrt(np.maximum(raw**2 * of_slope + of_offset + 2 * raw * both, 0))
        return np.stack([self.log10_lr(column - half), self.log10_lr(column + half)], axis=1)

    def judge(self, scores: ArrayLike) -> list[Opinion]:
        """Return the verdict on each of the log-odds (N,)."""
        column = np.atleast_1d(np.asarray(scores, np.float64))
        return [
            Opinion.LIKELY_FAKE if fake else Opinion.LIKELY_REAL if real else Opinion.INCONCLUSIVE
            for fake, real in zip(column > self.fake_above, column < self.real_below, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Return the calibration that `to_json` wrote; CheckpointError if a number is missing."""
        try:
            numbers = {
                f.name: record[f.name] + (0 if f.type == "int" else 0.0) for f in fields(cls) if f.name != "variance"
            }
            of_slope, of_offset, both = record.get("variance") or (0.0, 0.0, 0.0)
            return cls(**numbers, variance=(of_slope, of_offset, both) if record.get("variance") else None)
        except (KeyError, TypeError, ValueError):
            raise CheckpointError(
                "the card's calibration is incomplete; train or calibrate the detector again"
            ) from None


def fit_calibration(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    fpr: float = MAX_FPR,
    miss: float = MAX_MISS,
) -> Calibration:
    """Return the calibration of raw scores (N,) of pictures that were not used in training.

    labels: (N,), 0 real, 1 fake. groups: (N,), group of each picture; related pictures count for less in every bound.
    fpr: share of photographs that may be called likely-fake. miss: share of fakes that may be called likely-real.

    Raises ScoresError if scores or labels cannot be used.
    """
    fake, (raw,) = check(labels, scores)
    groups = np.arange(len(raw)) if groups is None else np.asarray(groups)
    slope, offset, variance = fit_line(raw, fake, groups)
    odds = slope * raw + offset
    n_real, n_fake = (effective_count(odds[side], groups[side]) for side in (~fake, fake))
    low, high = find_bounds(odds[~fake] / np.log(10), odds[fake] / np.log(10), n_real, n_fake)
    fake_above = max(threshold_at_fpr(odds[~fake], fpr), 0.0)
    one_generator = np.full(len(odds), "")
    real_below, missed, missed_high = find_lower_threshold(odds, fake, one_generator, groups, miss)
    false = bpcer(odds[~fake], fake_above)
    return Calibration(
        slope, offset, low, high, fake_above, real_below,
        false, clopper_pearson(false * n_real, n_real)[1], missed, missed_high,
        int((~fake).sum()), int(fake.sum()), int((~fake).sum()), variance,
    )  # fmt: skip


def find_lower_threshold(
    odds: Scores, fake: NDArray[np.bool_], names: NDArray[Any], groups: NDArray[Any], miss: float
) -> tuple[float, float, float]:
    """Return the threshold of `likely-real`, and for the generator missed most the share below it and its upper bound.

    odds, fake, names, groups: log-odds, whether a picture is fake, its generator, and its group, (N,) each. miss: share
    of the fakes that may lie below, for each generator with at least MIN_FAKES fakes, or else for all together.
    """
    kinds = [side for name in np.unique(names[fake]) if (side := fake & (names == name)).sum() >= MIN_FAKES] or [fake]
    threshold = min(0.0, *(threshold_at_apcer(odds[side], miss) for side in kinds))
    worst = max(kinds, key=lambda side: float(np.mean(odds[side] < threshold)))
    share, count = float(np.mean(odds[worst] < threshold)), effective_count(odds[worst], groups[worst])
    return threshold, share, clopper_pearson(share * count, count)[1]


def find_bounds(
    real: ArrayLike, fake: ArrayLike, real_worth: float | None = None, fake_worth: float | None = None
) -> tuple[float, float]:
    """Return the empirical lower and upper bound (ELUB) of log10 likelihood ratios, from those of each class.

    One misleading ratio, beyond all others, is added to each class. The bounds enclose the decision thresholds around
    0 at which decisions by the ratios cost less than decisions without them.

    real_worth, fake_worth: effective number of unrelated pictures in each class; None treats all as unrelated.

    Source: Vergeer, van Es, de Jongh, Alberink and Stoel, 2016, doi:10.1016/j.scijus.2016.06.003.
    """
    real, fake = np.sort(check_scores(real)), np.sort(check_scores(fake))
    n_real, n_fake = real_worth or len(real), fake_worth or len(fake)
    # No sample supports a ratio beyond its size: there the added misleading ratio alone costs too much.
    first = min(0, int(np.floor(max(min(real[0], fake[0]), -np.log10(n_fake + 1)) / STEP)))
    last = max(0, int(np.floor(min(max(real[-1], fake[-1]), np.log10(n_real + 1)) / STEP)) + 1)
    steps = np.arange(first, last + 1)
    at = steps * STEP
    accused = 1 - np.searchsorted(real, at, side="right") / len(real)
    missed = np.searchsorted(fake, at, side="right") / len(fake)
    accused, missed = (accused * n_real + 1) / (n_real + 1), (missed * n_fake + 1) / (n_fake + 1)
    costly = missed + 10**at * accused > np.minimum(1, 10**at)
    below, above = steps[costly & (steps <= 0)], steps[costly & (steps >= 0)]
    low = below.max() + 1 if len(below) else first
    high = above.min() - 1 if len(above) else last
    return float(min(low, 0) * STEP), float(max(high, 0) * STEP)


def describe(log10_lr: float, first: str = "fake", second: str = "real") -> str:
    """Return the verbal equivalent of a log10 likelihood ratio: how strongly it supports which proposition.

    first, second: names of the propositions that a ratio above 1 and below 1 supports.

    >>> describe(2.3)
    'moderately strong support for fake over real'
    """
    for ratio, phrase in VERBAL_SCALE:
        if abs(log10_lr) >= np.log10(ratio):
            return f"{phrase} for {f'{first} over {second}' if log10_lr > 0 else f'{second} over {first}'}"
    return "no support for either"


def state_ratio(log10_lr: float, interval: Sequence[float] | None, bounds: Sequence[float]) -> str:
    """Return a log10 likelihood ratio with its 95 % interval, as text.

    interval: low and high end, or None. bounds: the smallest and the largest ratio that the calibration supports; if
    they are equal, it supports none. If the whole interval lies at a bound, the text states that the ratio is at least,
    or at most, the bound.

    >>> state_ratio(0.4, (0.2, 0.6), (-2.0, 1.79))
    '+0.40 [0.20, 0.60]'
    >>> state_ratio(1.79, (1.79, 1.79), (-2.0, 1.79))
    'at least +1.79'
    >>> state_ratio(0.0, (0.0, 0.0), (0.0, 0.0))
    'none'
    """
    if bounds[1] - bounds[0] < SMALLEST_WIDTH:
        return "none"
    low, high = (-np.inf, np.inf) if interval is None else interval
    if low > bounds[1] - SMALLEST_WIDTH:
        return f"at least {log10_lr:+.2f}"
    if high < bounds[0] + SMALLEST_WIDTH:
        return f"at most {log10_lr:+.2f}"
    return f"{log10_lr:+.2f}" + (f" [{low:.2f}, {high:.2f}]" if interval is not None else "")


def fit_line(
    raw: Scores, fake: NDArray[np.bool_], groups: NDArray[Any], weight: NDArray[np.float64] | None = None
) -> tuple[float, float, tuple[float, float, float]]:
    """Return slope and offset of a logistic regression in which both classes weigh the same, and their variance.

    weight: weight of each picture (N,), adding up to 1 in each class; None weighs the pictures of a class equally.

    The variance is the sandwich estimate, clustered by group, so that related pictures count for less.

    Platt's softened targets, (n + 1) / (n + 2) instead of 1, regularise the line independently of the unit of the raw
    scores, and keep it finite if the classes do not overlap. A negative slope would invert the detector; it is replaced
    by one that is practically zero.

    Source: Platt, 1999, Probabilistic outputs for support vector machines; Newton's method with step
    halving after Lin, Lin and Weng, 2007, doi:10.1007/s10994-007-5018-6.
    """
    spread = raw.std() or 1.0
    x = np.stack([(raw - raw.mean()) / spread, np.ones_like(raw)])
    n = np.where(fake, fake.sum(), (~fake).sum())
    target = np.where(fake, (n + 1) / (n + 2), 1 / (n + 2))
    weight = 1 / n if weight is None else weight

    def loss(line: NDArray[np.float64]) -> float:
        z = line @ x
        return float(weight @ (np.logaddexp(0, z) - target * z))

    line = np.zeros(2)
    for _ in range(100):
        p = expit(line @ x)
        slope = x @ (weight * (p - target))
        step = np.linalg.solve((x * (weight * p * (1 - p))) @ x.T + 1e-12 * np.eye(2), slope)
        while loss(line - step) > loss(line) and np.abs(step).max() > 1e-12:
            step /= 2
        line = line - step
        if np.abs(step).max() < 1e-12:
            break
    if line[0] <= 0:
        line = np.array([1e-6, 0.0])
    p = expit(line @ x)
    members = np.unique(groups, return_inverse=True)[1]
    gradients = np.stack([np.bincount(members, weights=weight * (p - target) * row) for row in x])
    bread = np.linalg.inv((x * (weight * p * (1 - p))) @ x.T + 1e-12 * np.eye(2))
    back = np.array([[1 / spread, 0], [-raw.mean() / spread, 1]])  # converts coefficients to raw scores
    spreads = back @ bread @ (gradients @ gradients.T) @ bread @ back.T
    variance = (float(spreads[0, 0]), float(spreads[1, 1]), float(spreads[0, 1]))
    return float(line[0] / spread), float(line[1] - line[0] * raw.mean() / spread), variance
