"""The door for untrusted bytes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import png_header
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from detector.errors import DamagedImage, ImageError, ImageTooLarge, UnsupportedFormat
from detector.pictures import images


def saved(picture: Pillow.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


COLOUR = Pillow.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_keep_every_pixel(format: str) -> None:
    assert np.array_equal(images.decode(saved(COLOUR, format)), np.asarray(COLOUR))


@pytest.mark.parametrize("format", images.FORMATS)
def test_every_format_is_decoded_to_rgb(format: str) -> None:
    image = images.decode(saved(COLOUR, format))
    assert image.shape == (6, 4, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("format", ["PPM", "EPS", "TGA", "ICO", "PCX"])
def test_other_formats_are_refused(format: str) -> None:
    with pytest.raises(UnsupportedFormat, match="not a picture in any of JPEG"):
        images.decode(saved(COLOUR, format))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = np.array([[0, 256, 32768, 65535]], np.uint16)
    assert images.decode(saved(Pillow.fromarray(deep), "PNG"))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_alpha_is_laid_over_white() -> None:
    clear = Pillow.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert (images.decode(saved(clear, "PNG")) == 255).all()


def test_transparent_palette_hides_its_colour() -> None:
    palette = Pillow.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert (images.decode(saved(palette, "PNG", transparency=0)) == 255).all()


def test_orientation_is_applied() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # turn a quarter to the right
    upright = images.decode(saved(COLOUR, "TIFF", exif=exif))
    assert upright.shape == (4, 6, 3)
    assert np.array_equal(upright, np.rot90(np.asarray(COLOUR), -1))


def test_cmyk_is_converted() -> None:
    assert images.decode(saved(COLOUR.convert("CMYK"), "JPEG")).shape == (6, 4, 3)


def test_first_frame_of_an_animation() -> None:
    frames = [Pillow.new("RGB", (4, 4), c) for c in ("red", "blue")]
    image = images.decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert image[0, 0].tolist() == [255, 0, 0]


def test_bomb_is_refused_from_its_header() -> None:
    for side in (8000, 20_000, 60_000):
        with pytest.raises(ImageTooLarge, match="megapixels"):
            images.decode(png_header(side, side))


def test_caps_are_adjustable(tmp_path: Path) -> None:
    data = saved(COLOUR, "PNG")
    with pytest.raises(ImageTooLarge, match="4 x 6 pixels"):
        images.decode(data, max_pixels=23)
    assert images.decode(data, max_pixels=24).shape == (6, 4, 3)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ImageTooLarge, match="bytes; the cap is 10"):
        images.read(path, max_bytes=10)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_truncated_files_are_refused(format: str) -> None:
    picture = Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    data = saved(picture, format)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(ImageError):
            images.decode(data[: int(len(data) * share)])


def test_missing_and_empty_files(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DamagedImage, match="empty"):
        images.read(tmp_path / "empty.jpg")
    with pytest.raises(DamagedImage, match="cannot be read"):
        images.read(tmp_path / "absent.jpg")
    with pytest.raises(DamagedImage, match="cannot be read"):
        images.read(tmp_path)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]), st.data())
def test_mutated_files_raise_our_errors_only(format: str, data: st.DataObject) -> None:
    original = bytearray(saved(COLOUR.resize((32, 32)), format))
    for _ in range(data.draw(st.integers(1, 12))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    said = ""
    try:
        assert images.decode(bytes(original)).shape[2] == 3
    except ImageError as error:
        said = f"refused: {error}"
    assert "\n" not in said
    assert said != "refused: "


def test_hostile_files_raise_our_errors_only(shared: Path) -> None:
    refused = 0
    for path in sorted(p for p in (shared / "evidence" / "hostile").rglob("*") if p.is_file()):
        try:
            assert images.load(path).shape[2] == 3
        except ImageError:
            refused += 1
    assert refused > 100


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_resize_gives_the_size_asked_for(height: int, width: int, new_height: int, new_width: int) -> None:
    image = np.full((height, width, 3), 77, np.uint8)
    resized = images.resize(image, new_width, new_height)
    assert resized.shape == (new_height, new_width, 3)
    assert (resized == 77).all()


PLACES, SIDES = (st.tuples(numbers, numbers) for numbers in (st.integers(-20, 20), st.integers(1, 30)))


@given(st.integers(1, 9), st.integers(1, 9), PLACES, SIDES)
def test_cut_beyond_the_edge_is_mirrored(
    height: int, width: int, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    """As numpy pads; also where the box lies outside altogether."""
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    (left, top), (wide, tall) = corner, size
    padded = np.pad(image, ((60, 60), (60, 60), (0, 0)), mode="symmetric")
    expected = padded[60 + top : 60 + top + tall, 60 + left : 60 + left + wide]
    assert np.array_equal(images.cut(image, (left, top, left + wide, top + tall), mirrored=True), expected)


def test_cut_beyond_the_edge_is_black_unless_it_is_mirrored() -> None:
    image = np.full((4, 4, 3), 9, np.uint8)
    part = images.cut(image, (-1, 0, 3, 4))
    assert part.shape == (4, 4, 3)
    assert (part[:, 0] == 0).all()
    assert (part[:, 1:] == 9).all()


def test_encode_writes_no_metadata() -> None:
    for format in ("PNG", "JPEG", "WEBP"):
        with Pillow.open(io.BytesIO(images.encode(np.asarray(COLOUR), format))) as picture:
            assert picture.format == format
            assert not picture.getexif()
            assert not {"exif", "xmp", "icc_profile", "comment"} & set(picture.info)


def png_with(*chunks: bytes) -> bytes:
    plain = saved(COLOUR, "PNG")
    body = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return plain[:33] + b"".join(body) + plain[33:]


def test_blocks_without_number_are_refused() -> None:
    assert images.decode(png_with(*[b"tEXta\0b"] * 1000)).shape == (6, 4, 3)
    with pytest.raises(DamagedImage, match="too many blocks"):
        images.decode(png_with(*[b"tEXta\0b"] * 350_000))
    gif = b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\1a" * 600_000 + b"\0;"
    with pytest.raises(DamagedImage, match="too many blocks"):
        images.decode(gif)


def test_more_than_one_colour_profile_is_refused() -> None:
    profile = b"iCCPp\0\0" + zlib.compress(bytes(2**20))
    with pytest.raises(DamagedImage, match="colour profile"):
        images.decode(png_with(*[profile] * 5000))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1", "CMYK"])
def test_strips_join_without_a_seam(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    picture = Pillow.fromarray(rng.integers(0, 256, (23, 17, 4), np.uint8))
    picture = (picture.convert("RGB") if mode in ("CMYK", "P") else picture).convert(mode)
    data = saved(picture, "TIFF" if mode == "CMYK" else "PNG")
    whole = images.decode(data)
    monkeypatch.setattr(images, "STRIP", 17 * 5)
    assert np.array_equal(images.decode(data), whole)
    assert whole.flags.writeable


def test_the_cap_is_lower_for_webp_whose_decoder_holds_a_picture_thrice() -> None:
    for format, allowed in (("PNG", 10_000), ("WEBP", 8_000)):
        assert images.decode(saved(Pillow.new("RGB", (100, allowed // 100)), format), max_pixels=10_000).shape[1] == 100
        with pytest.raises(ImageTooLarge, match="the cap is"):
            images.decode(saved(Pillow.new("RGB", (100, allowed // 100 + 1)), format), max_pixels=10_000)
