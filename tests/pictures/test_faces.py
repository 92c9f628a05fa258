"""Locating and cutting out faces."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import draw_picture
from hypothesis import given
from hypothesis import strategies as st

from detector.dataset.embedded import unpack_faces
from detector.dataset.reencoding import add_crops
from detector.pictures.faces import LOOK, MARGIN, MODEL, SURE, centre_square, face_square, locate_faces, prepare, widen
from detector.pictures.images import load, resize


def test_every_tenth_embedded_photograph_has_its_face_in_the_middle(tmp_path: Path) -> None:
    found = 0
    for path in unpack_faces(tmp_path).path[::10]:
        image = load(path)
        boxes = locate_faces(image)
        found += len(boxes) > 0
        for left, top, right, bottom in boxes[:1]:
            assert abs((left + right) / 2 - 46) < 20
            assert abs((top + bottom) / 2 - 56) < 25
    assert found >= 38  # of 40


def test_boxes_are_those_that_opencv_reads_off_the_same_network(tmp_path: Path) -> None:
    theirs = cv2.FaceDetectorYN.create(str(MODEL), "", (LOOK, LOOK), SURE)
    compared = 0
    for path in unpack_faces(tmp_path).path[::40]:
        image = load(path)
        pair = np.concatenate([image, image[:, ::-1]], 1)  # two faces, wider than high
        scale = LOOK / max(pair.shape[:2])
        size = round(pair.shape[1] * scale), round(pair.shape[0] * scale)
        theirs.setInputSize(size)
        _, found = theirs.detect(np.ascontiguousarray(resize(pair, *size)[:, :, ::-1]))
        expected = sorted((tuple(round(float(v)) for v in row[:4] / scale) for row in found), key=str)
        boxes = locate_faces(pair)
        assert len(boxes) == len(expected)
        got = sorted(((x, y, right - x, bottom - y) for x, y, right, bottom in boxes), key=str)
        assert np.abs(np.array(got) - np.array(expected)).max() <= 1
        compared += len(boxes)
    assert compared >= 15


@pytest.mark.parametrize("times", [8, 9, 12])
def test_a_face_is_found_at_the_same_place_in_a_large_picture(tmp_path: Path, times: int) -> None:
    """Three sizes, of which the means of whole blocks leave edges over."""
    for path in unpack_faces(tmp_path).path[::80]:
        image = load(path)
        small, large = locate_faces(image)[0], locate_faces(resize(image, 92 * times, 112 * times))[0]
        assert np.abs(np.array(large) / times - small).max() <= 2


def test_a_blob_is_no_face() -> None:
    assert locate_faces(draw_picture(0, size=100)) == []


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (2, 4000), (4000, 2)])
def test_odd_pictures_do_not_raise(shape: tuple[int, int]) -> None:
    assert locate_faces(np.zeros((*shape, 3), np.uint8)) == []


@given(st.integers(-50, 500), st.integers(-50, 500), st.integers(1, 300), st.integers(1, 300))
def test_the_square_is_square_and_lies_in_the_picture(left: int, top: int, width: int, height: int) -> None:
    x0, y0, x1, y1 = face_square((left, top, left + width, top + height), (200, 300, 3), 1.5)
    assert 0 < x1 - x0 == y1 - y0 <= 200
    assert x0 >= 0 <= y0
    assert x1 <= 300
    assert y1 <= 200


def test_a_face_that_was_cut_tightly_is_widened_to_the_scale_of_others(tmp_path: Path) -> None:
    """The embedded photographs are tight; with a border of grey around them there is enough."""
    scales = []
    for path in unpack_faces(tmp_path).path[::40]:
        face = prepare(load(path), 96)
        wide = widen(face)
        assert wide is not None
        assert wide.shape == face.shape
        box = locate_faces(wide)[0]
        scales.append(max(box[2] - box[0], box[3] - box[1]) * MARGIN / 96)
        assert widen(np.pad(face, ((48, 48), (48, 48), (0, 0)), constant_values=128)) is None
    assert np.abs(np.array(scales) - 1).max() < 0.25  # the locator wobbles
    assert np.abs(np.array(scales) - 1).mean() < 0.12
    assert widen(np.zeros((64, 64, 3), np.uint8)) is None


def test_the_square_holds_a_box_for_which_there_is_room() -> None:
    assert face_square((40, 60, 60, 80), (200, 200, 3), 1.5) == (35, 55, 65, 85)
    assert face_square((0, 60, 20, 80), (200, 200, 3), 1.5) == (0, 55, 30, 85)


@given(st.integers(10, 60), st.integers(10, 60))
def test_a_face_that_was_cut_out_before_is_taken_whole(width: int, height: int) -> None:
    x0, y0, x1, y1 = face_square((90, 80, 90 + width, 80 + height), (200, 300, 3))
    inside = (90 - x0, 80 - y0, 90 - x0 + width, 80 - y0 + height)
    assert face_square(inside, (y1 - y0, x1 - x0, 3)) == (0, 0, x1 - x0, y1 - y0)


def test_prepare_cuts_the_middle_by_default() -> None:
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 200
    assert centre_square(image) == (10, 0, 20, 10)
    assert (prepare(image, 8) == 200).all()


def test_rows_without_a_face_are_left_out(tmp_path: Path) -> None:
    table = unpack_faces(tmp_path).iloc[:4].copy()
    Path(table.path.iloc[1]).write_bytes(b"not a picture")
    crops = add_crops(table)
    assert len(crops) == 3
    assert crops.crop.str.split().str.len().eq(4).all()
