"""Build the training set of the shipped detector from the development pictures, and train it.

    python benchmarks/train_default.py ../shared/data build/default

Real pictures and those fakes that are marked `use=train` are located, cut to one face, and saved alike; to them come
fakes made here from the same real faces (reconstruct, swap) and from nothing (style). What is marked `use=evaluate` is
scored at the end and never learnt: each of those generators is unseen, and so is the set of real portraits.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from detector import tasks
from detector.checkpoint import CARD, MODEL, SHIPPED, WEIGHTS, read_card
from detector.detectors.cnn import Cnn
from detector.faces import add_crops, prepare
from detector.files import write_bytes, write_text
from detector.images import load
from detector.intervals import clopper_pearson
from detector.manifest import assign_splits, read_manifest, read_table, validate, write_manifest
from detector.reencoding import reencode
from detector.types import Opinion

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
        for i, name in enumerate(("reconstruct", "swap")):
            chosen = reals.iloc[i * MADE : (i + 1) * MADE]
            parts.append(tasks.alter(name, chosen, out / "made" / name, size=SIDE, progress=report))
        style = tasks.generate(
            "style", MADE, out / "made" / "style", weights=SHIPPED / "style-64", truncation=0.9, progress=report
        )
        parts.append(assign_splits(style, seed=0, fractions=(0.8, 0.1, 0.1)))
        table = validate(pd.concat(parts, ignore_index=True))
        write_manifest(reencode(table, out / "pictures", size=SIDE, progress=report), out / "manifest.csv")
        unseen = everything[everything.use == "evaluate"].assign(split="test")
        write_manifest(reencode(unseen, out / "unseen", size=SIDE, progress=report), out / "unseen.csv")
    arguments = {"size": given.size, "epochs": given.epochs, "patience": given.epochs, "half_life": 200.0}
    table, unseen = read_manifest(out / "manifest.csv"), read_manifest(out / "unseen.csv")
    tasks.train("detector", "cnn", table, out / "cnn", seed=0, arguments=arguments, progress=report)
    ship(out, table, unseen)
    half = unseen[(unseen.label == 1) | ~is_first_half(unseen)]
    whole = half.assign(crop=f"0 0 {SIDE} {SIDE}")  # the faces are cut out already
    write_manifest(whole, out / "unseen-half.csv")
    results = tasks.evaluate(out / "unseen-half.csv", detectors=[out / "default"], out=out / "report", progress=report)
    card = read_card(out / "default", "detector")
    auc = results[results.metric == "auc"]
    card["auc_on_unseen"] = {r.generator: f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in auc.itertuples()}
    verdicts = read_table(out / "report" / "scores" / "cnn.csv").merge(half[["sha256", "generator"]], on="sha256")
    card["verdicts_on_unseen"] = {
        name or "real portraits": {
            word: round(share, 3) for word, share in rows.verdict.value_counts(normalize=True).items()
        }
        for name, rows in verdicts.groupby("generator")
    }
    write_text(out / "default" / CARD, json.dumps(card, indent=2) + "\n")


def is_first_half(table: pd.DataFrame) -> pd.Series:
    """Tell which rows set thresholds; the others measure what the thresholds do."""
    return table.sha256.str[0].isin(list("01234567"))


def ship(out: Path, table: pd.DataFrame, unseen: pd.DataFrame) -> None:
    """Write the folder that is shipped: thresholds from half of the unseen portraits, figures from the other half."""
    folder = out / "default"
    folder.mkdir(exist_ok=True)
    for name in (MODEL, WEIGHTS):
        write_bytes(folder / name, (out / "cnn" / name).read_bytes())
    card = read_card(out / "cnn", "detector")
    write_text(folder / CARD, json.dumps(card, indent=2) + "\n")
    portraits = unseen[unseen.label == 0]
    detector = Cnn.load(folder).calibrate(table[table.split == "val"], portraits[is_first_half(portraits)])
    rest = portraits[~is_first_half(portraits)]
    scores = detector.score(np.stack([prepare(load(path), detector.size) for path in rest.path]))
    alarms = int(sum(opinion is Opinion.LIKELY_FAKE for opinion in detector.judge(scores)))
    card |= {
        "arguments": card["arguments"] | {"locates": True},
        "calibration": detector.calibration.to_json(),
        "false_alarms": {
            "pictures": len(rest),
            "likely_fake": alarms,
            "upper_95": clopper_pearson(alarms, len(rest))[1],
        },
        "licence": "Apache-2.0; trained on FairFace (CC BY 4.0), SFHQ-T2I (MIT) and fakes made by this package",
        "citation": "Karkkainen and Joo 2021, FairFace; Wang et al. 2020, arXiv:1912.11035",
        "recipe": "benchmarks/train_default.py",
        "intended_use": "Triage of face pictures by people who also look at other evidence.",
        "limits": [
            "Reliable only on generators like those it learnt; text-to-image and modern face swaps are often missed.",
            "Heavily compressed, small (under 40 pixels) or partly hidden faces are outside what was measured.",
            "A score says nothing about where a picture comes from, who is in it, or what it is used for.",
        ],
    }
    write_text(folder / CARD, json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
