"""Build the manifest of what the shipped detector learns from.

    python benchmarks/make_training_set.py ../shared/data build/default

Photographs of six sources and the fakes that are marked `use=train` are located; nothing of them is copied. To them
come fakes that are made here: reconstructions of every photograph through three of the four latent autoencoders (the
fourth, LEFT_OUT, only ever measures), copies and swaps by this package's own generators, pictures drawn by `style-64`
and `style-128`, and by the pretrained `stylegan` where that extra is installed. Pictures with `use=evaluate` or
`use=heldout` are never read. What is there already is not made again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from autoencoders import NAMES, STRIDE, Autoencoder

from detector import tasks
from detector.dataset.audit import audit
from detector.dataset.manifest import assign_splits, read_crops, read_manifest, validate, write_manifest
from detector.dataset.reencoding import add_crops, measure_sides
from detector.errors import MissingExtra
from detector.files import sha256, write_bytes
from detector.pictures.images import cut, encode, load, resize
from detector.scoring.checkpoint import SHIPPED

LEFT_OUT = "taesd3"  # the autoencoder whose reconstructions are never learnt
SIDES = (112, 384)  # of the squares that are reconstructed, pixels, drawn evenly on a logarithmic scale
NOISE = (0.0, 0.0, 0.03, 0.08)  # of the latent code, in its standard deviations, drawn evenly
LEAST = 80  # side of a face square, pixels, below which a picture is left out
ALTERED = {"latent": (128, 192), "reconstruct": (128, 208), "swap": (128, 208)}  # generator: sides, pixels
ALTERED_EACH, DRAWN_EACH, STYLEGAN_EACH = 250, 400, 400  # pictures of a generator and side, or of a truncation
FRACTIONS = (0.94, 0.06, 0.0)


def print_progress(what: str, done: int, total: int) -> None:
    """Print one line every 250 steps."""
    if done % 250 == 0 or done == total:
        print(f"{what}: {done} of {total}", flush=True)


def main() -> None:
    """Build what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv and autoencoders/")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    located = given.out / "located.csv"
    if not located.is_file():
        table = read_manifest(given.data / "faces" / "manifest.csv")
        mine = table[table.use == "train"].reset_index(drop=True)
        write_manifest(add_crops(mine, progress=lambda i, n: print_progress("locating", i, n)), located)
    found = read_manifest(located)
    found = found[measure_sides(found) >= LEAST].reset_index(drop=True)
    photographs = assign_splits(found[found.label == 0].reset_index(drop=True), seed=0, fractions=FRACTIONS)
    parts = [photographs, assign_splits(found[found.label == 1].reset_index(drop=True), seed=0, fractions=FRACTIONS)]
    for name in NAMES:
        if name != LEFT_OUT:
            parts.append(reconstruct(name, photographs, given.data / "autoencoders", given.out / "made" / name))
    for name, sides in ALTERED.items():
        parts += [alter(name, photographs, given.out / "made" / f"{name}-{side}", side) for side in sides]
    drawn = pd.concat(draw_all(given.out / "made"), ignore_index=True)  # two checkpoints may share a seed, so a group
    parts.append(assign_splits(drawn, seed=0, fractions=FRACTIONS))
    table = validate(pd.concat(parts, ignore_index=True))
    write_manifest(table, given.out / "manifest.csv")
    print(table.groupby(["label", "generator", "dataset"]).size().to_string())
    for finding in audit(table.sample(min(4000, len(table)), random_state=0), progress=print_progress):
        print(f"audit: {finding.severity.value}: {finding.name}: {finding.summary}")


def reconstruct(name: str, photographs: pd.DataFrame, weights: Path, folder: Path) -> pd.DataFrame:
    """Return one reconstruction of every photograph, at a side of its own, as PNG; finished files are kept."""
    net, rows = Autoencoder(weights, name), []
    squares = zip(photographs.itertuples(), read_crops(photographs), strict=True)
    for number, (photograph, crop) in enumerate(squares, 1):
        path = folder / f"{photograph.sha256[:24]}.png"
        rng = np.random.default_rng([int(photograph.sha256[:8], 16), NAMES.index(name)])
        if not path.is_file():
            square = cut(load(photograph.path), crop)
            low, high = SIDES[0], max(min(len(square), SIDES[1]), SIDES[0] + STRIDE)
            side = int(np.exp(rng.uniform(np.log(low), np.log(high)))) // STRIDE * STRIDE
            copy = net.reconstruct(resize(square, side, side), float(rng.choice(NOISE)), rng)
            write_bytes(path, encode(copy, "PNG"))
        data = path.read_bytes()
        rows.append({"path": str(path.resolve()), "sha256": sha256(data), "label": 1, "generator": name,
                     "dataset": photograph.dataset, "group": photograph.group, "split": photograph.split,
                     "licence": photograph.licence})  # fmt: skip
        print_progress(name, number, len(photographs))
    return pd.DataFrame(rows)


def alter(name: str, photographs: pd.DataFrame, folder: Path, side: int) -> pd.DataFrame:
    """Return copies or swaps by a generator of this package, of every source of photographs alike."""

    def make() -> None:
        large = photographs[measure_sides(photographs) >= side]
        sources = [rows for _, rows in large.groupby("dataset")]
        each = ALTERED_EACH // len(sources)
        chosen = pd.concat([rows.sample(min(each, len(rows)), random_state=side) for rows in sources])
        tasks.alter(name, chosen.reset_index(drop=True), folder, size=side, label=False, progress=print_progress)

    return made(folder, make)


def draw_all(folder: Path) -> list[pd.DataFrame]:
    """Return what the generators that need no photograph draw, without labels: a mark in a file must not be learnt."""
    jobs: list[tuple[str, str, int, dict[str, Any]]] = []
    for seed, truncation in enumerate((0.8, 1.0), 7):
        for weights in ("style-64", "style-128"):
            options = {"weights": SHIPPED / weights, "truncation": truncation, "seed": 10_000 * seed}
            jobs.append(("style", f"{weights}-{truncation}", DRAWN_EACH, options))
        jobs.append(
            ("stylegan", f"stylegan-{truncation}", STYLEGAN_EACH, {"truncation": truncation, "seed": seed, "size": 512})
        )
    tables = []
    for name, title, count, options in jobs:

        def make(name: str = name, title: str = title, count: int = count, options: dict[str, Any] = options) -> None:
            tasks.generate(name, count, folder / title, label=False, progress=print_progress, **options)

        try:
            rows = made(folder / title, make)
        except MissingExtra as error:
            print(f"left out: {error}")
            continue
        tables.append(add_crops(rows, progress=lambda i, n: print_progress("locating", i, n)))
    return tables


def made(folder: Path, make: Callable[[], None]) -> pd.DataFrame:
    """Return the manifest of a folder, made first if it is not there."""
    if not (folder / "manifest.csv").is_file():
        make()
    return read_manifest(folder / "manifest.csv")


if __name__ == "__main__":
    main()
