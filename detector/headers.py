"""What the header of a picture file says of how it was saved, pixels untouched: container, size, JPEG tables, extras.

Behind the same allow-list and caps as `images.decode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import JpegImagePlugin

from detector.files import sha256
from detector.images import opened

SUBSAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
_LUMA = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99
"""
_CHROMA = "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99" + " 99" * 36


@dataclass(frozen=True)
class Header:
    """How one file was saved; the JPEG fields are empty, None or False in other formats.

    quality: of the JPEG, by its tables: exact if `standard`, else the nearest. standard: the tables are IJG's at that
    quality. tables: a short hash of them. subsampling: of the colour, "4:2:0" say, "other" if none of the usual.
    """

    format: str
    width: int
    height: int
    mode: str
    quality: int | None
    standard: bool
    tables: str
    subsampling: str
    progressive: bool
    exif: bool
    icc: bool
    xmp: bool
    comment: bool
    bytes: int


def describe(data: bytes) -> Header:
    """Return what the header of a file says; width and height are as stored, before any turn that EXIF asks for.

    Raises UnsupportedFormat, ImageTooLarge or DamagedImage, as `images.decode`.
    """
    with opened(data, part="header") as picture:
        width, height = picture.size
        quantization = getattr(picture, "quantization", {})  # of JPEG and of MPO, which some telephones write
        tables = [list(quantization[key]) for key in sorted(quantization)]
        quality, standard = jpeg_quality(tables) if tables else (None, False)
        sampling = JpegImagePlugin.get_sampling(picture) if tables and len(picture.getbands()) == 3 else None
        info = picture.info
        return Header(
            format=str(picture.format),
            width=width,
            height=height,
            mode=picture.mode,
            quality=quality,
            standard=standard,
            tables=sha256(repr(tables).encode())[:12] if tables else "",
            subsampling="" if sampling is None else SUBSAMPLINGS.get(sampling, "other"),
            progressive=bool(info.get("progressive")),
            exif=bool(info.get("exif")) or (picture.format == "TIFF" and 0x010F in picture.getexif()),
            icc=bool(info.get("icc_profile")),
            xmp=bool(info.get("xmp") or info.get("XML:com.adobe.xmp")),
            comment=bool(info.get("comment")),
            bytes=len(data),
        )


def jpeg_quality(tables: Sequence[Sequence[int]]) -> tuple[int, bool]:
    """Return the IJG quality 1..100 of quantisation tables, 64 numbers each row by row, and whether it is exact.

    The first table is held against the luma table, the others against the chroma table (or luma, which some encoders
    use twice), as libjpeg scales them; tables that are none of IJG's get the quality whose luma is nearest.

    Source: IJG libjpeg, jcparam.c, jpeg_quality_scaling and jpeg_add_quant_table; ITU-T T.81, Annex K.1.
    """
    luma, chroma = _standard_tables()
    given = np.asarray(tables, np.int64)
    gaps = np.abs(luma - given[0]).sum(1)
    quality = 100 - int(np.argmin(gaps[::-1]))  # of equal tables (all 255 at the lowest) the highest
    others_fit = all((t == chroma[quality - 1]).all() or (t == luma[quality - 1]).all() for t in given[1:])
    return quality, bool(gaps[quality - 1] == 0 and others_fit)


@cache
def _standard_tables() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the luma and the chroma tables (100, 64) at quality 1..100."""
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    base = (np.array(text.split(), np.int64) for text in (_LUMA, _CHROMA))
    luma, chroma = (np.clip((table * scale + 50) // 100, 1, 255) for table in base)
    return luma, chroma
