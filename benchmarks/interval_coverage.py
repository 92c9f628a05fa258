"""How often the 95 % intervals hold the true value, on simulated scores of people with several pictures each.

    python benchmarks/interval_coverage.py                    # the table in README.md, about ten minutes on one core
    python benchmarks/interval_coverage.py --runs 100         # a rough look

A person has 1 to 20 pictures of a class, 5 on average, whose scores have a correlation of 0.5. People are *nested* (the
photographs and the fakes are of different people), *crossed* (everybody is in both classes), or *partly* crossed (every
second person is in both). The scores of both classes are normal, two standard deviations apart and calibrated. The true
values are those of two million pictures of each class.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from detector.statistics.intervals import measure
from detector.statistics.metrics import METRICS

DESIGNS = {"nested": 0.0, "crossed": 1.0, "partly": 0.5}  # design -> share of the people who are in both classes
RUNS = {50: 800, 200: 800, 1000: 500}  # pictures of a class -> simulated samples
RESAMPLES = 500
POPULATION = 2_000_000  # pictures of a class that give the true values
GAP = 2.0  # standard deviations between the means of the classes
CORRELATION = 0.5  # of the scores of one person's pictures
MOST, MEAN = 20, 5  # pictures of a person


def make_sizes() -> np.ndarray:
    """Return the chance (MOST,) that a person has 1, 2, ... pictures: geometric, with the mean asked for."""
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


def cover(truth: dict[str, float], n: int, shared: float, runs: int) -> dict[str, float]:
    """Return for each metric the share of the simulated intervals that hold the true value."""
    hits = dict.fromkeys(truth, 0)
    for run in range(runs):
        labels, scores, groups = draw(np.random.default_rng([1, run]), n, shared)
        for name, found in measure(labels, scores, groups, list(truth), seed=run, resamples=RESAMPLES).items():
            hits[name] += found.low <= truth[name] <= found.high
    return {name: count / runs for name, count in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, help="simulated samples of each setting, instead of 500 to 800")
    runs, truth, table = parser.parse_args().runs, find_truth(), {}
    for n, many in RUNS.items():
        for design, shared in DESIGNS.items():
            table[f"{design}, {n}"] = cover(truth, n, shared, runs or many)
            print(f"{design}, {n}: done", flush=True)
    print(pd.DataFrame(table).map("{:.3f}".format).to_string())


if __name__ == "__main__":
    main()
