"""Locating and cutting out faces."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from conftest import draw_picture
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.dataset.embedded import unpack_faces
from detector.dataset.reencoding import add_crops
from detector.pictures import faces
from detector.pictures.faces import (
    DETECTION_SIDE,
    LARGE,
    LARGE_GAP,
    MARGIN,
    MIN_CONFIDENCE,
    MODEL,
    MOST_FACES,
    RELIABLE,
    Box,
    Face,
    average_blocks,
    centre_square,
    face_square,
    find_faces,
    locate_faces,
    measure_overlap,
    prepare,
    too_small,
    widen,
)
from detector.pictures.images import cut, load, resize
from detector.types import Decoded, Image


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
    reference = cv2.FaceDetectorYN.create(str(MODEL), "", (DETECTION_SIDE, DETECTION_SIDE), MIN_CONFIDENCE)
    compared = 0
    for path in unpack_faces(tmp_path).path[::40]:
        image = load(path)
        pair = np.concatenate([image, image[:, ::-1]], 1)  # two faces, wider than high
        scale = DETECTION_SIDE / max(pair.shape[:2])
        size = round(pair.shape[1] * scale), round(pair.shape[0] * scale)
        reference.setInputSize(size)
        _, found = reference.detect(np.ascontiguousarray(resize(pair, *size)[:, :, ::-1]))
        expected = sorted((tuple(round(float(v)) for v in row[:4] / scale) for row in found), key=str)
        boxes = locate_faces(pair)
        assert len(boxes) == len(expected)
        got = sorted(((x, y, right - x, bottom - y) for x, y, right, bottom in boxes), key=str)
        assert np.abs(np.array(got) - np.array(expected)).max() <= 1
        compared += len(boxes)
    assert compared >= 15


@pytest.mark.parametrize("times", [8, 9, 12])
def test_a_face_is_found_at_the_same_place_in_a_large_picture(tmp_path: Path, times: int) -> None:
    """The three sizes are not multiples of the blocks that are averaged."""
    for path in unpack_faces(tmp_path).path[::80]:
        image = load(path)
        small, large = locate_faces(image)[0], locate_faces(resize(image, 92 * times, 112 * times))[0]
        assert np.abs(np.array(large) / times - small).max() <= 2


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> list[Image]:
    """Every fiftieth embedded photograph, of eight people."""
    return [load(path) for path in unpack_faces(tmp_path_factory.mktemp("orl")).path[::50]]


def paste(portraits: list[Image], width: int, height: int, places: list[tuple[int, int, float]]) -> Image:
    """A grey picture with portraits at (left, top), each enlarged by a factor."""
    sheet = np.full((height, width, 3), 120, np.uint8)
    for portrait, (left, top, times) in zip(portraits, places, strict=False):
        part = resize(portrait, round(92 * times), round(112 * times))
        sheet[top : top + len(part), left : left + part.shape[1]] = part
    return sheet


def count_searches(image: Image, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the side and the turns of every search that `find_faces` makes."""
    searches: list[tuple[int, int]] = []

    def locate(image: Image, *, side: int = DETECTION_SIDE, turns: int = 0) -> list[Box]:
        searches.append((side, turns))
        return locate_faces(image, side=side, turns=turns)

    with monkeypatch.context() as patch:
        patch.setattr(faces, "locate_faces", locate)
        find_faces(image)
    return searches


def test_faces_come_largest_first(portraits: list[Image]) -> None:
    sheet = paste(portraits, 900, 500, [(20, 20, 1.5), (400, 20, 4.0), (200, 20, 2.0)])
    boxes = locate_faces(sheet)
    assert [left // 200 for left, *_ in boxes] == [2, 1, 0]
    assert [face.box for face in find_faces(sheet)] == boxes


@pytest.mark.parametrize(("width", "judged"), [(39, False), (40, True), (41, True)])
def test_a_face_of_less_than_40_pixels_is_not_judged(width: int, judged: bool) -> None:
    assert (too_small((100, 7, 100 + width, 200)) == "") is judged
    assert (too_small((7, 100, 200, 100 + width), turns=1) == "") is judged
    if not judged:
        assert too_small((0, 0, width, 90)) == "the face is 39 pixels wide, less than 40"


def test_a_face_of_a_reduced_picture_is_shown_in_pixels_of_its_file_and_measured_in_decoded_ones() -> None:
    decoded = Decoded(np.zeros((500, 700, 3), np.uint8), 1399, 1000)
    small, large = (0, 0, 39, 45), (300, 200, 340, 250)
    found = [Face(box, face_square(box, (500, 700)), 0, too_small(box)).in_file(decoded) for box in (small, large)]
    assert [face.box for face in found] == [(0, 0, 78, 90), (600, 400, 680, 500)]
    assert found[0].reason == "the face is 39 pixels wide, less than 40, in the picture decoded at 1/2 of its size"
    assert found[1].reason == ""


def test_the_faces_of_a_large_group_photograph_are_found_where_they_are(portraits: list[Image]) -> None:
    """The picture has 12 megapixels; its faces of about 90 pixels have 7 in the first search."""
    places = [(300 + i % 4 * 900, 400 + i // 4 * 1200, 1.3 + i / 20) for i in range(8)]
    sheet = paste(portraits, 4000, 3000, places)
    assert len(locate_faces(sheet)) < 8
    found = find_faces(sheet)
    assert len(found) == 8
    areas = [(face.box[2] - face.box[0]) * (face.box[3] - face.box[1]) for face in found]
    assert areas == sorted(areas, reverse=True)
    for face in found:
        assert not face.reason
        middle = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
        assert min(np.hypot(middle[0] - left - 69, middle[1] - top - 84) for left, top, _ in places) < 40


def test_a_large_picture_is_searched_again_only_if_no_large_face_was_found(
    portraits: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    portrait, blob = portraits[0], draw_picture(0, size=100)
    assert count_searches(portrait, monkeypatch) == [(320, 0)]
    assert count_searches(resize(portrait, 1840, 2240), monkeypatch) == [(320, 0)]
    assert count_searches(paste([portrait], 2000, 1500, [(100, 100, 5.0)]), monkeypatch) == [(320, 0)]
    assert count_searches(paste(portraits, 2000, 1500, [(100, 100, 1.5)]), monkeypatch)[:2] == [(320, 0), (800, 0)]
    assert count_searches(resize(blob, 800, 800), monkeypatch) == [(320, 0), (320, 1), (320, 3)]
    assert count_searches(resize(blob, 6000, 100), monkeypatch)[1] == (2048, 0)


def test_the_memory_of_a_finer_search_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime keeps the memory of the largest search of every shape, unless a run option releases it."""
    passed: list[str] = []
    locator = faces._locator()

    class Recorder:
        def run(self, names: object, feed: object, options: onnxruntime.RunOptions) -> object:
            try:
                passed.append(options.get_run_config_entry("memory.enable_memory_arena_shrinkage"))
            except RuntimeError:  # no such entry
                passed.append("")
            return locator.run(names, feed, options)

    monkeypatch.setattr(faces, "_locator", Recorder)
    find_faces(resize(draw_picture(0, size=100), 6000, 100))
    assert passed[:2] == ["", "cpu:0"]


def test_a_face_that_both_searches_find_is_one_and_keeps_its_box(portraits: list[Image]) -> None:
    sheet = paste(portraits[3:4], 2000, 1500, [(100, 100, 1.8)])
    assert [face.box for face in find_faces(sheet)] == locate_faces(sheet)
    assert len(locate_faces(sheet)) == len(locate_faces(sheet, side=800)) == 1
    assert locate_faces(sheet) != locate_faces(sheet, side=800)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_face_is_found_at_the_same_place_after_a_turn(portraits: list[Image], turns: int) -> None:
    for portrait in portraits[:3]:
        wide = np.pad(portrait, ((30, 10), (5, 40), (0, 0)), constant_values=90)
        lying = np.ascontiguousarray(np.rot90(wide, -turns))
        upright, box = locate_faces(wide)[0], locate_faces(lying, turns=turns)[0]
        marked = np.zeros(lying.shape[:2], bool)
        marked[max(box[1], 0) : box[3], max(box[0], 0) : box[2]] = True
        rows, columns = np.nonzero(np.rot90(marked, turns))
        around = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        inside = np.clip(upright, 0, [*wide.shape[1::-1]] * 2)
        assert np.abs(np.array(around) - inside).max() <= 3


def test_what_lies_on_its_side_is_searched_after_a_turn_and_given_upright(
    portraits: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The locator is made to find a face after one turn only; it would find half of those on their side as well."""

    def locate(image: Image, *, side: int = DETECTION_SIDE, turns: int = 0) -> list[Box]:
        return locate_faces(image, side=side, turns=turns) if turns == wanted else []

    monkeypatch.setattr(faces, "locate_faces", locate)
    for wanted in (1, 3):
        face = find_faces(np.ascontiguousarray(np.rot90(portraits[0], -wanted)))[0]
        assert face.turns == wanted
        prepared = prepare(np.ascontiguousarray(np.rot90(portraits[0], -wanted)), 64, face.crop, face.turns)
        upright = prepare(portraits[0], 64, face_square(locate_faces(portraits[0])[0], portraits[0].shape))
        assert np.abs(prepared.astype(int) - upright).mean() < 8
    wanted = 2
    assert find_faces(portraits[0]) == []


def test_a_blob_is_no_face() -> None:
    assert locate_faces(draw_picture(0, size=100)) == []


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (2, 4000), (4000, 2)])
def test_unusual_pictures_do_not_raise(shape: tuple[int, int]) -> None:
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


@given(st.integers(1, 13), st.integers(1, 12), st.integers(1, 12))
def test_means_of_blocks_are_those_that_opencv_takes(block: int, columns: int, rows: int) -> None:
    image = np.random.default_rng(block).integers(0, 256, ((rows + 1) * block - 1, (columns + 2) * block, 3), np.uint8)
    cut_out = image[:, : (columns + 1) * block - 1]  # rows that do not follow each other in memory
    whole = cut_out[: rows * block, : columns * block]
    expected = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    assert np.array_equal(average_blocks(cut_out, block), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(LARGE - 1, 3 * LARGE + 2), st.integers(0, 3))
def test_a_face_is_resized_as_pillow_does(side: int, turns: int) -> None:
    image = np.random.default_rng(side).integers(0, 256, (side + 2, side + 3, 3), np.uint8)
    face = np.ascontiguousarray(np.rot90(image[1 : side + 1, 2 : side + 2], turns))
    expected = resize(face, LARGE, LARGE, gap=LARGE_GAP)
    assert np.array_equal(prepare(image, LARGE, (2, 1, side + 2, side + 1), turns), expected)


def test_rows_without_a_face_are_left_out(tmp_path: Path) -> None:
    table = unpack_faces(tmp_path).iloc[:4].copy()
    Path(table.path.iloc[1]).write_bytes(b"not a picture")
    crops = add_crops(table)
    assert len(crops) == 3
    assert crops.crop.str.split().str.len().eq(4).all()


class _Network:
    """Stands in for the locator's network: `faces` are (stride, row, column, dx, dy, log width, log height, score)."""

    def __init__(self, found: list[tuple[int, int, int, float, float, float, float, float]]) -> None:
        self.found, self.shape = found, (0, 0)

    def run(self, names: list[str], inputs: dict[str, np.ndarray], options: object) -> list[np.ndarray]:
        rows, columns = self.shape = inputs["input"].shape[2:]
        outputs = {}
        for stride in (8, 16, 32):
            cells = (rows // stride) * (columns // stride)
            outputs |= {f"cls_{stride}": np.zeros((1, cells, 1), np.float32),
                        f"obj_{stride}": np.zeros((1, cells, 1), np.float32),
                        f"bbox_{stride}": np.zeros((1, cells, 4), np.float32)}  # fmt: skip
        for stride, row, column, *box, score in self.found:
            cell = row * (columns // stride) + column
            outputs[f"cls_{stride}"][0, cell], outputs[f"obj_{stride}"][0, cell] = score, 1
            outputs[f"bbox_{stride}"][0, cell] = box
        return [outputs[name] for name in names]


def test_boxes_are_read_from_the_outputs_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The centre of a box lies at stride * (column + dx, row + dy), its sides are stride * exp(log side)."""
    wide, tall = (8, 5, 7, 0.5, 0.25, np.log(12), np.log(6), 0.9), (16, 10, 12, 0, 0, np.log(3), np.log(5), 0.8)
    unsure, same = (32, 1, 1, 0, 0, 1, 1, 0.48), (8, 5, 8, -0.25, 0.25, np.log(12), np.log(6), 0.85)
    network = _Network([unsure, tall, same, wide])
    monkeypatch.setattr(faces, "_locator", lambda: network)
    boxes = locate_faces(np.zeros((200, 320, 3), np.uint8))
    assert network.shape == (224, 320)  # whole strides
    assert boxes == [(12, 18, 108, 66), (168, 120, 216, 200)]  # 96 x 48 before 48 x 80: by area, not by height
    assert locate_faces(np.zeros((400, 640, 3), np.uint8)) == [tuple(2 * edge for edge in box) for box in boxes]


def test_faces_are_sorted_by_area_and_not_by_width_or_height(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = {"wide": (100, 20), "tall": (20, 90), "square": (50, 50)}
    cells = {"wide": (4, 9), "tall": (7, 4), "square": (11, 15)}
    found = [(16, *cells[name], 0, 0, *np.log(np.array(sides[name]) / 16), 0.9) for name in sides]
    monkeypatch.setattr(faces, "_locator", lambda: _Network(found))
    sizes = [
        (right - left, bottom - top) for left, top, right, bottom in locate_faces(np.zeros((320, 320, 3), np.uint8))
    ]
    assert sizes == [(50, 50), (100, 20), (20, 90)]


@pytest.mark.parametrize(("width", "searches"), [(2 * RELIABLE - 1, 2), (2 * RELIABLE, 1), (2 * RELIABLE + 1, 1)])
def test_a_face_of_twice_the_reliable_width_ends_the_search(
    width: int, searches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[int] = []

    def locate(image: Image, side: int = DETECTION_SIDE, turns: int = 0) -> list[Box]:
        sides.append(side)
        return [(0, 0, 3 * width, 3 * width)]  # in pixels of a picture three times as large as the searched one

    monkeypatch.setattr(faces, "locate_faces", locate)
    find_faces(np.zeros((3 * DETECTION_SIDE, 3 * DETECTION_SIDE, 3), np.uint8))
    assert len(sides) == searches


def test_the_overlap_of_boxes_is_intersection_over_union() -> None:
    assert measure_overlap((10, 0, 30, 40), (20, 25, 50, 45)) == 150 / (800 + 600 - 150)
    assert measure_overlap((20, 25, 50, 45), (10, 0, 30, 40)) == 150 / (800 + 600 - 150)
    assert measure_overlap((0, 0, 10, 10), (0, 10, 10, 20)) == 0
    assert measure_overlap((0, 0, 10, 10), (20, 0, 30, 10)) == 0
    assert measure_overlap((0, 0, 10, 10), (0, 20, 10, 30)) == 0
    assert measure_overlap((5, 5, 5, 5), (5, 5, 5, 5)) == 0  # boxes without an area


@pytest.mark.parametrize(("turns", "expected"), [(0, (12, 18, 108, 66)), (1, (254, 12, 302, 108)),
                                                 (2, (212, 134, 308, 182)), (3, (18, 92, 66, 188))])  # fmt: skip
def test_boxes_of_a_turned_picture_lie_in_the_picture_before(
    turns: int, expected: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "_locator", lambda: _Network([(8, 5, 7, 0.5, 0.25, np.log(12), np.log(6), 0.9)]))
    assert locate_faces(np.zeros((200, 320, 3), np.uint8), turns=turns) == [expected]


def test_the_square_at_each_edge_of_the_picture() -> None:
    shape = (100, 140, 3)
    assert face_square((60, 0, 80, 20), shape, 1.5) == (55, 0, 85, 30)
    assert face_square((0, 40, 20, 60), shape, 1.5) == (0, 35, 30, 65)
    assert face_square((60, 80, 80, 100), shape, 1.5) == (55, 70, 85, 100)
    assert face_square((120, 40, 140, 60), shape, 1.5) == (110, 35, 140, 65)
    assert face_square((60, 40, 80, 60), shape, 9.0) == (20, 0, 120, 100)  # not more than the picture has


def test_the_documented_number_of_judged_faces_is_the_one_that_holds() -> None:
    method = Path(__file__).parents[2] / "docs" / "method.md"
    assert f"up to the {MOST_FACES} largest" in " ".join(method.read_text().split())


def test_a_crop_is_widened_to_at_most_three_times_its_side(monkeypatch: pytest.MonkeyPatch) -> None:
    face = draw_picture(3, size=40)
    monkeypatch.setattr(faces, "locate_faces", lambda *_, **__: [(-50, -50, 90, 90)])  # 140 wide: 2.8 times the side
    wide = widen(face)
    assert wide is not None
    expected = resize(cut(face, (-40, -40, 80, 80), mirrored=True), 40, 40)
    assert np.array_equal(wide, expected)


def test_a_square_that_is_larger_than_the_picture_lies_around_it() -> None:
    """A square of 60 in a picture 50 high and 90 wide, and the other way round."""
    assert faces._square((40, 90, 60, 110), 60, (50, 90, 3))[1] == 0
    assert faces._square((40, -90, 60, -70), 60, (50, 90, 3))[1] == -10
    assert faces._square((90, 40, 110, 60), 60, (90, 50, 3))[0] == 0
    assert faces._square((-90, 40, -70, 60), 60, (90, 50, 3))[0] == -10
