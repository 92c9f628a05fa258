"""Read the properties of a file's XMP packets, wherever the file holds them.

Names are read without their namespace, because some programs leave its declaration out. Properties before an error
count, and those after it are lost. Reading begins at the first element, after any DOCTYPE, so that no entity expands.
Source: XMP specification part 1, section 7 (RDF), and part 3, section 1.1 (JPEG, extended packets; PNG).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from xml.parsers import expat

from detector.pictures.containers import MAX_TEXT, XMP_JPEG, decode_text, parts, raw_profiles, texts

EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"  # then GUID (32 bytes), length (4) and offset (4) in the whole
MAX_PACKETS = 8  # largest number of beginnings of packets that a scan of the file finds
MAX_PROPERTIES = 4096
_START = re.compile(r"<(?:[\w.-]+:)?(?:xmpmeta|xapmeta|RDF)[\s>]")  # the element around rdf:RDF is optional
_STRUCTURE = {"xmpmeta", "xapmeta", "RDF", "Description", "Alt", "Bag", "Seq", "li", "value"}
_ATTRIBUTES = {"about", "xmptk", "lang", "parseType", "ID", "nodeID", "datatype"}  # attributes of RDF, not properties


def read_xmp(data: bytes) -> list[tuple[str, str]]:
    """Return (local name, text) of every property, in order; each text of a list has the name of its property."""
    return [pair for packet in find_packets(data) for pair in _read(packet)][:MAX_PROPERTIES]


def find_packets(data: bytes) -> list[str]:
    """Return the XMP packets from their first elements on, the main packet first; MAX_TEXT characters in all."""
    packets: list[str] = []
    left = MAX_TEXT
    for block in _blocks(data):
        packet = _cut(block[:MAX_TEXT])[: max(left, 0)]
        packets += [packet] if packet else []
        left -= len(packet)
    return packets or _scan(data)


def _blocks(data: bytes) -> Iterator[bytes]:
    """Yield the blocks that may hold a packet: its own segment or chunk, and also EXIF and texts."""
    extended: dict[bytes, list[tuple[int, bytes]]] = {}
    for part in parts(data):
        if part.payload.startswith(EXTENSION):
            body = part.payload[len(EXTENSION) :]
            extended.setdefault(body[:32], []).append((int.from_bytes(body[36:40]), body[40:]))
        elif part.name in ("APP1", "XMP ", "EXIF", "eXIf"):
            yield part.payload.removeprefix(XMP_JPEG)
    for _, text in texts(data):
        yield text.encode(errors="replace")
    yield from raw_profiles(data, "xmp", "app1")
    for pieces in extended.values():
        yield b"".join(piece for _, piece in sorted(pieces))


def _scan(data: bytes) -> list[str]:
    """Return the packets anywhere in the file, where the standard requires that a scan finds them.

    Each begins at the first element or at RDF, and ends where the next begins.
    """
    for code in ("utf-8", "utf-16-le", "utf-16-be"):
        tags = b"|".join(tag.encode(code) for tag in ("<x:xmpmeta", "<rdf:RDF"))
        starts = [match.start() for match in islice(re.finditer(tags, data), MAX_PACKETS)]
        if starts:
            size = MAX_TEXT // len(starts)
            ends = (*starts[1:], len(data))
            return [
                data[at : min(at + size, end)].decode(code, "replace") for at, end in zip(starts, ends, strict=True)
            ]
    return []


def _cut(block: bytes) -> str:
    """Return the packet in a block from its first element on; empty if there is none."""
    if b"RDF" not in block and b"R\0D\0F" not in block:
        return ""
    start = _START.search(text := block.decode("utf-8", "replace") if b"RDF" in block else decode_text(block))
    return text[start.start() :] if start else ""


def _read(packet: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    names, text = [""], [""]  # names of the open properties; text of the innermost one

    def flush() -> None:
        if (value := "".join(text).strip()) and names[-1]:
            found.append((names[-1], value))
        text.clear()

    def start(tag: str, attributes: dict[str, str]) -> None:
        flush()
        local = tag.rpartition(":")[2]
        names.append(names[-1] if local in _STRUCTURE else local)
        for name, value in attributes.items():
            space, _, name = name.rpartition(":")
            if space != "xmlns" and name not in (*_ATTRIBUTES, "xmlns") and value.strip():
                found.append((names[-1] if name == "resource" else name, value.strip()))

    def end(tag: str) -> None:
        flush()
        names.pop()

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    try:
        parser.Parse(packet, True)
    except (expat.ExpatError, ValueError):  # properties before the error are kept
        flush()
    return [(name, value) for name, value in found if name]
