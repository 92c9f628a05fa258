"""Train the shipped detector, calibrate it over sources of photographs, measure it, and write what is shipped.

    python benchmarks/open_faces.py build/open
    python benchmarks/make_training_set.py ../shared/data build/default --open build/open
    python benchmarks/train_default.py ../shared/data build/default --open build/open
    python benchmarks/train_default.py ../shared/data build/default --open build/open --weights detector/weights/default

Training sees the pictures with `use=train`, of `../shared/data` and of the public websites, and the fakes that are made
from them. Of the pictures of `../shared/data` with `use=evaluate`, and of the photographs there with `use=heldout`, one
half (every other one, by hash) calibrates (it sets line, bounds and thresholds), together with the websites with
`use=calibrate`; the other half, `measured.csv`, gives every figure on the card, together with the websites and the
fakes with `use=evaluate`. So eight datasets of photographs calibrate and fourteen measure, nine of which did not
calibrate; of two, FairFace, other people were learnt, of the others none. Each source of photographs weighs the same.
Runs resume. With `--weights` nothing is trained: those weights are calibrated and measured
anew. What is to be shipped lies in `build/default/default`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from autoencoders import STRIDE, Autoencoder
from decoders import KINDS
from make_training_set import LEFT_OUT, print_progress
from open_faces import DATASETS

from detector import tasks
from detector.dataset.foreign import read_table
from detector.dataset.manifest import read_crops, read_manifest, write_manifest
from detector.dataset.reencoding import add_crops
from detector.detectors._export import export
from detector.detectors.cnn import Cnn
from detector.evidence.validation import VALIDATION, summarise_validation
from detector.files import sha256, write_bytes, write_text
from detector.pictures.images import cut, encode, load, resize
from detector.scoring.checkpoint import CARD, read_card, read_tensors, write_card, write_checkpoint
from detector.statistics.sources import cllr_of_unseen_sources, false_alarms, share_verdicts

FIRST: dict[str, Any] = {  # from ImageNet weights
    "size": 448, "second": 192, "window": 112, "epochs": 7, "patience": 0, "batch": 64, "rate": 8e-4,
    "half_life": 200.0, "augmentation": 0.6, "locates": True,
}  # fmt: skip
SECOND: dict[str, Any] = FIRST | {"epochs": 9, "batch": 256, "rate": 1e-3}  # from the weights of the first stage
THIRD: dict[str, Any] = FIRST | {"epochs": 6, "batch": 128, "rate": 6e-4, "half_life": 100.0}  # from the second stage
FOURTH = THIRD  # from the third stage, with photographs of the websites EARLY
FIFTH = THIRD | {"epochs": 4, "batch": 256}  # from the fourth stage, with those of all websites and more copies
EARLY = ("djangocon-us", "ropensci")  # websites whose photographs the fourth stage learns from
EARLY_TURNS = 2  # copies of a photograph through altered decoders that the stages before the fifth learn from
LAST_SHARE = 0.3  # weight of the fifth stage in the shipped weights; that of the fourth is the rest
DRAWN = ("style", "stylegan")  # generators whose fakes only the first stage learns from
SHIPPED_SECOND = 160  # side of the two parts that the shipped network sees, pixels; it is trained with 192
RECONSTRUCTED, LARGEST = 50, 320  # photographs of each dataset that are reconstructed, and the largest side, pixels
SMALLEST = 100  # side of the fakes that calibrate, pixels: 64-pixel generators have no photographs of their kind
LIMITS = [
    "Measured on the photographs and generators of the table; on other kinds of either it may do better or worse.",
    "Many fakes are not found: `inconclusive` and even `likely-real` are no proof of a photograph.",
    "Heavily compressed, small (under 40 pixels) or partly hidden faces are outside what was measured.",
    "Photographs that a neural network enhanced (upscaled, restored) can look generated: their pixels partly are.",
    "Photographs under a filter of two tones are called likely-fake more often than others.",
    "A score says nothing about where a picture comes from, who is in it, or what it is used for.",
]


def main() -> None:
    """Run from the training set to the shipped folder, resuming what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("out", type=Path, help="the folder that make_training_set.py wrote")
    parser.add_argument("--open", type=Path, required=True, help="the folder that open_faces.py wrote")
    parser.add_argument("--weights", type=Path, help="calibrate and measure these, and train none")
    given = parser.parse_args()
    run = given.weights or train(read_manifest(given.out / "manifest.csv"), given.out)
    ship_and_measure(run, given.data, given.open, given.out, "default")


def ship_and_measure(run: Path, data: Path, opened: Path, out: Path, name: str) -> None:
    """Write to the folder `name` of `out` what is shipped of a run, calibrated and measured on the two halves."""
    calibrating, measured = evaluation_halves(data, out)
    reconstruct_unseen(measured, data / "autoencoders", out)
    ship(run, pd.concat([calibrating, read_manifest(opened / "calibrate.csv")], ignore_index=True), out / name)
    measure(out / name, pd.concat([measured, read_manifest(opened / "evaluate.csv")], ignore_index=True), out)


def train(learnt: pd.DataFrame, out: Path) -> Path:
    """Train the five stages, unless they are there, and return the folder with the mean weights of the last two."""
    folders = [out / name for name in ("cnn-first", "cnn-second", "cnn-third", "cnn-fourth", "cnn-fifth")]
    decoded, altered = learnt.generator.isin(list(KINDS)), learnt.generator.str.startswith("altered-")
    drawn, website = learnt.generator.isin(DRAWN), learnt.dataset.isin(DATASETS)
    again = pd.to_numeric(learnt.turn, errors="coerce") > np.where(altered, EARLY_TURNS, 1)
    early = ~again & (~website | learnt.dataset.isin(EARLY))
    stages: list[tuple[pd.Series, dict[str, Any]]] = [
        (~again & ~website & ~decoded & ~altered, FIRST),
        (~again & ~website & ~altered & ~drawn, SECOND),
        (~again & ~website & ~decoded & ~drawn, THIRD),
        (early & ~decoded & ~drawn, FOURTH),
        (~decoded & ~drawn, FIFTH),
    ]
    train_stages(learnt, folders, stages)
    return average(folders[-2], folders[-1], LAST_SHARE, out / "cnn")


def train_stages(
    learnt: pd.DataFrame,
    folders: list[Path],
    stages: list[tuple[pd.Series, dict[str, Any]]],
    start: Path | None = None,
) -> None:
    """Train stages that are not there yet, each from the weights of the one before and the first from `start`.

    stages: which rows of the manifest a stage learns from, and its hyper-parameters.
    """
    for number, (folder, (rows, recipe)) in enumerate(zip(folders, stages, strict=True)):
        if not (folder / CARD).is_file():
            table = learnt[rows].reset_index(drop=True)
            tasks.train(
                "detector", "cnn", table, folder, arguments=recipe, start=start, seed=number, progress=print_progress
            )
        start = folder


def average(first: Path, second: Path, share: float, folder: Path) -> Path:
    """Write the mean weights of two runs, the second with that share, with the card of the second; return `folder`."""
    tensors = read_tensors(first)
    mean = {name: ((1 - share) * tensors[name] + share * other).astype(other.dtype)
            for name, other in read_tensors(second).items()}  # fmt: skip
    write_checkpoint(folder, mean, read_card(second, "detector"))
    return folder


def evaluation_halves(data: Path, out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the pictures that calibrate and those that measure, located; kept as `measured.csv` and its twin."""
    paths = out / "calibrating.csv", out / "measured.csv"
    if not paths[1].is_file():
        table = read_manifest(data / "faces" / "manifest.csv")
        table = (
            table[(table.use == "evaluate") | ((table.use == "heldout") & (table.label == 0))]
            .assign(split="test")
            .reset_index(drop=True)
        )
        found = add_crops(table, progress=lambda i, n: print_progress("locating", i, n))
        first = found.sha256.str[0].isin(list("01234567"))
        for path, half in zip(paths, (first, ~first), strict=True):
            write_manifest(found[half].reset_index(drop=True), path)
    return read_manifest(paths[0]), read_manifest(paths[1])


def reconstruct_unseen(measured: pd.DataFrame, weights: Path, out: Path) -> None:
    """Write `pairs.csv`: the measured pictures, and photographs among them through the autoencoder that is left out."""
    if (out / "pairs.csv").is_file():
        return
    net, rows = Autoencoder.read(weights, LEFT_OUT), []
    photographs = measured[(measured.label == 0) & (measured.use == "evaluate")].groupby("dataset").head(RECONSTRUCTED)
    for number, (photograph, crop) in enumerate(zip(photographs.itertuples(), read_crops(photographs), strict=True), 1):
        assert crop is not None
        square = cut(load(photograph.path), crop)
        side = min(len(square), LARGEST) // STRIDE * STRIDE
        rng = np.random.default_rng(int(photograph.sha256[:8], 16))
        data = encode(net.reconstruct(resize(square, side, side)[None], 0.0, rng)[0], "PNG")
        path = out / "unseen" / f"{photograph.sha256[:24]}.png"
        write_bytes(path, data)
        rows.append({"path": str(path.resolve()), "sha256": sha256(data), "label": 1, "generator": LEFT_OUT,
                     "dataset": f"{LEFT_OUT} of {photograph.dataset}", "group": photograph.group, "split": "test",
                     "licence": photograph.licence, "crop": f"0 0 {side} {side}"})  # fmt: skip
        print_progress(LEFT_OUT, number, len(photographs))
    write_manifest(pd.concat([measured, pd.DataFrame(rows)], ignore_index=True), out / "pairs.csv")


def ship(run: Path, chosen: pd.DataFrame, folder: Path) -> None:
    """Write the folder that is shipped: those weights, calibrated on the chosen pictures."""
    card = export_smaller(run, folder)
    use = chosen[(chosen.label == 0) | (crop_sides(chosen) >= SMALLEST)].reset_index(drop=True)
    detector = Cnn.load(folder).calibrate(use)
    assert detector.calibration is not None
    counts = use.assign(name=use.generator.where(use.label == 1, use.dataset)).groupby(["label", "name"]).size()
    for key in ("parts", "auc_on_unseen", "verdicts_on_unseen", "false_alarms"):
        card.pop(key, None)
    card |= {
        "calibration": detector.calibration.to_json(),
        "calibrated_on": [{"label": int(label), "source": name, "n": int(n)} for (label, name), n in counts.items()],
        "licence": "Apache-2.0; trained on photographs and fakes under CC BY 4.0, CC0, MIT, BSD, Apache-2.0, "
        "public-domain and Unsplash terms, on fakes made by this package, and on samples of MobileStyleGAN (distilled "
        "from NVIDIA's StyleGAN2)",
        "citation": "Karkkainen and Joo 2021, FairFace; Wang et al. 2020, arXiv:1912.11035; Chen et al. 2025, "
        "arXiv:2505.14359",
        "intended_use": "Triage of face pictures by people who also look at other evidence.",
        "limits": LIMITS,
    }
    write_card(folder, card)


def export_smaller(run: Path, folder: Path) -> dict[str, Any]:
    """Write the network of a run so that it sees parts of SHIPPED_SECOND pixels, and return its card."""
    card, tensors = read_card(run, "detector"), read_tensors(run)
    card["arguments"]["second"] = SHIPPED_SECOND
    detector = Cnn(**card["arguments"])
    write_checkpoint(folder, tensors, card)
    export(detector.network(run), detector.size, folder)
    return card


def crop_sides(table: pd.DataFrame) -> pd.Series:
    """Return the side of each face square in pixels."""
    return table.crop.str.split().map(lambda box: int(box[2]) - int(box[0]))


def measure(folder: Path, measured: pd.DataFrame, out: Path) -> None:
    """Add to card and folder what the detector does on the half that neither trained nor calibrated."""
    detector, card = Cnn.load(folder), read_card(folder, "detector")
    assert detector.calibration is not None
    write_manifest(measured, out / "measured-all.csv")
    tasks.score_inputs([str(out / "measured-all.csv")], detector=folder, out=out / "measured-scores.csv")
    scores = read_table(out / "measured-scores.csv").merge(
        measured[["sha256", "label", "generator", "dataset", "group"]], on="sha256"
    )
    names = scores.generator.where(scores.label == 1, scores.dataset).to_numpy()
    real = (scores.label == 0).to_numpy()
    odds = scores.score.to_numpy(float)
    alarms = false_alarms(odds[real], names[real], scores.group.to_numpy()[real], detector.calibration.fake_above)
    card["false_alarms_by_source"] = alarms.round(4).to_dict("records")
    worst = alarms.iloc[int(alarms.high.argmax())]
    card["false_alarms"] = {
        "pictures": int(worst.n), "likely_fake": int(worst.alarms), "upper_95": float(worst.high),
        "source": worst.source,
    }  # fmt: skip
    sides = measured[measured.label == 0].assign(side=crop_sides(measured[measured.label == 0]))
    card["domain"] = {
        str(name): [int(low), int(high)]
        for name, (low, high) in sides.groupby("dataset").side.apply(lambda s: np.quantile(s, [0.02, 0.98])).items()
    }
    shares = share_verdicts(scores.verdict, names, scores.group)
    card["verdicts_on_unseen"] = shares.round(3).to_dict("records")
    large = set(measured.sha256[(measured.label == 0) | (crop_sides(measured) >= SMALLEST)])
    use = scores.sha256.isin(large).to_numpy()
    unseen = cllr_of_unseen_sources(odds[use], scores.label[use], names[use], scores.group.to_numpy()[use])
    card["cllr_on_unseen_sources"] = json.loads(unseen.round(3).to_json(orient="records"))  # null: no interval
    write_text(folder / VALIDATION, json.dumps(summarise_validation(scores, detector.calibration)) + "\n")
    write_card(folder, card)
    print(alarms.round(4).to_string(index=False))
    print(
        f"on a source and a generator left out: Cllr mean {unseen.cllr.mean():.3f}, largest {unseen.cllr.max():.3f}; "
        f"Cllr - Cllr_min mean {(unseen.cllr - unseen.cllr_min).mean():.3f}"
    )


if __name__ == "__main__":
    main()
