"""Which detector finds which generator better: every two detectors on the same pictures, tested and corrected.

Two intervals that overlap do not show that two detectors are alike, and of many differences some are large by chance.
Both detectors are therefore compared on the same pictures (DeLong's paired test, clustered by group), and the p-values
of all comparisons of a report are corrected together (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from detector.evaluation.formats import format_chance, format_interval
from detector.evaluation.pairs import Pair
from detector.statistics.intervals import compare_auc
from detector.statistics.metrics import METRICS
from detector.statistics.proportions import holm

ALPHA = 0.05  # largest corrected p-value of a difference that is shown
COLUMNS = ["detector", "other", "generator", "real", "kind", "auc", "auc_other", "difference", "low", "high", "p",
           "n_real", "n_fake"]  # fmt: skip


def compare_detectors(pairs: Sequence[Pair], joined: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Return the AUC of each detector minus that of each other one, for each pair of fakes and photographs (COLUMNS).

    pairs: matched ones, or generators crossed with datasets (`pairs.cross_generators`). joined: as
    `joining.join_scores`; only unperturbed pictures are compared, as they are, and only those that both detectors could
    read. low, high: interval of the difference, NaN where a class has one group. p: two-sided, Holm over all rows.
    """
    plain = joined[(joined.perturbation == "none") & joined.score.notna()]
    tables = {str(name): part for name, part in plain.groupby("detector", sort=False)}
    rows, auc = [], METRICS.get("auc")
    for (a, first), (b, second) in combinations(tables.items(), 2):
        both = first.assign(other=first.sha256.map(second.set_index("sha256").score)).dropna(subset="other")
        for pair in pairs:
            fake, real = pair.split(both)
            if fake.empty or real.empty:
                continue
            part = pd.concat([real, fake])
            columns = part.label.to_numpy(), part.other.to_numpy(), part.score.to_numpy(), part.group.to_numpy()
            labels, theirs, ours, groups = columns
            d = compare_auc(labels, theirs, ours, groups, level=level)
            rows.append((a, b, pair.first, pair.second, pair.kind, float(auc(labels, ours)), float(auc(labels, theirs)),
                         d.value, d.low, d.high, d.p_apart, len(real), len(fake)))  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(p=holm(table.p.astype(float))) if len(table) else table


def describe_differences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one sentence for every two detectors: on how many pairs of fakes and photographs which one is better.

    rows: those of `compare_detectors`, in its order.
    """
    lines = []
    for a, b in dict.fromkeys((row["detector"], row["other"]) for row in rows):
        own = [row for row in rows if (row["detector"], row["other"]) == (a, b)]
        if len(own) == 1:
            difference, chance = f"{own[0]['difference']:+.3f} {format_interval(own[0])}", format_chance(own[0]["p"])
            lines.append(f"{a} and {b} on the same pictures: difference of the AUCs {difference}, p {chance} (Holm)")
            continue
        gains = [row["difference"] for row in own if row["p"] <= ALPHA]
        better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
        lines.append(
            f"{a} and {b} on the same pictures: of {len(own)} pairs of fakes and photographs {a} is better on "
            f"{better}, {b} on {worse}, and {len(own) - len(gains)} show no difference (p <= {ALPHA}, Holm)"
        )
    return lines
