"""How a file was saved, read from its header alone."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from conftest import draw_picture
from PIL import Image as Pillow

from detector.errors import ImageError, ImageTooLarge, UnsupportedFormat
from detector.pictures.headers import describe
from detector.pictures.jpeg import jpeg_quality


def saved(format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(draw_picture(0, size=40)[:32]).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("quality", range(1, 101))
def test_the_quality_of_every_standard_jpeg_is_exact(quality: int) -> None:
    header = describe(saved("JPEG", quality=quality))
    assert (header.quality, header.standard) == (quality, True)


def test_other_tables_get_the_nearest_quality() -> None:
    tables = [[min(255, 3 + i // 4) for i in range(64)], [20] * 64]
    quality, standard = jpeg_quality(tables)
    assert 80 <= quality <= 97
    assert not standard
    header = describe(saved("JPEG", qtables=tables))
    assert (header.quality, header.standard) == (quality, False)
    assert header.tables != describe(saved("JPEG", quality=quality)).tables


def test_grey_jpegs_have_one_table_and_no_subsampling() -> None:
    buffer = io.BytesIO()
    Pillow.new("L", (20, 20), 90).save(buffer, "JPEG", quality=83)
    header = describe(buffer.getvalue())
    assert (header.mode, header.quality, header.standard, header.subsampling) == ("L", 83, True, "")


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_coding(subsampling: str, progressive: bool) -> None:
    header = describe(saved("JPEG", subsampling=subsampling, progressive=progressive))
    assert (header.format, header.width, header.height) == ("JPEG", 40, 32)
    assert (header.subsampling, header.progressive) == (subsampling, progressive)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_other_containers_have_no_jpeg_fields(format: str) -> None:
    header = describe(saved(format))
    assert (header.format, header.width, header.height) == (format, 40, 32)
    assert (header.quality, header.standard, header.tables, header.subsampling) == (None, False, "", "")
    assert [header.exif, header.icc, header.xmp, header.progressive] == [False] * 4


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_metadata_is_detected(format: str) -> None:
    exif = Pillow.Exif()
    exif[0x010F] = "a maker"
    assert describe(saved(format, exif=exif)).exif
    assert describe(saved(format, icc_profile=b"x" * 200)).icc
    if format in ("JPEG", "WEBP"):
        assert describe(saved(format, xmp=b"<x:xmpmeta/>")).xmp


def test_refusals() -> None:
    with pytest.raises(UnsupportedFormat, match="not a picture"):
        describe(b"%!PS-Adobe-3.0 EPSF-3.0")
    bmp = bytearray(saved("BMP"))
    bmp[18:26] = struct.pack("<ii", 20_000, 20_000)
    with pytest.raises(ImageTooLarge, match="megapixels"):
        describe(bytes(bmp))


def test_no_damage_escapes_as_another_error() -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for format in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        whole = np.frombuffer(saved(format), np.uint8)
        for _ in range(60):
            data = whole[: rng.integers(1, len(whole))].copy()
            data[rng.integers(0, min(len(data), 120), 4)] = rng.integers(0, 256, 4)
            try:
                describe(data.tobytes())
            except ImageError:
                refused += 1
    assert refused > 50


def test_pixels_are_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    data = [saved(format) for format in ("JPEG", "PNG", "BMP", "TIFF")]
    for name in ("load", "convert"):
        monkeypatch.setattr(Pillow.Image, name, refuse)
    for file in data:
        assert describe(file).width == 40
