"""Locate faces and cut them out: the one path from a picture to what a detector sees."""

from __future__ import annotations

from detector.images import cut, resize
from detector.types import Image

Box = tuple[int, int, int, int]  # left, top, right, bottom, pixels


def centre_square(image: Image) -> Box:
    """Return the largest square in the middle of a picture."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def prepare(image: Image, size: int, crop: Box | None = None) -> Image:
    """Return the face, RGB (size, size, 3): the crop (else the centre square), resized by the one filter."""
    return resize(cut(image, crop or centre_square(image)), size, size)
