"""Compare the errors of a detector between groups of people (the values of a column), and test the largest gap.

Every figure is a mean over the pictures of a group. A group of fewer than MINIMUM leakage groups (people, seeds) is too
small: it has no figure and is left out of the test.

| metric | of | what is averaged |
|---|---|---|
| fpr | real pictures | called likely-fake |
| auc | real pictures | the share of all fakes that score above it, a tie counting half |
| fnr | fakes | not called likely-fake |
| auc_of_fakes | fakes | the share of all real pictures that score below it |

The AUC of a group compares its pictures with all pictures of the other class, because one threshold serves everybody.
Source: Borkan et al., 2019, arXiv:1903.04561, section 3 (BPSN and BNSP AUC).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detector.errors import UnknownName
from detector.statistics.intervals import measure
from detector.statistics.proportions import clopper_pearson, effective_count, holm
from detector.types import Label, Opinion

MINIMUM = 30  # smallest number of leakage groups (people, seeds) for a figure
ROWS = ["detector", "column", "group", "metric", "value", "low", "high", "n", "people"]
GAPS = ["detector", "column", "metric", "worst", "best", "gap", "p", "p_corrected"]
HIGHER = {"fpr": False, "fnr": False, "auc": True, "auc_of_fakes": True}  # metric -> whether more is better

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fairness:
    """The result of `measure_fairness`.

    rows: a row for each detector, column, group and metric (ROWS); value, low and high are missing below the minimum; n
    counts pictures, people counts leakage groups. gaps: the largest gap for each detector, column and metric (GAPS); p:
    probability of such a gap if the column did not matter; p_corrected: the same, corrected by Holm's method.
    """

    rows: pd.DataFrame
    gaps: pd.DataFrame


def measure_fairness(
    joined: pd.DataFrame,
    columns: Sequence[str],
    *,
    minimum: int = MINIMUM,
    level: float = 0.95,
    permutations: int = 2000,
    seed: int = 0,
) -> Fairness:
    """Return the errors of each detector for every value of each column, on unperturbed pictures.

    joined: a table from `joining.join_scores`; without verdicts, a score above 0 is called fake. Pictures with an empty
    cell, and unreadable ones, are in no group; a class without any value has no rows.

    Raises UnknownName if there is no such column.
    """
    read = joined[(joined.perturbation == "none") & joined.score.notna()]
    rows, gaps = [], []
    for column in columns:
        if column not in read:
            raise UnknownName("column", column, map(str, read.columns))
        for detector, part in read.groupby("detector", sort=False):
            for metric, label, values in _contributions(part):
                of_class = part[part.label == label]
                table = of_class.assign(value=values, cell=of_class[column].fillna("").astype(str).str.strip())
                opposite, found = part[part.label != label], {}
                table = table[table.cell != ""]
                for cell, group in table.groupby("cell"):
                    people = group.group.nunique()
                    figures = [np.nan] * 3
                    if people >= minimum:
                        figures = [group.value.mean(), *_interval(metric, group, opposite, level)]
                        found[str(cell)] = figures[0]
                    rows.append((detector, column, cell, metric, *figures, len(group), people))
                if len(found) > 1:
                    order = sorted(found, key=lambda cell: found[cell])
                    worst, best = (order[0], order[-1]) if HIGHER[metric] else (order[-1], order[0])
                    p = _permute(table[table.cell.isin(found)], permutations, seed)
                    gaps.append((detector, column, metric, worst, best, abs(found[worst] - found[best]), p))
    tested = pd.DataFrame(gaps, columns=GAPS[:-1])
    return Fairness(pd.DataFrame(rows, columns=ROWS), tested.assign(p_corrected=holm(tested.p.astype(float))))


def called_fake(part: pd.DataFrame) -> Floats:
    """Return 1 for each picture (N,) that is called likely-fake, or else 0; without a verdict, for a score above 0."""
    verdict = part.verdict.fillna("") if "verdict" in part else pd.Series("", index=part.index)
    return np.where(verdict != "", verdict == Opinion.LIKELY_FAKE, part.score > 0).astype(float)


def _contributions(part: pd.DataFrame) -> Iterator[tuple[str, Label, Floats]]:
    """Yield each metric, its class, and the contribution of every picture of this class."""
    called = called_fake(part)
    fake = (part.label == Label.FAKE).to_numpy()
    scores = part.score.to_numpy(float)
    real_scores, fake_scores = np.sort(scores[~fake]), np.sort(scores[fake])
    yield "fpr", Label.REAL, called[~fake]
    yield "auc", Label.REAL, 1 - _share_below(scores[~fake], fake_scores)
    yield "fnr", Label.FAKE, 1 - called[fake]
    yield "auc_of_fakes", Label.FAKE, _share_below(scores[fake], real_scores)


def _share_below(scores: Floats, ordered: Floats) -> Floats:
    left, right = np.searchsorted(ordered, scores, "left"), np.searchsorted(ordered, scores, "right")
    return np.asarray((left + right) / (2 * len(ordered)))


def _interval(metric: str, group: pd.DataFrame, opposite: pd.DataFrame, level: float) -> tuple[float, float]:
    if metric in ("fpr", "fnr"):
        n = effective_count(group.value, group.group)
        return clopper_pearson(float(group.value.mean()) * n, n, level)
    both = pd.concat([group, opposite])
    found = measure(both.label, both.score, both.group, ["auc"], seed=0, level=level)["auc"]
    return found.low, found.high


def _permute(table: pd.DataFrame, permutations: int, seed: int) -> float:
    """Return how often a random assignment of whole leakage groups to cells gives a gap as large as the observed one.

    Source: Phipson and Smyth, 2010, doi:10.2202/1544-6115.1585, for the 1 added above and below.
    """
    units = table.groupby(["group", "cell"]).value.agg(["sum", "size"]).reset_index()
    cells, sums, sizes = (
        units.cell.astype("category").cat.codes.to_numpy(),
        units["sum"].to_numpy(),
        units["size"].to_numpy(),
    )

    def gap(assigned: NDArray[np.integer]) -> float:
        return float(np.ptp(np.bincount(assigned, sums) / np.bincount(assigned, sizes)))

    rng, observed = np.random.default_rng(seed), gap(cells)
    as_large = sum(gap(rng.permutation(cells)) >= observed - 1e-12 for _ in range(permutations))
    return (1 + as_large) / (1 + permutations)
