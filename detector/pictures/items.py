"""Read the metadata items of AVIF and HEIC files, which lie outside the boxes that describe them.

Source: ISO/IEC 14496-12, sections 8.11.3 (item locations) and 8.11.6 (item information); ISO/IEC 23008-12, annex A.2.1
(EXIF). No function raises an error on damage: damaged structure ends the reading.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAX_ITEMS = 4096  # largest number of items, and of pieces of one item, that are read; a tiled picture has hundreds
MAX_ITEM = 2**20  # bytes that are read of one item


def read_items(data: bytes, kind: bytes, boxes: Iterator[tuple[str, bytes]]) -> list[bytes]:
    """Return the contents of the items of a type, such as b"Exif". boxes: (name, payload) in the `meta` box."""
    found = dict(boxes)
    try:
        wanted = set(_find_items(found.get("iinf", b""), kind))
        places = dict(_find_places(found.get("iloc", b""))) if wanted else {}
    except struct.error:
        return []
    contents = []
    for item in sorted(wanted & places.keys()):
        method, extents = places[item]
        source = {0: data, 1: found.get("idat", b"")}.get(method, b"")
        contents.append(b"".join(source[at : at + min(size, MAX_ITEM)] for at, size in extents)[:MAX_ITEM])
    return contents


def read_exif_items(data: bytes, boxes: Iterator[tuple[str, bytes]]) -> list[bytes]:
    """Return the EXIF blocks from their TIFF headers on; the first four bytes of the item say how far away that is."""
    items = read_items(data, b"Exif", boxes)
    return [item[4 + int.from_bytes(item[:4]) :] for item in items]


def _find_items(box: bytes, kind: bytes) -> Iterator[int]:
    """Yield the numbers of the items of a type that an `iinf` box lists."""
    at = 6 if box[:1] == b"\0" else 8
    for _ in range(MAX_ITEMS):
        size, name = int.from_bytes(box[at : at + 4]), box[at + 4 : at + 8]
        if name != b"infe" or size < 20 or at + size > len(box):
            return
        entry, version = box[at + 12 : at + size], box[at + 8]
        if version in (2, 3):
            width = 2 * version - 2
            if entry[width + 2 : width + 6] == kind:
                yield int.from_bytes(entry[:width])
        at += size


def _find_places(box: bytes) -> Iterator[tuple[int, tuple[int, list[tuple[int, int]]]]]:
    """Yield (number, (construction method, [(offset, size)])) of the items in an `iloc` box; struct.error on damage."""
    version, sizes = box[:1], box[4:6].hex()
    if len(sizes) < 4 or version > b"\2":
        return
    offset, length, base, index = (int(digit) if digit in "048" else -1 for digit in sizes)
    index = index if version > b"\0" else 0
    if min(offset, length, base, index) < 0:
        return
    at = 6

    def take(width: int) -> int:
        nonlocal at
        at += width
        if at > len(box):
            raise struct.error("the box ends early")
        return int.from_bytes(box[at - width : at])

    wide = 4 if version == b"\2" else 2
    for _ in range(min(take(wide), MAX_ITEMS)):
        item = take(wide)
        method = take(2) & 15 if version > b"\0" else 0
        take(2)  # the file that has the data: this one
        start, extents = take(base), list[tuple[int, int]]()
        for _ in range(min(take(2), MAX_ITEMS)):
            take(index)
            place, size = start + take(offset), take(length)
            extents.append((place, size or MAX_ITEM))
        yield item, (method, extents)
