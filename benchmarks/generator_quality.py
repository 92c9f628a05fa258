"""Measure the quality of a generator's faces, and whether it memorised any: KID, precision, recall, nearest neighbours.

    python benchmarks/generator_quality.py detector/weights/style-64 ../shared/data -n 2000

Features are the pooled activations of EfficientNet-Lite0 with ImageNet weights (the extra `imagenet`; no download).
Such features overrate generators that were trained with ImageNet features; the GANs here were not. Compare only figures
of this script. The photographs are those of the val and test splits, on which the generator was not trained, so that
copies of training pictures do not improve the figures.
Source: Binkowski et al. 2018, arXiv:1801.01401 (KID); Kynkaanniemi et al. 2019, arXiv:1904.06991 (precision, recall).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from detector import generators
from detector.dataset.manifest import assign_splits, read_crops, read_manifest
from detector.learning.embedding import extract_features
from detector.pictures.faces import load_face
from detector.scoring.checkpoint import read_card
from detector.statistics.distances import kid, precision_recall, squared_distances
from detector.types import Images


def load_faces(table: pd.DataFrame, size: int) -> Images:
    """Return the faces (N, size, size, 3) of a manifest."""
    pairs = zip(table.path, read_crops(table), strict=True)
    return np.stack([load_face(path, size, crop) for path, crop in pairs])


def photographs(data: Path) -> pd.DataFrame:
    """Return the openly licensed real faces, split as `train_generators.py` splits them."""
    table = read_manifest(data / "faces" / "manifest.csv")
    reals = table[(table.label == 0) & (table.use == "train")].reset_index(drop=True)
    return assign_splits(reals, seed=0, fractions=(0.8, 0.1, 0.1))


def main() -> None:
    """Print the figures of one checkpoint as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("-n", type=int, default=1500, help="number of fakes")
    arguments = parser.parse_args()
    card = read_card(arguments.weights, "generator")
    source = generators.load_generator(card["generator"], arguments.weights)
    size = card["arguments"]["size"]
    reals = photographs(arguments.data)
    held_out = extract_features(load_faces(reals[reals.split != "train"], size))
    trained_on = extract_features(load_faces(reals[reals.split == "train"].iloc[:: max(1, len(reals) // 3000)], size))
    more = {"truncation": 1.0} if card["generator"] == "style" else {}
    fakes = extract_features(source.sample(arguments.n, seed=0, **more))
    mixed, half = np.random.default_rng(0).permutation(held_out), len(held_out) // 2
    value, error = kid(held_out, fakes)
    precision, recall = precision_recall(held_out[: arguments.n], fakes[: len(held_out)])
    to_trained, to_others = (
        np.sqrt(squared_distances(fakes[:32], faces).min(1)) for faces in (trained_on[: len(held_out)], held_out)
    )
    print(json.dumps({
        "kid_x1000": round(value, 2), "kid_error": round(error, 2),
        "kid_x1000_of_photographs": round(kid(mixed[:half], mixed[half:])[0], 2),
        "precision": round(precision, 3), "recall": round(recall, 3), "n_real": len(held_out), "n_fake": arguments.n,
        "distance_to_nearest_learnt_over_unlearnt": round(float(np.median(to_trained / to_others)), 3),
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
