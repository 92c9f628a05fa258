"""How often the 95 % intervals hold the true value, on simulated scores.

    python benchmarks/interval_coverage.py                    # four settings, about three minutes

Scores of both classes are normal, their log-odds calibrated, and `gap` standard deviations apart; the truth is that of
two million of each. In groups, as of one person or one seed, the members' scores are correlated.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from detector.statistics.intervals import measure
from detector.statistics.metrics import METRICS

RUNS, RESAMPLES, MANY = 1000, 500, 2_000_000
SETTINGS = {  # pictures of a class, gap, pictures a group, correlation in a group
    "200 + 200": (200, 2.0, 1, 0.0),
    "500 + 500": (500, 2.0, 1, 0.0),
    "500 + 500, gap 3": (500, 3.0, 1, 0.0),
    "1000 + 1000, in fours": (1000, 2.0, 4, 0.5),
}


def draw(rng: np.random.Generator, n: int, gap: float, members: int, alike: float) -> tuple[np.ndarray, ...]:
    """Return labels, scores and groups of n real pictures and n fakes."""
    groups = np.repeat(np.arange(2 * n // members), members)
    shared = rng.standard_normal(2 * n // members)[groups]
    labels = np.arange(2 * n) // n
    noise = np.sqrt(alike) * shared + np.sqrt(1 - alike) * rng.standard_normal(2 * n)
    return labels, gap * (noise + gap * (labels - 0.5)), groups


def main() -> None:
    names, table = METRICS.names(), {}
    for title, (n, gap, members, alike) in SETTINGS.items():
        y, s, _ = draw(np.random.default_rng(0), MANY, gap, 1, 0.0)
        truth = {name: METRICS.get(name)(y, s) for name in names}
        hits = dict.fromkeys(names, 0)
        for run in range(RUNS):
            y, s, groups = draw(np.random.default_rng([1, run]), n, gap, members, alike)
            for name, e in measure(y, s, groups, names, seed=run, resamples=RESAMPLES).items():
                hits[name] += e.low <= truth[name] <= e.high
        table[title] = {name: round(count / RUNS, 3) for name, count in hits.items()}
        print(f"{title}: done", flush=True)
    print(pd.DataFrame(table).to_string())


if __name__ == "__main__":
    main()
