"""Measure how well photographs of people whom the generator never saw are drawn again from their projections.

    python benchmarks/projection.py ../shared/data -o projection

Twenty photographs are projected, five of each of four sources that trained no shipped weights. Their mean distance from
their projections is set against that from the nearest of N faces which the generator draws at random, in two spaces:
the distance that the projection minimises (`Distance`), and the pooled activations of the whole network, which it does
not use (squared and scaled to unit length; it needs the extra `imagenet`). Prints a table, and writes the projections
as `detector generate style --project` does, with a sheet. The sheet shows photographs: keep it to yourself.
Source: Abdal, Qin and Wonka 2019, arXiv:1904.03189 (projection into W+).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from detector import tasks
from detector.dataset.manifest import read_crops, read_manifest, write_manifest
from detector.generators import load_generator
from detector.learning.embedding import Distance, extract_features
from detector.learning.pixels import from_pixels
from detector.pictures.images import load
from detector.statistics.distances import Floats, squared_distances
from detector.tasks.projecting import cut_face, measure_margin
from detector.types import Images

SOURCES = ("celeba-hq", "civil-service-256", "fairface-m125", "ffhq-50")
EACH = 5  # number of photographs of each source
N = 1000  # number of faces that are drawn at random
CHUNK = 250  # number of random faces that are compared at a time


def choose_photographs(data: Path, seed: int) -> pd.DataFrame:
    """Return the rows of the photographs, each of another person, of sources that trained nothing."""
    table = read_manifest(data / "faces" / "manifest.csv")
    unseen = table[(table.label == 0) & (table.use != "train") & table.dataset.isin(SOURCES)].drop_duplicates("group")
    return unseen.groupby("dataset").sample(EACH, random_state=seed).reset_index(drop=True)


def measure_nearest(faces: Images, seed: int) -> tuple[Floats, Floats]:
    """Return the distance of each face (M, S, S, 3) from the nearest random face, in both spaces, (M,) each."""
    generator, distance = load_generator("style"), Distance()
    ours = [distance.features(face[None]) for face in from_pixels(faces)]
    nearest, deep = np.full(len(faces), np.inf), np.full(len(faces), np.inf)
    vectors = embed(faces)
    for start in range(0, N, CHUNK):
        drawn = generator.sample(CHUNK, seed=seed + start, truncation=1.0)
        theirs = distance.features(from_pixels(drawn))
        for i, features in enumerate(ours):
            nearest[i] = min(nearest[i], float(distance.between(features, theirs).min()))
        deep = np.minimum(deep, squared_distances(vectors, embed(drawn)).min(1))
        print(f"\r{start + CHUNK} of {N} random faces", end="", flush=True)
    print()
    return nearest, deep


def embed(faces: Images) -> Floats:
    """Return the pooled activations (N, 1280) of faces, of unit length."""
    vectors = extract_features(faces)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    """Project the photographs and print one line for each source, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("-o", "--output", type=Path, default=Path("projection"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    photographs = choose_photographs(arguments.data, arguments.seed)
    write_manifest(photographs, arguments.output / "photographs.csv")
    made = tasks.project(
        "style", arguments.output / "photographs.csv", arguments.output / "projected", seed=arguments.seed, label=False,
        progress=lambda what, done, total: print(f"\r{what}: {done} of {total}", end="", flush=True),
    )  # fmt: skip
    print()
    generator = load_generator("style")
    margin, rows = measure_margin(generator), photographs[photographs.group.isin(made.group)]
    cut = [cut_face(p, generator.size, margin, c) for p, c in zip(rows.path, read_crops(rows), strict=True)]
    faces, drawn = np.stack([face for face in cut if face is not None]), np.stack([load(path) for path in made.path])
    nearest, nearest_deep = measure_nearest(faces, 10_000_000)
    found = made.assign(nearest=nearest, nearest_deep=nearest_deep, deep=((embed(faces) - embed(drawn)) ** 2).sum(1))
    print("| source | faces | distance | nearest random | share | deep | nearest random | share | PSNR, dB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, part in [*found.groupby("dataset"), ("all", found)]:
        means = part[["distance", "nearest", "deep", "nearest_deep", "psnr"]].mean()
        print(
            f"| {name} | {len(part)} | {means.distance:.3f} | {means.nearest:.3f} | "
            f"{means.distance / means.nearest:.2f} | {means.deep:.3f} | {means.nearest_deep:.3f} | "
            f"{means.deep / means.nearest_deep:.2f} | {means.psnr:.1f} |"
        )


if __name__ == "__main__":
    main()
