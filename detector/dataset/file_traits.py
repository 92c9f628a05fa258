"""Read traits from the bytes around the pixels of a picture file: format, coding, metadata fields and dates.

Everything is read from the segments of the file in a bounded number of steps, and nothing is decoded.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import Any

from detector.files import from_text, sha256
from detector.pictures.containers import Part, extent, icc, parts, sniff, texts
from detector.pictures.exif import has_maker_note, read_exif, read_thumbnail
from detector.pictures.jpeg import read_jpeg

CODING = ("SOF", "DHT", "DQT", "DRI", "SOS", "APP0", "APP14")  # segments whose order depends on the encoder
SHOWN_SEGMENTS = 24  # number of segments whose order is a trait
VALUED = ("Make", "Model", "Software", "Artist", "Copyright", "ImageDescription", "ColorSpace")  # values count too
MAX_TOKEN = 40  # largest number of characters of a name or value that are kept
MAX_FIELDS = 256  # largest number of fields of a file that are kept; crafted files have tens of thousands
DATES = ("DateTimeOriginal", "DateTime", "DateTimeDigitized")
YEAR = 365.25 * 86_400  # length of a year, seconds


def read_coding(data: bytes) -> dict[str, Any]:
    """Return how a file was encoded; the traits of JPEG are empty, None or 0 in other formats.

    format: as Pillow names it. mode: number of components, or colour type and depth of a PNG. quality, standard,
    tables, subsampling: as in `pictures.jpeg.read_jpeg`. huffman: size of all Huffman tables, bytes; 416 for those of
    the standard. scans, restart: number of scans, and interval of restart markers. segments: names in file order.
    """
    found, jpeg = parts(data), read_jpeg(data) or {}
    coding = [part for part in found if part.name.startswith(CODING)]
    restart = next((int.from_bytes(part.payload[:2]) for part in coding if part.name == "DRI"), 0)
    return {
        "format": sniff(data),
        "mode": _read_mode(found, jpeg),
        "quality": jpeg.get("quality"),
        "standard": bool(jpeg.get("standard_tables")),
        "tables": sha256(repr(sorted(jpeg["tables"].items())).encode())[:12] if jpeg else "",
        "subsampling": jpeg.get("subsampling", ""),
        "progressive": bool(jpeg.get("progressive")),
        "scans": sum(part.name == "SOS" for part in coding),
        "huffman": sum(len(part.payload) for part in coding if part.name == "DHT"),
        "restart": restart,
        "segments": " ".join(part.name for part in coding[:SHOWN_SEGMENTS] if part.name != "SOS"),
    }


def read_metadata(data: bytes) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the year of the EXIF date (None without one), and the names of the metadata fields of a file.

    A field counts once by its name, and once by its value if programs and cameras write their name into it.
    """
    tags = read_exif(data)
    fields = {f"EXIF {name}" for name in tags}
    for name in VALUED:
        if name in tags:
            value = str(tags[name])[:MAX_TOKEN]
            fields |= {f"EXIF {name} {value}", f"EXIF {name} {value.partition('.')[0]}"}
    if tags:
        fields |= {"EXIF"} | ({"EXIF thumbnail"} if read_thumbnail(data) else set())
        fields |= {"maker note"} if has_maker_note(data) else set()
    if profile := icc(data):
        fields |= {"ICC profile", f"ICC profile {sha256(profile)[:8]}"}
    kind = sniff(data)
    fields |= {f"{kind} text {key[:MAX_TOKEN]}" for key, _ in texts(data)}
    fields |= {_name_field(kind, part) for part in parts(data)} - {""}
    end = extent(data).end
    if end is not None and end < len(data):
        fields.add("bytes after the end")
    return {"exif_year": _read_year(tags)}, frozenset(sorted(fields)[:MAX_FIELDS])


def read_file_date(path: str) -> float:
    """Return the date of the last change of a file, in days since 1970; -1 if it cannot be read."""
    try:
        return float(os.stat(from_text(path)).st_mtime // 86_400)
    except (OSError, ValueError):
        return -1.0


def _read_mode(found: list[Part], jpeg: dict[str, Any]) -> str:
    if jpeg:
        return f"{jpeg['components']} components"
    head = next((part.payload for part in found if part.name == "IHDR" and len(part.payload) >= 10), b"")
    return f"colour type {head[9]}, {head[8]} bits" if head else next((p.name for p in found[:1]), "")


def _name_field(kind: str, part: Part) -> str:
    """Return the name of a segment or chunk with metadata; empty for one that belongs to the picture itself."""
    if kind == "JPEG" and re.fullmatch(r"APP\d+", part.name) and part.name not in CODING:
        return f"segment {part.name} {_name_owner(part.payload)}"
    plain = ("IHDR", "IDAT", "IEND", "PLTE", "tEXt", "zTXt", "iTXt", "VP8 ", "VP8L", "VP8X", "ALPH")
    return f"chunk {part.name}" if kind in ("PNG", "WEBP") and part.name not in plain else ""


def _name_owner(payload: bytes) -> str:
    """Return the name with which the payload of an APP segment begins."""
    name = re.match(rb"[ -~]{2,30}", payload)
    return name.group().decode("ascii") if name else ""


def _read_year(tags: dict[str, Any]) -> float | None:
    for name in DATES:
        try:
            date = datetime.strptime(str(tags.get(name, ""))[:19], "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            continue
        return 1970 + date.timestamp() / YEAR
    return None
