"""Measure where generators and photographers put a face, for the evidence check `alignment`.

    detector generate stylegan -n 400 --seed 500 --size 512 --no-label -o build/aligned
    python benchmarks/alignment.py build/aligned/manifest.csv build/open/evaluate.csv ../shared/data/faces/manifest.csv

Prints the constants of the check, which are those of the generator `stylegan` in the first manifest, and the share of
the pictures of every generator and of every source of photographs that are no farther from the usual frame than 95 % of
the faces of `stylegan`, with the 95 % Clopper-Pearson interval; at most EACH pictures of one kind are measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from detector.dataset.manifest import read_manifest
from detector.evidence.checks import alignment, read_exhibit
from detector.statistics.proportions import clopper_pearson
from detector.types import Outcome

EACH = 400


def main(paths: list[Path]) -> None:
    """Print the constants and the table."""
    own = [alignment.check(read_exhibit(path)).details for path in read_manifest(paths[0]).path[:EACH]]
    frames = np.array([found["frame"] for found in own if "frame" in found])
    usual, spread = np.median(frames, 0), frames.std(0)
    distance = np.quantile([alignment.measure_distance(frame, usual, spread) for frame in frames], 0.95)
    print(f"USUAL = {tuple(usual.round(4).tolist())}\nSPREAD = {tuple(spread.round(4).tolist())}")
    print(f"MAX_DISTANCE = {distance:.2f}\n\n| pictures | n | aligned |\n|---|---|---|")
    for path in paths:
        table = read_manifest(path)
        for name, rows in table.groupby(table.generator.where(table.label == 1, table.dataset)):
            found = [alignment.check(read_exhibit(p)).outcome == Outcome.SUPPORTS_FAKE for p in rows.path[:EACH]]
            low, high = clopper_pearson(sum(found), len(found))
            print(f"| {name} | {len(found)} | {np.mean(found):.1%} [{low:.1%}, {high:.1%}] |", flush=True)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
