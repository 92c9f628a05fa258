"""Measure how little a picture must be changed to evade the shipped detector, and what that needs to know.

    python benchmarks/train_default.py ../shared/data build/default --open build/open --dino vit_s_focus.onnx
    python benchmarks/adversaries.py build/default -o build/adversaries

Both classes are changed: fakes to pass as photographs, photographs to be called fake. Five kinds of attacker:
`white-box` has the weights, in 32 bits, and changes every value by at most R grey levels (projected gradient descent).
`transfer` has none, but trained another network of the same kind on the same training set, and attacks that one.
`smooth`, `sharpen` and `rephotograph` know nothing: a beauty filter, an unsharp mask, a photograph of the screen.
The table and the plot give the AUC with its 95 % interval, and the share of each class that is called `likely-fake`.
Source: Carlini and Farid 2020, arXiv:2004.00622.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from make_training_set import print_progress
from train_cnn import FIRST

from detector import tasks
from detector.dataset.manifest import read_crops, read_manifest
from detector.detectors.cnn import Cnn
from detector.evaluation.plots import draw_robustness, new_axes, to_png
from detector.files import write_bytes, write_text
from detector.learning.attacks import attack
from detector.pictures.faces import load_face
from detector.pictures.perturbations import SEVERITIES, Condition
from detector.scoring.checkpoint import CARD
from detector.statistics.intervals import measure
from detector.types import Images, Opinion

SHIPPED = Path(__file__).parents[1] / "detector" / "weights" / "default"
RADII = (1, 2, 4, 8)  # largest changes of a value that are measured, grey levels
STEPS = 10  # gradients that an attacker computes for each face
FILTERS = ("smooth", "sharpen", "rephotograph")
Change = Callable[[Images], Images]


def main() -> None:
    """Print one row for each attack and strength, and write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that make_training_set.py and train_default.py wrote")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--detector", type=Path, default=SHIPPED, help="the detector that is attacked")
    parser.add_argument("--weights", type=Path, help="its weights in 32 bits; by default the folder `both` of the data")
    parser.add_argument("--surrogate", type=Path, help="weights of a transfer attacker; by default trained here")
    parser.add_argument("--faces", type=int, default=60, help="number of faces of each class")
    given = parser.parse_args()
    detector = Cnn.load(given.detector)
    rows = choose(read_manifest(given.data / "measured.csv"), given.faces)
    pairs = zip(rows.path, read_crops(rows), strict=True)
    faces = np.stack([load_face(path, detector.size, crop) for path, crop in pairs])
    surrogate = given.surrogate or train_surrogate(given.data, given.out / "surrogate")
    weights = given.weights or given.data / "both"
    networks = {"white-box": detector.network(weights), "transfer": Cnn.load(surrogate).network(surrogate)}
    found = []
    changes: list[tuple[str, int, Change]] = [("none", 0, lambda x: x)]
    for name, net in networks.items():
        changes += [(name, r, partial(attack, net, labels=rows.label, radius=r, steps=STEPS)) for r in RADII]
    for name in FILTERS:
        changes += [(name, severity, partial(alter, rows, name, severity)) for severity in SEVERITIES]
    for number, (name, strength, change) in enumerate(changes, 1):
        scores = detector.score(change(faces))
        fake = np.array([opinion is Opinion.LIKELY_FAKE for opinion in detector.judge(scores)])
        auc = measure(rows.label, scores, rows.group, ["auc"], seed=0)["auc"]
        found.append({"attack": name, "strength": strength, "auc": auc.value, "low": auc.low, "high": auc.high,
                      "fakes_found": fake[rows.label == 1].mean(),
                      "false_alarms": fake[rows.label == 0].mean()})  # fmt: skip
        print_progress("attacks", number, len(changes))
    table = pd.DataFrame(found)
    write_text(given.out / "adversaries.csv", table.round(4).to_csv(index=False))
    write_bytes(given.out / "adversaries.png", plot(table))
    print(table.round(3).to_string(index=False))


def choose(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return that many photographs and fakes, as evenly from their sources as there are pictures."""
    parts = []
    for _, rows in table.groupby("label"):
        source = rows.generator.where(rows.label == 1, rows.dataset)
        place = rows.sample(frac=1, random_state=0).groupby(source).cumcount()  # the first of each source, the second
        parts.append(rows.loc[place.sort_values(kind="stable").index[:count]])
    return pd.concat(parts, ignore_index=True)


def train_surrogate(data: Path, folder: Path) -> Path:
    """Train a network of the shipped kind for one epoch with another seed, unless it is there; return its folder."""
    if not (folder / CARD).is_file():
        table = read_manifest(data / "manifest.csv")
        tasks.train("detector", "cnn", table, folder, seed=1, arguments=FIRST | {"epochs": 1}, progress=print_progress)
    return folder


def alter(rows: pd.DataFrame, name: str, severity: int, faces: Images) -> Images:
    """Return the faces after a perturbation."""
    change = Condition(name, severity)
    return np.stack([change(face, key) for face, key in zip(faces, rows.sha256, strict=True)])


def plot(table: pd.DataFrame) -> bytes:
    """Return two panels as a PNG: attacks by gradient over their radius, and filters over their severity."""
    untouched = table[table.attack == "none"]

    def curves(names: tuple[str, ...]) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
        for name in names:
            rows = pd.concat([untouched, table[table.attack == name]])
            yield name, tuple(rows[column].to_numpy() for column in ("strength", "auc", "low", "high"))

    left, right = new_axes(2)
    draw_robustness(dict(curves(("white-box", "transfer"))), left, metric="AUC", title="changes of at most R levels")
    left.set_xlabel("R, grey levels of 255")
    draw_robustness(dict(curves(FILTERS)), right, metric="AUC", title="filters")
    return to_png(left.figure)


if __name__ == "__main__":
    main()
