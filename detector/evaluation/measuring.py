"""Scores x manifest -> results: each generator against all real pictures of the split, each figure with its interval.

The headline is the worst generator and the mean over generators, never one pooled AUC: a pool rewards whoever sees
most of the easiest fakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from detector.evaluation.joining import KEYS, join_scores
from detector.statistics.intervals import measure
from detector.statistics.metrics import METRICS
from detector.types import Label

METRIC_NAMES = ("auc", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "balanced_accuracy")
COLUMNS = ["detector", "generator", "perturbation", "severity", "metric", "value", "low", "high", "n_real", "n_fake"]


def evaluate(
    scores: pd.DataFrame,
    manifest: pd.DataFrame,
    *,
    split: str = "test",
    metrics: Sequence[str] = METRIC_NAMES,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the results of `measure_scores` on what `join_scores` joins; raises as both."""
    joined = join_scores(scores, manifest, split=split)
    return measure_scores(joined, metrics=metrics, level=level, resamples=resamples, seed=seed)


def measure_scores(
    joined: pd.DataFrame,
    *,
    metrics: Sequence[str] = METRIC_NAMES,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the results, tidy: one row a detector, generator, perturbation, severity and metric (COLUMNS)."""
    rows = []
    for (detector, perturbation, severity), part in joined.groupby(KEYS, sort=False):
        for generator, both in pair_generators(part):
            found = measure(both.label.to_numpy(), both.score.to_numpy(), both.group.to_numpy(), metrics,
                            seed=seed, level=level, resamples=resamples)  # fmt: skip
            rows += [
                (detector, generator, perturbation, severity, name, e.value, e.low, e.high, e.n_real, e.n_fake)
                for name, e in found.items()
            ]
    return pd.DataFrame(rows, columns=COLUMNS)


def summarise(results: pd.DataFrame, *, metric: str | None = None) -> list[dict[str, Any]]:
    """Return the headline of each detector on unperturbed pictures: its worst generator, and the mean over all.

    metric: None takes the first that was measured.
    """
    metric = metric or str(results.metric.iloc[0])
    plain = results[(results.metric == metric) & (results.perturbation == "none")]
    return [
        {"detector": detector, "metric": metric, "worst_generator": worst.generator, "value": float(worst.value),
         "low": float(worst.low), "high": float(worst.high), "mean": float(part.value.mean()), "generators": len(part)}
        for detector, part in plain.groupby("detector", sort=False)
        for worst in [worst_first(part).iloc[0]]
    ]  # fmt: skip


def pair_generators(part: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each generator's readable fakes together with all readable real pictures."""
    read = part[part.score.notna()]
    real = read[read.label == Label.REAL]
    for generator, fake in read[read.label == Label.FAKE].groupby("generator"):
        yield str(generator), pd.concat([real, fake])


def worst_first(results: pd.DataFrame) -> pd.DataFrame:
    """Return rows of one metric, the worst value first."""
    return results.sort_values("value", ascending=METRICS.facts(str(results.metric.iloc[0]))["higher"], kind="stable")
