"""The metadata of a file: camera, software, generator. Anyone can write them, and platforms remove them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from detector.evidence.checks import CHECKS
from detector.pictures import containers
from detector.pictures.exif import has_maker_note, read_block, read_exif, read_exif_texts
from detector.pictures.marks import Field, find_marks, to_details
from detector.pictures.trailers import samsung_entries
from detector.pictures.xmp import read_xmp
from detector.types import Exhibit, Finding, Outcome

LIMITS = (
    "Metadata is written by anybody with free tools and removed by most platforms: absence says nothing and camera "
    "fields prove nothing. What names a generator is believed because nobody gains by it, and may still be a joke."
)
EDITORS = re.compile(
    r"photoshop|lightroom|\bgimp\b|affinity|snapseed|picsart|facetune|meitu|beautyplus|capture one|darktable|"
    r"rawtherapee|pixelmator|paint(?:\.net|shop| ?tool)|acdsee|picasa|instagram|canva|imagemagick|krita|photoscape",
    re.I,
)
MAKERS = ("canon", "nikon", "sony", "fujifilm", "olympus", "panasonic", "pentax", "kodak", "samsung", "apple", "google",
          "huawei", "xiaomi", "leica", "ricoh", "sanyo", "casio")  # fmt: skip
SOFTWARE_FIELDS = ("Software", "ProcessingSoftware", "HostComputer", "CreatorTool", "softwareAgent", "Credit",
                   "AISystemUsed", "OriginatingProgram", "ImageHistory", "RAWDevelopingSoftware",
                   "ImageEditingSoftware", "MetadataEditingSoftware")  # fmt: skip
IPTC_FIELDS = {5: "ObjectName", 40: "SpecialInstructions", 55: "DateCreated", 65: "OriginatingProgram", 80: "Byline",
               105: "Headline", 110: "Credit", 115: "Source", 116: "Copyright", 120: "Caption"}  # fmt: skip
IPTC_TAG, RESOURCES_TAG = 33723, 34377  # tags of a TIFF: a bare IPTC block, and Photoshop's image resources
MAX_FIELDS, MAX_TEXT = 80, 300
MAX_DATASETS = 1000  # most IPTC datasets that are read


@CHECKS.register("metadata", limits=LIMITS, reference="absence is neutral; so is every camera field")
def check(exhibit: Exhibit) -> Finding:
    """Return EXIF, XMP, IPTC and texts, what disagrees in them, the software they name, and what they declare.

    Points to fake if a field says that a generator took part; `declared_generated` says which, by whom and where.
    """
    data = exhibit.bytes
    kind = containers.sniff(data)
    if not kind:
        return Finding("metadata", Outcome.NOT_APPLICABLE, "The bytes are none of the picture formats read here.")
    texts = f"{kind} text"
    fields, exif = list(_fields(data, texts)), read_exif(data)
    named = [f"{f.name}: {_shorten(f.text)}" for f in fields if f.name in SOFTWARE_FIELDS]
    declared = [d._replace(by=_shorten(d.by), where=_shorten(d.where)) for d in find_marks(fields)]
    types = {f.text.rstrip("/").rpartition("/")[2] for f in fields if f.name == "DigitalSourceType"}
    details: dict[str, Any] = {
        "exif": dict(list(exif.items())[:MAX_FIELDS]),
        "xmp": _table(fields, "XMP"),
        "iptc": _table(fields, "IPTC"),
        "texts": _table(fields, texts),
        "camera": None if any(d.where in ("EXIF Make", "EXIF Model") for d in declared) else _camera(data, exif),
        "disagreements": _disagreements(exif, exhibit),
        "editors": [line for line in dict.fromkeys(named) if EDITORS.search(line)][:MAX_FIELDS],
        "digital_source_types": sorted(_shorten(t) for t in types)[:MAX_FIELDS],
        "declared_generated": [to_details(d) for d in declared if d.sure][:MAX_FIELDS],
        "possibly_generated": [to_details(d) for d in declared if not d.sure][:MAX_FIELDS],
    }
    if details["declared_generated"]:
        marks = "; ".join(d.describe() for d in declared if d.sure)
        return Finding("metadata", Outcome.SUPPORTS_FAKE, f"The file names a generator: {marks[:300]}.", details)
    said = [f"a label, not the maker's word: {d.describe()}" for d in declared]
    if details["camera"]:
        said.append(f"camera {details['camera']['make']} {details['camera']['model']}")
    if details["editors"]:
        said.append(f"edited with {'; '.join(details['editors'])[:120]}")
    said += details["disagreements"]
    return Finding("metadata", Outcome.NEUTRAL, f"{'; '.join(said) or 'Nothing that tells of its origin'}.", details)


def _fields(data: bytes, texts: str) -> Iterator[Field]:
    """Yield every text that the file holds beside its pixels, whole; `texts` is the name of those without a block."""
    for block, pairs in (("EXIF", read_exif_texts(data)), ("XMP", read_xmp(data)), ("IPTC", read_iptc(data))):
        yield from (Field(block, name, text) for name, text in pairs)
    yield from (Field(texts, key, text) for key, text in containers.texts(data) if key != "XML:com.adobe.xmp")
    for name, raw in samsung_entries(data):
        yield Field("trailer", name, containers.decode_text(raw[: containers.MAX_TEXT]))


def _table(fields: list[Field], block: str) -> dict[str, str]:
    """Return name -> text, shortened, of the first MAX_FIELDS names in a block; of equal names the first."""
    found: dict[str, str] = {}
    for field in fields:
        if field.block == block and len(found) < MAX_FIELDS:
            found.setdefault(_shorten(field.name), _shorten(field.text))
    return found


def _shorten(text: str) -> str:
    return "".join(c for c in text[: 4 * MAX_TEXT] if c.isprintable() or c == "\n").strip()[:MAX_TEXT]


def read_iptc(data: bytes) -> list[tuple[str, str]]:
    """Return (name, text) of record 2 of the IPTC block in a JPEG's Photoshop segment, a PNG's text or a TIFF's tags.

    Source: IPTC-NAA Information Interchange Model 4.2, section 1.6; Adobe Photoshop File Formats, image resources.
    """
    blocks = [p.payload for p in containers.parts(data) if p.name == "APP13"]
    blocks = [b.removeprefix(b"Photoshop 3.0\0") for b in (*blocks, *containers.raw_profiles(data, "iptc", "8bim"))]
    blocks.append(read_block(data, RESOURCES_TAG))
    found = _datasets(read_block(data, IPTC_TAG))
    for block in blocks:
        at = 0
        while len(found) < MAX_DATASETS and block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
            name = block[at + 6] + 1
            start = at + 6 + name + name % 2
            size = int.from_bytes(block[start : start + 4])
            if block[at + 4 : at + 6] == b"\x04\x04":
                found += _datasets(block[start + 4 : start + 4 + size])
            at = start + 4 + size + size % 2
    return found


def _datasets(block: bytes) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while at + 5 <= len(block) and block[at] == 0x1C and len(found) < MAX_DATASETS:
        record, number, size = block[at + 1], block[at + 2], int.from_bytes(block[at + 3 : at + 5])
        if size & 0x8000:
            break
        if record == 2 and number in IPTC_FIELDS:
            found.append((IPTC_FIELDS[number], containers.decode_text(block[at + 5 : at + 5 + size])))
        at += 5 + size
    return found


def _camera(data: bytes, exif: dict[str, Any]) -> dict[str, Any] | None:
    make, model = str(exif.get("Make", "")), str(exif.get("Model", ""))
    if not make and not model:
        return None
    fields = ("ExposureTime", "FNumber", "ISOSpeedRatings", "FocalLength", "LensModel", "DateTimeOriginal")
    return {"make": make[:80], "model": model[:80], "maker_note": has_maker_note(data)} | {
        k: exif.get(k) for k in fields
    }


def _disagreements(exif: dict[str, Any], exhibit: Exhibit) -> list[str]:
    found = []
    make, model = str(exif.get("Make", "")).lower(), str(exif.get("Model", "")).lower()
    other = [m for m in MAKERS if re.search(rf"\b{m}\b", model) and m not in make]
    if make and other and not any(m in model for m in MAKERS if m in make):
        found.append(f"the make is {make[:40]!r} and the model names {other[0]!r}")
    said = exif.get("ExifImageWidth"), exif.get("ExifImageHeight")
    if exhibit.decoded is not None and all(isinstance(n, int) and n > 0 for n in said):
        width, height = exhibit.decoded.width, exhibit.decoded.height
        if {said, said[::-1]}.isdisjoint({(width, height)}):
            found.append(f"the camera wrote {said[0]} x {said[1]} pixels and there are {width} x {height}")
    taken, changed = str(exif.get("DateTimeOriginal", "")), str(exif.get("DateTime", ""))
    if re.match(r"\d{4}:\d\d:\d\d ", taken) and re.match(r"\d{4}:\d\d:\d\d ", changed) and changed < taken:
        found.append("it was changed before it was taken")
    return found
