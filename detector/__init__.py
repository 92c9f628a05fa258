"""Tells synthetic and manipulated faces from photographs.

The public API is five functions, imported on first use:

    detector.index(folder, "manifest.csv")                      pictures -> manifest
    detector.generate("style", 100, "fakes")                    labelled fakes with their manifest
    detector.train("detector", "cnn", "manifest.csv", "cnn")    manifest -> a folder of weights
    detector.score(["photo.jpg"])                               pictures -> log-odds and verdicts
    detector.evaluate("manifest.csv", detectors=["cnn"], out="report")
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read as ONNX Runtime loads: else it reports to its maker (its Privacy.md)

__version__ = "0.1.0"
__all__ = ["DetectorError", "Label", "evaluate", "generate", "index", "score", "train"]

if TYPE_CHECKING:
    from detector.errors import DetectorError
    from detector.tasks import evaluate, generate, index, score, train
    from detector.types import Label


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'detector' has no attribute {name!r}")
    from importlib import import_module

    home = {"DetectorError": "errors", "Label": "types"}.get(name, "tasks")
    return getattr(import_module(f"detector.{home}"), name)
