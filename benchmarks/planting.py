"""Changes of pictures and files that `audit_plants.py` uses for its plants."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image as Pillow

from detector.pictures.images import cut, encode
from detector.types import Image


def jpeg(image: Image, quality: int = 90, subsampling: str = "4:2:0", **options: Any) -> bytes:
    """Return a picture as the bytes of a JPEG. options: further options of Pillow."""
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=subsampling, **options)
    return buffer.getvalue()


def again(image: Image, quality: int, subsampling: str = "4:2:0", format: str = "JPEG") -> Image:
    """Return a picture after it was saved and read again."""
    return np.asarray(Pillow.open(io.BytesIO(encode(image, format, quality=quality, subsampling=subsampling))))


def enlarge(image: Image, factor: float, places: tuple[float, float] = (0.5, 0.5)) -> Image:
    """Return a picture enlarged by a factor and cropped to its former size.

    places: position of the crop across and down, from 0 (left or upper end) to 1.
    """
    height, width = image.shape[:2]
    large = Pillow.fromarray(image).resize((round(width * factor), round(height * factor)), Pillow.Resampling.BICUBIC)
    left, top = (round((a - b) * p) for a, b, p in zip(large.size, (width, height), places, strict=True))
    return cut(np.asarray(large), (left, top, left + width, top + height))


def add(image: Image, change: Any) -> Image:
    """Return a picture with numbers added to its pixels."""
    return np.clip(np.rint(image + np.asarray(change, np.float64)), 0, 255).astype(np.uint8)


def with_exif(image: Image, tags: dict[int, str], thumbnail: bool = False) -> bytes:
    """Return a JPEG with EXIF tags. thumbnail: whether the EXIF block also has a thumbnail."""
    exif = Pillow.Exif()
    for tag, value in tags.items():
        exif[tag] = value
    block = exif.tobytes()
    return jpeg(image, exif=_add_thumbnail(block, image) if thumbnail else block)


def _add_thumbnail(block: bytes, image: Image) -> bytes:
    """Return an EXIF block with a second directory, whose tags point to a small JPEG."""
    tiff = block.removeprefix(b"Exif\0\0")
    order: Any = "little" if tiff[:2] == b"II" else "big"
    start = int.from_bytes(tiff[4:8], order)
    link = start + 2 + 12 * int.from_bytes(tiff[start : start + 2], order)
    small = jpeg(np.asarray(Pillow.fromarray(image).resize((32, 32))), 50)
    at = len(tiff) + len(tiff) % 2
    entries = [(0x0201, 4, 1, at + 2 + 2 * 12 + 4), (0x0202, 4, 1, len(small))]
    directory = (2).to_bytes(2, order)
    for tag, kind, count, value in entries:
        directory += tag.to_bytes(2, order) + kind.to_bytes(2, order)
        directory += count.to_bytes(4, order) + value.to_bytes(4, order)
    body = tiff[:link] + at.to_bytes(4, order) + tiff[link + 4 :]
    return b"Exif\0\0" + body.ljust(at, b"\0") + directory + bytes(4) + small
