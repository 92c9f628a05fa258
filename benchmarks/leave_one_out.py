"""What the recipe does with a generator it did not learn, and what each of its ingredients is worth.

    python benchmarks/leave_one_out.py build/default -o build/leave-one-out     # after make_training_set.py

The shipped weights are measured on the half of the unseen pictures that did not calibrate them. Each generator in turn
is absent from training and measured on its test split against real faces that were not learnt either. Further runs
leave none out, are of one network of 128 pixels, and are measured on the half of the unseen pictures that calibrates,
since recipes are chosen by them. On a GPU all of them take forty minutes, side by side, on two cores two days. Finished
runs are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from make_training_set import calibrates, report
from train_default import COARSE, FINE, RECIPE, join

from detector.dataset.foreign import read_table
from detector.dataset.manifest import read_manifest, write_table
from detector.detectors.cnn import Cnn
from detector.pictures.faces import prepare
from detector.pictures.images import load, resize
from detector.pictures.perturbations import perturb
from detector.scoring.checkpoint import CARD, SHIPPED
from detector.statistics.intervals import measure
from detector.types import Image, Opinion

SEVERITY = 3  # quality 60, half the side, 15 % of either side cut away
LEAST = 48  # pixels a side; no generator's faces are smaller


def change(name: str) -> Callable[[Image, str], Image]:
    return lambda image, key: perturb(image, name, SEVERITY, seed=0, key=key)


CONDITIONS: dict[str, Callable[[Image, str], Image]] = {
    "clean": lambda image, key: image, "JPEG 60": change("jpeg"), "half size": change("resize"),
    "half size, JPEG 60": change("resize_jpeg"), "all at 48 px": lambda image, key: resize(image, LEAST, LEAST),
    "cut tighter": change("crop"),
}  # fmt: skip


SHIPS = "shipped weights"
TOGETHER: dict[str, Any] = {"together": True, "augmentation": 0.0}
PAIR = TOGETHER | {"augmentation": 0.2}  # each network in one run
SHORT, LONG = {"augmentation": 1.0, "residual": True}, {"augmentation": 1.0, "epochs": 20}
VARIANTS: dict[str, dict[str, Any]] = {
    "each generator its turn, seed 1": {"augmentation": 0.0, "seed": 1},
    "altered fakes together, seed 1": TOGETHER | {"seed": 1}, "altered fakes together": TOGETHER,
    "together, augmentation 0.1": TOGETHER | {"augmentation": 0.1},
    "together, augmentation 0.2": PAIR,
    "together, augmentation 0.2, seed 1": PAIR | {"seed": 1}, "together, augmentation 0.2, seed 2": PAIR | {"seed": 2},
    "together, augmentation 0.3": TOGETHER | {"augmentation": 0.3},
    "short": SHORT, "short, unequal resolution": SHORT, "short, without augmentation": SHORT | {"augmentation": 0.0},
    "short, without ImageNet": SHORT | {"pretrained": False}, "short, without pairs": SHORT | {"paired": False},
    "long": LONG, "long, residual branch": LONG | {"residual": True},
    "long, milder augmentation": LONG | {"augmentation": 0.6},
}  # fmt: skip


def train(table: pd.DataFrame, folder: Path, *, seed: int = 0, **changes: Any) -> Cnn:
    """Return a detector of the recipe, trained or kept from before."""
    if not (folder / CARD).is_file():
        detector = Cnn(**RECIPE | {"size": FINE["size"]} | changes)
        folder.mkdir(parents=True, exist_ok=True)
        detector.fit(table, seed=seed, folder=folder, progress=report)
        detector.save(folder)
        (folder / "pictures.npy").unlink()
    return Cnn.load(folder)


def train_pair(table: pd.DataFrame, folder: Path, **changes: Any) -> Cnn:
    """Return two networks of the sizes of the shipped pair, joined, trained or kept from before."""
    for part in (FINE, COARSE):
        train(table, folder / str(part["size"]), size=part["size"], **changes)
    if not (folder / CARD).is_file():
        join(*(folder / str(part["size"]) for part in (FINE, COARSE)), folder)
    return Cnn.load(folder)


@cache
def face(path: str, key: str, condition: str, size: int) -> Image:
    """Return a face as a detector of that size sees it under a condition; the runs share it."""
    return prepare(CONDITIONS[condition](load(path), key), size)


def examine(detector: Cnn, table: pd.DataFrame, run: str, titles: Iterable[str] = CONDITIONS) -> list[dict[str, Any]]:
    """Return one row a generator and condition: its fakes against all real pictures of the table."""
    rows = []
    for title in titles:
        pictures = zip(table.path, table.sha256, strict=True)
        column = detector.score(np.stack([face(path, key, title, detector.size) for path, key in pictures]))
        accused = detector.judge(column[table.label == 0]).count(Opinion.LIKELY_FAKE)
        for generator in sorted(table.generator[table.label == 1].unique()):
            use = (table.label == 0) | (table.generator == generator)
            found = measure(table.label[use], column[use], table.group[use], ["auc"], seed=0)["auc"]
            row = {"run": run, "generator": generator, "condition": title, "auc": found.value, "accused": accused}
            rows.append(row | {"low": found.low, "high": found.high, "n_real": found.n_real, "n_fake": found.n_fake})
    return rows


def show(results: pd.DataFrame) -> str:
    """Return the tables as Markdown: the shipped weights, generators left out, variants of the recipe."""
    parts = []
    for title, start in (("shipped weights", "shipped"), ("left out", "left out")):
        lines = [f"| {title} | fakes | " + " | ".join(CONDITIONS) + " |", "|---|---|" + "---|" * len(CONDITIONS)]
        part = results[results.run.str.contains(start)]
        for generator, rows in part.groupby("generator"):
            cells = rows.set_index("condition").loc[list(CONDITIONS)]
            figures = " | ".join(f"{r.auc:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in cells.itertuples())
            lines.append(f"| {generator} | {rows.n_fake.iloc[0]} | {figures} |")
        by = part.groupby("condition").auc
        for word, figures in (("mean", by.mean()), ("worst", by.min())):
            lines.append(f"| {word} | | " + " | ".join(f"{figures[c]:.3f}" for c in CONDITIONS) + " |")
        if start == "shipped":
            accused, n = part.groupby("condition").accused.first(), part.n_real.iloc[0]
            figures = " | ".join(f"{int(float(accused[c]))} of {n}" for c in CONDITIONS)
            lines.append(f"| portraits `likely-fake` | | {figures} |")
        parts.append("\n".join(lines))
    lines = ["| run | mean | worst | " + " | ".join(f"mean, {c}" for c in list(CONDITIONS)[1:]) + " |",
             "|---|---|---|" + "---|" * (len(CONDITIONS) - 1)]  # fmt: skip
    for run, rows in results[~results.run.str.contains("left out|shipped")].groupby("run", sort=False):
        clean, means = rows[rows.condition == "clean"], rows.groupby("condition").auc.mean()
        worst = clean.loc[clean.auc.idxmin()]
        rest = " | ".join(f"{means[c]:.3f}" for c in list(CONDITIONS)[1:])
        lines.append(f"| {run} | {means['clean']:.3f} | {worst.auc:.3f} ({worst.generator}) | {rest} |")
    return "\n\n".join([*parts, "\n".join(lines)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that make_training_set.py wrote")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    table, unseen = read_manifest(given.data / "manifest.csv"), read_manifest(given.data / "unseen.csv")
    test = table[table.split == "test"]
    tried, held = (unseen[half].reset_index(drop=True) for half in (calibrates(unseen), ~calibrates(unseen)))
    results = given.output / "results.csv"
    rows: list[dict[str, Any]] = read_table(results).to_dict("records") if results.is_file() else []
    runs = [(f"left out: {name}", table[table.generator != name], test[test.generator.isin(["", name])], PAIR)
            for name in sorted(table.generator[table.label == 1].unique())]  # fmt: skip
    for name, changes in VARIANTS.items():
        learnt = table.drop(columns="side") if name.endswith("unequal resolution") else table
        runs.append((name, learnt, tried, changes))
    for name, learnt, examined, changes in runs:
        print(name, flush=True)
        done = {row["condition"] for row in rows if row["run"] == name}
        missing = [title for title in CONDITIONS if title not in done]
        if missing:
            folder = given.output / name.replace(": ", "-").replace(", ", "-").replace(" ", "-")
            make = train_pair if name.startswith("left out") else train
            rows += examine(make(learnt, folder, **changes), examined, name, missing)
            write_table(pd.DataFrame(rows), results)
    kept, shipped = [name for name, *_ in runs], Cnn.load(SHIPPED / "default")
    rows = sorted((row for row in rows if row["run"] in kept), key=lambda row: kept.index(row["run"]))
    rows += examine(shipped, tried, "the pair as released") + examine(shipped, held, SHIPS)
    write_table(pd.DataFrame(rows), results)
    print(show(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
