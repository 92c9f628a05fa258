"""What runs in a worker process: judgements and examinations, with the detector that was loaded at its start.

Only `detector.pictures.sandbox` calls this, which sets the limits on memory and CPU time. Untrusted bytes are decoded
here and nowhere else in the service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from detector.evidence.folders import summarise
from detector.evidence.rendering import draw_pictures
from detector.scoring.targets import Target
from detector.tasks.examining import Examiner, hash_picture, load_examiner

_loaded: list[Examiner] = []


def prepare(folder: str = "") -> None:
    """Load the detector and score one grey picture, so that what this takes is not counted as a job's."""
    examiner = load_examiner(folder or None)
    examiner.detector.score(np.full((1, examiner.detector.size, examiner.detector.size, 3), 128, np.uint8))
    _loaded[:] = [examiner]


def judge(_: bytes, *, files: Mapping[str, str], max_bytes: int, max_pixels: int) -> Iterator[Any]:
    """Yield the judgement of each file as plain values, then its thumbnail. files: SHA-256 -> path.

    Raises ProcessKilled as `Examiner.judge`.
    """
    targets = [Target(path, sha256=digest) for digest, path in files.items()]
    judgements = _loaded[0].judge(targets, max_bytes=max_bytes, max_pixels=max_pixels)
    for digest, judged in zip(files, judgements, strict=True):
        yield {"sha256": digest, "opinion": judged.opinion, "row": asdict(judged.row), "declared": judged.declared,
               "faces": [asdict(face) for face in judged.faces], "phash": judged.phash}  # fmt: skip
        yield judged.thumbnail


def examine(data: bytes, *, name: str, max_pixels: int) -> Iterator[Any]:
    """Yield the sealed record, its row of the queue, and each drawing: what it is, then its JPEG.

    Raises ImageError if the bytes do not decode.
    """
    record, image = _loaded[0].examine(data, name, max_pixels=max_pixels)
    yield record
    yield summarise(record, image) | {"phash": hash_picture(image)}
    for drawing in draw_pictures(record, image):
        yield {"caption": drawing.caption, "width": drawing.width, "height": drawing.height}
        yield drawing.jpeg
