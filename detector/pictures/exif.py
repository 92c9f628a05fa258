"""EXIF as plain JSON, and the small picture inside it."""

from __future__ import annotations

import math
from typing import Any

from PIL import ExifTags
from PIL import Image as Pillow

from detector.pictures.caps import is_heavy
from detector.pictures.containers import exif

MAX_VALUE = 500  # characters of one value
_XP = range(0x9C9B, 0x9CA0)  # XPTitle ... XPSubject: UTF-16


def read_exif(data: bytes) -> dict[str, Any]:
    """Return tag name -> text, number or list of numbers of the main and the Exif directory; empty if unreadable."""
    found: dict[str, Any] = {}
    for directory in _directories(exif(data)):
        for tag, value in directory.items():
            name = ExifTags.TAGS.get(tag)
            if name and name not in ("MakerNote", "ExifOffset", "GPSInfo", "PrintImageMatching"):
                found[name] = _plain(tag, value)
    return found


def has_maker_note(data: bytes) -> bool:
    """Return whether the camera's private block is there; most tools that rewrite EXIF lose it."""
    return any(ExifTags.Base.MakerNote in directory for directory in _directories(exif(data)))


def read_thumbnail(data: bytes) -> bytes:
    """Return the JPEG bytes of the embedded thumbnail; empty if there is none."""
    block = exif(data)
    if is_heavy(block):
        return b""
    try:
        parsed = Pillow.Exif()
        parsed.load(block)
        inside = parsed.get_ifd(ExifTags.IFD.IFD1)
        start, size = int(inside.get(0x0201, 0)), int(inside.get(0x0202, 0))
    except Exception:  # Pillow raises many kinds on broken directories
        return b""
    return block[start : start + size] if 0 < start < start + size <= len(block) else b""


def _directories(block: bytes) -> list[dict[int, Any]]:
    if not block or is_heavy(block):  # in a TIFF these are the directories of its strips, too
        return []
    try:
        parsed = Pillow.Exif()
        parsed.load(block)
        main = dict(parsed)
    except Exception:  # as above
        return []
    try:
        return [main, dict(parsed.get_ifd(ExifTags.IFD.Exif))]
    except Exception:  # as above; the main directory still counts
        return [main]


def _plain(tag: int, value: Any) -> Any:
    if isinstance(value, bytes):
        if tag in _XP:
            text = value.decode("utf-16-le", "replace")
        elif tag == ExifTags.Base.UserComment:
            code = "utf-16" if value[:7] == b"UNICODE" else "utf-8"
            text = value[8:].decode(code, "replace")
        else:
            text = value[: 4 * MAX_VALUE].decode("latin-1") if value.isascii() else f"{len(value)} bytes"
        value = text
    if isinstance(value, str):
        return "".join(c for c in value[: 4 * MAX_VALUE] if c.isprintable() or c == "\n").strip()[:MAX_VALUE]
    if isinstance(value, tuple | list):
        return [_plain(tag, v) for v in value[:8]]
    if isinstance(value, int):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return round(number, 6) if math.isfinite(number) else None
