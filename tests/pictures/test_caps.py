"""Files that are refused before they are decoded, and files that are decoded in a process of their own."""

from __future__ import annotations

import contextlib
import io
import struct

import crafted
import numpy as np
import pytest
from conftest import draw_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from detector.errors import TooCostly
from detector.pictures import caps
from detector.pictures.containers import parts
from detector.pictures.exif import has_maker_note, read_exif, read_thumbnail
from detector.pictures.images import FORMATS, encode


def saved(image: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_ordinary_pictures_are_not_refused(kind: str) -> None:
    caps.refuse(encode(draw_picture(1), kind))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (crafted.jpeg_of_scans(64, 120), "130 scans"),
        (crafted.jpeg_with(0xE1, b"Exif\0\0" + bytes(99), 20), "20 EXIF segments"),
        (crafted.jpeg_with(0xDB, b"\0" + b"\1" * 64, 70), "72 segments of quantisation tables"),
        (crafted.jpeg_with(0xED, b"Photoshop 3.0\0", 300), "300 Photoshop segments"),
        (crafted.tiff_of_strips(70_000), "strips"),
        (crafted.tiff_of_strips(70_000, big=True), "strips"),
        (crafted.tiff_of_strips(70_000, tiles=True), "strips"),
        (crafted.png_with(*[b"iCCPp\0\0"] * 5), "colour profile"),
    ],
    ids=["scans", "exif", "tables", "photoshop", "strips", "strips-64-bit", "tiles", "profiles"],
)
def test_more_pieces_than_any_honest_file_has_are_refused(data: bytes, what: str) -> None:
    with pytest.raises(TooCostly, match=what):
        caps.refuse(data)


def test_pieces_of_what_follows_a_picture_do_not_count() -> None:
    picture = encode(draw_picture(1), "JPEG")
    caps.refuse(picture + crafted.jpeg_of_scans(64, 120))
    caps.refuse(picture + b"Exif\0\0" * 100)


def test_coefficients_count_where_all_of_them_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {}
    for sampling, share in (("4:4:4", 3), ("4:2:0", 1.5)):
        for progressive in (False, True):
            data = saved(draw_picture(1), "JPEG", subsampling=sampling, progressive=progressive)
            sizes[sampling, progressive] = caps._read_frame(data)
            assert sizes[sampling, progressive].coefficients == 2 * share * 48 * 48
    assert [frame.scans > 1 for frame in sizes.values()] == [False, True, False, True]
    monkeypatch.setattr(caps, "MAX_COEFFICIENTS", 4 * 48 * 48)
    caps.refuse(saved(draw_picture(1), "JPEG", subsampling="4:4:4"))
    caps.refuse(saved(draw_picture(1), "JPEG", subsampling="4:2:0", progressive=True))
    with pytest.raises(TooCostly, match="48 x 48 pixels in several scans"):
        caps.refuse(saved(draw_picture(1), "JPEG", subsampling="4:4:4", progressive=True))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_small_pictures_are_plain_and_large_ones_are_not(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(draw_picture(1), kind)
    assert caps.is_plain(data)
    monkeypatch.setattr(caps, "PLAIN_BYTES", len(data))
    assert caps.is_plain(data)
    monkeypatch.setattr(caps, "PLAIN_BYTES", len(data) - 1)
    assert not caps.is_plain(data)
    monkeypatch.undo()
    for pixels in (48 * 48, 48 * 48 - 1):
        monkeypatch.setattr(caps, "PLAIN_PIXELS", pixels)
        monkeypatch.setattr(caps, "PLAIN_WEBP", pixels)
        assert caps.is_plain(data) == (pixels == 48 * 48)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}])
def test_the_size_of_every_kind_of_webp_is_read(options: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(draw_picture(1, size=40)[:24], "WEBP", **options)
    for pixels in (40 * 24, 40 * 24 - 1):
        monkeypatch.setattr(caps, "PLAIN_WEBP", pixels)
        assert caps.is_plain(data) == (pixels == 40 * 24)


def test_what_is_hard_to_bound_is_not_plain() -> None:
    assert not caps.is_plain(encode(draw_picture(1), "TIFF"))
    assert not caps.is_plain(encode(draw_picture(1), "AVIF"))
    packed = bytearray(encode(draw_picture(1), "BMP"))
    packed[30] = 1  # run lengths
    assert not caps.is_plain(bytes(packed))
    assert not caps.is_plain(b"\xff\xd8\xff\xd9")  # no frame
    assert caps.is_plain(b"no picture at all")


def test_every_scan_counts_as_the_picture_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, progressive = (saved(draw_picture(1), "JPEG", progressive=p) for p in (False, True))
    monkeypatch.setattr(caps, "PLAIN_SCANNED", 48 * 48)
    assert caps.is_plain(plain)
    assert not caps.is_plain(progressive)


def test_directories_that_point_to_the_same_bytes_again_and_again_are_heavy() -> None:
    block = crafted.exif_of_entries(100, 5000)
    assert caps.is_heavy(block)
    for data in (crafted.jpeg_with(0xE1, b"Exif\0\0" + block), crafted.png_with(b"eXIf" + block)):
        assert not caps.is_plain(data)
    assert not caps.is_heavy(crafted.exif_of_entries(1, 5000))


def test_a_directory_of_millions_of_entries_is_not_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = struct.pack("<HHQQ", 256, 4, 1, 1) * 70_000
    data = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 70_000) + entries + bytes(8)
    monkeypatch.setattr(caps, "_SIZES", None)  # is asked for each entry
    assert caps.is_heavy(data)
    with pytest.raises(TooCostly, match="strips, tiles or other values"):
        caps.refuse(data)


def test_heavy_directories_are_not_read_as_exif(monkeypatch: pytest.MonkeyPatch) -> None:
    light, heavy = (crafted.jpeg_with(0xE1, b"Exif\0\0" + crafted.exif_of_entries(300, n)) for n in (5, 9000))
    assert read_exif(light)
    monkeypatch.setattr(Pillow.Exif, "load", lambda *_: pytest.fail("it was read"))
    for data in (heavy, crafted.tiff_of_strips(70_000)):
        assert read_exif(data) == {}
        assert read_thumbnail(data) == b""
        assert not has_maker_note(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_ordinary_exif_is_light(kind: str) -> None:
    exif = Pillow.Exif()
    exif[0x010F] = "a maker of cameras" * 9
    exif.get_ifd(0x8769)[0x829A] = 0.01
    exif.get_ifd(0x8825)[0x0002] = (1.0, 2.0, 3.0)
    data = saved(draw_picture(1), kind, exif=exif)
    assert not caps.is_heavy(data if kind == "TIFF" else exif.tobytes())
    assert caps.is_plain(data) == (kind != "TIFF")
    assert len(list(caps.directories(exif.tobytes()[6:]))) == 3


def test_exif_of_cameras_is_light(shared: object) -> None:
    blocks = []
    for path in sorted((shared / "evidence" / "camera").glob("*.jp*g")):  # type: ignore[operator]
        blocks += [p.payload[6:] for p in parts(path.read_bytes()) if p.payload.startswith(b"Exif\0\0")]
    assert len(blocks) > 10
    assert not any(map(caps.is_heavy, blocks))


def test_directories_take_what_pillow_reads() -> None:
    data = saved(draw_picture(1), "TIFF", compression="tiff_lzw", strip_size=48 * 3)
    with Pillow.open(io.BytesIO(data)) as picture:
        tags = picture.tag_v2
        counts = [len(v) if isinstance(v, tuple) else 1 for v in (tags[t] for t in tags)]
    assert next(caps.directories(data)).values == sum(counts)
    assert max(counts) == 48


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]), st.data())
def test_no_damage_makes_the_caps_fail(kind: str, data: st.DataObject) -> None:
    whole = bytearray(encode(draw_picture(1, size=16), kind))
    for _ in range(data.draw(st.integers(0, 12))):
        whole[data.draw(st.integers(0, min(len(whole), 300) - 1))] = data.draw(st.integers(0, 255))
    part = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    caps.is_plain(part)
    caps.is_heavy(part)
    with contextlib.suppress(TooCostly):
        caps.refuse(part)
