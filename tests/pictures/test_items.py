"""Items of AVIF and HEIC files are found by the boxes that describe them, in every version of these boxes."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from conftest import draw_picture
from hypothesis import given
from hypothesis import strategies as st

from detector.pictures.containers import exif
from detector.pictures.exif import read_exif, read_thumbnail
from detector.pictures.images import encode

BLOCK = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x0131, 2, 10, 26) + bytes(4) + b"a program\0"


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


def heic(*, version: int, wide: bool, method: int = 0, prefix: bytes = b"Exif\0\0", cut: int = 0) -> bytes:
    """Return a HEIC without pixels whose second item is BLOCK, split into two extents.

    version: of `iloc`. wide: whether the entries of `iinf` have 32-bit numbers. method: 0 for places in the file, 1 for
    places in the `idat` box.
    """
    item = struct.pack(">I", len(prefix)) + prefix + BLOCK
    number = ">I" if wide else ">H"
    entries = [
        box(b"infe", bytes([3 if wide else 2, 0, 0, 0]) + struct.pack(number, i) + bytes(2) + kind + b"\0")
        for i, kind in ((1, b"hvc1"), (2, b"Exif"))
    ]
    iinf = box(b"iinf", (b"\1\0\0\0" if wide else bytes(4)) + struct.pack(number, 2) + b"".join(entries))

    def meta(start: int) -> bytes:
        half, number = len(item) // 2, ">I" if version == 2 else ">H"
        body = bytes([version, 0, 0, 0, 0x44, 0x40]) + struct.pack(number, 2)
        for i, extents in ((1, [(0, 4)]), (2, [(0, half), (half, len(item) - half)])):
            body += struct.pack(number, i) + (struct.pack(">H", method) if version else b"") + bytes(2)
            body += struct.pack(">IH", start, len(extents)) + b"".join(struct.pack(">II", *e) for e in extents)
        data = box(b"idat", item) if method else b""
        return box(b"meta", bytes(4) + iinf + box(b"iloc", body[: len(body) - cut]) + data)

    head = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    start = 0 if method else len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", item)


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("prefix", [b"Exif\0\0", b""])
def test_an_item_in_the_file_is_found(version: int, wide: bool, prefix: bytes) -> None:
    assert read_exif(heic(version=version, wide=wide, prefix=prefix)) == {"Software": "a program"}


def test_an_item_in_the_box_itself_is_found_and_one_in_another_item_is_not() -> None:
    assert read_exif(heic(version=1, wide=False, method=1)) == {"Software": "a program"}
    assert exif(heic(version=1, wide=False, method=2)) == []


@given(st.data())
def test_damage_raises_nothing(data: Any) -> None:
    whole = heic(version=data.draw(st.integers(0, 2)), wide=data.draw(st.booleans()), cut=data.draw(st.integers(0, 30)))
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 6))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    assert len(exif(bytes(broken))) <= 4
    read_exif(bytes(broken))
    read_thumbnail(bytes(broken))


def test_a_picture_without_items_has_none() -> None:
    assert exif(encode(draw_picture(0), "AVIF")) == []
    assert exif(encode(np.zeros((8, 8, 3), np.uint8), "PNG")) == []
