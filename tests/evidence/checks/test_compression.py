from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from profiles import P3

from detector.evidence.checks import compression, make_exhibit
from detector.pictures.faces import locate_faces
from detector.pictures.images import decode, decode_picture, encode, load, resize
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


def test_an_earlier_save_of_the_whole_is_named_and_neutral() -> None:
    found = check(encode(saved(scene(2), 60), "JPEG", quality=90))
    assert found.details["ghost"]["earlier_quality"] == 60
    assert found.outcome == Outcome.NEUTRAL


@pytest.mark.parametrize("quality", [60, 75, 90])
def test_saved_once_shows_no_ghost(quality: int) -> None:
    for seed in range(3):
        found = check(encode(scene(seed), "JPEG", quality=quality))
        assert found.details["ghost"]["earlier_quality"] is None
        assert found.details["ghost"]["local"] is None


def face_at(monkeypatch: pytest.MonkeyPatch, *boxes: tuple[int, int, int, int]) -> None:
    """No picture of a person lies here: the faces are where the test says."""
    monkeypatch.setattr(compression, "locate_faces", lambda image: list(boxes))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_region_with_another_history_is_found_and_neutral(kind: str) -> None:
    found = check(encode(paste(scene(3), saved(scene(4), 50)), kind, quality=92))
    local = found.details["ghost"]["local"]
    assert (local["quality"], local["face"]) == (50, None)
    assert np.abs(np.array(local["box"]) - [96, 96, 224, 224]).max() <= 32
    assert found.outcome == Outcome.NEUTRAL
    assert "as in screenshots, collages" in found.summary
    json.dumps(dict(found.details), allow_nan=False)


@pytest.mark.parametrize(
    ("box", "alone"),
    [
        ((96, 96, 224, 224), True),  # the region is the face
        ((90, 100, 230, 220), True),
        ((100, 80, 240, 240), True),
        ((128, 128, 192, 192), False),  # it is the photograph around the face, as in a collage or a screenshot
        ((140, 110, 200, 190), False),
        ((16, 16, 80, 80), False),  # it is a sticker beside the face
        ((32, 32, 288, 288), False),  # it is a sticker on the face
        ((0, 0, 320, 320), False),  # nothing but the face is there
    ],
)
def test_only_a_face_whose_surroundings_lack_its_history_points_to_fake(
    box: tuple[int, int, int, int], alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(paste(scene(3), saved(scene(4), 50)), "JPEG", quality=92)
    face_at(monkeypatch, (0, 0, 10, 10), box)
    found = check(data)
    assert (found.outcome == Outcome.SUPPORTS_FAKE) == alone
    assert found.details["ghost"]["local"]["face"] == (list(box) if alone else None)
    assert ("a face was saved" in found.summary) == alone


def test_each_condition_on_a_face_with_its_own_history() -> None:
    """Blocks of 16 pixels: the face covers 10 x 10 of 40 x 40."""
    face, textured = (240, 240, 400, 400), np.ones((40, 40), bool)
    hit = np.zeros((40, 40), bool)
    hit[15:25, 15:25] = True
    assert compression.is_face_alone(hit, textured, face)
    elsewhere, partly, bare = hit.copy(), hit.copy(), textured.copy()
    elsewhere[0:4, 0:4] = True  # the ghost goes on far away
    assert not compression.is_face_alone(elsewhere, textured, face)
    partly[17:] = False  # it covers a fifth of the face
    assert not compression.is_face_alone(partly, textured, face)
    bare[:14] = bare[26:] = bare[:, :12] = bare[:, 28:] = False  # few blocks around could show it, and some do
    around = hit.copy()
    around[18:22, 26] = True
    assert not compression.is_face_alone(around, bare, face)
    assert compression.is_face_alone(hit, bare, face)
    assert not compression.is_face_alone(np.zeros_like(hit), textured, face)


def test_surroundings_that_cannot_show_a_history_are_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    page = np.full((1024, 1024, 3), 245, np.uint8)
    page[600:920, 0:1000] = np.tile(scene(5), (1, 4, 1))[:, :1000]  # text, or other pictures, far away
    page[96:224, 96:224] = saved(scene(4), 50)[96:224, 96:224]
    face_at(monkeypatch, (96, 96, 224, 224))
    found = check(encode(page, "PNG"))
    assert found.details["ghost"]["local"]["quality"] == 50
    assert found.outcome == Outcome.NEUTRAL


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_face_is_searched_at_its_position_in_the_file(turn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The region lies off centre, so that a turn taken the wrong way misses it."""
    stored = paste(scene(3), saved(scene(4), 50), at=64, side=112)[:288, :320]
    exif, buffer = Pillow.Exif(), io.BytesIO()
    exif[0x0112] = turn
    Pillow.fromarray(stored).save(buffer, "PNG", exif=exif)
    marked = np.zeros((288, 320, 3), np.uint8)
    marked[64:176, 64:176] = 255
    upright = io.BytesIO()
    Pillow.fromarray(marked).save(upright, "PNG", exif=exif)
    rows, columns = np.nonzero(decode(upright.getvalue())[:, :, 0])
    face_at(monkeypatch, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    assert check(buffer.getvalue()).outcome == Outcome.SUPPORTS_FAKE


def test_photographs_with_pasted_faces_and_on_pages(shared: Path) -> None:
    """A face from a JPEG pasted over itself is found; the whole portrait on a page, or beside another, accuses none."""
    paths = sorted((shared / "faces/real/civil-service-512").glob("*.jpg"))[::80][:3]
    pictures = [resize(load(path), 384, 384) for path in paths]  # their own history is gone
    found = []
    for picture, other in zip(pictures, pictures[1:] + pictures[:1], strict=True):
        left, top, right, bottom = locate_faces(picture)[0]
        again, pasted = saved(picture, 60), picture.copy()
        pasted[top:bottom, left:right] = again[top:bottom, left:right]
        found.append(check(encode(pasted, "JPEG", quality=93)).outcome)
        page = np.full((512, 900, 3), 245, np.uint8)
        page[16:400:12, 20:440] = 30  # lines
        page[64:448, 464:848] = again
        assert check(encode(page, "PNG")).outcome == Outcome.NEUTRAL
        assert check(encode(np.hstack([other, again]), "JPEG", quality=93)).outcome == Outcome.NEUTRAL
    assert found.count(Outcome.SUPPORTS_FAKE) >= 2


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
