"""Tells synthetic and manipulated faces from photographs.

The public API is fifteen functions, imported on first use:

    detector.unpack_photographs("real")                         the photographs that come with the installation
    detector.index(folder, "manifest.csv")                      pictures -> manifest
    detector.generate("style", 100, "fakes")                    labelled fakes with their manifest
    detector.alter("swap", "manifest.csv", "swapped")           fakes made from the photographs of a manifest
    detector.mix("style", [1, 2], [11, 12, 13], "grid.png")     the source x destination grid of a style-based generator
    detector.project("style", "photo.jpg", "projected")         photographs as a style-based generator draws them
    detector.combine(["real.csv", "fakes.csv"], "mixed.csv")    one data set, split by group and saved alike
    detector.train("detector", "cnn", "manifest.csv", "cnn")    manifest -> a folder of weights
    detector.score("photo.jpg")                                 pictures -> a table of log-odds and verdicts
    detector.evaluate("manifest.csv", detectors="cnn", out="report")    metrics with intervals, and a report
    detector.audit("manifest.csv")                              what gives the labels away besides the face
    detector.verify("photo.jpg", "evidence")                    an evidence report and a custody log
    detector.make_quiz("photographs", "quiz")                   a page that asks people which faces are synthetic
    detector.mark_quiz("answers.csv", "quiz")                   how well they did, beside a detector
    detector.make_gallery("gallery.html")                       what every generator draws, with KID and AUC
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # stops ONNX Runtime, which reads it on import, from sending usage data

__all__ = [
    "DetectorError",
    "Label",
    "alter",
    "audit",
    "combine",
    "evaluate",
    "generate",
    "index",
    "make_gallery",
    "make_quiz",
    "mark_quiz",
    "mix",
    "project",
    "score",
    "train",
    "unpack_photographs",
    "verify",
]

if TYPE_CHECKING:
    from detector.errors import DetectorError
    from detector.tasks import (
        alter,
        audit,
        combine,
        evaluate,
        generate,
        index,
        make_gallery,
        make_quiz,
        mark_quiz,
        mix,
        project,
        score,
        train,
        unpack_photographs,
        verify,
    )
    from detector.types import Label

    __version__: str


def __getattr__(name: str) -> Any:
    """Return a public name, imported when it is first asked for (PEP 562)."""
    if name == "__version__":
        return _read_version()
    if name not in __all__:
        raise AttributeError(f"module 'detector' has no attribute {name!r}")
    from importlib import import_module

    home = {"DetectorError": "errors", "Label": "types"}.get(name, "tasks")
    return getattr(import_module(f"detector.{home}"), name)


def __dir__() -> list[str]:
    """Return the public names, including those that are not imported yet."""
    return [*__all__, "__version__"]


def _read_version() -> str:
    """Return the version of the installed distribution; "0+unknown" if the package is run without being installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("face-forgery-detector")
    except PackageNotFoundError:
        return "0+unknown"
