"""Check the file itself: its type, the end of the picture, trailers, thumbnail and colour profile."""

from __future__ import annotations

from typing import Any

import numpy as np

from detector.errors import ImageError
from detector.evidence.checks import CHECKS
from detector.pictures import containers
from detector.pictures.exif import read_thumbnail
from detector.pictures.images import decode, resize
from detector.pictures.trailers import read_trailers
from detector.pictures.xmp import read_xmp
from detector.types import Exhibit, Finding, Image, Outcome

LIMITS = (
    "Renaming, trailing bytes and odd thumbnails are common in ordinary files; they tell of handling, not of a "
    "generator. A file without any of them may still be fake."
)
ENDINGS = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"}, "PNG": {".png"}, "WEBP": {".webp"}, "GIF": {".gif"},
    "BMP": {".bmp", ".dib"}, "TIFF": {".tif", ".tiff"}, "AVIF": {".avif"}, "HEIC": {".heic", ".heif"},
}  # fmt: skip
ALIKE = 0.6  # correlation below which a thumbnail differs; of 44 of cameras, 43 lie above .98 and one at .69


@CHECKS.register("file", limits=LIMITS, reference=f"thumbnails of camera photographs correlate above {ALIKE}")
def check(exhibit: Exhibit) -> Finding:
    """Return the type, size, hash, end, frames, profile and thumbnail; never points either way."""
    data = exhibit.bytes
    kind, suffix = containers.sniff(data), exhibit.path.suffix.lower()
    end, frames = containers.extent(data)
    profile = containers.icc(data)
    trailers = read_trailers(data, read_xmp(data)) if end is not None and end < len(data) else []
    details: dict[str, Any] = {
        "sniffed": kind or None,
        "extension": suffix[:16],
        "extension_agrees": suffix in ENDINGS.get(kind, set()),
        "bytes": len(data),
        "sha256": exhibit.sha256,
        "width_height": None if exhibit.decoded is None else [exhibit.decoded.width, exhibit.decoded.height],
        "decodes": exhibit.decoded is not None,
        "decoded_at": None if exhibit.image is None else list(exhibit.image.shape[1::-1]),
        "ends_properly": None if kind == "TIFF" else end is not None,
        "trailing_bytes": 0 if end is None else len(data) - end,
        "trailers": [trailer._asdict() for trailer in trailers],
        "frames": frames,
        "icc_bytes": len(profile),
        "icc_name": _profile_name(profile),
        "thumbnail": _compare_thumbnail(data, exhibit.image),
    }
    if not kind:
        return Finding("file", Outcome.NOT_APPLICABLE, "The bytes are none of the picture formats read here.", details)
    remarks = [f"A {kind} file of {len(data):,} bytes"]
    if not details["extension_agrees"]:
        remarks.append(f"named {suffix[:16] or 'without an ending'}")
    if exhibit.image is None:
        remarks.append("that does not decode")
    if trailers:
        remarks.append(
            "followed by " + " and ".join(f"{t.kind} ({t.length:,} byte{'s' * (t.length != 1)})" for t in trailers)
        )
    if details["thumbnail"] and details["thumbnail"]["agrees"] is False:
        remarks.append("whose embedded thumbnail shows something else")
    return Finding("file", Outcome.NEUTRAL, ", ".join(remarks) + ".", details)


def _compare_thumbnail(data: bytes, image: Image | None) -> dict[str, Any] | None:
    """Return the size of the thumbnail and its best correlation with the picture, whole or without black bars."""
    raw = read_thumbnail(data)
    if not raw:
        return None
    found: dict[str, Any] = {"bytes": len(raw), "width_height": None, "correlation": None, "agrees": None}
    try:
        small = decode(raw, max_pixels=2**20, formats=("JPEG",))
    except ImageError:
        return found
    found["width_height"] = list(small.shape[1::-1])
    if image is not None and min(small.shape[:2]) >= 16 and min(image.shape[:2]) >= 16:
        turned = [np.rot90(small, k) for k in range(4)]  # the thumbnail does not always follow the orientation tag
        best = max(_correlate(part, image) for t in turned for part in (t, _without_bars(t)))
        found |= {"correlation": round(best, 3), "agrees": bool(best >= ALIKE)}
    return found


def _without_bars(image: Image) -> Image:
    bright = image.max(axis=2) > 24
    rows, columns = np.flatnonzero(bright.mean(1) > 0.05), np.flatnonzero(bright.mean(0) > 0.05)
    if len(rows) < 16 or len(columns) < 16:
        return image
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _correlate(a: Image, b: Image) -> float:
    x, y = (resize(np.ascontiguousarray(i), 32, 32).mean(axis=2).ravel() for i in (a, b))
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / scale if scale > 1e-6 else 0.0


def _profile_name(profile: bytes) -> str | None:
    """Return the description in an ICC profile (tag `desc`, ASCII or UTF-16), printable characters only."""
    for i in range(min(int.from_bytes(profile[128:132]), 64)):
        entry = profile[132 + 12 * i : 144 + 12 * i]
        if entry[:4] == b"desc":
            start, size = int.from_bytes(entry[4:8]), int.from_bytes(entry[8:12])
            body = profile[start : start + min(size, 512)]
            text = body[28:].decode("utf-16-be", "ignore") if body[:4] == b"mluc" else body[12:].decode("latin-1")
            return "".join(c for c in text.split("\0")[0] if c.isprintable())[:80] or None
    return None
