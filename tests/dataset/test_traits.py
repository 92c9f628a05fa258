"""What is measured of a picture besides its face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from detector.dataset.traits import measure_traits
from detector.pictures.images import encode
from detector.types import Image


def grain(seed: int = 0, size: int = 64) -> Image:
    return np.random.default_rng(seed).integers(90, 160, (size, size, 3), np.uint8)


def traits_of(folder: Path, *images: Image, crop: str = "") -> pd.DataFrame:
    paths = [folder / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(encode(image))
    return measure_traits(pd.DataFrame({"path": [str(p) for p in paths], "crop": crop})).table


def test_wedges_are_black_corners_and_not_pupils(tmp_path: Path) -> None:
    pupil, corner, both = grain(), grain(), grain()
    pupil[20:36, 20:36] = 0
    corner[:16, :16] = 3
    both[20:36, 20:36], both[-8:, -32:] = 0, 0
    wedge = traits_of(tmp_path, grain(), pupil, corner, both).wedge
    assert list(wedge) == [0, 0, 16 * 16 / 4096, 8 * 32 / 4096]


def test_what_a_crop_reaches_beyond_the_picture_is_a_wedge(tmp_path: Path) -> None:
    assert traits_of(tmp_path, grain(), crop="32 0 96 64").wedge[0] == 0.5
    assert traits_of(tmp_path, grain(), crop="8 8 40 40").wedge[0] == 0


def test_borders_colour_and_sharpness(tmp_path: Path) -> None:
    framed = grain()
    framed[[0, -1]], framed[:, [0, -1]] = 255, 255
    soft = ((grain().astype(int) + np.roll(grain(), 1, 0) + np.roll(grain(), 1, 1)) // 3).astype(np.uint8)
    red = np.full((64, 64, 3), (200, 50, 50), np.uint8)
    traits = traits_of(tmp_path, grain(), framed, soft, red)
    assert traits.flat_border[0] < 0.1
    assert traits.flat_border[1] == 1
    assert traits.border_light[1] > 100
    assert traits.fine[2] < traits.fine[0] - 0.5
    assert list(traits.loc[3, ["red", "green", "blue", "saturation", "spread"]]) == [200, 50, 50, 150, 0]


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 40), (9, 200)])
def test_tiny_and_narrow_pictures_have_every_trait(tmp_path: Path, shape: tuple[int, int]) -> None:
    traits = traits_of(tmp_path, np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8))
    assert np.isfinite(traits.select_dtypes(np.number)).all(axis=None)


def test_unreadable_pictures_have_no_format_and_blank_ones_no_hash(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "blank.png").write_bytes(encode(np.zeros((64, 64, 3), np.uint8)))
    (tmp_path / "good.png").write_bytes(encode(grain()))
    names = ["bad.png", "blank.png", "good.png", "none.png"]
    traits = measure_traits(pd.DataFrame({"path": [str(tmp_path / name) for name in names]}))
    assert list(traits.table.format) == ["", "PNG", "PNG", ""]
    assert list(traits.hashes.any(1)) == [False, False, True, False]
