"""Calibration over several sources of photographs: thresholds and bounds are those of the worst source.

A threshold from one source does not hold on another: one that gave 1 % false alarms on official portraits gave up to
39 % elsewhere. Here every source has the same weight in the calibration line, the threshold holds on each source by
itself, and the bounds of the likelihood ratio are the narrowest over sources that are left out of the line in turn.
Small sources are taken together for both.
Source: Morrison 2021, doi:10.1016/j.forsciint.2021.110919 (validate under the conditions of the case); Vergeer et al.
2016, doi:10.1016/j.scijus.2016.06.003 (the bounds).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from detector.errors import ScoresError
from detector.statistics.calibration import MAX_FPR, MAX_MISS, Calibration, find_bounds, find_lower_threshold, fit_line
from detector.statistics.intervals import measure
from detector.statistics.metrics import METRICS, check, tally
from detector.statistics.proportions import clopper_pearson, effective_count
from detector.statistics.thresholds import bpcer, threshold_at_fpr
from detector.types import Scores

MIN_PHOTOGRAPHS = 30  # photographs from which on a source, or the small sources together, bound the likelihood ratio


def fit_over_sources(
    scores: ArrayLike,
    labels: ArrayLike,
    sources: ArrayLike,
    groups: ArrayLike,
    *,
    altered: ArrayLike | None = None,
    fpr: float = MAX_FPR,
    miss: float = MAX_MISS,
) -> Calibration:
    """Return a calibration that holds in each source of photographs.

    scores: raw scores (N,) of pictures that were not used in training. labels: (N,), 0 real, 1 fake. sources: (N,),
    data set of each photograph and generator of each fake. groups: (N,), group of each picture. altered: raw scores
    (N,) of the same pictures after a change, such as a compression; the thresholds hold for these, too.
    fpr: share of the photographs of each source that may be called likely-fake; sources with fewer than 1 / fpr
    photographs, of which a single one is more than that share, are taken together. miss: share of the fakes of each
    generator with at least MIN_FAKES pictures that may be called likely-real.

    `fpr` and `fpr_high` of the result are those of the source with the highest upper bound. Raises ScoresError if there
    are fewer than two sources of photographs.
    """
    fake, (raw,) = check(labels, scores)
    names, groups = np.asarray(sources), np.asarray(groups)
    photographs = np.unique(names[~fake])
    if len(photographs) < 2:
        raise ScoresError("a calibration over sources needs photographs of at least two datasets")
    weight = even_weights(names, fake)
    slope, offset, variance = fit_line(raw, fake, groups, weight)
    odds = slope * raw + offset
    low, high = _worst_bounds(raw, fake, names, groups)
    n_real, n_fake = int((~fake).sum()), int(fake.sum())
    if altered is not None:
        odds = np.append(odds, slope * check(labels, altered)[1][0] + offset)
        names = np.append(names, [f"{name}, altered" for name in names])
        fake, groups = np.tile(fake, 2), np.tile(groups, 2)
    joined = join_small(names[~fake], 1 / fpr)
    fake_above = max(0.0, *(threshold_at_fpr(odds[~fake][joined == number], fpr) for number in np.unique(joined)))
    alarms = false_alarms(odds[~fake], names[~fake], groups[~fake], fake_above)
    worst = alarms.iloc[int(alarms.high.argmax())]
    real_below, missed, missed_high = find_lower_threshold(odds, fake, names, groups, miss)
    return Calibration(
        slope, offset, low, high, fake_above, real_below,
        float(worst.share), float(worst.high), missed, missed_high,
        n_real, n_fake, int(worst.n), variance,
    )  # fmt: skip


def join_small(names: NDArray[Any], least: float) -> NDArray[np.int64]:
    """Return a number for the source of each photograph (N,), -1 for all sources with fewer than `least` of them.

    If no source has so many, each keeps its own number.
    """
    _, index, counts = np.unique(names, return_inverse=True, return_counts=True)
    return np.where((counts[index] < least) & (counts.max() >= least), -1, index)


def even_weights(names: NDArray[Any], fake: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return weights (N,) that add up to 1 in each class; all sources of a class have the same total weight."""
    weight = np.zeros(len(names))
    for side in (fake, ~fake):
        kinds, index, counts = np.unique(names[side], return_inverse=True, return_counts=True)
        weight[side] = 1 / (len(kinds) * counts[index])
    return weight


def false_alarms(
    odds: Scores, sources: NDArray[Any], groups: NDArray[Any], threshold: float, *, level: float = 0.95
) -> pd.DataFrame:
    """Return one row per source of photographs: source, n, alarms, share, low, high (Clopper-Pearson)."""
    rows = []
    for name in np.unique(sources):
        part = odds[sources == name]
        share, count = bpcer(part, threshold), effective_count(part, groups[sources == name])
        rows.append(
            (str(name), len(part), int((part > threshold).sum()), share, *clopper_pearson(share * count, count, level))
        )
    return pd.DataFrame(rows, columns=["source", "n", "alarms", "share", "low", "high"])


def share_verdicts(verdicts: ArrayLike, sources: ArrayLike, groups: ArrayLike, *, level: float = 0.95) -> pd.DataFrame:
    """Return the share of each verdict among the pictures of each source, with its Clopper-Pearson interval.

    verdicts, sources, groups: (N,); a source is the dataset of photographs or the generator of fakes. Columns: source,
    verdict, n, share, low, high. Related pictures count for less, as in `false_alarms`.
    """
    called, names, members = (np.asarray(column).astype(str) for column in (verdicts, sources, groups))
    rows = []
    for name in np.unique(names):
        rows_of_source = names == name
        for verdict in np.unique(called):
            hits = (called[rows_of_source] == verdict).astype(float)
            share, count = float(hits.mean()), effective_count(hits, members[rows_of_source])
            rows.append((str(name), str(verdict), len(hits), share, *clopper_pearson(share * count, count, level)))
    return pd.DataFrame(rows, columns=["source", "verdict", "n", "share", "low", "high"])


def cllr_of_unseen_sources(
    scores: ArrayLike, labels: ArrayLike, sources: ArrayLike, groups: ArrayLike | None = None
) -> pd.DataFrame:
    """Return one row per pair of a source and a generator that were left out of the line.

    scores, labels, sources, groups: as in `fit_over_sources`; without groups every picture is its own. Line and bounds
    are fitted again for each pair, without its pictures. Columns: source, generator, cllr, low, high, cllr_min. cllr is
    that of the bounded ratios, as a report gives them, low and high its 95 % interval (NaN if a class has one group);
    cllr_min is that of the best recalibration of the scores.
    """
    fake, (raw,) = check(labels, scores)
    names, rows = np.asarray(sources), []
    members = np.arange(len(raw)) if groups is None else np.asarray(groups)
    for real in np.unique(names[~fake]):
        for generator in np.unique(names[fake]):
            held = (~fake & (names == real)) | (fake & (names == generator))
            kept = ~((~fake & (names == real)) | (fake & (names == generator)))
            alone = np.arange(kept.sum())
            slope, offset, _ = fit_line(raw[kept], fake[kept], alone, even_weights(names[kept], fake[kept]))
            bounds = np.log(10) * np.array(_worst_bounds(raw[kept], fake[kept], names[kept], alone))
            odds, kind = slope * raw[held] + offset, fake[held].astype(int)
            cllr = measure(kind, odds.clip(*bounds), members[held], ["cllr"], seed=0)["cllr"]
            rows.append(
                (str(real), str(generator), cllr.value, cllr.low, cllr.high, METRICS.get("cllr_min")(kind, odds))
            )
    return pd.DataFrame(rows, columns=["source", "generator", "cllr", "low", "high", "cllr_min"])


def shared_cllr_min(scores: ArrayLike, labels: ArrayLike, sources: ArrayLike) -> float:
    """Return the Cllr after the best monotone recalibration that all sources and generators share.

    scores, labels, sources: as in `fit_over_sources`; all sources of a class have the same total weight. A calibration
    that does not know where a picture comes from cannot cost less on these pictures, while `cllr_min` of a single pair
    may.
    """
    weights = even_weights(np.asarray(sources), check(labels, scores)[0])
    return float(METRICS.facts("cllr_min")["block"](tally(labels, scores, weights))[0])


def _worst_bounds(
    raw: Scores, fake: NDArray[np.bool_], names: NDArray[Any], groups: NDArray[Any]
) -> tuple[float, float]:
    """Return the narrowest bounds of the log10 likelihood ratio over sources, each left out of its line in turn.

    Sources with fewer than 1 / MAX_FPR photographs are left out together, because few photographs support hardly any
    ratio, however good the detector is; if they have fewer than MIN_PHOTOGRAPHS in all, they set no bounds.
    """
    bounds = []
    joined = join_small(names[~fake], 1 / MAX_FPR)
    found, sizes = np.unique(joined, return_counts=True)
    large = found[sizes >= MIN_PHOTOGRAPHS]
    for number in large if len(large) else found:
        out = np.zeros(len(fake), bool)
        out[~fake] = joined == number
        slope, offset, _ = fit_line(raw[~out], fake[~out], groups[~out], even_weights(names[~out], fake[~out]))
        odds = slope * raw + offset
        counts = (effective_count(odds[side], groups[side]) for side in (out, fake))
        bounds.append(find_bounds(odds[out] / np.log(10), odds[fake] / np.log(10), *counts))
    return max(low for low, _ in bounds), min(high for _, high in bounds)
