"""Traits of the bytes around the pixels, in ordinary and in crafted files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pandas as pd
from conftest import draw_picture, png_with
from planting import jpeg, with_exif

from detector.dataset.file_traits import MAX_FIELDS, read_coding, read_metadata
from detector.dataset.traits import measure_traits
from detector.pictures.images import encode

PICTURE = draw_picture(0)


def with_segments(count: int, marker: int, opening: bytes) -> bytes:
    """A JPEG with so many segments of 2 kB, each of which begins with another name."""
    bodies = [opening + b"name %d" % i + bytes(2048) for i in range(count)]
    segments = [struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for body in bodies]
    plain = jpeg(PICTURE)
    return plain[:2] + b"".join(segments) + plain[2:]


def test_the_coding_of_a_jpeg_is_read() -> None:
    plain, optimised = read_coding(jpeg(PICTURE)), read_coding(jpeg(PICTURE, optimize=True))
    assert (plain["format"], plain["mode"], plain["quality"], plain["huffman"]) == ("JPEG", "3 components", 90, 416)
    assert optimised["huffman"] < 416
    progressive = read_coding(jpeg(PICTURE, progressive=True))
    assert progressive["progressive"]
    assert progressive["scans"] > 1
    assert read_coding(jpeg(PICTURE, restart_marker_rows=1))["restart"] > 0
    assert plain["segments"] != progressive["segments"]


def test_other_formats_have_no_traits_of_jpeg() -> None:
    found = read_coding(encode(PICTURE))
    assert (found["format"], found["mode"]) == ("PNG", "colour type 2, 8 bits")
    assert (found["quality"], found["tables"], found["huffman"]) == (None, "", 0)


def test_metadata_fields_are_read_one_by_one() -> None:
    year, fields = read_metadata(with_exif(PICTURE, {0x0131: "Editor 2.1", 0x0132: "2021:07:02 10:00:00"}, True))
    assert abs(year["exif_year"] - 2021.5) < 0.01
    assert {"EXIF", "EXIF thumbnail", "EXIF Software", "EXIF Software Editor 2", "EXIF Software Editor 2.1"} <= fields
    assert read_metadata(jpeg(PICTURE)) == ({"exif_year": None}, frozenset())
    assert "PNG text parameters" in read_metadata(png_with(b"tEXtparameters\0a prompt"))[1]
    assert "bytes after the end" in read_metadata(jpeg(PICTURE) + bytes(4))[1]


def test_a_file_of_very_many_segments_is_refused_or_read_in_part(tmp_path: Path) -> None:
    crafted = {"exif": with_segments(100, 0xE1, b"Exif\0\0"), "other": with_segments(2000, 0xED, b"")}
    for name, data in crafted.items():
        (tmp_path / name).write_bytes(data)
    traits = measure_traits(pd.DataFrame({"path": [str(tmp_path / name) for name in crafted]}))
    assert list(traits.readable) == [False, True]
    assert len(read_metadata(crafted["other"])[1]) == MAX_FIELDS
    assert np.isfinite(traits.vectors["noise"]).all()
