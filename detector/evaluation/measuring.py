"""Scores x manifest -> results: each generator against each dataset of photographs, and against all of them together.

Every figure has its interval. The headline is the worst and the mean over the matched pairs; if there are none, over
every generator against every dataset. It is never one pooled AUC, which would depend on how many easy fakes the pool
holds, and would hide a source of photographs that score like fakes behind other sources.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import pandas as pd

from detector.errors import ScoresError
from detector.evaluation.joining import KEYS
from detector.evaluation.pairs import Role
from detector.statistics.intervals import measure
from detector.statistics.metrics import METRICS
from detector.types import Label

METRIC_NAMES = ("auc", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "balanced_accuracy")
COLUMNS = ["detector", "generator", "real", "perturbation", "severity", "metric", "value", "low", "high", "n_real",
           "n_fake"]  # fmt: skip
ALL = "all"  # value of the column `real` for the photographs of all datasets together


def measure_scores(
    joined: pd.DataFrame,
    *,
    metrics: Sequence[str] = METRIC_NAMES,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the results: one row per detector, generator, dataset of photographs, condition and metric (COLUMNS).

    The rows whose `real` is ALL hold the figures against all photographs together.

    Raises ScoresError if a dataset of photographs is itself named ALL.
    """
    rows = []
    for (detector, perturbation, severity), part in joined.groupby(KEYS, sort=False):
        for generator, both in pair_generators(part):
            found = None
            for real, pair in pair_datasets(both):
                if found is None or len(pair) < len(both):  # a single dataset has the result of all photographs
                    found = measure(pair.label.to_numpy(), pair.score.to_numpy(), pair.group.to_numpy(), metrics,
                                    seed=seed, level=level, resamples=resamples)  # fmt: skip
                rows += [
                    (detector, generator, real, perturbation, severity, name, e.value, e.low, e.high, e.n_real,
                     e.n_fake) for name, e in found.items()
                ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def summarise(
    results: pd.DataFrame,
    pairs: pd.DataFrame | None = None,
    false_alarms: pd.DataFrame | None = None,
    means: pd.DataFrame | None = None,
) -> list[dict[str, Any]]:
    """Return the headline of each detector on unperturbed pictures.

    matched: whether it rests on matched pairs; worst_generator, worst_real, value, low, high: the worst pair; mean:
    over all `pairs` of them; mean_low, mean_high: its interval, if it is of AUCs and `means` (`pairs.average_pairs`)
    are given; false_alarms: the worst dataset's row of `source_effects.count_false_alarms`, if given.
    """
    compared = list_compared(results, pairs)
    plain = compared[compared.perturbation == "none"]
    matched = pairs is not None and bool((pairs.role == Role.MATCHED).any())
    return [
        {"detector": detector, "metric": worst.metric, "matched": matched, "worst_generator": worst.generator,
         "worst_real": worst.real, "value": float(worst.value), "low": float(worst.low), "high": float(worst.high),
         "mean": float(part.value.mean()), **_find_mean_interval(means, detector, worst.metric), "pairs": len(part),
         "false_alarms": _worst_alarms(false_alarms, detector)}
        for detector, part in plain.groupby("detector", sort=False)
        for worst in [worst_first(part).iloc[0]]
    ]  # fmt: skip


def list_compared(results: pd.DataFrame, pairs: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the results of one metric that the headline summarises.

    These are the matched pairs (`pairs.measure_pairs`, AUC) if there are any, else the first metric of each generator
    against each dataset of photographs.
    """
    if pairs is not None and (pairs.role == Role.MATCHED).any():
        matched = pairs[pairs.role == Role.MATCHED].assign(metric="auc", generator=pairs["first"], real=pairs.second)
        return matched.drop(columns=["first", "second"]).rename(
            columns={"auc": "value", "n_first": "n_fake", "n_second": "n_real"}
        )
    first: pd.DataFrame = results[results.metric == results.metric.iloc[0]]
    single: pd.DataFrame = first[first.real != ALL]
    return first if single.empty else single


def drop_repeats(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results without those of a single dataset, which repeat those of all photographs."""
    datasets: pd.Series = results.groupby([*KEYS, "generator"]).real.transform("nunique")
    repeats: pd.Series = (results.real != ALL) & (datasets == 2)
    return results.loc[~repeats].reset_index(drop=True)


def _find_mean_interval(means: pd.DataFrame | None, detector: Hashable, metric: str) -> dict[str, float | None]:
    """Return the ends of the interval of a detector's mean AUC on unperturbed pictures; None where there is none."""
    ends: dict[str, float | None] = {"mean_low": None, "mean_high": None}
    if means is not None and metric == "auc":
        own = means[(means.detector == detector) & (means.perturbation == "none")].dropna()
        for low, high in own[["low", "high"]].to_numpy(float):
            ends = {"mean_low": float(low), "mean_high": float(high)}
    return ends


def _worst_alarms(false_alarms: pd.DataFrame | None, detector: Hashable) -> dict[str, Any] | None:
    if false_alarms is None:
        return None
    own = false_alarms[(false_alarms.detector == detector) & (false_alarms.perturbation == "none")]
    worst = own.sort_values(["rate", "high"]).to_dict("records")[-1]
    return {key: worst[key] for key in ("real", "rate", "low", "high", "n")}


def pair_generators(part: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each generator's readable fakes together with all readable real pictures."""
    read = part[part.score.notna()]
    real = read[read.label == Label.REAL]
    for generator, fake in read[read.label == Label.FAKE].groupby("generator"):
        yield str(generator), pd.concat([real, fake])


def pair_datasets(both: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield ALL with a generator's fakes and all photographs, then each dataset's photographs with those fakes."""
    yield ALL, both
    real, fake = both[both.label == Label.REAL], both[both.label == Label.FAKE]
    for dataset, rows in real.groupby("dataset"):
        if dataset == ALL:
            raise ScoresError(f"a dataset of photographs is named {ALL!r}, which stands for all of them; rename it")
        yield str(dataset), pd.concat([rows, fake])


def worst_first(results: pd.DataFrame) -> pd.DataFrame:
    """Return rows of one metric, the worst value first."""
    return results.sort_values("value", ascending=METRICS.facts(str(results.metric.iloc[0]))["higher"], kind="stable")
