"""Read EXIF as plain JSON values, and the thumbnail inside it."""

from __future__ import annotations

import math
import struct
from typing import Any

from PIL import ExifTags
from PIL import Image as Pillow

from detector.pictures.caps import is_heavy
from detector.pictures.containers import MAX_TEXT, decode_text, exif

MAX_VALUE = 500  # largest length of one value, characters
_XP = range(0x9C9B, 0x9CA0)  # XPTitle ... XPSubject: UTF-16
_NAMES = ExifTags.TAGS | {  # the others are those of Exif 3.0
    0xA436: "ImageTitle", 0xA437: "Photographer", 0xA438: "ImageEditor", 0xA439: "CameraFirmware",
    0xA43A: "RAWDevelopingSoftware", 0xA43B: "ImageEditingSoftware", 0xA43C: "MetadataEditingSoftware",
}  # fmt: skip
_UNREAD = ("MakerNote", "ExifOffset", "GPSInfo", "PrintImageMatching", "IPTCNAA", "ImageResources")


def read_exif(data: bytes) -> dict[str, Any]:
    """Return tag name -> text, number or list of numbers of the main and the Exif directory; empty if unreadable.

    Of several EXIF blocks the first one counts.
    """
    block = _first(data)
    return {name: _plain(tag, value, block[:2]) for tag, name, value in _tags(block)}


def read_exif_texts(data: bytes) -> list[tuple[str, str]]:
    """Return (tag name, text) of the tags of all EXIF blocks that hold text, in full length; `read_exif` cuts it."""
    texts = [(name, _decode(tag, value, block[:2])) for block in exif(data) for tag, name, value in _tags(block)]
    return [(name, text) for name, text in texts if text]


def read_block(data: bytes, tag: int) -> bytes:
    """Return the bytes of a tag of the main directory that holds another format's block; empty if it is not there.

    They are read here because some programs declare them as 32-bit numbers, of which Pillow keeps the first.
    """
    block = _first(data)
    order = "<" if block[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, at)
        for i in range(entries):
            found, kind, count, start = struct.unpack_from(order + "HHII", block, at + 2 + 12 * i)
            if found == tag:
                return block[start : start + min(count * (4 if kind == 4 else 1), MAX_TEXT)]
    except struct.error:  # the directory is cut off
        pass
    return b""


def has_maker_note(data: bytes) -> bool:
    """Return whether the camera's maker note is there; most tools that rewrite EXIF lose it."""
    return any(ExifTags.Base.MakerNote in directory for directory in _directories(_first(data)))


def read_thumbnail(data: bytes) -> bytes:
    """Return the JPEG bytes of the embedded thumbnail; empty if there is none."""
    block = _first(data)
    if is_heavy(block):
        return b""
    try:
        parsed = Pillow.Exif()
        parsed.load(block)
        inside = parsed.get_ifd(ExifTags.IFD.IFD1)
        start, size = int(inside.get(0x0201, 0)), int(inside.get(0x0202, 0))
    except Exception:  # Pillow raises many kinds of errors on broken directories
        return b""
    return block[start : start + size] if 0 < start < start + size <= len(block) else b""


def _first(data: bytes) -> bytes:
    return next(iter(exif(data)), b"")


def _directories(block: bytes) -> list[dict[int, Any]]:
    if not block or is_heavy(block):  # the block of a TIFF also holds the directories of its strips
        return []
    try:
        parsed = Pillow.Exif()
        parsed.load(block)
        main = dict(parsed)
    except Exception:  # as above
        return []
    try:
        return [main, dict(parsed.get_ifd(ExifTags.IFD.Exif))]
    except Exception:  # as above; the main directory is still returned
        return [main]


def _tags(block: bytes) -> list[tuple[int, str, Any]]:
    tags = [(tag, _NAMES.get(tag, ""), value) for d in _directories(block) for tag, value in d.items()]
    return [(tag, name, value) for tag, name, value in tags if name and name not in _UNREAD]


def _decode(tag: int, value: Any, order: bytes) -> str:
    """Return the text of a tag; empty if it holds none.

    Eight bytes before a comment name its encoding, but many programs write another encoding: UTF-8 after UNICODE, or
    UTF-16 in the wrong byte order. Source: Exif 3.0, section 4.6.6.5 (UserComment).
    """
    raw = value.encode("latin-1", "replace") if isinstance(value, str) else value
    if not isinstance(raw, bytes):
        return ""
    raw, utf16 = raw[:MAX_TEXT], "utf-16-le" if order == b"II" else "utf-16-be"
    if tag in _XP:
        return raw.decode("utf-16-le", "replace").rstrip("\0")
    if tag == ExifTags.Base.UserComment:
        mark, body = raw[:8].rstrip(b"\0 ").upper(), raw[8:]
        if mark == b"JIS" and b"\x1b" in body:
            return body.decode("iso2022_jp", "replace")
        other = {b"UNICODE": utf16, b"JIS": "cp932"}.get(mark, "latin-1")
        return decode_text(body if mark in (b"UNICODE", b"JIS", b"ASCII", b"") else raw, other)  # some write no mark
    return decode_text(raw) if isinstance(value, str) else raw.decode() if raw.isascii() else ""


def _plain(tag: int, value: Any, order: bytes) -> Any:
    if isinstance(value, bytes | str):
        text = _decode(tag, value, order)
        if not text and isinstance(value, bytes) and not value.isascii():
            return f"{len(value)} bytes"
        return "".join(c for c in text[: 4 * MAX_VALUE] if c.isprintable() or c == "\n").strip()[:MAX_VALUE]
    if isinstance(value, tuple | list):
        return [_plain(tag, v, order) for v in value[:8]]
    if isinstance(value, int):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return round(number, 6) if math.isfinite(number) else None
