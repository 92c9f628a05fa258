"""What the file says of itself: camera, software, generator. Anyone can write it, and platforms remove it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from detector.evidence.checks import CHECKS
from detector.pictures import containers
from detector.pictures.exif import has_maker_note, read_exif
from detector.pictures.labelling import GENERATED
from detector.types import Exhibit, Finding, Outcome

LIMITS = (
    "Metadata is written by anybody with free tools and removed by most platforms: absence says nothing and camera "
    "fields prove nothing. What names a generator is believed because nobody gains by it, and may still be a joke."
)
GENERATORS = re.compile(
    r"stable.?diffusion|midjourney|dall[\W_]?e\b|adobe firefly|comfyui|automatic1111|invokeai|novelai|fooocus|"
    r"\bflux\.?1|\bsdxl\b|stylegan|openai|ideogram|leonardo\.ai|made with google ai|\bgrok\b|faceapp|reface\b|"
    r"dreamstudio|stability ai|black forest labs|bing image creator|detector generator",
    re.I,
)
EDITORS = re.compile(
    r"photoshop|lightroom|\bgimp\b|affinity|snapseed|picsart|facetune|meitu|beautyplus|capture one|darktable|"
    r"rawtherapee|pixelmator|paint(?:\.net|shop| ?tool)|acdsee|picasa|instagram|canva|imagemagick|krita|photoscape",
    re.I,
)
MAKERS = ("canon", "nikon", "sony", "fujifilm", "olympus", "panasonic", "pentax", "kodak", "samsung", "apple", "google",
          "huawei", "xiaomi", "leica", "ricoh", "sanyo", "casio")  # fmt: skip
SOFTWARE_FIELDS = ("Software", "ProcessingSoftware", "HostComputer", "CreatorTool", "softwareAgent", "Credit",
                   "AISystemUsed", "OriginatingProgram", "ImageHistory")  # fmt: skip
IPTC_FIELDS = {5: "ObjectName", 40: "SpecialInstructions", 55: "DateCreated", 65: "OriginatingProgram", 80: "Byline",
               105: "Headline", 110: "Credit", 115: "Source", 116: "Copyright", 120: "Caption"}  # fmt: skip
MAX_FIELDS, MAX_TEXT = 80, 300


@CHECKS.register("metadata", limits=LIMITS, reference="absence is neutral; so is every camera field")
def check(exhibit: Exhibit) -> Finding:
    """Return EXIF, XMP, IPTC and text chunks, what disagrees in them, and the software and generators they name."""
    data = exhibit.bytes
    if not containers.sniff(data):
        return Finding("metadata", Outcome.NOT_APPLICABLE, "The bytes are none of the picture formats read here.")
    exif, xmp, iptc = read_exif(data), read_xmp(data), read_iptc(data)
    texts = {key: text[:MAX_TEXT] for key, text in containers.texts(data) if key != "XML:com.adobe.xmp"}
    named = [f"{k}: {v}" for table in (exif, xmp, iptc, texts) for k, v in table.items() if k in SOFTWARE_FIELDS]
    types = sorted({str(xmp[k]).rstrip("/").rpartition("/")[2] for k in xmp if k == "DigitalSourceType"})
    marks = [line for line in named if GENERATORS.search(line)] + _parameters(data, exif)
    marks += [f"DigitalSourceType: {t}" for t in types if t in GENERATED]
    details: dict[str, Any] = {
        "exif": dict(list(exif.items())[:MAX_FIELDS]),
        "xmp": dict(list(xmp.items())[:MAX_FIELDS]),
        "iptc": iptc,
        "texts": dict(list(texts.items())[:MAX_FIELDS]),
        "camera": _camera(data, exif),
        "disagreements": _disagreements(exif, exhibit),
        "editors": [line for line in named if EDITORS.search(line)],
        "digital_source_types": types,
        "generator_marks": marks,
    }
    if marks:
        return Finding(
            "metadata", Outcome.SUPPORTS_FAKE, f"The file names a generator: {'; '.join(marks)[:200]}.", details
        )
    said = []
    if details["camera"]:
        said.append(f"camera {details['camera']['make']} {details['camera']['model']}")
    if details["editors"]:
        said.append(f"edited with {'; '.join(details['editors'])[:120]}")
    said += details["disagreements"]
    return Finding("metadata", Outcome.NEUTRAL, f"{'; '.join(said) or 'Nothing that tells of its origin'}.", details)


def read_xmp(data: bytes) -> dict[str, str]:
    """Return local name -> text of the properties in XMP; empty if it is absent, broken or declares entities."""
    text = containers.xmp(data)
    if not text or "<!" in text:  # no DOCTYPE, so no entity bombs
        return {}
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError):
        return {}
    found: dict[str, str] = {}
    for node in root.iter():
        pairs = [*node.attrib.items(), (node.tag, (node.text or "").strip())]
        if node.tag.endswith("}DigitalSourceType"):  # sometimes a resource attribute instead of text
            pairs.append((node.tag, next(iter(node.attrib.values()), "")))
        for name, value in pairs:
            local = name.rpartition("}")[2]
            if value and local not in ("about", "xmptk", "lang", "li", "parseType"):
                found.setdefault(local, "".join(c for c in value[:MAX_TEXT] if c.isprintable()))
    return found


def read_iptc(data: bytes) -> dict[str, str]:
    """Return name -> text of record 2 of the IPTC block in a JPEG's Photoshop segment.

    Source: IPTC-NAA Information Interchange Model 4.2, section 1.6; Adobe Photoshop File Formats, image resources.
    """
    found: dict[str, str] = {}
    for part in containers.parts(data):
        if part.name != "APP13" or not part.payload.startswith(b"Photoshop 3.0\0"):
            continue
        block, at = part.payload, 14
        while block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
            name = block[at + 6] + 1
            start = at + 6 + name + name % 2
            size = int.from_bytes(block[start : start + 4])
            if block[at + 4 : at + 6] == b"\x04\x04":
                found |= _datasets(block[start + 4 : start + 4 + size])
            at = start + 4 + size + size % 2
    return found


def _datasets(block: bytes) -> dict[str, str]:
    found, at = {}, 0
    while at + 5 <= len(block) and block[at] == 0x1C:
        record, number, size = block[at + 1], block[at + 2], int.from_bytes(block[at + 3 : at + 5])
        if size & 0x8000:
            break
        if record == 2 and number in IPTC_FIELDS:
            found[IPTC_FIELDS[number]] = block[at + 5 : at + 5 + min(size, MAX_TEXT)].decode("utf-8", "replace")
        at += 5 + size
    return found


def _parameters(data: bytes, exif: dict[str, Any]) -> list[str]:
    """Return what text-to-image programs leave: the settings of A1111 and its kin, the node graph of ComfyUI."""
    marks = []
    texts = [*containers.texts(data), ("UserComment", str(exif.get("UserComment", "")))]
    for key, text in texts:
        if "Steps:" in text and ("Sampler:" in text or "CFG scale:" in text):
            marks.append(f"Stable Diffusion settings in {key}: {text[text.index('Steps:') :][:80]}")
        elif key in ("prompt", "workflow") and _is_graph(text):
            marks.append(f"ComfyUI node graph in {key}")
        elif key.lower() in ("invokeai_metadata", "sd-metadata", "dream", "invokeai_graph"):
            marks.append(f"InvokeAI settings in {key}")
    return marks


def _is_graph(text: str) -> bool:
    try:
        graph = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(graph, dict):
        return False
    return "nodes" in graph or any(isinstance(node, dict) and "class_type" in node for node in graph.values())


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
