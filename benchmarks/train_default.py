"""Train the shipped detector, calibrate it, measure it on what it never saw, and write the folder that is shipped.

    python benchmarks/make_training_set.py ../shared/data build/default
    python benchmarks/train_default.py build/default --size 96 --run coarse
    python benchmarks/train_default.py build/default --run fine --epochs 4 --augmentation 0
    python benchmarks/train_default.py build/default --run more --start build/default/fine --epochs 3 \
        --augmentation 0.4 --second build/default/coarse
    python benchmarks/train_default.py build/default --run same --start detector/weights/default --epochs 0

Half of the unseen pictures (every other one, by hash) calibrate the scores and set the thresholds, one generator as
much as the other; the other half gives every figure on the card. Training sees none of them. Runs resume. The first
two runs start from ImageNet weights: the coarser net learns what survives compression, the finer one what clean
pictures show. The third goes on from the second and is joined with the first to a pair; the last line only calibrates
weights that are there. What is to be shipped lies in `build/default/default`; the card says how the weights that are
shipped came about, which took more turns.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from leave_one_out import RECIPE
from make_training_set import SIDE, calibrates, report

from detector import tasks
from detector.calibration import Calibration
from detector.checkpoint import CARD, MODEL, SHIPPED, WEIGHTS, read_card, read_tensors
from detector.detectors.cnn import Cnn
from detector.files import write_bytes, write_text
from detector.intervals import clopper_pearson
from detector.manifest import read_manifest, read_table, write_manifest
from detector.verification import VALIDATION, summarise_validation


def main() -> None:
    """Run from the training set to the shipped folder, resuming what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the folder that make_training_set.py wrote")
    parser.add_argument("--run", default="cnn", help="the folder of the run, in that one")
    parser.add_argument("--start", type=Path, help="a detector to go on from; ImageNet weights otherwise")
    parser.add_argument(
        "--keep", type=float, default=0.0, help="share of the weights it started from in what is shipped"
    )
    parser.add_argument("--second", type=Path, help="a detector of a smaller size, to be the second half of a pair")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--augmentation", type=float, default=1.0, help="its strength; less shows more clean pictures")
    parser.add_argument("--rate", type=float, help="AdamW's peak step; 8e-4, or 4e-4 of a run that goes on")
    given = parser.parse_args()
    rate = given.rate or (4e-4 if given.start else 8e-4)
    out, run = given.out, given.out / given.run
    unseen = read_manifest(out / "unseen.csv")
    if given.epochs:
        own = {name: getattr(given, name) for name in ("size", "epochs", "augmentation")}
        table = read_manifest(out / "manifest.csv")
        tasks.train("detector", "cnn", table, run, seed=0, arguments=RECIPE | own | {"rate": rate}, start=given.start,
                    progress=report)  # fmt: skip
    else:
        given.keep, given.start = 1.0, given.start or SHIPPED / "default"
    if given.keep:
        last = run if given.epochs else given.start
        run = out / f"{given.run}-mixed"
        export(mix(read_tensors(given.start), read_tensors(last), given.keep), read_card(last, "detector"), run)
    if given.second:
        run = join(run, given.second, out / f"{given.run}-pair")
    first = calibrates(unseen)
    ship(out, run, unseen[first])
    measure(out, unseen[~first])
    print(show(out / "default"))


def export(weights: dict[str, np.ndarray], card: dict[str, Any], folder: Path) -> None:
    """Write weights that were trained before, with that card and the network exported anew."""
    from detector import learning

    detector = Cnn(**card["arguments"])
    detector._net = detector._build().eval()
    learning.fill(detector._net, weights)
    detector.calibration = Calibration.from_json(card["calibration"])
    detector.save(
        folder, **{key: value for key, value in card.items() if key not in ("detector", "arguments", "calibration")}
    )


def join(fine: Path, coarse: Path, folder: Path) -> Path:
    """Write two detectors of different sizes as one that averages them, and return its folder."""
    cards = [read_card(member, "detector") for member in (fine, coarse)]
    arguments = cards[0]["arguments"] | {"second": cards[1]["arguments"]["size"]}
    parts = [{key: card[key] for key in ("arguments", "seed", "recipe") if key in card} for card in cards]
    tensors = {f"{part}.{name}": x for part, member in (("fine", fine), ("coarse", coarse))
               for name, x in read_tensors(member).items()}  # fmt: skip
    export(tensors, cards[0] | {"arguments": arguments, "parts": parts}, folder)
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
    card["arguments"] |= {
        "locates": True, "widened": True,
        "mirrored": not card["arguments"].get("second"),  # two looks are enough
    }  # fmt: skip
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
        "recipe": card.get("recipe", "benchmarks/make_training_set.py, then benchmarks/train_default.py, both runs"),
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
