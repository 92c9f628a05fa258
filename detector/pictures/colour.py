"""Read ICC profiles, convert colours to sRGB, in which detectors were trained, and remove the tone of a face.

Only profiles of three primaries and three curves are converted (ICC.1:2022, section 8.3.3): Display P3, Adobe RGB,
ProPhoto and those of cameras and monitors. Any other or broken profile is ignored.
"""

from __future__ import annotations

import io
import zlib
from contextlib import suppress
from functools import lru_cache
from itertools import chain, product
from typing import Any

import numpy as np
from PIL import Image as Pillow

from detector.pictures.containers import walk
from detector.types import Image

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # share of each channel in the lightness (ITU-R BT.601)
MAX_SPREAD = 3  # grey levels by which colours of equal lightness differ at most in a face of one tone; JPEG adds some
MAX_SHARE = 0.2  # the same as a share of their distance from grey; it is 0.25 and more in 95 % of colour pictures
SAMPLE = 64  # rows and columns, at least, in which the colours of a face are looked at, if it has as many
MAX_PROFILE = 2**20  # largest profile that is read, bytes
MAX_TAGS = 64  # number of tags of a profile that are read
LEVELS = (0, 32, 64, 96, 128, 160, 192, 224, 255)  # levels of a channel at which a profile is compared with sRGB
ALIKE = 6  # grey levels by which colours of a profile may differ from sRGB if it counts as sRGB
NEEDED = (b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC")  # tags of the three primaries and curves


def remove_tone(face: Image) -> Image:
    """Return a face in one tone (sepia and the like) as grey, RGB (H, W, 3), and any other face as it is.

    A tone says how a picture was printed or filtered, and not where its face comes from. A face is in one tone if its
    colour follows from its lightness: colours of equal lightness differ by MAX_SPREAD grey levels at most, and by
    little compared with their distance from grey.
    """
    step = max(1, min(face.shape[:2]) // SAMPLE)
    some = face[::step, ::step].astype(np.float32)
    light = some @ LUMA
    level = (light / 4).astype(np.intp).ravel()
    counts = np.bincount(level, minlength=64).clip(1)
    casts = (some - light[..., None]).reshape(-1, 3).T
    means = [np.bincount(level, cast, 64) / counts for cast in casts]
    spread = np.sqrt(np.mean([(cast - mean[level]) ** 2 for cast, mean in zip(casts, means, strict=True)]))
    if spread > MAX_SPREAD or spread > MAX_SHARE * np.sqrt((casts**2).mean()):
        return face
    return np.repeat(np.asarray(Pillow.fromarray(face).convert("L"))[..., None], 3, axis=2)


def read_tags(profile: bytes) -> dict[bytes, bytes]:
    """Return signature -> content of the first MAX_TAGS tags of a profile, without those that reach beyond its end."""
    tags: dict[bytes, bytes] = {}
    for at in range(132, 132 + 12 * min(int.from_bytes(profile[128:132]), MAX_TAGS), 12):
        start, size = int.from_bytes(profile[at + 4 : at + 8]), int.from_bytes(profile[at + 8 : at + 12])
        if 0 < start < start + size <= len(profile):
            tags.setdefault(profile[at : at + 4], profile[start : start + size])
    return tags


def without_huge_profile(data: bytes) -> bytes:
    """Return a PNG without its profile if that expands to more than MAX_PROFILE bytes, or else the same bytes."""
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
    """Return the transform (`PIL.ImageCms.ImageCmsTransform`) from a profile's RGB to sRGB, or None.

    It is None for a profile that is not RGB with primaries and curves, for a broken profile, and for sRGB itself.
    """
    tags = read_tags(profile) if len(profile) <= MAX_PROFILE and profile[16:20] == b"RGB " else {}
    if not all(tag in tags for tag in NEEDED) or any(tag[:3] in (b"A2B", b"D2B") for tag in tags):
        return None
    try:
        from PIL import ImageCms  # imported late, because few pictures need it

        given, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(given, srgb, "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
        cube = Pillow.frombytes("RGB", (len(LEVELS) ** 3, 1), bytes(chain(*product(LEVELS, repeat=3))))
        moved = ImageCms.applyTransform(cube, transform)
    except Exception:  # lcms raises several kinds of errors for a profile that cannot be read or has no inverse
        return None
    pairs = zip(cube.tobytes(), moved.tobytes() if moved else b"", strict=False)
    return transform if max((abs(a - b) for a, b in pairs), default=0) > ALIKE else None
