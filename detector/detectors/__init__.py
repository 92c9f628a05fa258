"""The detectors: one file each, named as its file."""

from __future__ import annotations

from pathlib import Path

from detector.registry import Registry, check_options
from detector.scoring.checkpoint import find_checkpoint, read_card
from detector.types import Detector, TrainableDetector

DETECTORS: Registry[type[TrainableDetector]] = Registry("detector", "detector.detectors")


def load_detector(folder: Path | str | None = None, *, runtime: str = "onnx") -> tuple[Path, Detector]:
    """Return (folder, detector) of a checkpoint; None takes the shipped one or quickstart's.

    runtime: as `runtime.Session`, whose errors it raises; DetectorError if the detector takes none.
    """
    folder = Path(folder) if folder is not None else find_checkpoint("detector", "default")
    name = read_card(folder, "detector")["detector"]
    options = {} if runtime == "onnx" else {"runtime": runtime}
    check_options(name, DETECTORS.get(name).load, options)
    return folder, DETECTORS.get(name).load(folder, **options)
