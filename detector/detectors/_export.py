"""Export a trained network of `cnn` as ONNX, and check the file against torch."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from detector.detectors._nets import fix_size
from detector.errors import CheckpointError
from detector.files import replacing
from detector.scoring.checkpoint import MODEL
from detector.scoring.runtime import Session

PARITY = 1e-3  # largest allowed difference between the logits of ONNX Runtime and of torch
LARGEST = 20_000_000  # size in bytes above which an ONNX file keeps 16 bits of each weight
ROUNDED = 0.03  # largest allowed difference between the logits of such a file and of torch


class Mapped(nn.Module):
    """Faces -> logits (N,) and score maps (N, h, w); the mean of a map is the logit."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.net.maps(faces)
        return maps.mean((1, 2)), maps


def export(net: Any, size: int, folder: Path) -> None:
    """Write a network of faces (N, size, size, 3) as ONNX, with its score map if the mean of the map is the logit.

    Raises CheckpointError if ONNX Runtime and torch disagree.
    """
    net = fix_size(net.eval(), size)
    example = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8))
    exported, outputs = net, ["logits"]
    with torch.no_grad(), suppress(RuntimeError, IndexError, AttributeError):  # no linear layer at the end
        if (net.maps(example).mean((1, 2)) - net(example)).abs().max() < PARITY:
            exported, outputs = Mapped(net).eval(), ["logits", "map"]
    with replacing(folder / MODEL) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of changes in later versions
        torch.onnx.export(
            exported, (example,), str(temporary), input_names=["faces"], output_names=outputs,
            dynamic_axes={name: {0: "n"} for name in ("faces", *outputs)}, opset_version=17, dynamo=False,
        )  # fmt: skip
    large = (folder / MODEL).stat().st_size > LARGEST
    if large:
        halve(folder / MODEL)
    with torch.no_grad():
        apart = np.abs(Session(folder).logits(example.numpy()) - net(example).numpy()).max()
    if apart > (ROUNDED if large else PARITY):
        raise CheckpointError(f"the exported network differs from torch by {apart:.2g} log-odds; it was not kept")


def halve(path: Path) -> None:
    """Keep 16 bits of each large weight of an ONNX file; the runtime widens them as it loads."""
    model = onnx.load(str(path))
    wide = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > 1000:
            name, values = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, name + "_half"))
            wide.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
    for node in reversed(wide):
        model.graph.node.insert(0, node)
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))
