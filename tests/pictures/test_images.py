"""Decoding, resizing, cropping and encoding of pictures."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import crafted
import numpy as np
import pytest
from conftest import png_header
from hypothesis import given, settings
from hypothesis import strategies as st
from phones import HEIC
from PIL import Image as Pillow
from PIL import ImageOps

from detector.errors import DamagedImage, ImageError, ImageTooLarge, TooCostly, UnreadableFile, UnsupportedFormat
from detector.pictures import caps, images
from detector.types import Decoded


def saved(picture: Pillow.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


UNWRITABLE = {("JPEG", "RGBA"), ("JPEG", "P"), ("JPEG", "I;16"), ("WEBP", "I;16"), ("BMP", "I;16"), ("GIF", "I;16"),
              ("AVIF", "I;16")}  # fmt: skip
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


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_every_orientation_is_turned_as_pillow_does(turn: int, kind: str) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = turn
    data = saved(COLOUR, kind, exif=exif)
    with Pillow.open(io.BytesIO(data)) as picture:
        upright, stored = ImageOps.exif_transpose(picture), np.asarray(picture)
        assert np.array_equal(images.decode(data), np.asarray(upright))
        assert np.array_equal(images.as_stored(np.asarray(upright), turn), stored)


@pytest.mark.parametrize("kind", images.FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16"])
def test_the_limited_process_gives_the_very_same_pixels(kind: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if (kind, mode) in UNWRITABLE:
        pytest.skip("the format has no such pixels")
    noise = np.random.default_rng(0).integers(0, 256, (50, 40, 4), np.uint8)
    picture = Pillow.fromarray(noise).convert(mode) if mode in ("RGBA", "L") else Pillow.fromarray(noise[..., :3])
    picture = picture.convert("P") if mode == "P" else picture
    if mode == "I;16":
        picture = Pillow.fromarray(noise[..., 0].astype(np.uint16) * 257)
    data = saved(picture, kind)
    found = []
    for plain in (True, False):
        monkeypatch.setattr(images, "is_plain", lambda data, plain=plain: plain)
        found.append(images.decode_picture(data))
    assert np.array_equal(found[0].image, found[1].image)
    assert found[0].image.flags.writeable
    assert found[1].image.flags.writeable
    assert found[0].image.shape == (50, 40, 3)


@pytest.mark.parametrize("byteorder", ["<u2", ">u2"])
def test_sixteen_bits_of_either_byte_order(byteorder: str) -> None:
    deep = np.array([[0, 256, 32768, 65535]] * 3, np.uint16)
    head = struct.pack("<2sHL", b"II", 42, 8) if byteorder == "<u2" else struct.pack(">2sHL", b"MM", 42, 8)
    order = byteorder[0]
    tags = [(256, 4, 4), (257, 4, 3), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 122), (277, 3, 1), (278, 4, 3),
            (279, 4, 24)]  # fmt: skip
    body = struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        packed = struct.pack(order + ("H2x" if kind == 3 else "L"), value)
        body += struct.pack(order + "HHL", tag, kind, 1) + packed
    data = (head + body).ljust(122, b"\0") + deep.astype(byteorder).tobytes()
    assert images.decode(data)[2, :, 1].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("limit", [400, 100, 30])
def test_a_large_jpeg_is_decoded_smaller_and_keeps_its_size(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_REDUCED", 64 * images.MAX_PIXELS)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    data = saved(COLOUR.resize((50, 31)), "JPEG", exif=exif)
    found = images.decode_picture(data, max_pixels=limit)
    height, width = found.image.shape[:2]
    assert (found.width, found.height, found.reduced) == (31, 50, True)
    assert limit / 5 < height * width <= limit
    assert found.shrink((0, 0, 31, 50)) == (0, 0, width, height)
    assert found.enlarge((0, 0, width, height)) == (0, 0, 31, 50)
    whole = images.decode_picture(data)
    assert not whole.reduced
    assert np.abs(images.resize(whole.image, width, height).astype(int) - found.image).mean() < 12


@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
@pytest.mark.parametrize(("width", "height"), [(808, 600), (803, 597), (601, 807)])
def test_a_box_keeps_its_shape_and_place_at_every_size_of_decoding(divisor: int, width: int, height: int) -> None:
    reduced = np.zeros((-(-height // divisor), -(-width // divisor), 3), np.uint8)
    decoded = Decoded(reduced, width, height)
    assert decoded.divisor == divisor
    rng = np.random.default_rng(divisor)
    for _ in range(200):
        side = int(rng.integers(17, 500))
        left, top = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
        x, y, right, bottom = decoded.shrink((left, top, left + side, top + side))
        assert right - x == bottom - y == -(-side // divisor)  # a square is not stretched by a pixel
        assert min(x, y) >= 0
        assert (right <= reduced.shape[1], bottom <= reduced.shape[0]) == (True, True)
        assert max(abs(x * divisor - left), abs(y * divisor - top)) <= max(divisor - 1, divisor // 2)
        assert decoded.shrink(decoded.enlarge((x, y, right, bottom))) == (x, y, right, bottom)


def test_a_jpeg_beyond_what_can_be_reduced_is_refused() -> None:
    data = saved(COLOUR.resize((50, 31)), "JPEG")
    with pytest.raises(ImageTooLarge, match="50 x 31 pixels; the cap is"):
        images.decode(data, max_pixels=50 * 31 * 10 // 45)
    assert images.decode(data, max_pixels=25 * 16).shape[:2] == (16, 25)
    with pytest.raises(ImageTooLarge):
        images.decode(saved(COLOUR.resize((50, 31)), "PNG"), max_pixels=50 * 31 - 1)


def test_telephones_of_200_megapixels_pass_pillows_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)
    assert images.decode(saved(COLOUR.resize((50, 31)), "JPEG")).shape == (31, 50, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("blank", [0, 1, 3, 9])
def test_the_first_frame_that_is_not_blank_is_decoded(kind: str, blank: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    face = Pillow.fromarray(noise).resize((48, 48)).convert("RGB")
    shades = [Pillow.new("RGB", (48, 48), (5 * i, 100, 200)) for i in range(blank)]  # equal ones would be merged
    frames = [*shades, face, face.rotate(90)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, lossless=True)
    found = images.decode_picture(data)
    number = blank + 1 if blank < images.MAX_FRAMES else 1
    assert found.remark == f"only frame {number} of {blank + 2} was decoded"
    assert (found.image[..., 0].std() > 30) == (number == blank + 1)
    if number > 1 and kind == "PNG":
        assert np.array_equal(found.image, np.asarray(face))


def test_one_frame_needs_no_remark_and_pages_are_called_so() -> None:
    assert images.decode_picture(saved(COLOUR, "GIF")).remark == ""
    pages = saved(COLOUR, "TIFF", save_all=True, append_images=[COLOUR, COLOUR])
    assert images.decode_picture(pages).remark == "only page 1 of 3 was decoded"


def test_a_damaged_later_frame_does_not_lose_the_first() -> None:
    frames = [Pillow.new("RGB", (48, 48), "white"), COLOUR.resize((48, 48)), COLOUR.resize((48, 48)).rotate(90)]
    data = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    at = data.index(b"ANMF", data.index(b"ANMF") + 4) + 40
    found = images.decode_picture(data[:at] + b"\xff" * 20 + data[at + 20 :])
    assert found.image.std() < 2
    assert found.remark == "only frame 1 of 3 was decoded"


def test_heic_without_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    monkeypatch.setattr(caps, "find_spec", lambda name: None)
    images._register_heif.cache_clear()
    with pytest.raises(UnsupportedFormat, match=r"install the extra `heif` .* or save it as JPEG"):
        images.decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


def test_a_profile_too_large_for_pillow_does_not_lose_the_picture() -> None:
    data = png_with(b"iCCPp\0\0" + zlib.compress(bytes(2**20 + 1)))
    assert np.array_equal(images.decode(data), np.asarray(COLOUR))


def test_libraries_write_no_warnings(capfd: pytest.CaptureFixture[str]) -> None:
    for data in (crafted.tiff_of_warnings(200), saved(COLOUR, "TIFF", compression="tiff_lzw")[:-30]):
        with pytest.raises(ImageError):
            images.decode(data)
    assert capfd.readouterr() == ("", "")


SMALL = {
    "scans": (crafted.jpeg_of_scans(64, 120), "too costly to decode"),
    "scans allowed": (crafted.jpeg_of_scans(64, 50), ""),
    "strips": (crafted.tiff_of_strips(70_000), "too costly to decode"),
    "strips allowed": (crafted.tiff_of_strips(1000), ""),
    "tiles": (crafted.tiff_of_strips(1000, tiles=True), ""),
    "EXIF segments": (crafted.jpeg_with(0xE1, b"Exif\0\0" + bytes(60_000), 20), "too costly to decode"),
    "EXIF that overlaps": (crafted.jpeg_with(0xE1, b"Exif\0\0" + crafted.exif_of_entries(500, 32_000)), ""),
    "frames": (crafted.webp_of_frames(64, 50), ""),
}


@pytest.mark.parametrize("name", SMALL)
def test_crafted_files_give_at_most_an_error(name: str) -> None:
    data, reason = SMALL[name]
    found = ""
    try:
        images.decode(data)
    except ImageError as error:
        found = error.reason
    assert found == reason


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
    with pytest.raises(UnreadableFile, match="No such file"):
        images.read(tmp_path / "absent.jpg")
    with pytest.raises(UnreadableFile, match="nothing is fetched"):
        images.read("https://example.org/a.jpg")
    with pytest.raises(UnreadableFile, match="it is a folder"):
        images.read(tmp_path)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]), st.data())
def test_mutated_files_raise_our_errors_only(format: str, data: st.DataObject) -> None:
    original = bytearray(saved(COLOUR.resize((32, 32)), format))
    for _ in range(data.draw(st.integers(1, 12))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    text = ""
    try:
        assert images.decode(bytes(original)).shape[2] == 3
    except ImageError as error:
        text = f"refused: {error}"
    assert "\n" not in text
    assert text != "refused: "


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


def test_a_shared_cut_is_a_view_of_the_picture() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    part = images.cut(image, (1, 1, 3, 3), shared=True)
    assert np.shares_memory(part, image)
    assert not np.shares_memory(images.cut(image, (1, 1, 3, 3)), image)
    assert images.cut(image, (3, 3, 5, 5), shared=True).shape == (2, 2, 3)


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


def test_very_many_blocks_are_refused() -> None:
    assert images.decode(png_with(*[b"tEXta\0b"] * 1000)).shape == (6, 4, 3)
    with pytest.raises(TooCostly, match="too many blocks"):
        images.decode(png_with(*[b"tEXta\0b"] * 350_000))
    gif = b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\1a" * 600_000 + b"\0;"
    with pytest.raises(TooCostly, match="too many blocks"):
        images.decode(gif)


def test_more_than_one_colour_profile_is_refused() -> None:
    profile = b"iCCPp\0\0" + zlib.compress(bytes(2**20))
    with pytest.raises(TooCostly, match="colour profile"):
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


def test_heic_is_decoded_in_the_limited_process(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pi_heif")
    decoded = images.decode_picture(HEIC)
    assert decoded.image.shape == (64, 96, 3)
    assert abs(decoded.image[5, 5].astype(int) - (200, 30, 30)).max() < 4
    assert abs(decoded.image[60, 90].astype(int) - (20, 60, 210)).max() < 4
    assert not caps.is_plain(HEIC)
    with pytest.raises(ImageTooLarge, match="96 x 64 pixels"):
        images.decode(HEIC, max_pixels=6000)


@pytest.mark.parametrize("end", [40, 200, len(HEIC) - 20])
def test_damaged_heic_is_refused(end: int) -> None:
    pytest.importorskip("pi_heif")
    with pytest.raises(ImageError):
        images.decode(HEIC[:end])
