"""Run a trained network with ONNX Runtime, or with OpenVINO on request; scoring needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detector.errors import CheckpointError, MissingExtra, UnknownName
from detector.scoring.checkpoint import MODEL, read_model
from detector.types import Images

Run = Callable[[str, Images], Any]  # function of (name of an output, faces) that returns that output


class Session:
    """An exported network that maps faces to logits. It scales and normalises the pixels itself."""

    def __init__(self, folder: Path, *, threads: int | None = None, runtime: str = "onnx") -> None:
        """Load the network of a checkpoint. threads: None means one per core. runtime: a name in RUNTIMES.

        Raises UnknownName for another runtime, MissingExtra if the runtime is not installed, CheckpointError if there
        is no network or it cannot be loaded.
        """
        if runtime not in RUNTIMES:
            raise UnknownName("runtime", runtime, RUNTIMES)
        path = folder / MODEL
        read_model(folder)
        try:
            self._outputs, self._run = RUNTIMES[runtime](path, threads or 0)
        except ImportError:
            raise MissingExtra("openvino is optional: pip install 'face-forgery-detector[openvino]'") from None
        except Exception as error:  # each runtime raises its own kinds of errors
            raise CheckpointError(f"{path} cannot be loaded: {str(error).strip().splitlines()[-1][:120]}") from None
        if "logits" not in self._outputs:
            raise CheckpointError(f"{path} gives no logits, so it is not of a detector; train it again")

    @property
    def mapped(self) -> bool:
        """Whether the network gives a score map."""
        return "map" in self._outputs

    def logits(self, faces: Images) -> NDArray[np.float64]:
        """Return one logit per face, (N,), from RGB (N, H, W, 3)."""
        return self._all("logits", faces).reshape(len(faces))

    def maps(self, faces: Images) -> NDArray[np.float64]:
        """Return maps of logits over each face, (N, h, w), from RGB (N, H, W, 3); the mean of a map is its logit."""
        if not self.mapped:
            raise CheckpointError("this network was exported without a score map; train it again")
        return self._all("map", faces)

    def _all(self, name: str, faces: Images) -> NDArray[np.float64]:
        # Faces are run one at a time: in a batch, the last bits of a result depend on the position of the face and on
        # the other faces. It is not slower, because the intermediate results of one face fit into the CPU's cache.
        parts = [self._run(name, faces[i : i + 1]) for i in range(max(len(faces), 1))]
        return np.concatenate(parts).astype(np.float64)


def import_openvino() -> Any:
    """Return openvino without the module that would report its use over the network; ImportError if it is absent."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # openvino works without it
    import openvino

    return openvino


def _open_onnx(path: Path, threads: int) -> tuple[set[str], Run]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # 0 means one per physical core
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return {out.name for out in session.get_outputs()}, lambda name, faces: session.run([name], {"faces": faces})[0]


def _open_openvino(path: Path, threads: int) -> tuple[set[str], Run]:
    openvino = import_openvino()
    core, reader = openvino.Core(), openvino.frontend.FrontEndManager().load_by_framework("onnx")
    able = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "bf16" if able else "f32"}
    net = core.compile_model(reader.convert(reader.load(str(path))), "CPU", settings)
    # Every call has its own request, so that threads may share a session.
    return {out.any_name for out in net.outputs}, lambda name, faces: net.create_infer_request().infer(faces)[name]


RUNTIMES = {"onnx": _open_onnx, "openvino": _open_openvino}
