"""Keep 4 bits of each weight of the matrices of an ONNX file; the runtime restores the 8 bits as it loads the file.

The matrices are those that `_export.quantize_matrices` rounded to 8 bits. Only the file becomes smaller: the runtime
computes what follows from constants once, before the first picture, and then multiplies with 8 bits as before.
Source: Dettmers and Zettlemoyer 2023, arXiv:2212.09720 (4 bits in small groups lose the least for the size of a file).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from detector.files import replacing

GROUP = 64  # weights of one output that share a lowest value and a step
LEVELS = 16  # values of 4 bits
RANGES = np.linspace(1, 0.7, 7)  # shares of the range of a group that are tried; a smaller one has finer steps


def pack_matrices(path: Path) -> None:
    """Keep 4 bits of each weight of the matrices of 8 bits in an ONNX file."""
    model = onnx.load(str(path))
    matrices = {node.input[1] for node in model.graph.node if node.op_type == "MatMulInteger"}
    nodes: list[NodeProto] = []
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name in matrices]:
        model.graph.initializer.remove(tensor)
        kept, restoring = pack(tensor.name, numpy_helper.to_array(tensor))
        model.graph.initializer.extend(kept)
        nodes += restoring
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))


def pack(name: str, matrix: NDArray[np.int8]) -> tuple[list[TensorProto], list[NodeProto]]:
    """Return what is kept of a matrix (inputs, outputs), and the operations that restore it under its name.

    The inputs are a multiple of GROUP. The weights of each input are divided by their root mean square first, because
    they are the larger the smaller the values are that they are multiplied with (`_export.smooth`). Two weights, half a
    group apart, share a byte.
    """
    inputs, outputs = matrix.shape
    size = np.sqrt((matrix.astype(np.float32) ** 2).mean(1, keepdims=True)).clip(1e-3).astype(np.float16)
    codes, step, low = quantize((matrix / size.astype(np.float32)).reshape(inputs // GROUP, GROUP, outputs))
    first, second = np.split(codes, 2, axis=1)
    kept = {
        "packed": first + LEVELS * second, "step": step, "low": low, "size": size, "shape": np.array(matrix.shape),
        "levels": np.float32(LEVELS), "least": np.float32(matrix.min()), "most": np.float32(matrix.max()),
    }  # fmt: skip
    nodes = []

    def add(operation: str, inputs: str, output: str, **attributes: Any) -> None:
        names = [f"{name}_{part}" for part in inputs.split()]
        nodes.append(helper.make_node(operation, names, [f"{name}_{output}" if output else name], **attributes))

    for part in ("packed", "step", "low", "size"):
        add("Cast", part, f"{part}_wide", to=TensorProto.FLOAT)
    add("Div", "packed_wide levels", "shifted")
    add("Floor", "shifted", "second")
    add("Mul", "second levels", "rest")
    add("Sub", "packed_wide rest", "first")
    add("Concat", "first second", "codes", axis=1)
    add("Mul", "codes step_wide", "above")
    add("Add", "above low_wide", "groups")
    add("Reshape", "groups shape", "even")
    add("Mul", "even size_wide", "matrix")
    add("Round", "matrix", "rounded")
    add("Clip", "rounded least most", "kept")  # more would overflow where `quantize_matrices` says
    add("Cast", "kept", "", to=TensorProto.INT8)
    return [numpy_helper.from_array(value, f"{name}_{part}") for part, value in kept.items()], nodes


def quantize(groups: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float16], NDArray[np.float16]]:
    """Return codes (groups, GROUP, outputs), and steps and lowest values (groups, 1, outputs), of weights.

    A weight is its code times the step plus the lowest value. Of several ranges, each group takes the one with the
    smallest sum of squared errors.
    """
    best: list[NDArray[Any]] = []
    for share in RANGES:
        low = (groups.min(1, keepdims=True) * share).astype(np.float16)
        span = groups.max(1, keepdims=True) * share - low
        step = np.maximum(span / (LEVELS - 1), 1e-4).astype(np.float16)
        codes = np.clip(np.round((groups - low) / step.astype(np.float32)), 0, LEVELS - 1)
        error = ((codes * step.astype(np.float32) + low - groups) ** 2).sum(1, keepdims=True)
        found = [codes.astype(np.uint8), step, low, error]
        better = error < best[3] if best else np.ones_like(error, bool)
        best = [np.where(better, new, old) for new, old in zip(found, best or found, strict=True)]
    return best[0], best[1], best[2]
