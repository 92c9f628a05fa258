"""Build the pictures that the shipped detector learns from and is measured on.

    python benchmarks/make_training_set.py ../shared/data build/default

Real pictures and those fakes that are marked `use=train` are located and cut to one face; to them come fakes made here,
from the same real faces at several sizes (reconstruct, swap, latent), from nothing (style, and a `crude` that is
trained here, in colour, at 64 pixels), and from the pretrained `stylegan` where that extra is installed. Everything is
saved alike, and the column `side` keeps how large it was. What is marked `use=evaluate` goes to `unseen.csv` and is
never learnt: each of those generators is unseen, and so is the set of real portraits. What is learnt is audited at the
end.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from detector import tasks
from detector.dataset.audit import audit
from detector.dataset.manifest import assign_splits, read_manifest, validate, write_manifest
from detector.dataset.reencoding import add_crops, reencode
from detector.errors import MissingExtra
from detector.generators.crude import OPTIONS
from detector.scoring.checkpoint import SHIPPED

SIDE = 224  # of the saved faces, pixels
SIZES = (112, 160, 224, 64)  # at which real faces are altered: a network's traces belong to its own pixel grid
ALTERED, MADE, DRAWN = 1000, 1500, 750  # of a size; of a truncation of style, and of crude; of one of stylegan
CRUDE = replace(OPTIONS, pictures=240_000, rate_g=4e-4, rate_d=4e-4)  # eleven minutes of one core
FRACTIONS = (0.84, 0.06, 0.10)


def report(what: str, done: int, total: int) -> None:
    """Print one line every 500 steps."""
    if done % 500 == 0 or done == total:
        print(f"{what}: {done} of {total}", flush=True)


def calibrates(unseen: pd.DataFrame) -> pd.Series:
    """Return which of the unseen pictures set line and thresholds: every other one, by hash; the rest measure."""
    return unseen.sha256.str[0].isin(list("01234567"))


def held_out(data: Path, learnt: Path) -> pd.DataFrame:
    """Return the photographs of the `test` split as they came, from the folders of the data and of what was made."""
    split, table = read_manifest(learnt / "manifest.csv"), read_manifest(data / "faces" / "manifest.csv")
    groups = set(split[(split.label == 0) & (split.split == "test")].group)
    return table[(table.label == 0) & table.group.isin(groups)].reset_index(drop=True)


def main() -> None:
    """Build what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    out = arguments.out
    if not (out / "located.csv").is_file():
        everything = read_manifest(arguments.data / "faces" / "manifest.csv")
        found = add_crops(everything, progress=lambda i, n: report("locating", i, n))
        write_manifest(found, out / "located.csv")
    found = read_manifest(out / "located.csv")
    mine = found[found.use == "train"]
    reals = assign_splits(mine[mine.label == 0].reset_index(drop=True), seed=0, fractions=FRACTIONS)
    theirs = assign_splits(mine[mine.label == 1].reset_index(drop=True), seed=0, fractions=FRACTIONS)
    parts, order = [reals, theirs], np.random.default_rng(0).permutation(len(reals))
    kinds = [(name, size) for name in ("reconstruct", "swap", "latent") for size in SIZES]
    for number, (name, size) in enumerate(kinds):
        turn = np.arange(number * ALTERED, (number + 1) * ALTERED) % len(order)  # some meet two fakes of theirs
        chosen = reals.iloc[np.sort(order[turn])]
        parts.append(made(out / "made" / f"{name}-{size}", lambda f, n=name, s=size, c=chosen: alter(n, c, f, s)))
    train_crude(reals, out / "crude")
    style, crude = {"weights": SHIPPED / "style-64"}, {"weights": out / "crude"}
    for name, title, count, given in (
        ("crude", "crude", MADE, crude),
        ("style", "style-0.7", MADE, style | {"truncation": 0.7}),
        ("style", "style-1.0", MADE, style | {"truncation": 1.0, "seed": 10_000}),
        ("stylegan", "stylegan-0.7", DRAWN, {"truncation": 0.7}),
        ("stylegan", "stylegan-1.0", DRAWN, {"truncation": 1.0, "seed": 10_000}),
    ):
        try:
            rows = made(out / "made" / title, lambda f, n=name, c=count, g=given: draw(n, c, f, **g))
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


def train_crude(reals: pd.DataFrame, folder: Path) -> None:
    """Train the generator of 2014 in colour, unless it is there."""
    if not (folder / "card.json").is_file():
        arguments = {"size": 64, "colour": True}
        tasks.train("generator", "crude", reals, folder, arguments=arguments, options=CRUDE, progress=report)


def draw(name: str, n: int, folder: Path, **options: Any) -> None:
    """Write fakes made from nothing, without labels."""
    tasks.generate(name, n, folder, label=False, progress=report, **options)


if __name__ == "__main__":
    main()
