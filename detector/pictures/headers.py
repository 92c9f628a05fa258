"""Read from the header of a picture file how it was saved: format, size, JPEG tables, metadata; no pixel is decoded.

Formats and caps are those of `images.decode`.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import JpegImagePlugin

from detector.files import sha256
from detector.pictures.images import opened
from detector.pictures.jpeg import jpeg_quality

SUBSAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


@dataclass(frozen=True)
class Header:
    """How one file was saved; the JPEG fields are empty, None or False in other formats.

    quality: of the JPEG, estimated from its tables; exact if `standard`, otherwise the nearest. standard: whether the
    tables are those of IJG at that quality. tables: a short hash of the tables. subsampling: of the colour, for example
    "4:2:0"; "other" if it is unusual.
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
    """Return the header of a file; width and height are as stored, before the turn that EXIF may ask for.

    Raises UnsupportedFormat, ImageTooLarge or DamagedImage, as `images.decode` does.
    """
    with opened(data, part="header") as picture:
        width, height = picture.size
        quantization = getattr(picture, "quantization", {})  # only JPEG and MPO have it
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
