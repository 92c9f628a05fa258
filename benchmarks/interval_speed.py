"""How long `detector evaluate --scores` takes, and how much memory, from files to report with every interval.

    python benchmarks/interval_speed.py                       # 10,000, 100,000 and 1,000,000 scores; some minutes
    python benchmarks/interval_speed.py 100000

Half the scores are of real pictures, a quarter of each of two generators; four pictures share a group. Every size runs
in a process of its own. CPU seconds are what to compare: other programs change the wall clock. The last lines give the
ratio of the vectorised bootstrap to a loop that draws groups, indexes and measures, on the same 100,000 scores.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from detector import tasks
from detector.statistics.intervals import measure
from detector.statistics.metrics import METRICS

SIZES = (10_000, 100_000, 1_000_000)
RESAMPLES = 2000
LOOPED = 10  # resamples of the naive loop, from which the time of all is estimated
METRIC = "tpr_at_fpr_5"


def main() -> None:
    """Measure the sizes given, else all, and the ratio."""
    if sys.argv[1:2] == ["--one"]:
        run_one(int(sys.argv[2]))
        return
    print("    scores      wall s       CPU s   peak MB   CPU / (n log n)")
    first = None
    for n in [int(word) for word in sys.argv[1:]] or SIZES:
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(n)], stdout=subprocess.PIPE, text=True, check=True
        )
        wall, cpu, peak = (float(word) for word in done.stdout.split())
        first = first or cpu / (n * np.log(n))
        print(f"{n:>10,}{wall:>12.1f}{cpu:>12.1f}{peak:>10.0f}{cpu / (n * np.log(n)) / first:>18.2f}", flush=True)
    compare_loop(100_000)


def draw(n: int) -> pd.DataFrame:
    """Return n rows of a manifest with their scores."""
    rng = np.random.default_rng(0)
    generator = np.repeat(["", "one", "two"], [n - n // 2, n // 4, n // 2 - n // 4])
    label = (generator != "").astype(int)
    return pd.DataFrame({
        "path": [f"{i}.png" for i in range(n)], "sha256": [f"{i:064x}" for i in range(n)], "label": label,
        "generator": generator, "dataset": "drawn", "licence": "none", "split": "test",
        "group": [f"{g}/{i // 4}" for i, g in enumerate(generator)], "score": rng.normal(2.0 * label - 1),
    })  # fmt: skip


def run_one(n: int) -> None:
    """Print wall seconds, CPU seconds and peak megabytes of one evaluation."""
    with tempfile.TemporaryDirectory() as name:
        folder, table = Path(name), draw(n)
        table.drop(columns="score").to_parquet(folder / "manifest.parquet")
        table[["sha256", "score"]].to_parquet(folder / "theirs.parquet")
        del table
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        tasks.evaluate(folder / "manifest.parquet", scores=[folder / "theirs.parquet"], out=folder, audited=False)
        wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(wall, cpu, after.ru_maxrss / 1024)


def compare_loop(n: int) -> None:
    """Print how much faster the bootstrap is than a loop."""
    table = draw(n)
    label, score = table.label.to_numpy(), table.score.to_numpy()
    start = time.process_time()
    measure(label, score, table.group, [METRIC], seed=0, resamples=RESAMPLES)
    ours = time.process_time() - start
    rng, where = np.random.default_rng(0), table.groupby("group").indices
    kinds = [[rows for rows in where.values() if label[rows[0]] == kind] for kind in (0, 1)]
    start = time.process_time()
    for _ in range(LOOPED):
        drawn = [rows[i] for rows in kinds for i in rng.integers(len(rows), size=len(rows))]
        chosen = np.concatenate(drawn)
        METRICS.get(METRIC)(label[chosen], score[chosen])
    loop = (time.process_time() - start) * RESAMPLES / LOOPED
    print(
        f"{METRIC}, {n:,} scores, {RESAMPLES:,} resamples: {ours:.1f} CPU s, in a loop {loop:.1f}, {loop / ours:.0f} x"
    )


if __name__ == "__main__":
    main()
