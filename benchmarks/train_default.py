"""Train the shipped detector, calibrate it, measure it on what it never saw, and write the folder that is shipped.

    python benchmarks/make_training_set.py ../shared/data build/default
    python benchmarks/train_default.py build/default
    python benchmarks/train_default.py build/default --weights detector/weights/default

Half of the unseen pictures (every other one, by hash) calibrate the scores and set the thresholds, one generator as
much as the other; the other half gives every figure on the card. Training sees none of them. Runs resume, and finished
ones are kept. Both networks start from ImageNet weights, learn for a short time from clean pictures, and then a little
from augmented ones. With `--weights` nothing is trained: those weights are calibrated and measured anew. What is to be
shipped lies in `build/default/default`. The weights that are shipped came about so, but on other machines in part, and
with `style` fakes by an earlier `style-64`; their card says more.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from make_training_set import SIDE, calibrates, report

from detector import tasks
from detector.dataset.foreign import read_table
from detector.dataset.manifest import read_manifest, write_manifest
from detector.detectors.cnn import Cnn
from detector.evidence.validation import VALIDATION, summarise_validation
from detector.files import write_bytes, write_text
from detector.scoring.checkpoint import CARD, MODEL, WEIGHTS, read_card, read_tensors
from detector.statistics.calibration import Calibration
from detector.statistics.proportions import clopper_pearson

RECIPE: dict[str, Any] = {"epochs": 4, "patience": 0, "half_life": 150.0, "rate": 8e-4, "batch": 64}
FINE: dict[str, Any] = {"size": 128, "augmentation": 0.0, "together": True}
COARSE: dict[str, Any] = {"size": 96, "augmentation": 0.0}
RUNS: dict[str, tuple[str, int, dict[str, Any]]] = {  # name: what it goes on from, seed, what differs from RECIPE
    "fine": ("", 1, FINE),  # of two seeds the better one beside `coarse-hardened`, on the half that calibrates
    "fine-hardened": ("fine", 0, FINE | {"augmentation": 0.2, "epochs": 1, "rate": 2e-4}),
    "coarse": ("", 0, COARSE),
    "coarse-hardened": ("coarse", 0, COARSE | {"augmentation": 0.4, "epochs": 3, "rate": 4e-4}),
}
ORIGIN = "benchmarks/make_training_set.py, then benchmarks/train_default.py (RUNS); `parts` tell more of each half"
KEEP = 0.4  # share of `fine` in the weights of the finer network; the rest is of `fine-hardened`


def main() -> None:
    """Run from the training set to the shipped folder, resuming what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the folder that make_training_set.py wrote")
    parser.add_argument("--weights", type=Path, help="calibrate and measure these, and train none")
    given = parser.parse_args()
    out, unseen = given.out, read_manifest(given.out / "unseen.csv")
    run = given.weights or train(read_manifest(out / "manifest.csv"), out)
    first = calibrates(unseen)
    ship(out, run, unseen[first])
    measure(out, unseen[~first])
    print(show(out / "default"))


def train(table: pd.DataFrame, out: Path) -> Path:
    """Train both networks, join them to the pair that is shipped, and return its folder."""
    for name, (start, seed, changes) in RUNS.items():
        if not (out / name / CARD).is_file():
            tasks.train("detector", "cnn", table, out / name, seed=seed, arguments=RECIPE | changes,
                        start=out / start if start else None, progress=report)  # fmt: skip
    fine = mix(read_tensors(out / "fine"), read_tensors(out / "fine-hardened"), KEEP)
    export(fine, read_card(out / "fine-hardened", "detector"), out / "fine-mixed")
    return join(out / "fine-mixed", out / "coarse-hardened", out / "pair")


def export(weights: dict[str, np.ndarray], card: dict[str, Any], folder: Path) -> None:
    """Write weights that were trained before, with that card and the network exported anew."""
    from detector.learning import state

    detector = Cnn(**card["arguments"])
    detector._net = detector._build().eval()
    state.fill(detector._net, weights)
    detector.calibration = Calibration.from_json(card["calibration"])
    detector.save(
        folder, **{key: value for key, value in card.items() if key not in ("detector", "arguments", "calibration")}
    )


def join(fine: Path, coarse: Path, folder: Path) -> Path:
    """Write two detectors of different sizes as one that averages them, and return its folder."""
    cards = [read_card(member, "detector") for member in (fine, coarse)]
    arguments = cards[0]["arguments"] | {"second": cards[1]["arguments"]["size"], "widened": True}
    parts = [{key: card[key] for key in ("arguments", "seed", "recipe") if key in card} for card in cards]
    tensors = {f"{part}.{name}": x for part, member in (("fine", fine), ("coarse", coarse))
               for name, x in read_tensors(member).items()}  # fmt: skip
    export(tensors, cards[0] | {"arguments": arguments, "parts": parts, "recipe": ORIGIN}, folder)
    return folder


def mix(first: dict[str, np.ndarray], last: dict[str, np.ndarray], keep: float) -> dict[str, np.ndarray]:
    """Return weights on the line between two runs, one of which went on from the other.

    Source: Wortsman et al. 2022, arXiv:2109.01903, eq. 1: what lies between does better on what neither learnt.
    """
    return {name: np.asarray(keep * first[name] + (1 - keep) * x, x.dtype) for name, x in last.items()}


def ship(out: Path, run: Path, chosen: pd.DataFrame) -> None:
    """Write the folder that is shipped, calibrated on the chosen pictures, each generator counting the same."""
    folder = out / "default"
    folder.mkdir(exist_ok=True)
    for name in (MODEL, WEIGHTS):
        write_bytes(folder / name, (run / name).read_bytes())
    card = read_card(run, "detector")
    card["arguments"]["locates"] = True
    write_text(folder / CARD, json.dumps(card, indent=2) + "\n")
    portraits, fakes = chosen[chosen.label == 0], chosen[chosen.label == 1]
    least = int(fakes.groupby("generator").size().min())
    even = pd.concat([portraits, *(rows.sample(least, random_state=0) for _, rows in fakes.groupby("generator"))])
    detector = Cnn.load(folder).calibrate(even.reset_index(drop=True), portraits)
    assert detector.calibration is not None
    card |= {
        "calibration": detector.calibration.to_json(),
        "calibrated_on": "half of the unseen portraits and as many fakes of each unseen generator; none was learnt",
        "licence": "Apache-2.0; trained on FairFace (CC BY 4.0), SFHQ-T2I (MIT), fakes made by this package and, where "
        "`data` lists stylegan, samples of MobileStyleGAN (distilled from NVIDIA's StyleGAN2)",
        "citation": "Karkkainen and Joo 2021, FairFace; Wang et al. 2020, arXiv:1912.11035",
        "intended_use": "Triage of face pictures by people who also look at other evidence.",
        "limits": [
            "Reliable only on generators like those it was measured on; text-to-image and face swaps are often missed.",
            "Heavily compressed, small (under 40 pixels) or partly hidden faces are outside what was measured.",
            "A face cut tighter than the locator cuts it is told worse; see `leave_one_out.py`, cut tighter.",
            "Sharp, well lit portraits before a blurred background are called likely-fake more often than other "
            "photographs.",
            "A score says nothing about where a picture comes from, who is in it, or what it is used for.",
        ],
    }
    write_text(folder / CARD, json.dumps(card, indent=2) + "\n")


def measure(out: Path, rest: pd.DataFrame) -> None:
    """Add to card and folder what the shipped detector does on the other half."""
    folder = out / "default"
    whole = rest.assign(crop=f"0 0 {SIDE} {SIDE}")  # the faces are cut out already
    write_manifest(whole, out / "unseen-half.csv")
    results = tasks.evaluate(out / "unseen-half.csv", detectors=[folder], out=out / "report", progress=report)
    card, auc = read_card(folder, "detector"), results[results.metric == "auc"]
    card["auc_on_unseen"] = {r.generator: f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in auc.itertuples()}
    scores = read_table(out / "report" / "scores" / "cnn.csv").merge(rest[["sha256", "generator"]], on="sha256")
    card["verdicts_on_unseen"] = {
        name or "real portraits": {
            word: round(share, 3) for word, share in rows.verdict.value_counts(normalize=True).items()
        }
        for name, rows in scores.groupby("generator")
    }
    real = scores[scores.generator == ""]
    alarms = int((real.verdict == "likely-fake").sum())
    card["false_alarms"] = {
        "pictures": len(real), "likely_fake": alarms, "upper_95": clopper_pearson(alarms, len(real))[1],
    }  # fmt: skip
    calibration = Cnn.load(folder).calibration
    assert calibration is not None
    write_text(folder / VALIDATION, json.dumps(summarise_validation(scores, calibration)) + "\n")
    write_text(folder / CARD, json.dumps(card, indent=2) + "\n")


def show(folder: Path) -> str:
    """Return the table of README, from a shipped folder."""
    card, backing = read_card(folder, "detector"), json.loads((folder / VALIDATION).read_text())
    lines = ["| generator | AUC [95 %] | likely-fake | likely-real |", "|---|---|---|---|"]
    for generator, auc in sorted(card["auc_on_unseen"].items(), key=lambda item: item[1], reverse=True):
        words = card["verdicts_on_unseen"][generator]
        shares = (f"{words.get(word, 0):.0%}" for word in ("likely-fake", "likely-real"))
        lines.append(f"| {generator} | {auc} | {' | '.join(shares)} |")
    mean = sum(float(auc.split()[0]) for auc in card["auc_on_unseen"].values()) / len(card["auc_on_unseen"])
    false, real = card["false_alarms"], card["verdicts_on_unseen"]["real portraits"]
    lines.append(
        f"\nmean {mean:.3f}; likely-fake {false['likely_fake']} of {false['pictures']} portraits, at most "
        f"{false['upper_95']:.1%}; likely-real {real.get('likely-real', 0):.0%}; Cllr {backing['cllr']:.3f}, "
        f"at best {backing['cllr_min']:.3f}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
