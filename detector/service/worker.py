"""What runs in a worker process: one examination at a time, with the detector that was loaded at its start.

Only `detector.pictures.sandbox` calls this, which sets the limits on memory and CPU time. Untrusted bytes are decoded
here and nowhere else in the service.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from detector.evidence.folders import summarise
from detector.evidence.rendering import draw_pictures
from detector.pictures.fingerprints import perceptual_hash
from detector.pictures.images import is_blank
from detector.tasks.examining import Examiner, load_examiner

SMALLEST = 16  # smallest side of a picture that gets a perceptual hash, pixels
_loaded: list[Examiner] = []


def prepare(folder: str = "") -> None:
    """Load the detector and score one grey picture, so that what this takes is not counted as a job's."""
    examiner = load_examiner(folder or None)
    examiner.detector.score(np.full((1, examiner.detector.size, examiner.detector.size, 3), 128, np.uint8))
    _loaded[:] = [examiner]


def examine(data: bytes, *, name: str, max_pixels: int) -> Iterator[Any]:
    """Yield the sealed record, its row of the queue, and each drawing: what it is, then its JPEG.

    Raises ImageError if the bytes do not decode.
    """
    record, image = _loaded[0].examine(data, name, max_pixels=max_pixels)
    yield record
    blank = min(image.shape[:2]) < SMALLEST or is_blank(image)  # the hashes of such pictures are all alike
    yield summarise(record, image) | {"phash": "" if blank else perceptual_hash(image, 16)}
    for drawing in draw_pictures(record, image):
        yield {"caption": drawing.caption, "width": drawing.width, "height": drawing.height}
        yield drawing.jpeg
