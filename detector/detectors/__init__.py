"""The detectors: one file each, named as its file."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from detector.registry import Registry, check_options
from detector.scoring.checkpoint import find_checkpoint, read_card
from detector.types import Detector, TrainableDetector

DETECTORS: Registry[type[TrainableDetector]] = Registry("detector", "detector.detectors")


def find_detector(folder: Path | str | None = None) -> Path:
    """Return the folder of a checkpoint; None takes the shipped one, or quickstart's. Raises as `find_checkpoint`."""
    return Path(folder) if folder is not None else find_checkpoint("detector", "default")


def load_detector(
    folder: Path | str | None = None, *, runtime: str = "onnx", threads: int | None = None
) -> tuple[Path, Detector]:
    """Return (folder, detector) of a checkpoint; None takes the shipped one or quickstart's.

    runtime: as `runtime.Session`, whose errors it raises; DetectorError if the detector takes none. threads: as there;
    a detector that takes no such number runs on one thread anyway.
    """
    folder = find_detector(folder)
    name = read_card(folder, "detector")["detector"]
    load = DETECTORS.get(name).load
    options: dict[str, Any] = {} if runtime == "onnx" else {"runtime": runtime}
    check_options(name, load, options)
    if threads is not None and "threads" in inspect.signature(load).parameters:
        options["threads"] = threads
    return folder, load(folder, **options)
