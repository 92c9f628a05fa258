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

    def logits(self, faces: Images) -> NDArray[np.float64]:
        """Return one logit a face, (N,), from RGB (N, H, W, 3)."""
        (out,) = self._session.run(None, {"faces": faces})
        return np.asarray(out, np.float64).reshape(len(faces))
