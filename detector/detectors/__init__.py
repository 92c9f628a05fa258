"""The detectors: each has a file of its own, with its name."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from detector.registry import Registry
from detector.scoring.checkpoint import CARD, SHIPPED, find_checkpoint, find_named, read_card
from detector.types import Detector, TrainableDetector

DETECTORS: Registry[type[TrainableDetector]] = Registry("detector", "detector.detectors")


def find_detector(folder: Path | str | None = None) -> Path:
    """Return the folder of a checkpoint; None takes the shipped one, or else that of `detector quickstart`.

    folder: a folder, or the name of a shipped detector, such as "strong"; where there is a folder of that name, the
    folder.

    Raises CheckpointError if there is neither.
    """
    return find_checkpoint("detector", "default") if folder is None else find_named(folder)


def find_best() -> Path:
    """Return the folder of the more accurate and slower of the shipped detectors, for commands that see few pictures.

    Where it is not installed, the folder is that of `find_detector`.
    """
    best = SHIPPED / "strong"
    return best if (best / CARD).is_file() else find_detector()


def load_detector(folder: Path | str | None = None, *, threads: int | None = None) -> tuple[Path, Detector]:
    """Return (folder, detector) of a checkpoint; None takes the shipped one, or else that of `detector quickstart`.

    threads: passed to `runtime.Session`. A detector without a network runs on one thread and ignores it.

    Raises the errors of `find_detector` and `runtime.Session`.
    """
    folder = find_detector(folder)
    load = DETECTORS.get(read_card(folder, "detector")["detector"]).load
    takes = threads is not None and "threads" in inspect.signature(load).parameters
    options: dict[str, Any] = {"threads": threads} if takes else {}
    return folder, load(folder, **options)


def load_for_worker(folder: Path) -> Detector:
    """Return the detector of a worker process, which runs on one thread."""
    return load_detector(folder, threads=1)[1]
