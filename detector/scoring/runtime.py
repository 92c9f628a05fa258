"""Run a trained network with ONNX Runtime; scoring needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detector.errors import CheckpointError
from detector.scoring.checkpoint import find_model, read_model
from detector.types import Images


class Session:
    """An exported network that maps faces to logits. It scales and normalises the pixels itself."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load the network of a checkpoint. threads: None means one per core.

        Raises CheckpointError if there is no network or it cannot be loaded.
        """
        path, data = find_model(folder), read_model(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0 means one per physical core
        options.log_severity_level = 3
        try:
            self._net = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises many kinds of errors
            raise CheckpointError(f"{path} cannot be loaded: {str(error).strip().splitlines()[-1][:120]}") from None
        self._outputs = {out.name for out in self._net.get_outputs()}
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
        if not len(faces):
            return self._all(name, np.zeros((1, *faces.shape[1:]), np.uint8))[:0]
        parts = [self._net.run([name], {"faces": faces[i : i + 1]})[0] for i in range(len(faces))]
        return np.concatenate(parts).astype(np.float64)
