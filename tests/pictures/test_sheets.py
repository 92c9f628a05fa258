"""Sheets: where faces and names stand, and that faces keep their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from detector.errors import DetectorError
from detector.pictures import sheets
from detector.pictures.images import tile
from detector.pictures.sheets import check_sheet, draw_mixing, draw_table


def flat(*values: int, side: int = 96) -> np.ndarray:
    """Faces of one grey level each."""
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, side, side, 3), np.uint8)


def test_tiles_stand_where_they_should() -> None:
    pictures = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 4, 3), np.uint8)
    sheet = tile(pictures, 2, gap=1)
    assert sheet.shape == (3 * 4 - 1, 2 * 5 - 1, 3)
    assert (sheet[:3, :4] == 1).all()
    assert (sheet[:3, 5:] == 2).all()
    assert (sheet[8:, :4] == 5).all()
    assert (sheet[3] == 255).all()
    assert (sheet[8:, 5:] == 255).all()


def test_mixing_puts_sources_left_and_destinations_on_top() -> None:
    grid = flat(10, 11, 12, 20, 21, 22).reshape(2, 3, 96, 96, 3)
    canvas = draw_mixing(flat(1, 2), flat(3, 4, 5), {"coarse": grid, "fine": grid + 100})[..., 0]
    margin, gap, half = 24, 16, 48  # pixels: names, space between blocks, middle of a face
    columns = [margin + half, *(margin + 96 + gap + i * 96 + half for i in range(3))]
    rows = [margin + half, *(margin + 96 + gap + i * 96 + half for i in range(2)),
            *(margin + 96 + 2 * gap + (2 + i) * 96 + half for i in range(2))]  # fmt: skip
    assert canvas[np.ix_(rows, columns)].tolist() == [
        [255, 3, 4, 5], [1, 10, 11, 12], [2, 20, 21, 22], [1, 110, 111, 112], [2, 120, 121, 122],
    ]  # fmt: skip
    dark = canvas < 128
    assert dark[:margin, margin + 96 + gap :].any()  # the name of the columns
    assert dark[margin + 96 + gap : margin + 96 + gap + 192, :margin].any()  # the name of the first block
    assert not dark[margin : margin + 96, :margin].any()


def test_faces_keep_their_pixels_and_small_ones_are_repeated() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (2, 3, 100, 100, 3), np.uint8)
    sheet = draw_table(faces, ["a", "b", "c"], ["d", "e"])
    margin = 2 * (100 // 8)
    for i, j in np.ndindex(2, 3):
        top, left = margin + i * 102, margin + j * 102
        assert np.array_equal(sheet[top : top + 100, left : left + 100], faces[i, j])
    small = draw_table(faces[:1, :1, :40, :40], ["a"])  # 40 pixels become 120, above the margin of 30
    assert small.shape == (150, 120, 3)
    assert np.array_equal(small[30::3, ::3], faces[0, 0, :40, :40])


def test_a_name_that_does_not_fit_is_made_smaller() -> None:
    sheet = draw_table(flat(0, side=128)[None], ["coarse styles of the source"])
    dark = np.flatnonzero((sheet[:32] < 200).any((0, 2)))
    assert 0 < dark.min() < dark.max() < 127


def test_a_sheet_that_nothing_here_could_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_sheet(6, 7, 1024)
    with pytest.raises(DetectorError, match="7 x 7 faces of 1024 pixels are 51 megapixels, more than the 50"):
        check_sheet(7, 7, 1024)
    monkeypatch.setattr(sheets, "MAX_PIXELS", 4 * 96 * 96)
    with pytest.raises(DetectorError, match="name fewer faces"):
        draw_mixing(flat(1), flat(2), {"coarse": flat(3)[None], "fine": flat(4)[None], "middle": flat(5)[None]})
