"""Read from the headers of a JPEG how it was compressed: tables, quality, subsampling."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.pictures.containers import Part, parts

_LUMA = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99
"""
_CHROMA = "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99" + " 99" * 36
ZIGZAG = np.array([
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
])  # fmt: skip
SUBSAMPLING = {"1x1 1x1 1x1": "4:4:4", "2x1 1x1 1x1": "4:2:2", "2x2 1x1 1x1": "4:2:0", "1x2 1x1 1x1": "4:4:0",
               "4x1 1x1 1x1": "4:1:1"}  # fmt: skip


def read_jpeg(data: bytes) -> dict[str, Any] | None:
    """Return tables (8 x 8 rows), estimated IJG quality, subsampling and coding; None if it is no readable JPEG."""
    found = parts(data)
    frame = next((p for p in found if p.name.startswith("SOF") and len(p.payload) >= 6), None)
    tables = _tables(found)
    if frame is None or not tables:
        return None
    body = frame.payload
    count = min(body[5], 4, (len(body) - 6) // 3)
    factors = [f"{body[7 + 3 * i] >> 4}x{body[7 + 3 * i] & 15}" for i in range(count)]
    used = list(dict.fromkeys(body[8 + 3 * i] for i in range(count) if body[8 + 3 * i] in tables)) or [min(tables)]
    quality, standard = jpeg_quality([tables[number].tolist() for number in used])
    return {
        "width_height": [int.from_bytes(body[3:5]), int.from_bytes(body[1:3])],
        "precision": body[0],
        "components": count,
        "subsampling": "grey" if count == 1 else SUBSAMPLING.get(" ".join(factors), " ".join(factors)),
        "progressive": frame.name == "SOF2",
        "quality": quality,
        "standard_tables": standard,
        "tables": {str(k): t.reshape(8, 8).tolist() for k, t in sorted(tables.items())},
        "segments": [p.name for p in found[:64]],
    }


def _tables(found: list[Part]) -> dict[int, NDArray[np.int64]]:
    tables = {}
    for part in found:
        at = 0
        while part.name == "DQT" and at < len(part.payload):
            wide, number = part.payload[at] >> 4, part.payload[at] & 15
            size = 128 if wide else 64
            raw = part.payload[at + 1 : at + 1 + size]
            if len(raw) < size or number > 3:
                break
            table = np.zeros(64, np.int64)
            table[ZIGZAG] = np.frombuffer(raw, ">u2" if wide else np.uint8)
            tables[number] = table
            at += 1 + size
    return tables


def jpeg_quality(tables: Sequence[Sequence[int]]) -> tuple[int, bool]:
    """Return the IJG quality 1..100 of quantisation tables, 64 numbers each row by row, and whether it is exact.

    The first table is held against the luma table, the others against the chroma table (or luma, which some encoders
    use twice), as libjpeg scales them; tables that are none of IJG's get the quality whose luma is nearest.

    Source: IJG libjpeg, jcparam.c, jpeg_quality_scaling and jpeg_add_quant_table; ITU-T T.81, Annex K.1.
    """
    luma, chroma = _standard_tables()
    given = np.asarray(tables, np.int64)
    gaps = np.abs(luma - given[0]).sum(1)
    quality = 100 - int(np.argmin(gaps[::-1]))  # the highest of those with equal tables
    others_fit = all((t == chroma[quality - 1]).all() or (t == luma[quality - 1]).all() for t in given[1:])
    return quality, bool(gaps[quality - 1] == 0 and others_fit)


def luma_steps(quality: int) -> NDArray[np.int64]:
    """Return IJG's quantisation steps of the brightness (64,), row by row, at a quality 1..100."""
    return np.asarray(_standard_tables()[0][quality - 1])


@cache
def _standard_tables() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the luma and the chroma tables (100, 64) at quality 1..100."""
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    base = (np.array(text.split(), np.int64) for text in (_LUMA, _CHROMA))
    luma, chroma = (np.clip((table * scale + 50) // 100, 1, 255) for table in base)
    return luma, chroma
