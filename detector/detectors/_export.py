"""Export a trained network of `cnn` as ONNX, and check the file against torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from torch import Tensor, nn

from detector.detectors._fitting import score_faces
from detector.detectors._nets import find_transformers, fix_size
from detector.errors import CheckpointError
from detector.files import replacing
from detector.scoring.checkpoint import MODEL, find_model, write_model
from detector.scoring.runtime import Session
from detector.types import Images

PARITY = 1e-3  # largest allowed difference between the logits of ONNX Runtime and of torch
LARGEST = 20_000_000  # size in bytes above which an ONNX file keeps 8 or 16 bits of each weight
ROUNDED = 0.3  # the same for such a file, as a share of 1 + the largest logit
MATRIX = 100_000  # smallest number of weights of a matrix that is kept in 8 bits
KERNEL = 10_000  # smallest number of weights of another array that is kept in 16 bits
AFTER_NORM, BEFORE_LAST = 0.5, 0.7  # how far `smooth` evens out values after a normalisation, or before a last matrix


class Scaled(nn.Module):
    """Values (..., C) times a factor for each channel."""

    weight: Tensor
    bias = None  # as in a normalisation that has none

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Mapped(nn.Module):
    """Faces -> logits (N,) and score maps (N, h, w); the mean of a map is the logit."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.net.maps(faces)
        return maps.mean((1, 2)), maps


def export(net: Any, size: int, folder: Path, faces: Images | None = None) -> None:
    """Write a network of faces (N, size, size, 3) as ONNX, with its score map if the mean of the map is the logit.

    faces: examples (N, size, size, 3) from which the ranges of the values between layers are taken; the file then has
    convolutions of 8 bits, and matrices of 8 bits lose less. None keeps more bits.

    Raises CheckpointError, and keeps no file, if ONNX Runtime and torch disagree.
    """
    net = fix_size(net.eval(), size)
    if faces is not None:
        smooth(net, faces)
    noise = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    example = torch.from_numpy(noise if faces is None else faces[:3].copy())
    exported, outputs = net, ["logits"]
    with torch.no_grad(), suppress(RuntimeError, IndexError, AttributeError):  # no linear layer at the end
        if (net.maps(example).mean((1, 2)) - net(example)).abs().max() < PARITY:
            exported, outputs = Mapped(net).eval(), ["logits", "map"]
    with replacing(folder / MODEL) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of changes in later versions
        torch.onnx.export(
            exported, (example[:1],), str(temporary), input_names=["faces"], output_names=outputs, opset_version=17,
            dynamo=False,
        )  # fmt: skip
    large = (folder / MODEL).stat().st_size > LARGEST
    if faces is not None:
        quantize_convolutions(folder / MODEL, faces)
    if large:
        quantize_matrices(folder / MODEL)
        halve(folder / MODEL)
    write_model(folder, (folder / MODEL).read_bytes())
    with torch.no_grad():
        logits = net(example).numpy()
    apart = np.abs(Session(folder).logits(example.numpy()) - logits).max()
    if apart > (ROUNDED * (1 + np.abs(logits).max()) if large or faces is not None else PARITY):
        find_model(folder).unlink()
        raise CheckpointError(f"the exported network differs from torch by {apart:.2g} log-odds; it was not kept")


@torch.no_grad()
def smooth(net: Any, faces: Images) -> None:
    """Even out how large the inputs of a vision transformer's matrices become, without changing what it computes.

    A few channels after the normalisations, and before the last matrix of a block, are many times larger than the
    others. Rounded to 8 bits together with them, the others would lose most of their bits, so every channel is divided
    by a factor and the weights of the matrix that follows are multiplied by it. faces: examples (N, H, W, 3).
    Source: Xiao et al. 2023, arXiv:2211.10438, eq. 4 with the strengths AFTER_NORM and BEFORE_LAST.
    """
    pairs: list[tuple[Any, Any, float]] = []
    for block in (block for transformer in find_transformers(net) for block in transformer.blocks):
        block.mlp.norm = Scaled(block.mlp.fc2.in_features)  # before the last matrix, where timm has nothing
        pairs += [(block.norm1, block.attn.qkv, AFTER_NORM), (block.norm2, block.mlp.fc1, AFTER_NORM)]
        pairs.append((block.mlp.norm, block.mlp.fc2, BEFORE_LAST))
    largest: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        top = output.abs().flatten(0, -2).amax(0)
        largest[module] = torch.maximum(largest[module], top) if module in largest else top

    hooks = [before.register_forward_hook(note) for before, _, _ in pairs]
    if pairs:
        score_faces(net, faces)
    for hook in hooks:
        hook.remove()
    for before, matrix, strength in pairs:
        values, weights = largest[before].clamp(min=1e-3), matrix.weight.abs().amax(0).clamp(min=1e-3)
        factor = values**strength / weights ** (1 - strength)
        matrix.weight *= factor
        before.weight /= factor
        if before.bias is not None:
            before.bias /= factor


def quantize_matrices(path: Path) -> None:
    """Keep 8 bits of each large matrix of an ONNX file, and let the runtime multiply with whole numbers.

    The values that a matrix is multiplied with are rounded to 8 bits, too, as each picture needs it. 7 of the 8 bits of
    a weight are used: sums of products of 8 bits overflow on processors without VNNI, and scores would depend on that.
    Source: Jacob et al. 2018, arXiv:1712.05877, sec. 2.
    """
    graph = onnx.load(str(path)).graph
    large = {tensor.name for tensor in graph.initializer if np.prod(tensor.dims) >= MATRIX}
    nodes = [node.name for node in graph.node if node.op_type == "MatMul" and large.intersection(node.input)]
    if not nodes:
        return
    with replacing(path) as temporary, silenced():
        quantize_dynamic(
            str(path), str(temporary), nodes_to_quantize=nodes, per_channel=True, reduce_range=True,
            weight_type=QuantType.QInt8,
        )  # fmt: skip


def quantize_convolutions(path: Path, faces: Images) -> None:
    """Keep 8 bits of the weights of convolutions, and of the values between them, in the range that faces have.

    The first layer of a vision transformer keeps its bits: what it computes has a few values that are far larger than
    the others. faces: examples (N, H, W, 3). Source: as `quantize_matrices`, sec. 3.
    """
    patches = [node.name for node in onnx.load(str(path)).graph.node if "patch_embed" in node.name]
    with replacing(path) as temporary, silenced():
        quantize_static(
            str(path), str(temporary), _Examples(faces), quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Clip"], nodes_to_exclude=patches, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip


class _Examples(CalibrationDataReader):  # type: ignore[misc,unused-ignore]
    """Faces (N, H, W, 3), one at a time."""

    def __init__(self, faces: Images) -> None:
        self.left = iter(faces)

    def get_next(self) -> dict[str, Images] | None:
        face = next(self.left, None)
        return None if face is None else {"faces": face[None]}


@contextmanager
def silenced() -> Iterator[None]:
    """Keep the advice of the quantisation library, which does not apply to exported networks, off standard error."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def halve(path: Path) -> None:
    """Keep 16 bits of each weight of the large arrays of an ONNX file; the runtime widens them as it loads."""
    model = onnx.load(str(path))
    wide = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= KERNEL:
            name, values = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, name + "_half"))
            wide.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
    for node in reversed(wide):
        model.graph.node.insert(0, node)
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))
