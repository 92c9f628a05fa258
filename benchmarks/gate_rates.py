"""Measure how often the gate fails an equal detector, and how often a worse one: the two Markdown tables in README.md.

    python benchmarks/gate_rates.py                           # about a minute on one core
    python benchmarks/gate_rates.py --runs 50                 # faster and less precise

Two versions of a detector score the same pictures. A score is the sum of a part that both versions share and a part of
each version; both parts have a correlation of 0.5 between the pictures of one person. The weights of the parts are
chosen so that the AUCs of the versions have a correlation of about 0.5. A version fails if its one-sided p-value is at
most 0.05; no drop is tolerated, and no correction is made for other comparisons.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import ndtri

from detector.statistics.intervals import compare, compare_auc
from detector.statistics.metrics import METRICS
from detector.statistics.power import find_visible_drop

ALPHA = 0.05  # largest p-value of a version that fails
GROUPS = (1, 2, 3, 5, 10)  # numbers of people in a class, in the table of equal detectors
EACH = 10  # number of pictures of a person in that table
RUNS = {"equal": 200, "worse": 500}  # number of simulated samples for each row of both tables
RESAMPLES = 200  # number of bootstrap samples
AUC = 0.9  # AUC of the better version
DROPS = (0.01, 0.02, 0.03, 0.05, 0.1)  # differences of the AUC, in the table of worse detectors
SETTINGS = ((200, 1), (200, 5), (1000, 1), (1000, 5))  # numbers of pictures in a class, and of a person, in that table
ALIKE = 0.5  # correlation of the scores of one person's pictures
SHARED = 0.55  # share of a score's variance in the part that both versions share


def draw(rng: np.random.Generator, people: int, each: int, gaps: tuple[float, float]
         ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return labels, scores of two versions, and people, (N,) each.

    people: number of people in a class. each: pictures of a person. gaps: distance of the classes for each version, in
    standard deviations.
    """
    groups = np.repeat(np.arange(2 * people), each)
    labels = (groups >= people).astype(int)
    person, picture = rng.standard_normal((3, 2 * people))[:, groups], rng.standard_normal((3, len(groups)))
    both, *own = np.sqrt(ALIKE) * person + np.sqrt(1 - ALIKE) * picture
    first, second = (
        gap * (gap * (labels - 0.5) + np.sqrt(SHARED) * both + np.sqrt(1 - SHARED) * one)
        for gap, one in zip(gaps, own, strict=True)
    )
    return labels, first, second, groups


def find_gap(auc: float) -> float:
    """Return the distance of two normal distributions with that AUC, in standard deviations."""
    return float(np.sqrt(2) * ndtri(auc))


def fail_equal(people: int, runs: int) -> dict[str, float]:
    """Return for each metric the share of equal versions that fail."""
    failed, gaps = dict.fromkeys(METRICS.names(), 0), (find_gap(AUC),) * 2
    for run in range(runs):
        sample = draw(np.random.default_rng([1, people, run]), people, EACH, gaps)
        for name, found in compare(*sample, seed=run, resamples=RESAMPLES).items():
            failed[name] += found.p_worse <= ALPHA
    return {name: count / runs for name, count in failed.items()}


def fail_worse(people: int, each: int, drop: float, runs: int) -> float:
    """Return the share of versions that fail among those with an AUC lower by `drop`."""
    gaps = find_gap(AUC), find_gap(AUC - drop)
    samples = (draw(np.random.default_rng([2, people, each, run]), people, each, gaps) for run in range(runs))
    return float(np.mean([compare_auc(*sample).p_worse <= ALPHA for sample in samples]))


def foresee(people: int, each: int) -> float:
    """Return the drop that a report states as noticed with 80 % power, as the mean of ten samples."""
    gaps = (find_gap(AUC),) * 2
    samples = [draw(np.random.default_rng([3, people, each, run]), people, each, gaps) for run in range(10)]
    return float(np.mean([find_visible_drop(labels, first, groups) for labels, first, _, groups in samples]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, help="number of simulated samples for each row, instead of 200 and 500")
    runs = parser.parse_args().runs
    names = METRICS.names()
    print(f"| people of a class | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for people in GROUPS:
        found = fail_equal(people, runs or RUNS["equal"])
        print(f"| {people} | {' | '.join(f'{found[name]:.3f}' for name in names)} |", flush=True)
    columns = [*(f"drop of {drop:.2f}" for drop in DROPS), "drop noticed with 80 % power"]
    print(f"\n| pictures of a class, of a person | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for pictures, each in SETTINGS:
        people = pictures // each
        shares = [f"{fail_worse(people, each, drop, runs or RUNS['worse']):.3f}" for drop in DROPS]
        print(f"| {pictures:,}, {each} | {' | '.join(shares)} | {foresee(people, each):.3f} |", flush=True)


if __name__ == "__main__":
    main()
