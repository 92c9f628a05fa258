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
    own = read_manifest(paths[0])
    frames = np.array([found for path in own.path[:EACH] if (found := frame(path)) is not None])
    usual, spread = np.median(frames, 0), frames.std(0)
    distance = np.quantile(np.sqrt((((frames - usual) / spread) ** 2).mean(1)), 0.95)
    print(f"USUAL = {tuple(usual.round(4).tolist())}\nSPREAD = {tuple(spread.round(4).tolist())}")
    print(f"MAX_DISTANCE = {distance:.2f}\n\n| pictures | n | aligned |\n|---|---|---|")
    for path in paths:
        table = read_manifest(path)
        for name, rows in table.groupby(table.generator.where(table.label == 1, table.dataset)):
            found = [alignment.check(read_exhibit(p)).outcome == Outcome.SUPPORTS_FAKE for p in rows.path[:EACH]]
            low, high = clopper_pearson(sum(found), len(found))
            print(f"| {name} | {len(found)} | {np.mean(found):.1%} [{low:.1%}, {high:.1%}] |", flush=True)


def frame(path: str) -> tuple[float, ...] | None:
    """Return the frame of the face of a picture in shares of its width, None without a face."""
    image = read_exhibit(path).image
    landmarks = None if image is None else alignment.locate_landmarks(image)
    return None if image is None or landmarks is None else alignment.measure_frame(landmarks / image.shape[1])


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
