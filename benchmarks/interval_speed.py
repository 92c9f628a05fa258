"""Measure the time and the memory of `detector evaluate --scores`, from the files to a report with all intervals.

    python benchmarks/interval_speed.py                       # 10,000, 100,000 and 1,000,000 scores; some minutes
    python benchmarks/interval_speed.py 100000

Half of the scores are those of real pictures, and a quarter those of each of two generators; four pictures form a
group. Every size runs in its own process. Compare CPU seconds, because other programs change the time on the clock. The
last line gives the ratio of the vectorised bootstrap to a loop that draws groups, indexes and measures, on the same
100,000 scores.
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
LOOPED = 10  # number of bootstrap samples of the loop, from which the time of all is estimated
METRIC = "tpr_at_fpr_5"


def main() -> None:
    """Measure the sizes on the command line, or else all, and the ratio."""
    if sys.argv[1:2] == ["--one"]:
        run_one(int(sys.argv[2]))
        return
    print("    scores      wall s       CPU s   peak MB   CPU / (n log n)")
    first = None
    for n in [int(argument) for argument in sys.argv[1:]] or SIZES:
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(n)], stdout=subprocess.PIPE, text=True, check=True
        )
        wall, cpu, peak = (float(number) for number in done.stdout.split())
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
        table[["sha256", "score"]].to_parquet(folder / "scores.parquet")
        del table
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        tasks.evaluate(folder / "manifest.parquet", scores=[folder / "scores.parquet"], out=folder, audited=False)
        wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(wall, cpu, after.ru_maxrss / 1024)


def compare_loop(n: int) -> None:
    """Print the CPU time of the bootstrap, that of the loop, and their ratio."""
    table = draw(n)
    label, score = table.label.to_numpy(), table.score.to_numpy()
    start = time.process_time()
    measure(label, score, table.group, [METRIC], seed=0, resamples=RESAMPLES)
    vectorised = time.process_time() - start
    rng, where = np.random.default_rng(0), table.groupby("group").indices
    kinds = [[rows for rows in where.values() if label[rows[0]] == kind] for kind in (0, 1)]
    start = time.process_time()
    for _ in range(LOOPED):
        drawn = [rows[i] for rows in kinds for i in rng.integers(len(rows), size=len(rows))]
        chosen = np.concatenate(drawn)
        METRICS.get(METRIC)(label[chosen], score[chosen])
    loop = (time.process_time() - start) * RESAMPLES / LOOPED
    print(
        f"{METRIC}, {n:,} scores, {RESAMPLES:,} resamples: {vectorised:.1f} CPU s, in a loop {loop:.1f}, "
        f"{loop / vectorised:.0f} x"
    )


if __name__ == "__main__":
    main()
