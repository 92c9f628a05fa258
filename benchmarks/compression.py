"""Make the second network of a joined detector ignore what compression does to photographs.

Compressed photographs looked generated to it, so that a threshold that holds for them missed many fakes. Its last layer
loses the direction in which compression moves what the layers before it compute of photographs; nothing is trained.
Source: Solomonoff, Campbell and Boardman 2005, doi:10.1109/ICASSP.2005.1415193 (nuisance attribute projection), with
one direction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from make_training_set import print_progress

from detector.detectors.cnn import Cnn, _select_splits
from detector.learning.squares import load_squares
from detector.learning.state import state_to_numpy
from detector.pictures.images import resize
from detector.pictures.perturbations import Condition
from detector.scoring.checkpoint import CARD, read_card, write_checkpoint
from detector.types import Image

PHOTOGRAPHS = 16  # of each dataset, at most: those of the least hashes
CHANGES = (  # the compressions, and their severities
    ("jpeg", 3), ("jpeg", 5), ("webp", 3), ("resize", 3), ("resize_jpeg", 3), ("resize_jpeg", 5), ("messenger", 3),
    ("messenger", 5), ("social", 3),
)  # fmt: skip


def ignore_compression(run: Path, learnt: pd.DataFrame, folder: Path) -> Path:
    """Write a joined checkpoint whose second network's mean logit is not moved by compression, unless it is there.

    run: the joined checkpoint, which stays as it is. learnt: manifest of what `make_training_set.py` made, whose
    photographs that train are compressed. folder: where the changed checkpoint is written; it is returned.
    """
    if (folder / CARD).is_file():
        return folder
    card = read_card(run, "detector")
    detector = Cnn(**card["arguments"])
    net: Any = detector.network(run)
    rows = _select_splits(learnt).query("label == 0 and split == 'train'").sort_values("sha256")
    rows = rows.groupby("dataset").head(PHOTOGRAPHS)
    squares = load_squares(rows, detector.size, folder / "squares.bin", progress=print_progress)
    remove_direction(net.nets[1], [squares[row] for row in range(len(rows))], list(rows.sha256), detector.size)
    write_checkpoint(folder, state_to_numpy(net), card)
    return folder


@torch.no_grad()
def remove_direction(view: Any, photographs: list[Image], keys: list[str], size: int) -> None:
    """Take the mean direction in which CHANGES move the input of the last layer out of the weights of this layer.

    The mean logit of the unchanged photographs stays. view: the network, a `_nets.View` of faces of `size` pixels.
    keys: a hash of each photograph, for the random choices of a change.
    """
    layer, seen = view.net.backbone.get_classifier(), []
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].double().numpy()))
    for number, (photograph, key) in enumerate(zip(photographs, keys, strict=True), 1):
        changed = [Condition(name, severity)(photograph, key) for name, severity in CHANGES]
        view(torch.from_numpy(np.stack([resize(face, size, size) for face in (photograph, *changed)])))
        print_progress("compressed photographs", number, len(photographs))
    hook.remove()
    features = np.stack(seen)  # photographs, versions of each, values
    direction = (features[:, 1:].mean(1) - features[:, 0]).mean(0)
    weight = layer.weight[0].double().numpy()
    kept = weight - (weight @ direction) / (direction @ direction) * direction
    layer.weight.copy_(torch.from_numpy(kept)[None])
    layer.bias += float((weight - kept) @ features[:, 0].mean(0))
