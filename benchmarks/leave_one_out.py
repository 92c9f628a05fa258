"""What the recipe does with a generator it did not learn, and what each of its ingredients is worth.

    python benchmarks/leave_one_out.py build/default -o build/leave-one-out     # after make_training_set.py

Each generator in turn is absent from training and measured on its test split against real faces that were not learnt
either. One more run leaves none out and is measured, like every ablation, on the generators and the portraits that
nothing was trained on. Runs are small (64 pixels, few epochs, from ImageNet weights), so that all of them fit into an
hour and a half of one core; they tell recipes apart and are no figures of the shipped weights. Finished runs are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from make_training_set import report

from detector.detectors.cnn import Cnn
from detector.faces import prepare
from detector.images import load
from detector.intervals import measure
from detector.manifest import read_manifest, write_table
from detector.perturbations import perturb

CONDITIONS = {"clean": None, "JPEG 60": "jpeg", "half size": "resize", "half size, JPEG 60": "resize_jpeg"}
SEVERITY = 3  # quality 60, half the side
ABLATIONS: dict[str, dict[str, Any]] = {
    "recipe": {}, "without pairs": {"paired": False}, "without augmentation": {"augmentation": 0.0},
    "without ImageNet": {"pretrained": False}, "without averaging": {"half_life": 0.5},
    "fine stem": {"stem_stride": 1, "size": 48},
}  # fmt: skip


def train(table: pd.DataFrame, folder: Path, epochs: int, size: int, **changes: Any) -> Cnn:
    """Return a detector of the recipe, trained or kept from before."""
    if not (folder / "card.json").is_file():
        detector = Cnn(**{"size": size, "epochs": epochs, "patience": epochs, "half_life": 100.0} | changes)
        folder.mkdir(parents=True, exist_ok=True)
        detector.fit(table, seed=0, folder=folder, progress=report)
        detector.save(folder)
        (folder / "pictures.npy").unlink()
    return Cnn.load(folder)


def examine(detector: Cnn, table: pd.DataFrame, run: str) -> list[dict[str, Any]]:
    """Return one row a generator and condition: its fakes against all real pictures of the table."""
    rows = []
    for title, name in CONDITIONS.items():
        scores = []
        for start in range(0, len(table), 64):
            faces = []
            for path, key in table[["path", "sha256"]].iloc[start : start + 64].itertuples(index=False):
                image = load(path)
                faces.append(prepare(perturb(image, name, SEVERITY, seed=0, key=key) if name else image, detector.size))
            scores.append(detector.score(np.stack(faces)))
        column = np.concatenate(scores)
        for generator in sorted(table.generator[table.label == 1].unique()):
            use = (table.label == 0) | (table.generator == generator)
            found = measure(table.label[use], column[use], table.group[use], ["auc"], seed=0)["auc"]
            row = {"run": run, "generator": generator, "condition": title, "auc": found.value}
            rows.append(row | {"low": found.low, "high": found.high, "n_real": found.n_real, "n_fake": found.n_fake})
    return rows


def show(results: pd.DataFrame) -> str:
    """Return both tables as Markdown."""
    left = results[results.run.str.startswith("left out")]
    lines = ["| left out | fakes | " + " | ".join(CONDITIONS) + " |", "|---|---|" + "---|" * len(CONDITIONS)]
    for generator, rows in left.groupby("generator"):
        cells = rows.set_index("condition").loc[list(CONDITIONS)]
        figures = " | ".join(f"{r.auc:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in cells.itertuples())
        lines.append(f"| {generator} | {rows.n_fake.iloc[0]} | {figures} |")
    lines += ["", "| run | mean | worst | " + " | ".join(f"mean, {c}" for c in list(CONDITIONS)[1:]) + " |",
              "|---|---|---|" + "---|" * (len(CONDITIONS) - 1)]  # fmt: skip
    for run, rows in results[~results.run.str.startswith("left out")].groupby("run", sort=False):
        clean, means = rows[rows.condition == "clean"], rows.groupby("condition").auc.mean()
        worst = clean.loc[clean.auc.idxmin()]
        rest = " | ".join(f"{means[c]:.3f}" for c in list(CONDITIONS)[1:])
        lines.append(f"| {run} | {means['clean']:.3f} | {worst.auc:.3f} ({worst.generator}) | {rest} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that make_training_set.py wrote")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", type=int, default=64)
    given = parser.parse_args()
    table, unseen = read_manifest(given.data / "manifest.csv"), read_manifest(given.data / "unseen.csv")
    test = table[table.split == "test"]
    rows: list[dict[str, Any]] = []
    for name, changes in ABLATIONS.items():
        print(name, flush=True)
        detector = train(table, given.output / name.replace(" ", "-"), given.epochs, given.size, **changes)
        rows += examine(detector, unseen, name)
        write_table(pd.DataFrame(rows), given.output / "results.csv")
    for generator in sorted(table.generator[table.label == 1].unique()):
        print(f"left out: {generator}", flush=True)
        folder = given.output / f"left-out-{generator}"
        detector = train(table[table.generator != generator], folder, given.epochs, given.size)
        rows += examine(detector, test[test.generator.isin(["", generator])], f"left out: {generator}")
        write_table(pd.DataFrame(rows), given.output / "results.csv")
    print(show(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
