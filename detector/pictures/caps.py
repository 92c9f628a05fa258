"""Estimate from the bytes of a file what decoding will cost: refuse it, or leave it to a process with limits.

The caps lie far above what ordinary files have and far below what makes a decoder run for minutes. The check takes
microseconds for an ordinary picture and decodes nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Literal, NamedTuple

from detector.errors import TooCostly
from detector.pictures.containers import Part, sniff, walk

MAX_SCANS = 100  # number of scans of a JPEG; encoders write 1 to 20, and each scan covers the whole picture
MAX_COEFFICIENTS = 450 * 2**20  # bytes of DCT coefficients that a decoder holds for a JPEG of several scans
MAX_EXIF = 16  # number of EXIF segments, of 64 kB each; the standard allows one
MAX_TABLES = 64  # number of segments of quantisation tables, of up to 1000 tables each; encoders write 1 to 4
MAX_PHOTOSHOP = 256  # number of segments of Photoshop resources, of 64 kB each; each may hold thousands of resources
MAX_PROFILES = 4  # number of colour profiles in a PNG, which may have one; each may expand a thousandfold
MAX_VALUES = 2**17  # number of values in a TIFF directory; a picture with one strip per row has some thousands
MAX_DIRECTORIES = 8  # number of directories of a TIFF that are checked
MAX_ENTRIES = 2**16  # number of entries of a directory; only BigTIFF allows more

# A file within these limits is plain, and is decoded without a process of its own:
PLAIN_BYTES = 16 * 2**20  # size of the file
PLAIN_PIXELS = 26_000_000  # number of pixels; cameras have 12, 24 or 50 megapixels
PLAIN_WEBP = 6_000_000  # number of pixels of a WebP, whose decoder needs four times the memory
PLAIN_GIF = 2 * 2**20  # size of a GIF, bytes
PLAIN_SCANNED = 12 * PLAIN_PIXELS  # number of pixels of a JPEG times its number of scans

JPEG_CAPS = (  # what is counted, the name of its segments, how their payload begins, bytes in each, and the cap
    ("scans", "SOS", b"", b"\xff\xda", MAX_SCANS),
    ("EXIF segments", "APP1", b"Exif\0\0", b"Exif\0\0", MAX_EXIF),
    ("segments of quantisation tables", "DQT", b"", b"\xff\xdb", MAX_TABLES),
    ("Photoshop segments", "APP13", b"Photoshop 3.0\0", b"Photoshop 3.0\0", MAX_PHOTOSHOP),
)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_STRINGS = (1, 2, 6, 7)  # types of TIFF tags whose values are kept as one string of bytes
_POINTERS = (0x8769, 0x8825, 0xA005)  # tags that point to the directories Exif, GPS and interoperability


class Directory(NamedTuple):
    """The cost of reading one directory of a TIFF or of EXIF: values that become objects, and bytes that are copied."""

    values: int
    bytes: int


class Frame(NamedTuple):
    """The size that the header of a JPEG declares, its number of scans, and the bytes of its DCT coefficients."""

    width: int
    height: int
    scans: int
    coefficients: int


def refuse(data: bytes) -> None:
    """Raise TooCostly if the file has more scans, segments of a kind, strips, tiles or profiles than the caps allow."""
    kind = sniff(data)
    if kind == "PNG" and data.count(b"iCCP") > MAX_PROFILES:
        raise TooCostly("it has more than one colour profile")
    if kind == "TIFF" and is_heavy(data):
        raise TooCostly(f"a directory of it has more than {MAX_VALUES:,} strips, tiles or other values")
    if kind != "JPEG":
        return
    frame = _read_frame(data)
    if frame is not None and frame.scans > 1 and frame.coefficients > MAX_COEFFICIENTS:
        raise TooCostly(f"{frame.width} x {frame.height} pixels in several scans take {frame.coefficients >> 20:,} MB")
    for what, name, opening, mark, cap in JPEG_CAPS:
        found = data.count(mark)
        if found > cap:  # some of them may belong to a thumbnail or to what follows the picture
            found = sum(part.name == name and part.payload.startswith(opening) for part in walk(data))
        if found > cap:
            raise TooCostly(f"it has {found:,} {what}; the cap is {cap}")


def is_plain(data: bytes) -> bool:
    """Return whether decoding certainly costs little: few pixels and bytes, an ordinary codec and structure.

    A file in no known format is plain as well, because it will not be decoded.
    """
    judge = _PLAIN.get(sniff(data))
    return judge is None or (len(data) <= PLAIN_BYTES and judge(data))


def is_heavy(block: bytes) -> bool:
    """Return whether reading an EXIF block, or the directories of a TIFF, needs far more memory than it has bytes.

    That happens if many entries point to the same bytes. Entries that point beyond the block are not read.
    """
    block = block.removeprefix(b"Exif\0\0")
    return any(found.values > MAX_VALUES or found.bytes > 2 * len(block) for found in directories(block))


def directories(block: bytes) -> Iterator[Directory]:
    """Yield the cost of the first two directories of a TIFF or an EXIF block, and of those that their tags point to.

    Source: TIFF 6.0, section 2; BigTIFF, whose offsets have 64 bits, as libtiff documents it.
    """
    order: Literal["little", "big"] = "little" if block[:2] == b"II" else "big"
    wide = block[2:3] == b"+"
    entry = struct.Struct(("<" if order == "little" else ">") + ("HHQQ" if wide else "HHLL"))
    counter, pointer = (8, 8) if wide else (2, 4)  # sizes of the number of entries and of an offset

    def number(at: int, size: int) -> int:
        return int.from_bytes(block[at : at + size], order)

    waiting, seen = [number(pointer, pointer)], set[int]()
    while waiting and len(seen) < MAX_DIRECTORIES:
        at = waiting.pop(0)
        if at in seen or not 0 < at < len(block):
            continue
        start = at + counter
        there = max(min(number(at, counter), (len(block) - start) // entry.size), 0)
        if there > MAX_ENTRIES:
            yield Directory(there * MAX_VALUES, 0)
            return
        values = total = 0
        for tag, kind, count, value in entry.iter_unpack(block[start : start + there * entry.size]):
            size = _SIZES.get(kind, 0) * count
            if size <= pointer or value + size <= len(block):
                total += size
                values += 0 if kind in _STRINGS else count
            if tag in _POINTERS:
                waiting.append(value)
        yield Directory(values, total)
        if not seen:
            waiting.append(number(start + there * entry.size, pointer))
        seen.add(at)


def _head(data: bytes) -> list[Part]:
    """Return the segments of a JPEG up to its first scan."""
    found: list[Part] = []
    for part in walk(data):
        found.append(part)
        if part.name == "SOS":
            break
    return found


def _read_frame(data: bytes, head: list[Part] | None = None) -> Frame | None:
    """Return what the header of a JPEG declares; None if it has no frame, several frames, or no scan."""
    head = _head(data) if head is None else head
    frames = [p for p in head if p.name[:3] == "SOF" and len(p.payload) > 5]
    if len(frames) != 1 or head[-1].name != "SOS" or not head[-1].payload:
        return None
    height, width, components = struct.unpack_from(">HHB", frames[0].payload, 1)
    factors = [(code >> 4, code & 15) for code in frames[0].payload[7::3]][:components] or [(1, 1)]
    largest = max(x for x, _ in factors) * max(y for _, y in factors)
    share = sum(x * y for x, y in factors) / max(largest, 1)
    sequential = frames[0].name in ("SOF0", "SOF1") and head[-1].payload[0] == components
    scans = 1 if sequential else data.count(b"\xff\xda")
    return Frame(width, height, scans, int(2 * share * width * height))


def _plain_jpeg(data: bytes) -> bool:
    head = _head(data)
    frame = _read_frame(data, head)
    if frame is None or frame.width * frame.height * max(frame.scans, 1) > PLAIN_SCANNED:
        return False
    exif = [p.payload[6:] for p in head if p.name == "APP1" and p.payload.startswith(b"Exif\0\0")]
    return frame.width * frame.height <= PLAIN_PIXELS and len(exif) < 2 and not any(map(is_heavy, exif))


def _plain_png(data: bytes) -> bool:
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    exif = [p.payload for p in walk(data) if p.name == "eXIf"] if b"eXIf" in data else []
    return data[12:16] == b"IHDR" and width * height <= PLAIN_PIXELS and not any(map(is_heavy, exif))


def _plain_webp(data: bytes) -> bool:
    kind, width, height = data[12:16], 0, 0
    if kind == b"VP8X":
        width, height = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    elif kind == b"VP8 ":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    exif = [p.payload for p in walk(data) if p.name == "EXIF"] if b"EXIF" in data else []
    return 0 < width * height <= PLAIN_WEBP and not any(map(is_heavy, exif))


def _plain_gif(data: bytes) -> bool:
    width, height = (int.from_bytes(data[at : at + 2], "little") for at in (6, 8))
    return len(data) <= PLAIN_GIF and width * height <= PLAIN_PIXELS


def _plain_bmp(data: bytes) -> bool:
    width, height = (abs(int.from_bytes(data[at : at + 4], "little", signed=True)) for at in (18, 22))
    packed = int.from_bytes(data[30:34], "little") not in (0, 3)  # run-length coding, which Pillow decodes in Python
    return data[14] >= 40 and not packed and width * height <= PLAIN_PIXELS if len(data) >= 34 else True


_PLAIN: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _plain_jpeg,
    "PNG": _plain_png,
    "WEBP": _plain_webp,
    "GIF": _plain_gif,
    "BMP": _plain_bmp,
    "TIFF": lambda data: False,  # libtiff has many codecs, and writes its warnings to standard error
    "AVIF": lambda data: False,  # its decoder starts threads
    "HEIC": lambda data: find_spec("pi_heif") is None,  # libheif has many codecs; without the extra, HEIC is refused
}
