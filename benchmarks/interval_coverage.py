"""Measure how often the 95 % intervals contain the true value, on simulated scores of people with several pictures.

    python benchmarks/interval_coverage.py                    # the table in README.md, ten minutes on one core
    python benchmarks/interval_coverage.py --runs 100         # faster and less precise
    python benchmarks/interval_coverage.py --pictures 200     # the columns of 200 pictures

A person has 1 to 20 pictures of a class, 5 on average, whose scores have a correlation of 0.5. People are *nested* (the
photographs and the fakes show different people), *crossed* (everybody is in both classes), or *partly* crossed (every
second person is in both). The scores of both classes are normal, two standard deviations apart and calibrated. The true
values are those of two million pictures of each class. Every column of the table has samples of its own; the metrics of
one column are measured on the same samples. Below the table, the script lists the figures that miss the goal by more
than chance explains.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import pandas as pd

from detector.statistics.intervals import measure
from detector.statistics.metrics import METRICS

DESIGNS = {"nested": 0.0, "crossed": 1.0, "partly": 0.5}  # design -> share of the people who are in both classes
RUNS = {50: 600, 200: 600, 1000: 600}  # number of pictures of a class -> number of simulated samples
GOAL = (0.93, 0.97)  # range of the wanted coverage, for WANTED pictures of a class or more
LEAST = 0.90  # smallest acceptable coverage
WANTED = 200  # number of pictures of a class from which on GOAL applies
RESAMPLES = 500  # number of bootstrap samples
POPULATION = 2_000_000  # number of pictures of a class from which the true values are computed
GAP = 2.0  # standard deviations between the means of the classes
CORRELATION = 0.5  # correlation of the scores of one person's pictures
MOST, MEAN = 20, 5  # largest and mean number of pictures of a person


def make_sizes() -> np.ndarray:
    """Return the probabilities (MOST,) of 1, 2, ... pictures of a person: a geometric distribution with mean MEAN."""
    counts = np.arange(1, MOST + 1)
    low, high = 0.0, 1.0
    for _ in range(60):
        ratio = (low + high) / 2
        chance = ratio**counts / (ratio**counts).sum()
        low, high = (ratio, high) if chance @ counts < MEAN else (low, ratio)
    return chance


def draw(rng: np.random.Generator, n: int, shared: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, scores and people (2 n,) of n photographs and n fakes; shared: share of people in both classes."""
    sizes = rng.choice(MOST, (2, n), p=make_sizes()) + 1
    people = [np.repeat(np.arange(n), row)[:n] for row in sizes]
    people[1] = np.where(people[1] % 2 < 2 * shared, people[1], people[1] + n)
    labels, groups = np.repeat([0, 1], n), np.concatenate(people)
    effect = rng.standard_normal(2 * n)[groups]
    noise = np.sqrt(CORRELATION) * effect + np.sqrt(1 - CORRELATION) * rng.standard_normal(2 * n)
    return labels, GAP * (noise + GAP * (labels - 0.5)), groups


def find_truth() -> dict[str, float]:
    """Return the value of each metric in the population."""
    labels = np.repeat([0, 1], POPULATION)
    noise = np.random.default_rng(0).standard_normal(2 * POPULATION)
    scores = GAP * (noise + GAP * (labels - 0.5))
    return {name: METRICS.get(name)(labels, scores) for name in METRICS.names()}


def cover(truth: dict[str, float], n: int, design: str, runs: int) -> dict[str, float]:
    """Return for each metric the share of the simulated intervals that contain the true value."""
    hits, column = dict.fromkeys(truth, 0), list(DESIGNS).index(design)
    for run in range(runs):
        labels, scores, groups = draw(np.random.default_rng([1, n, column, run]), n, DESIGNS[design])
        for name, found in measure(labels, scores, groups, list(truth), seed=run, resamples=RESAMPLES).items():
            hits[name] += found.low <= truth[name] <= found.high
    return {name: count / runs for name, count in hits.items()}


def summarise(table: pd.DataFrame, runs: dict[int, int]) -> str:
    """Return how many figures of the table miss the goal, and which of them by more than two standard errors.

    table: coverage by metric (rows) and (n, design) (columns). runs: n -> number of simulated samples.
    """
    missed, clear, least = 0, [], []
    wanted = [(name, n, design) for name in table.index for n, design in table if n >= WANTED]
    for name, n, design in wanted:
        value, title = table.loc[name, (n, design)], f"{name}, {design}, {n:,}"
        missed += not GOAL[0] <= value <= GOAL[1]
        errors = [(value - end) / np.sqrt(end * (1 - end) / runs[n]) for end in GOAL]
        clear += [f"{title}: {value:.3f}"] if errors[0] < -2 or errors[1] > 2 else []
        least += [f"{title}: {value:.3f}"] if value < LEAST else []
    low, high = GOAL
    lines = [f"{missed} of {len(wanted)} figures from {WANTED} pictures on lie outside {low:.2f} to {high:.2f}"]
    lines += [f"by more than two standard errors: {'; '.join(clear) or 'none'}"]
    lines += [f"under {LEAST:.2f}: {'; '.join(least) or 'none'}"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, help=f"number of samples for each column, instead of {RUNS[WANTED]}")
    parser.add_argument("--only", nargs="*", default=METRICS.names(), choices=METRICS.names(), metavar="METRIC")
    parser.add_argument("--pictures", type=int, nargs="*", default=list(RUNS), choices=list(RUNS), metavar="N")
    arguments = parser.parse_args()
    truth = {name: value for name, value in find_truth().items() if name in arguments.only}
    runs, table = {n: arguments.runs or RUNS[n] for n in arguments.pictures}, {}
    for n in runs:
        for design in DESIGNS:
            table[n, design] = cover(truth, n, design, runs[n])
            shown = ", ".join(f"{name} {value:.3f}" for name, value in table[n, design].items())
            print(f"{design}, {n:,}: {shown}", file=sys.stderr, flush=True)
    frame = pd.DataFrame(table)
    print(f"| metric | {' | '.join(f'{design}, {n:,}' for n, design in frame)} |\n|---{'|---' * len(table)}|")
    for name, row in frame.iterrows():
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in row)} |")
    print(f"\n{summarise(frame, runs)}")


if __name__ == "__main__":
    main()
