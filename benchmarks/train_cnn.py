"""Train the convolutional network of the shipped detector, in five stages.

`train_default.py` calls this. The network learns from windows of 112 pixels of faces of 192 and of 448 pixels. The
stages differ in their pictures and in their hyper-parameters; runs resume.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from decoders import KINDS
from make_training_set import print_progress
from open_faces import DATASETS

from detector import tasks
from detector.scoring.checkpoint import CARD, read_card, read_tensors, write_checkpoint

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
