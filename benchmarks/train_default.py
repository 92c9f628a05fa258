"""Build the training set of the shipped detector from the development pictures, and train it.

    python benchmarks/train_default.py ../shared/data build/default

Real pictures and those fakes that are marked `use=train` are located, cut to one face, and saved alike; to them come
fakes made here from the same real faces (reconstruct, swap) and from nothing (style). What is marked `use=evaluate` is
scored at the end and never learnt: each of those generators is unseen, and so is the set of real portraits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from detector import tasks
from detector.checkpoint import SHIPPED
from detector.faces import add_crops
from detector.manifest import assign_splits, read_manifest, validate, write_manifest
from detector.reencoding import reencode

SIDE = 128  # of the saved faces, pixels
REALS, MADE = 6000, 2500  # pictures of a class and of each generator made here


def report(what: str, done: int, total: int) -> None:
    """Print one line every 500 steps."""
    if done % 500 == 0 or done == total:
        print(f"{what}: {done} of {total}", flush=True)


def located(table: pd.DataFrame, cache: Path) -> pd.DataFrame:
    """Return the rows that hold a face, each with its crop."""
    if not cache.is_file():
        write_manifest(add_crops(table, progress=lambda i, n: report("locating", i, n)), cache)
    return read_manifest(cache)


def main() -> None:
    """Run from the shared pictures to a trained detector, resuming what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("out", type=Path)
    parser.add_argument("--reconstruct", type=Path, required=True, help="weights of the autoencoders")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--size", type=int, default=96)
    given = parser.parse_args()
    out = given.out

    if not (out / "manifest.csv").is_file():
        everything = located(read_manifest(given.data / "faces" / "manifest.csv"), out / "located.csv")
        rng = np.random.default_rng(0)
        mine = everything[everything.use == "train"]
        reals = mine[mine.label == 0]
        reals = reals.iloc[np.sort(rng.permutation(len(reals))[:REALS])].reset_index(drop=True)
        reals = assign_splits(reals, seed=0, fractions=(0.8, 0.1, 0.1))
        theirs = assign_splits(mine[mine.label == 1].reset_index(drop=True), seed=0, fractions=(0.8, 0.1, 0.1))
        parts = [reals, theirs]
        for i, (name, weights) in enumerate({"reconstruct": given.reconstruct, "swap": None}.items()):
            chosen = reals.iloc[i * MADE : (i + 1) * MADE]
            parts.append(tasks.alter(name, chosen, out / "made" / name, size=SIDE, weights=weights, progress=report))
        style = tasks.generate(
            "style", MADE, out / "made" / "style", weights=SHIPPED / "style-64", truncation=0.9, progress=report
        )
        parts.append(assign_splits(style, seed=0, fractions=(0.8, 0.1, 0.1)))
        table = validate(pd.concat(parts, ignore_index=True))
        write_manifest(reencode(table, out / "pictures", size=SIDE, progress=report), out / "manifest.csv")
        unseen = everything[everything.use == "evaluate"].assign(split="test")
        write_manifest(reencode(unseen, out / "unseen", size=SIDE, progress=report), out / "unseen.csv")
    arguments = {"size": given.size, "epochs": given.epochs, "patience": given.epochs, "half_life": 200.0}
    tasks.train("detector", "cnn", out / "manifest.csv", out / "cnn", seed=0, arguments=arguments, progress=report)
    tasks.evaluate(out / "unseen.csv", detectors=[out / "cnn"], out=out / "report", progress=report)


if __name__ == "__main__":
    main()
