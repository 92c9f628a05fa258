"""Identify what follows the end of a picture in its file: gain map, second picture, video, trailer of a maker.

Most present telephones add one of these. The number of trailers read is limited; unknown data is named "unknown data".
Source: Google, Ultra HDR image format 1.1 and Motion photo format 1.0; CIPA DC-007, Multi-Picture Format (MPF).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from detector.pictures.containers import extent, parts, sniff

MAX_TRAILERS = 8  # largest number of trailers of one file that are identified
MAX_BOXES = 4096  # largest number of boxes of one video that are read
HEAD = 2**16  # number of first bytes of a further picture that are searched for its description
GAIN_MAP = re.compile(rb"hdr-gain-map|hdrgainmap|urn:iso:std:iso:ts:21496", re.I)
DEPTH_MAP = re.compile(rb"AuxiliaryImageType[^<]{0,80}(?:depth|disparity)|photos/1\.0/depthmap", re.I)
SEMANTICS = {"GainMap": "gain map", "Depth": "depth map", "DepthMap": "depth map", "Confidence": "depth map",
             "Original": "original picture"}  # fmt: skip
HEADS = {  # first bytes of a trailer -> its name
    b"PK\3\4": "ZIP archive",
    b"Rar!": "RAR archive",
    b"7z\xbc\xaf\x27\x1c": "7z archive",
    b"\x1f\x8b\x08": "gzip archive",
    b"%PDF": "PDF document",
    b"vivo{": "vivo trailer",
    b"QVCI": "Casio trailer",
    b"CANON OPTIONAL DATA": "Canon trailer",
    b"<x:xmpmeta": "XMP packet",
    b"<?xpacket": "XMP packet",
}
TAILS = {  # pattern of the last bytes of the file -> name of the trailer
    rb"LIVE_\d{1,12}[ \0]*": "Huawei live-photo trailer",
    rb"cameraalbum!?[ \0]*": "vivo trailer",
    rb"cbipcbbl": "Photo Mechanic trailer",
    rb"\xa1\xb2\xc3\xd4.{4}": "FotoStation trailer",
    rb"8db42d694ccc418790edff439fe026bf": "Insta360 trailer",
    rb"CANON OPTIONAL DATA\0.{44}": "Canon trailer",
    rb"AXS[!*].{8}": "AFCP trailer",
}
_PADDING = re.compile(rb"[\0\xff\s]*")
_BOX = re.compile(rb".{4}[\w ]{4}", re.S)
_CHUNK = re.compile(rb".{4}(?:tEXt|zTXt|iTXt|eXIf)", re.S)
_JPEG = re.compile(rb"\xff\xd8\xff")
_VIDEO = re.compile(rb"....ftyp(?:mp4|isom|iso\d|qt  |avc|3gp|M4V|MSNV|hvc|dash)", re.S)


class Trailer(NamedTuple):
    """One piece of data after the end of the picture: its kind, the offset of its first byte, its length in bytes."""

    kind: str
    offset: int
    length: int


def read_trailers(data: bytes, xmp: Sequence[tuple[str, str]]) -> list[Trailer]:
    """Return the trailers after the end of a picture, in order; [] if there are none or the end is not known.

    xmp: the properties of the file, from `read_xmp`; they announce gain maps and videos.
    """
    at = extent(data).end
    if at is None or at >= len(data):
        return []
    names = [part.payload[:4] for part in parts(data) if part.name == "APP2"]
    announced = [SEMANTICS[value] for name, value in xmp if name == "Semantic" and value in SEMANTICS]
    moving = any(name in ("MotionPhoto", "MicroVideo") or value == "MotionPhoto" for name, value in xmp)
    last = _samsung(data, at) or _tail(data, at)
    stop = last.offset if last else len(data)
    found: list[Trailer] = []
    while at < stop and len(found) < MAX_TRAILERS:
        start = _skip_padding(data, at, stop)
        kind, length = "padding", stop - at
        if start < stop:
            at = start
            kind, length = _identify(data, at, stop, announced, several=b"MPF\0" in names, moving=moving)
        found.append(Trailer(kind, at, length))
        at += length
    return [*found, last] if last else found


def samsung_entries(data: bytes) -> list[tuple[str, bytes]]:
    """Return (name, bytes) of the blocks in the trailer that Samsung's telephones write; [] if there is none."""
    found = []
    for offset, size in _samsung_directory(data):
        block = data[offset : offset + size]
        length = int.from_bytes(block[4:8], "little")
        if 0 < length < 64:
            found.append((block[8 : 8 + length].decode("latin-1"), block[8 + length :]))
    return found


def _samsung_directory(data: bytes) -> list[tuple[int, int]]:
    """Return (offset, length) of each block, read from the directory SEFH before the last bytes, SEFT."""
    head = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if data[-4:] != b"SEFT" or head < 0 or data[head : head + 4] != b"SEFH":
        return []
    found = []
    for i in range(min(int.from_bytes(data[head + 8 : head + 12], "little"), 64)):
        entry = data[head + 12 + 12 * i : head + 24 + 12 * i]
        back, size = int.from_bytes(entry[4:8], "little"), int.from_bytes(entry[8:12], "little")
        if len(entry) == 12 and 0 < size <= back <= head:
            found.append((head - back, size))
    return found


def _samsung(data: bytes, end: int) -> Trailer | None:
    blocks = _samsung_directory(data)
    start = min((offset for offset, _ in blocks), default=0)
    if start < end:
        return None
    moving = any(name.startswith("MotionPhoto_Data") for name, _ in samsung_entries(data))
    return Trailer(f"Samsung trailer{' with a motion-photo video' if moving else ''}", start, len(data) - start)


def _tail(data: bytes, end: int) -> Trailer | None:
    last = data[max(end, len(data) - 128) :]
    for pattern, kind in TAILS.items():
        if match := re.search(rb"(?:%b)\Z" % pattern, last, re.S):
            start = len(data) - len(last) + match.start()
            return Trailer(kind, start, len(data) - start)
    return None


def _skip_padding(data: bytes, at: int, stop: int) -> int:
    match = _PADDING.match(data, at, stop)
    end = match.end() if match else at
    starts = range(max(at, end - 3), end)  # a video or a chunk may begin with three zeros, and a JPEG begins with FF
    heads = (_VIDEO, _CHUNK, _JPEG)
    return next((i for i in starts if any(head.match(data, i, stop) for head in heads)), end)


def _identify(data: bytes, at: int, stop: int, announced: list[str], *, several: bool, moving: bool) -> tuple[str, int]:
    """Return the kind and length (at least 1) of what begins at `at`; remove it from `announced` if it is there."""
    head, rest = data[at : min(at + HEAD, stop)], stop - at
    picture = sniff(head)
    if picture == "JPEG":
        kind = "gain map" if GAIN_MAP.search(head) else "depth map" if DEPTH_MAP.search(head) else ""
        kind = kind or next(iter(announced), "further picture (MPO)" if several else "unannounced JPEG picture")
        if kind in announced:
            announced.remove(kind)
        return kind, extent(data[at:stop]).end or rest
    if picture and picture != "BMP":  # other data often begins with the two letters of a BMP
        return f"unannounced {picture} picture", extent(data[at:stop]).end or rest
    if _VIDEO.match(head):
        return "motion-photo video" if moving else "video", _measure_boxes(data, at, stop)
    if _CHUNK.match(head):
        return "PNG text", min(int.from_bytes(head[:4]) + 12, rest)
    for first, kind in HEADS.items():
        if head.startswith(first):
            return kind, rest
    video = _VIDEO.search(data, at + 1, stop)
    return "unknown data", video.start() - at if video else rest


def _measure_boxes(data: bytes, at: int, stop: int) -> int:
    """Return the length in bytes of the consecutive boxes (ISO/IEC 14496-12) that begin at `at`."""
    start = at
    for _ in range(MAX_BOXES):
        size = int.from_bytes(data[at : at + 4])
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
        if not _BOX.match(data, at, stop) or not 8 <= (size or stop - at) <= stop - at:
            break
        at += size or stop - at
    return at - start or stop - start
