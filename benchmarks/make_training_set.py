"""Build the pictures that the shipped detector learns from and is measured on.

    python benchmarks/make_training_set.py ../shared/data build/default

Real pictures and those fakes that are marked `use=train` are located and cut to one face; to them come fakes made here,
from the same real faces at several sizes (reconstruct, swap), from nothing (style), and from the pretrained `stylegan`
where that extra is installed. Everything is saved alike. What is marked `use=evaluate` goes to `unseen.csv` and is
never learnt: each of those generators is unseen, and so is the set of real portraits. Both are audited at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from detector import tasks
from detector.audit import audit
from detector.checkpoint import SHIPPED
from detector.errors import MissingExtra
from detector.faces import add_crops
from detector.manifest import assign_splits, read_manifest, validate, write_manifest
from detector.reencoding import reencode

SIDE = 224  # of the saved faces, pixels
SIZES = (112, 160, 224)  # at which real faces are altered: a network's traces belong to its own pixel grid
ALTERED, MADE, DRAWN = 1000, 1500, 750  # of a size, of a truncation of style, of one of stylegan
FRACTIONS = (0.84, 0.06, 0.10)


def report(what: str, done: int, total: int) -> None:
    """Print one line every 500 steps."""
    if done % 500 == 0 or done == total:
        print(f"{what}: {done} of {total}", flush=True)


def main() -> None:
    """Build what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    out = given.out
    if not (out / "located.csv").is_file():
        everything = read_manifest(given.data / "faces" / "manifest.csv")
        found = add_crops(everything, progress=lambda i, n: report("locating", i, n))
        write_manifest(found, out / "located.csv")
    found = read_manifest(out / "located.csv")
    mine = found[found.use == "train"]
    reals = assign_splits(mine[mine.label == 0].reset_index(drop=True), seed=0, fractions=FRACTIONS)
    theirs = assign_splits(mine[mine.label == 1].reset_index(drop=True), seed=0, fractions=FRACTIONS)
    parts, order = [reals, theirs], np.random.default_rng(0).permutation(len(reals))
    kinds = [(name, size) for name in ("reconstruct", "swap") for size in SIZES]
    for number, (name, size) in enumerate(kinds):
        chosen = reals.iloc[np.sort(order[number * ALTERED : (number + 1) * ALTERED])]
        parts.append(made(out / "made" / f"{name}-{size}", lambda f, n=name, s=size, c=chosen: alter(n, c, f, s)))
    for name, truncation, seed, count in (
        ("style", 0.7, 0, MADE), ("style", 1.0, 10_000, MADE),
        ("stylegan", 0.7, 0, DRAWN), ("stylegan", 1.0, 10_000, DRAWN),
    ):  # fmt: skip
        folder = out / "made" / f"{name}-{truncation}"
        try:
            rows = made(folder, lambda f, n=name, t=truncation, s=seed, c=count: draw(n, c, f, t, s))
        except MissingExtra as error:
            print(f"left out: {error}")
            continue
        rows = add_crops(rows, progress=lambda i, n: report("locating", i, n))  # framed like the rest
        parts.append(assign_splits(rows, seed=0, fractions=FRACTIONS))
    table = validate(pd.concat(parts, ignore_index=True))
    write_manifest(reencode(table, out / "pictures", size=SIDE, progress=report), out / "manifest.csv")
    unseen = found[found.use == "evaluate"].assign(split="test")
    write_manifest(reencode(unseen, out / "unseen", size=SIDE, progress=report), out / "unseen.csv")
    for finding in audit(read_manifest(out / "manifest.csv").sample(4000, random_state=0), progress=report):
        print(f"audit: {finding.severity.value}: {finding.name}: {finding.summary}")


def made(folder: Path, make: Callable[[Path], None]) -> pd.DataFrame:
    """Return the manifest of a folder, made first if it is not there."""
    if not (folder / "manifest.csv").is_file():
        make(folder)
    return read_manifest(folder / "manifest.csv")


def alter(name: str, reals: pd.DataFrame, folder: Path, size: int) -> None:
    """Write fakes made from real pictures, without labels: a mark in a file must not be learnt."""
    tasks.alter(name, reals, folder, size=size, label=False, progress=report)


def draw(name: str, n: int, folder: Path, truncation: float, seed: int) -> None:
    """Write fakes made from nothing, without labels."""
    weights = SHIPPED / "style-64" if name == "style" else None
    tasks.generate(name, n, folder, seed=seed, weights=weights, truncation=truncation, label=False, progress=report)


if __name__ == "__main__":
    main()
