"""A trained network run by ONNX Runtime: scoring needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detector.checkpoint import MODEL
from detector.errors import CheckpointError
from detector.types import Images


class Session:
    """An exported network: faces in, logits out. The network itself scales and normalises the pixels."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        path = folder / MODEL
        if not path.is_file():
            raise CheckpointError(f"{folder} holds no {MODEL}; train it again, which ends by exporting one")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0: one a physical core
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises its own kinds, which are not exported
            raise CheckpointError(f"{path} cannot be loaded: {str(error).splitlines()[0][:120]}") from None

    @property
    def mapped(self) -> bool:
        """Whether the network gives a score map."""
        return "map" in {output.name for output in self._session.get_outputs()}

    def logits(self, faces: Images) -> NDArray[np.float64]:
        """Return one logit a face, (N,), from RGB (N, H, W, 3)."""
        (out,) = self._session.run(["logits"], {"faces": faces})
        return np.asarray(out, np.float64).reshape(len(faces))

    def maps(self, faces: Images) -> NDArray[np.float64]:
        """Return the logits of the places of each face, (N, h, w), from RGB (N, H, W, 3); their mean is its logit."""
        if not self.mapped:
            raise CheckpointError("this network was exported without a score map; train it again")
        (out,) = self._session.run(["map"], {"faces": faces})
        return np.asarray(out, np.float64)
