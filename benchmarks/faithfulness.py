"""Measure whether the score map of `detector verify` shows where the score comes from: deletion and insertion.

    python benchmarks/faithfulness.py build/default              # after train_default.py

Faces of generators that were not used in training are changed block by block, in the order of their score map: deletion
blurs the blocks with the highest values first; insertion starts from the blurred face and restores these blocks first.
The score, averaged over all steps, should fall (rise) sooner than in a random order of the same blocks, and sooner than
in the order of another face's map, which reflects the parts of a face in general but not the traces in this one.
Source: Petsiuk, Das and Saenko 2018, arXiv:1806.07421, sec. 4.3.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from make_training_set import print_progress

from detector import detectors
from detector.dataset.manifest import read_crops, read_manifest
from detector.detectors.cnn import Cnn
from detector.evidence.checks.detector import map_scores
from detector.pictures.faces import centre_square, prepare
from detector.pictures.images import cut, load
from detector.types import Image

GRID = 8  # number of blocks per side of a face
FACES = 40  # number of faces of each generator
ORDERS = 4  # number of random orders for each face
RESAMPLES = 2000  # number of bootstrap samples


def main() -> None:
    """Print for each generator, and for all together, the gain of the map over both controls, with intervals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that train_default.py wrote")
    parser.add_argument("--detector", type=Path, help="a folder of weights; by default the shipped ones")
    arguments = parser.parse_args()
    _, detector = detectors.load_detector(arguments.detector)
    measured = read_manifest(arguments.data / "measured.csv")
    fakes = measured[measured.label == 1]
    chosen = pd.concat([rows.sample(min(FACES, len(rows)), random_state=0) for _, rows in fakes.groupby("generator")])
    images = [cut(load(path), crop) for path, crop in zip(chosen.path, read_crops(chosen), strict=True)]
    maps = [map_scores(image, centre_square(image), detector, GRID) for image in images]
    rng, rows = np.random.default_rng(0), []
    for i, (image, own) in enumerate(zip(images, maps, strict=True)):
        other = maps[rng.choice([j for j in range(len(maps)) if j != i])]
        orders = {"map": [np.argsort(-own.ravel())], "other": [np.argsort(-other.ravel())],
                  "random": [rng.permutation(GRID**2) for _ in range(ORDERS)]}  # fmt: skip
        for name, several in orders.items():
            found = np.mean([measure_steps(prepare(image, detector.size), order, detector) for order in several], 0)
            rows.append((chosen.generator.iloc[i], i, name, *found))
        print_progress("deletion and insertion", i + 1, len(images))
    table = pd.DataFrame(rows, columns=["generator", "face", "order", "deletion", "insertion"])
    for generator, part in [*table.groupby("generator"), ("all", table)]:
        print(f"{generator:24} {part.face.nunique():4} faces  {compare(part, rng)}")


def measure_steps(face: Image, order: np.ndarray, detector: Cnn) -> tuple[float, float]:
    """Return the mean log-odds while blocks are blurred in this order, and while they are restored in this order."""
    side = len(face) // GRID
    blurred = cv2.GaussianBlur(face, (0, 0), len(face) / 12)
    steps = np.arange(0, GRID**2 + 1, 4)
    rank = np.empty(GRID**2, int)
    rank[order] = np.arange(GRID**2)
    early = (rank.reshape(GRID, GRID).repeat(side, 0).repeat(side, 1)[..., None] < steps).astype(np.float32)
    early = cv2.GaussianBlur(early, (0, 0), side / 2).transpose(2, 0, 1)[..., None]  # hides the edges of the blocks
    changed = early * blurred + (1 - early) * face, early * face + (1 - early) * blurred
    faces = np.stack(changed).round().astype(np.uint8)
    deletion, insertion = detector.score(faces.reshape(-1, *face.shape)).reshape(2, len(steps)).mean(1)
    return float(deletion), float(insertion)


def compare(part: pd.DataFrame, rng: np.random.Generator) -> str:
    """Return the gain of the map over each control, in log-odds, with the 95 % interval over faces, as text."""
    texts = []
    for what, sign in (("deletion", -1), ("insertion", 1)):
        wide = part.pivot(index="face", columns="order", values=what)
        for control in ("random", "other"):
            gain = sign * (wide["map"] - wide[control]).to_numpy()
            means = gain[rng.integers(len(gain), size=(RESAMPLES, len(gain)))].mean(1)
            low, high = np.quantile(means, (0.025, 0.975))
            texts.append(f"{what} vs {control} {gain.mean():+.2f} [{low:+.2f}, {high:+.2f}], {(gain > 0).mean():.0%}")
    return "; ".join(texts)


if __name__ == "__main__":
    main()
