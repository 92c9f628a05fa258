"""How often the gate stops an equal detector, and how often a worse one, as the two Markdown tables in README.md.

    python benchmarks/gate_rates.py                           # about a minute on one core
    python benchmarks/gate_rates.py --runs 50                 # a rough look

Two versions of a detector score the same pictures. A score is the sum of what both versions see and what one of them
sees, and either part has a correlation of 0.5 between the pictures of one person. The shares are chosen so that the
AUCs of the versions have a correlation of about 0.5. A version is stopped if its one-sided p-value is at most 0.05; no
drop is tolerated, and no correction is made for other comparisons.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import ndtri

from detector.statistics.intervals import compare, compare_auc
from detector.statistics.metrics import METRICS
from detector.statistics.power import find_visible_drop

ALPHA = 0.05
GROUPS = (1, 2, 3, 5, 10)  # people of a class, for the table of equal detectors
EACH = 10  # pictures of a person there
RUNS = {"equal": 200, "worse": 500}  # simulated samples of each row
RESAMPLES = 200
AUC = 0.9  # of the better version
DROPS = (0.01, 0.02, 0.03, 0.05, 0.1)
SETTINGS = ((200, 1), (200, 5), (1000, 1), (1000, 5))  # pictures of a class, and pictures of a person
ALIKE = 0.5  # correlation of the scores of one person's pictures
SHARED = 0.55  # share of a score's variance that both versions see


def draw(rng: np.random.Generator, people: int, each: int, gaps: tuple[float, float]
         ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return labels, scores of two versions, and people (N,); gaps: between the classes, in standard deviations."""
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
    """Return the distance of two normal classes with that AUC, in standard deviations."""
    return float(np.sqrt(2) * ndtri(auc))


def stop_equal(people: int, runs: int) -> dict[str, float]:
    """Return for each metric the share of equal versions that are stopped."""
    stopped, gaps = dict.fromkeys(METRICS.names(), 0), (find_gap(AUC),) * 2
    for run in range(runs):
        sample = draw(np.random.default_rng([1, people, run]), people, EACH, gaps)
        for name, found in compare(*sample, seed=run, resamples=RESAMPLES).items():
            stopped[name] += found.p_worse <= ALPHA
    return {name: count / runs for name, count in stopped.items()}


def stop_worse(people: int, each: int, drop: float, runs: int) -> float:
    """Return the share of versions with an AUC lower by `drop` that are stopped."""
    gaps = find_gap(AUC), find_gap(AUC - drop)
    samples = (draw(np.random.default_rng([2, people, each, run]), people, each, gaps) for run in range(runs))
    return float(np.mean([compare_auc(*sample).p_worse <= ALPHA for sample in samples]))


def foresee(people: int, each: int) -> float:
    """Return the drop that a report would say is noticed with 80 % power, mean of ten samples."""
    gaps = (find_gap(AUC),) * 2
    samples = [draw(np.random.default_rng([3, people, each, run]), people, each, gaps) for run in range(10)]
    return float(np.mean([find_visible_drop(labels, first, groups) for labels, first, _, groups in samples]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, help="simulated samples of each row, instead of 200 and 500")
    runs = parser.parse_args().runs
    names = METRICS.names()
    print(f"| people of a class | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for people in GROUPS:
        found = stop_equal(people, runs or RUNS["equal"])
        print(f"| {people} | {' | '.join(f'{found[name]:.3f}' for name in names)} |", flush=True)
    columns = [*(f"drop of {drop:.2f}" for drop in DROPS), "drop noticed with 80 % power"]
    print(f"\n| pictures of a class, of a person | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for pictures, each in SETTINGS:
        people = pictures // each
        shares = [f"{stop_worse(people, each, drop, runs or RUNS['worse']):.3f}" for drop in DROPS]
        print(f"| {pictures:,}, {each} | {' | '.join(shares)} | {foresee(people, each):.3f} |", flush=True)


if __name__ == "__main__":
    main()
