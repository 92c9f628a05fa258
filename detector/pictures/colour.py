"""Colours under an ICC profile: what a profile says, and the conversion to sRGB, which detectors learned from.

Only profiles of three primaries and three curves are converted (ICC.1:2022, section 8.3.3): Display P3, Adobe RGB,
ProPhoto and what cameras and monitors write. A profile that is anything else or broken changes nothing.
"""

from __future__ import annotations

import io
import zlib
from contextlib import suppress
from functools import lru_cache
from itertools import chain, product
from typing import Any

from PIL import Image as Pillow

from detector.pictures.containers import walk

MAX_PROFILE = 2**20  # bytes
MAX_TAGS = 64
LEVELS = (0, 32, 64, 96, 128, 160, 192, 224, 255)  # levels of a channel at which a profile is compared with sRGB
ALIKE = 6  # grey levels by which the colours of sRGB's many profiles differ at most
NEEDED = (b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC")


def read_tags(profile: bytes) -> dict[bytes, bytes]:
    """Return signature -> content of the first MAX_TAGS tags of a profile; nothing of what lies outside it."""
    tags: dict[bytes, bytes] = {}
    for at in range(132, 132 + 12 * min(int.from_bytes(profile[128:132]), MAX_TAGS), 12):
        start, size = int.from_bytes(profile[at + 4 : at + 8]), int.from_bytes(profile[at + 8 : at + 12])
        if 0 < start < start + size <= len(profile):
            tags.setdefault(profile[at : at + 4], profile[start : start + size])
    return tags


def without_huge_profile(data: bytes) -> bytes:
    """Return a PNG without its profile if that unfolds to more than MAX_PROFILE bytes; else the very same bytes."""
    for part in walk(data):
        if part.name == "iCCP":
            unpacking = zlib.decompressobj()
            with suppress(zlib.error):
                unpacking.decompress(part.payload.partition(b"\0")[2][1:], MAX_PROFILE)
            if unpacking.unconsumed_tail:
                return data[: part.offset] + data[part.offset + 12 + len(part.payload) :]
        elif part.name == "IDAT":
            break
    return data


@lru_cache(maxsize=16)
def find_transform(profile: bytes) -> Any:
    """Return the transform (`PIL.ImageCms.ImageCmsTransform`) from a profile's RGB to sRGB; None where there is none.

    There is none for what is no RGB profile of primaries and curves, for what is broken, and for sRGB itself.
    """
    tags = read_tags(profile) if len(profile) <= MAX_PROFILE and profile[16:20] == b"RGB " else {}
    if not all(tag in tags for tag in NEEDED) or any(tag[:3] in (b"A2B", b"D2B") for tag in tags):
        return None
    try:
        from PIL import ImageCms  # few pictures need it

        given, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(given, srgb, "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
        cube = Pillow.frombytes("RGB", (len(LEVELS) ** 3, 1), bytes(chain(*product(LEVELS, repeat=3))))
        moved = ImageCms.applyTransform(cube, transform)
    except Exception:  # lcms raises several kinds for a profile that cannot be read or has no inverse
        return None
    pairs = zip(cube.tobytes(), moved.tobytes() if moved else b"", strict=False)
    return transform if max((abs(a - b) for a, b in pairs), default=0) > ALIKE else None
