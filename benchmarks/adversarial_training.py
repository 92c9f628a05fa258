"""Measure what adversarial training gains under attack, and what it costs on pictures that nobody changed.

    python benchmarks/make_training_set.py ../shared/data build/default
    python benchmarks/adversarial_training.py build/default -o build/adversarial

Two small detectors (`cnn`, faces of 64 pixels) are trained alike, but for `adversarial`: on photographs and on this
package's own fakes from the training set. Both are measured on the people and seeds of its validation split, which
chooses nothing here: on all of it unchanged, and on a part under the white-box attack of `adversaries.py`, each on its
own network. Prints the AUC with its 95 % interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from adversaries import STEPS
from make_training_set import print_progress

from detector import tasks
from detector.dataset.manifest import read_crops, read_manifest
from detector.detectors.cnn import Cnn
from detector.files import write_text
from detector.learning.attacks import attack
from detector.pictures.faces import load_face
from detector.scoring.checkpoint import CARD
from detector.statistics.intervals import measure
from detector.types import Images

OWN = ("latent", "reconstruct", "style", "swap")  # generators of this package among the fakes of the training set
RECIPE = {"size": 64, "epochs": 8, "patience": 0, "batch": 32, "augmentation": 0.5}
LEARNED, ATTACKED = 1600, 48  # numbers of photographs that are learned and attacked; there are as many fakes
RADII = (1, 2, 4)  # largest changes of a value by the attacker, grey levels


def main() -> None:
    """Print one row for each radius of the attacker, with the AUC of both detectors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that make_training_set.py wrote")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--radius", type=float, default=2.0, help="`adversarial` of the second detector, grey levels")
    given = parser.parse_args()
    table = read_manifest(given.data / "manifest.csv")
    table = table[(table.label == 0) | table.generator.isin(OWN)].sample(frac=1, random_state=0)
    place = table.groupby(["split", "generator"]).cumcount()
    counts = np.where(table.split == "val", ATTACKED, LEARNED) // np.where(table.label == 0, 1, len(OWN))
    table = table.assign(chosen=place < counts)[(table.split == "val") | (place < counts)].reset_index(drop=True)
    rows = table[table.split == "val"].reset_index(drop=True)
    pairs = zip(rows.path, read_crops(rows), strict=True)
    faces = np.stack([load_face(path, int(RECIPE["size"]), crop) for path, crop in pairs])
    found = []
    for name, radius in (("plain", 0.0), ("adversarial", given.radius)):
        folder = given.out / name
        if not (folder / CARD).is_file():
            arguments = RECIPE | {"adversarial": radius}
            tasks.train("detector", "cnn", table, folder, arguments=arguments, progress=print_progress)
        found += measure_detector(folder, faces, rows)
    result = pd.DataFrame(found)
    write_text(given.out / "adversarial_training.csv", result.round(4).to_csv(index=False))
    print(result.round(3).to_string(index=False))


def measure_detector(folder: Path, faces: Images, rows: pd.DataFrame) -> list[dict[str, object]]:
    """Return the AUC of a detector on all faces (N, S, S, 3) unchanged, and on the chosen ones under attack."""
    detector = Cnn.load(folder)
    net, found = detector.network(folder), []
    for radius in (0, *RADII):
        part = rows[rows.chosen] if radius else rows
        shown = faces[part.index]
        changed = attack(net, shown, part.label, radius=radius, steps=STEPS) if radius else shown
        auc = measure(part.label, detector.score(changed), part.group, ["auc"], seed=0)["auc"]
        found.append({"detector": folder.name, "R": radius, "pictures": len(part),
                      "auc": auc.value, "low": auc.low, "high": auc.high})  # fmt: skip
    return found


if __name__ == "__main__":
    main()
