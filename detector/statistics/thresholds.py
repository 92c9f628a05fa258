"""Thresholds on scores for a given error rate, and the share of photographs above a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from detector.statistics.metrics import check_scores


def bpcer(real_scores: ArrayLike, threshold: float) -> float:
    """Return the share of real pictures that are called fake, because their score exceeds the threshold.

    Source: ISO/IEC 30107-3:2023, bona fide presentation classification error rate.
    """
    return float(np.mean(check_scores(real_scores) > threshold))


def threshold_at_fpr(real_scores: ArrayLike, fpr: float) -> float:
    """Return the lowest observed score above which at most that share of real pictures lies."""
    falling = -np.sort(-check_scores(real_scores))
    allowed = int(np.floor(fpr * len(falling) * (1 + 1e-12)))
    return float(falling[min(allowed, len(falling) - 1)])


def threshold_at_apcer(fake_scores: ArrayLike, rate: float) -> float:
    """Return the highest threshold below which at most that share of the fakes lies."""
    return float(np.nextafter(-threshold_at_fpr(-check_scores(fake_scores), rate), -np.inf))
