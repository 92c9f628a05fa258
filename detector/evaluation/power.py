"""The smallest drop of each AUC that the gate could have noticed, from the pictures and groups of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from detector.evaluation.joining import KEYS
from detector.evaluation.measuring import drop_repeats, pair_datasets, pair_generators
from detector.statistics.power import find_visible_drop

COLUMNS = ["detector", "generator", "real", "perturbation", "severity", "auc", "drop"]


def measure_power(joined: pd.DataFrame, results: pd.DataFrame, tolerances: Mapping[str, float]) -> pd.DataFrame:
    """Return the smallest drop that would be noticed with 80 % power, one row for each AUC of the results (COLUMNS).

    joined: as `joining.join_scores`. results: as `measuring.measure_scores`. tolerances: as a suite's. The comparisons
    are those that a gate with these tolerances would make; without any, the AUCs alone. drop: infinite if none can be
    noticed.
    """
    rows = drop_repeats(results)
    compared = max(int(rows.metric.isin([*tolerances] or ["auc"]).sum()), 1)
    found = []
    auc = rows[rows.metric == "auc"].set_index([*KEYS, "generator", "real"]).value
    keys: Any
    for keys, part in joined.groupby(KEYS, sort=False):
        for generator, both in pair_generators(part):
            for real, pair in pair_datasets(both):
                if (*keys, generator, real) in auc.index:
                    drop = find_visible_drop(pair.label, pair.score, pair.group, margin=tolerances.get("auc", 0.0),
                                             comparisons=compared)  # fmt: skip
                    found.append((keys[0], generator, real, *keys[1:], auc[(*keys, generator, real)], drop))
    return pd.DataFrame(found, columns=COLUMNS)


def describe_power(rows: pd.DataFrame) -> list[str]:
    """Return one sentence per detector on the rows of `measure_power`."""
    lines = []
    for detector, part in rows.groupby("detector", sort=False):
        seen = part["drop"][part["drop"].map(math.isfinite)]
        if seen.empty:
            lines.append(f"{detector}: no drop of any AUC can be noticed; more groups (people, seeds) are needed")
            continue
        reach = f"{seen.min():.3f}" + (f" to {seen.max():.3f}" if len(seen) > 1 else "")
        line = f"{detector}: a drop of the AUC is noticed with 80 % power if it is at least {reach}"
        line += f", depending on the generator and the condition ({len(part)} AUCs)" if len(seen) > 1 else ""
        if len(seen) < len(part):
            line += f"; on {len(part) - len(seen)} no drop can be noticed"
        lines.append(line)
    return lines
