"""Measure how well a detector tells copies of photographs through autoencoders that it has learned, and has not.

    python benchmarks/copies.py ../shared/data --open build/open --taef2 taesd

The photographs are those of the public websites that calibrate the shipped detectors; no weights learned from them.
Each is copied through four autoencoders of the development data and, with `--taef2` (a clone of the repository
`madebyollin/taesd`), through a fifth. Photograph and copy are resized to the same side and saved as JPEG 90. Two
figures are printed for each autoencoder: the AUC with its 95 % interval, and the share of photographs that score lower
than their own copy. Where only the second is high, a detector sees the traces of the decoder, but photographs differ
by more than these traces.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from autoencoders import NAMES, NORMALISED, STRIDE, Autoencoder

from detector.dataset.manifest import read_crops, read_manifest
from detector.detectors import load_detector
from detector.pictures.faces import load_square
from detector.pictures.images import decode, encode, resize
from detector.statistics.intervals import measure
from detector.types import Image

LARGEST = 336  # side of the copies, pixels
QUALITY = 90  # JPEG quality of photographs and copies


def read_squares(table: Path) -> list[Image]:
    """Return the face squares of a manifest, of at most LARGEST pixels."""
    rows = read_manifest(table)
    squares = [load_square(path, crop) for path, crop in zip(rows.path, read_crops(rows), strict=True)]
    sides = [min(len(square), LARGEST) // STRIDE * STRIDE for square in squares]
    return [resize(square, side, side) for square, side in zip(squares, sides, strict=True)]


def save(picture: Image) -> Image:
    """Return a picture after it was saved as JPEG."""
    return decode(encode(picture, "JPEG", quality=QUALITY))


def main() -> None:
    """Print one table for each detector."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds autoencoders/")
    parser.add_argument("--open", type=Path, required=True, help="the folder that open_faces.py wrote")
    parser.add_argument("--taef2", type=Path, help="the folder with taef2_encoder.pth")
    parser.add_argument("--detector", action="append", help="weights; the shipped ones by default")
    given = parser.parse_args()
    squares = read_squares(given.open / "calibrate.csv")
    nets = {name: Autoencoder.read(given.data / "autoencoders", name) for name in NAMES}
    nets |= {NORMALISED: Autoencoder.read(given.taef2, NORMALISED)} if given.taef2 else {}
    rng = np.random.default_rng(0)
    copies = {name: [save(net.reconstruct(s[None], 0.0, rng)[0]) for s in squares] for name, net in nets.items()}
    photographs, n = [save(square) for square in squares], len(squares)
    labels, groups = np.repeat([0, 1], n), np.tile(np.arange(n), 2)
    for detector in given.detector or ["default", "strong"]:
        _, loaded = load_detector(detector)
        real, *fakes = (
            loaded.score(np.stack([resize(picture, loaded.size, loaded.size) for picture in pictures]))
            for pictures in (photographs, *copies.values())
        )
        print(f"\n{detector}, {n} photographs\n\n| autoencoder | AUC | score below their copy |\n|---|---|---|")
        for name, fake in zip(copies, fakes, strict=True):
            auc = measure(labels, np.r_[real, fake], groups, ["auc"], seed=0)["auc"]
            below = f"{np.mean(fake > real):.0%}"
            print(f"| {name} | {auc.value:.2f} [{auc.low:.2f}, {auc.high:.2f}] | {below} |", flush=True)


if __name__ == "__main__":
    main()
