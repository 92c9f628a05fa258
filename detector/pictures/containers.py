"""Read what surrounds the pixels in a picture file: segments, chunks, the end of the picture, EXIF, ICC, texts.

No function here decodes pixels or raises an error on damage: damaged structure ends the reading. The number of parts
read is limited, so that a 100 MB file of one-byte blocks costs no more than an ordinary file.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from detector.pictures.items import read_exif_items

MAX_PARTS = 65_536  # largest number of segments, chunks or blocks that are read in one file
MAX_BLOCKS = 2**20  # largest number of data blocks, of up to 255 bytes each, that are read in one GIF
MAX_TEXT = 2**20  # bytes that are read of one text, XMP or EXIF block, and of all texts of one file together
MAX_EXIF = 4  # largest number of EXIF blocks that are read in one file; an honest one has one
KEPT_BYTES = 2**22  # size of the largest file whose parts are kept for the next question about the same file
MAX_PAIRS = 256  # largest number of texts that are read in one file
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
XMP_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
XMP_PNG = b"XML:com.adobe.xmp"
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    PNG_MAGIC: "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF, with 64-bit offsets
    b"MM\0+": "TIFF",
    b"II\0*": "TIFF",  # the number 42 in the wrong byte order, which Pillow accepts
    b"MM*\0": "TIFF",
}
_BRANDS = {
    b"avif": "AVIF", b"avis": "AVIF",
    b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"hevx": "HEIC", b"heim": "HEIC", b"heis": "HEIC",
}  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")  # control characters that no text contains
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # a JPEG marker that is neither stuffing, fill nor restart


class Part(NamedTuple):
    """One segment (JPEG), chunk (PNG, WebP) or box (AVIF, HEIC): its name, offset of its first byte, and payload."""

    name: str
    offset: int
    payload: bytes


class Extent(NamedTuple):
    """Offset of the end of the picture and its declared number of frames; None if format or damage hide it."""

    end: int | None
    frames: int | None


def sniff(data: bytes) -> str:
    """Return the format that the first bytes declare, as Pillow names it, or HEIC; "" if it is not a known picture."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":  # the main brand, or else the first known one of the compatible brands
        brands = (data[at : at + 4] for at in (8, *range(16, min(int.from_bytes(data[:4]), 256), 4)))
        return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), "")
    return next((name for magic, name in _MAGIC.items() if data.startswith(magic)), "")


def parts(data: bytes) -> list[Part]:
    """Return the segments, chunks or boxes of a file up to its end or first damage; none for BMP, GIF and TIFF."""
    return list(_parts_of_last(data) if len(data) <= KEPT_BYTES else walk(data))


@lru_cache(maxsize=1)  # one file is asked for its parts a dozen times: by each block that may hold metadata
def _parts_of_last(data: bytes) -> tuple[Part, ...]:
    return tuple(walk(data))


def walk(data: bytes) -> Iterator[Part]:
    """Yield what `parts` returns, one part at a time, for callers that need only the first few."""
    walks = {"JPEG": _segments, "PNG": _chunks, "WEBP": _riff, "AVIF": _boxes, "HEIC": _boxes}
    kind = sniff(data)
    return walks[kind](data) if kind in walks else iter(())


def extent(data: bytes) -> Extent:
    """Return the end of the picture and its number of frames."""
    kind = sniff(data)
    if kind == "GIF":
        return _gif(data)
    if kind == "TIFF":
        return Extent(None, _directories(data))
    if kind == "BMP":
        size = int.from_bytes(data[2:6], "little")
        return Extent(size if 26 < size <= len(data) else None, 1)
    found = parts(data)
    last = found[-1] if found else None
    if kind in ("AVIF", "HEIC"):
        end = last.offset + 8 + len(last.payload) if last else None
        return Extent(end, max((_samples(p.payload) for p in found if p.name == "moov"), default=1))
    if kind == "WEBP":
        size = int.from_bytes(data[4:8], "little") + 8
        return Extent(size if size <= len(data) else None, sum(p.name == "ANMF" for p in found) or 1)
    if kind == "PNG":
        animated = next((p.payload for p in found if p.name == "acTL" and len(p.payload) >= 4), b"\0\0\0\1")
        whole = last is not None and last.name == "IEND"
        return Extent(last.offset + 12 + len(last.payload) if last and whole else None, int.from_bytes(animated[:4]))
    if kind == "JPEG":
        return Extent(last.offset + 2 if last and last.name == "EOI" else None, 1)
    return Extent(None, None)


def exif(data: bytes) -> list[bytes]:
    """Return the first MAX_EXIF EXIF blocks from their TIFF headers on, without those that exceed MAX_TEXT bytes."""
    if sniff(data) == "TIFF":
        return [data]
    found = []
    for part in _parts_of_metadata(data):
        named = part.name in ("eXIf", "EXIF") or (part.name == "APP1" and part.payload[:6] == b"Exif\0\0")
        if named and len(part.payload) <= MAX_TEXT:
            found.append(part.payload)
        elif part.name == "meta":
            found += read_exif_items(data, ((box.name, box.payload) for box in _boxes(part.payload[4:])))
    found = [raw.removeprefix(b"Exif\0\0") for raw in found or raw_profiles(data, "exif", "app1")]
    return [raw for raw in found if raw.startswith((b"II", b"MM"))][:MAX_EXIF]


def icc(data: bytes) -> bytes:
    """Return the ICC profile of a JPEG, PNG or WebP file, capped at MAX_TEXT bytes; empty if there is none."""
    found = parts(data)
    pieces = [p.payload[14:] for p in found if p.name == "APP2" and p.payload[:12] == b"ICC_PROFILE\0"]
    pieces += [p.payload for p in found if p.name == "ICCP"]
    for part in [p for p in found if p.name == "iCCP"][:1]:  # a second profile is an error and is not read
        name, _, packed = part.payload.partition(b"\0")
        pieces.append(_inflate(packed[1:]) if len(name) < 80 else b"")
    return b"".join(pieces)[:MAX_TEXT]


def texts(data: bytes) -> list[tuple[str, str]]:
    """Return the first MAX_PAIRS (keyword, text) pairs of a file, MAX_TEXT bytes in all.

    PNG: the chunks tEXt, zTXt, iTXt and ComfyUI's comf. JPEG and GIF: comments, under the keyword Comment.
    """
    pairs: list[tuple[str, str]] = []
    left = MAX_TEXT
    for key, raw in _raw_texts(data):
        pairs.append((key[:79].decode("latin-1"), decode_text(raw[:left])))
        left -= len(raw)
        if len(pairs) == MAX_PAIRS or left <= 0:
            break
    return pairs


def raw_profiles(data: bytes, *names: str) -> list[bytes]:
    """Return the profiles of these names, which ImageMagick and others write into a PNG as hexadecimal text."""
    found = []
    for key, text in texts(data):
        if key.lower() in [f"raw profile type {name}" for name in names]:
            with contextlib.suppress(ValueError, IndexError):  # a damaged text has no name, length and bytes
                found.append(bytes.fromhex(text.split(maxsplit=2)[2]))
    return found


def decode_text(raw: bytes, other: str = "latin-1") -> str:
    """Return text in an unknown encoding: UTF-8 if that is possible, else UTF-16, else `other`.

    other: the encoding of text that is not UTF-8 and has no NUL bytes. If it is UTF-16, it gives the byte order for
    text that does not show its own.
    """
    if raw[:2] in (b"\xfe\xff", b"\xff\xfe"):
        return raw.decode("utf-16", "replace")
    body = raw.removeprefix(b"\xef\xbb\xbf").rstrip(b"\0")
    wide = other.startswith("utf-16")
    if body.count(0) <= (0 if wide else len(body) // 4):  # a few NUL bytes separate the strings of one field
        with contextlib.suppress(UnicodeDecodeError):
            text = body.decode()
            if not (wide and _CONTROL.search(text)):
                return text
        if not wide:
            return body.decode(other, "replace")
    orders = ("utf-16-le", "utf-16-be") if other == "utf-16-le" else ("utf-16-be", "utf-16-le")
    return max((raw[: len(raw) // 2 * 2].decode(order, "replace") for order in orders), key=_count_likely).rstrip("\0")


def _count_likely(text: str) -> int:
    """Return a sum over the first characters: 2 for ASCII, -1 for rare ones, as most are in the wrong byte order."""

    def value(c: str) -> int:
        likely = c < "\u0600" or "\u3000" <= c < "\u3100" or "\u4e00" <= c < "\ua000" or "\uac00" <= c < "\ud7b0"
        return 2 if c < "\x80" else 1 if likely else -1

    return sum(map(value, text[:1000]))


def _raw_texts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if sniff(data) == "GIF":
        yield from ((b"Comment", block.payload) for block in _gif_blocks(data) if block.name == "FE")
    for part in _parts_of_metadata(data):
        if part.name == "COM":
            yield b"Comment", part.payload
        elif part.name in ("tEXt", "comf", "zTXt", "iTXt"):
            key, _, rest = part.payload.partition(b"\0")
            packed = part.name == "zTXt" or (part.name == "iTXt" and rest[:1] == b"\1")
            if part.name == "zTXt":
                rest = rest[1:]
            elif part.name == "iTXt":  # two bytes, the language, the translated keyword
                rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
            yield key, _inflate(rest) if packed else rest


def _parts_of_metadata(data: bytes) -> list[Part]:
    """Return `parts`, and the chunks after the end of a PNG, where some programs write texts."""
    found = parts(data)
    if found and found[-1].name == "IEND":
        found += _chunks(data, found[-1].offset + 12 + len(found[-1].payload))
    return found


def _segments(data: bytes) -> Iterator[Part]:
    """Yield SOI, APPn, DQT, SOFn, ..., EOI; the compressed data after SOS is skipped."""
    at = 2
    yield Part("SOI", 0, b"")
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, at)
        if found is None:
            return
        start, code = found.start(), data[found.start() + 1]
        if code == 0xD9:
            yield Part("EOI", start, b"")
            return
        length = int.from_bytes(data[start + 2 : start + 4])
        if code == 0xD8 or length < 2 or start + 2 + length > len(data):
            return
        yield Part(_name(code), start, data[start + 4 : start + 2 + length])
        at = start + 2 + length


def _name(code: int) -> str:
    if 0xE0 <= code <= 0xEF:
        return f"APP{code - 0xE0}"
    if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
        return f"SOF{code - 0xC0}"
    return {0xC4: "DHT", 0xDB: "DQT", 0xDA: "SOS", 0xDD: "DRI", 0xFE: "COM", 0xCC: "DAC"}.get(code, f"{code:02X}")


def _chunks(data: bytes, at: int = len(PNG_MAGIC)) -> Iterator[Part]:
    for _ in range(MAX_PARTS):
        length, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if len(name) < 4 or at + 12 + length > len(data):
            return
        yield Part(name.decode("latin-1"), at, data[at + 8 : at + 8 + length])
        if name == b"IEND":
            return
        at += 12 + length


def _riff(data: bytes) -> Iterator[Part]:
    at, end = 12, min(len(data), int.from_bytes(data[4:8], "little") + 8)
    for _ in range(MAX_PARTS):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 > end or at + 8 + length > end:
            return
        yield Part(name.decode("latin-1"), at, data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2


def _boxes(data: bytes) -> Iterator[Part]:
    """Yield the outermost boxes (ISO/IEC 14496-12, section 4.2), up to the first bytes that are no box."""
    at = 0
    for _ in range(MAX_PARTS):
        size, name, head = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8], 8
        if size == 0:  # up to the end of the file
            size = len(data) - at
        elif size == 1:  # a 64-bit size follows
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        if not name.isalnum() or size < head or at + size > len(data):
            return
        yield Part(name.decode("latin-1"), at + head - 8, data[at + head : at + size])
        at += size


def _samples(movie: bytes) -> int:
    """Return the number of pictures of the sequence in a `moov` box: the largest count of its `stsz` boxes."""
    places = (match.end() for match in re.finditer(b"stsz", movie[:MAX_TEXT]))
    return max((int.from_bytes(movie[at + 8 : at + 12]) for at in places), default=1)


def _gif(data: bytes) -> Extent:
    frames, end = 0, None
    for block in _gif_blocks(data):
        frames += block.name == ","
        end = block.offset + 1 if block.name == ";" else None
    return Extent(end, frames if frames or end else None)


def _gif_blocks(data: bytes) -> Iterator[Part]:
    """Yield the images (","), the extensions (named by their label, FE for a comment) and the end (";") of a GIF.

    The payload of a comment is joined from its blocks; other payloads are empty. Reading ends at the first damage, and
    a block without an end is not yielded.
    """

    def table(flags: int) -> int:
        return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0

    left, at = MAX_BLOCKS, 13 + (table(data[10]) if len(data) > 12 else 0)
    for _ in range(MAX_PARTS):
        start, kind = at, data[at : at + 1]
        if kind == b";":
            yield Part(";", at, b"")
            return
        if kind == b"!" and at + 1 < len(data):
            name, at = f"{data[at + 1]:02X}", at + 2
        elif kind == b"," and at + 10 <= len(data):
            name, at = ",", at + 11 + table(data[at + 9])
        else:
            return
        size, body = 1, bytearray()
        while size and left:
            size = data[at] if at < len(data) else 0
            if name == "FE":
                body += data[at + 1 : at + 1 + size]
            at, left = at + 1 + size, left - 1
        if size or at > len(data):
            return
        yield Part(name, start, bytes(body))


def _directories(data: bytes) -> int | None:
    order = "<" if data[:2] == b"II" else ">"
    at, seen = int.from_bytes(data[4:8], "little" if order == "<" else "big"), set[int]()
    while at and at not in seen and len(seen) < 1000:
        if at + 2 > len(data):
            break
        seen.add(at)
        (entries,) = struct.unpack_from(order + "H", data, at)
        after = at + 2 + 12 * entries
        if after + 4 > len(data):
            break
        (at,) = struct.unpack_from(order + "I", data, after)
    return len(seen) or None


def _inflate(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, MAX_TEXT)
    except zlib.error:
        return b""
