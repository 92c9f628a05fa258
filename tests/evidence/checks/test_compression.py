from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from profiles import P3

from detector.evidence.checks import compression, make_exhibit
from detector.pictures.images import decode, decode_picture, encode, resize
from detector.pictures.jpeg import read_jpeg
from detector.types import Exhibit, Finding, Image, Outcome


def scene(seed: int, size: int = 320) -> Image:
    """A picture with detail at every scale, never compressed: noise with a spectrum that falls as photographs' do."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    grey = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) / (frequency + 0.01) ** 1.2).real
    grey = 128 + 40 * (grey - grey.mean()) / grey.std()
    return np.clip(grey[..., None] + rng.normal(0, 1, (size, size, 3)), 0, 255).astype(np.uint8)


def saved(image: Image, quality: int) -> Image:
    return decode(encode(image, "JPEG", quality=quality))


def encode_under(image: Image, profile: bytes | None) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "PNG", icc_profile=profile)
    return buffer.getvalue()


def check(data: bytes) -> Finding:
    return compression.check(make_exhibit(data, Path("x.jpg")))


def paste(background: Image, patch: Image, at: int = 96, side: int = 128) -> Image:
    out = background.copy()
    out[at : at + side, at : at + side] = patch[at : at + side, at : at + side]
    return out


def test_a_reduced_picture_is_not_searched_for_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(scene(0, 320), "JPEG", quality=80)
    smaller = decode_picture(data, max_pixels=160 * 160)
    finding = compression.check(Exhibit(Path("x.jpg"), data, "0" * 64, smaller))
    assert finding.summary.endswith("; decoded at less than its size, so its blocks were not searched.")
    assert (finding.details["grid"], finding.details["ghost"]) == (None, None)


def test_blocks_are_searched_in_the_colours_as_they_are_stored() -> None:
    again = saved(saved(scene(2), 60), 95)
    plain, converted = (encode_under(again, profile) for profile in (None, P3))
    assert decode_picture(converted).converted
    assert check(converted).details["ghost"] == check(plain).details["ghost"]
    assert check(converted).details["ghost"]["earlier_quality"] == 60


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_quality_and_subsampling_are_read_exactly(quality: int, subsampling: str) -> None:
    header = read_jpeg(encode(scene(0, 64), "JPEG", quality=quality, subsampling=subsampling))
    assert header is not None
    assert (header["quality"], header["subsampling"], header["standard_tables"]) == (quality, subsampling, True)


def test_tables_are_those_that_pillow_reads() -> None:
    tables = [[int(v) for v in np.random.default_rng(k).integers(1, 60, 64)] for k in (0, 1)]
    buffer = io.BytesIO()
    Pillow.fromarray(scene(0, 64)).save(buffer, "JPEG", qtables=tables, progressive=True)
    header = read_jpeg(buffer.getvalue())
    assert header is not None
    with Pillow.open(buffer) as picture:
        assert {
            int(k): [v for row in rows for v in row] for k, rows in header["tables"].items()
        } == picture.quantization
    assert (header["standard_tables"], header["progressive"], header["width_height"]) == (False, True, [64, 64])


def test_grey_jpeg() -> None:
    buffer = io.BytesIO()
    Pillow.fromarray(scene(0, 64)).convert("L").save(buffer, "JPEG", quality=80)
    header = read_jpeg(buffer.getvalue())
    assert header is not None
    assert (header["components"], header["subsampling"], header["quality"]) == (1, "grey", 80)


def test_no_jpeg_has_no_header() -> None:
    assert read_jpeg(encode(scene(0, 64), "PNG")) is None


@pytest.mark.parametrize(("left", "top"), [(0, 0), (3, 5), (1, 7), (0, 4)])
def test_grid_of_an_earlier_jpeg_is_found_where_it_lies(left: int, top: int) -> None:
    cropped = saved(scene(1), 60)[top:, left:]
    found = check(encode(cropped, "PNG")).details["grid"]
    assert found["phase"] == [-left % 8, -top % 8]


def test_no_grid_without_compression() -> None:
    for seed in range(5):
        assert check(encode(scene(seed), "PNG")).details["grid"]["phase"] is None


def test_an_earlier_save_of_the_whole_is_named_and_points_nowhere() -> None:
    found = check(encode(saved(scene(2), 60), "JPEG", quality=90))
    assert found.details["ghost"]["earlier_quality"] == 60
    assert found.outcome == Outcome.NEUTRAL


@pytest.mark.parametrize("quality", [60, 75, 90])
def test_saved_once_shows_no_ghost(quality: int) -> None:
    for seed in range(3):
        found = check(encode(scene(seed), "JPEG", quality=quality))
        assert found.details["ghost"]["earlier_quality"] is None
        assert found.details["ghost"]["local"] is None


def test_a_pasted_region_with_another_history_is_found() -> None:
    picture = paste(scene(3), saved(scene(4), 50))
    found = check(encode(picture, "JPEG", quality=92))
    local = found.details["ghost"]["local"]
    assert found.outcome == Outcome.SUPPORTS_FAKE
    assert local["quality"] == 50
    assert np.abs(np.array(local["box"]) - [96, 96, 224, 224]).max() <= 32


def test_a_region_pasted_from_an_uncompressed_picture_is_missed() -> None:
    assert check(encode(paste(scene(3), scene(4)), "JPEG", quality=92)).outcome == Outcome.NEUTRAL


def test_orientation_does_not_move_the_grid() -> None:
    image = saved(scene(5)[:311, :301], 50)
    for turn in range(1, 9):
        exif, buffer = Pillow.Exif(), io.BytesIO()
        exif[0x0112] = turn
        Pillow.fromarray(image).save(buffer, "PNG", exif=exif)
        assert check(buffer.getvalue()).details["grid"]["phase"] == [0, 0], turn


def test_the_middle_of_a_large_picture_keeps_its_blocks() -> None:
    image = saved(np.tile(scene(6), (5, 4, 1))[:1511], 50)
    found = check(encode(image, "PNG"))
    assert found.details["grid"]["phase"] == [0, 0]


def test_blank_and_tiny_pictures_are_neutral() -> None:
    for image in (np.full((200, 200, 3), 90, np.uint8), scene(0, 64)[:20, :20], resize(scene(0, 64), 300, 300)):
        found = check(encode(image, "JPEG"))
        assert found.outcome == Outcome.NEUTRAL
        json.dumps(dict(found.details), allow_nan=False)
