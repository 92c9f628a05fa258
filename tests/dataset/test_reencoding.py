"""Every picture is decoded, cropped, resized and encoded in the same way."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture, make_manifest
from PIL import Image as Pillow

from detector.dataset import reencoding
from detector.dataset.reencoding import reencode
from detector.errors import ManifestError
from detector.files import sha256
from detector.pictures.faces import load_square
from detector.pictures.images import encode, load, resize


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return make_manifest(tmp_path / "old", n=8, size=40)


@pytest.mark.parametrize(("format", "size"), [("JPEG", 24), ("PNG", 40), ("WEBP", 33), ("PNG", None)])
def test_every_copy_has_the_same_shape_and_container(
    table: pd.DataFrame, tmp_path: Path, format: str, size: int
) -> None:
    made = reencode(table.assign(mood="calm"), tmp_path / "new", size=size, format=format)
    assert list(made.generator) == list(table.generator)
    assert list(made.group) == list(table.group)
    assert set(made.mood) == {"calm"}
    for path, digest in zip(made.path, made.sha256, strict=True):
        data = Path(path).read_bytes()
        assert sha256(data) == digest
        with Pillow.open(io.BytesIO(data)) as picture:
            assert (picture.format, picture.size) == (format, (size or 40, size or 40))


def test_pixels_are_cut_then_resized_by_the_one_filter(table: pd.DataFrame, tmp_path: Path) -> None:
    crop = ["4 6 24 26"] + [""] * (len(table) - 1)
    made = reencode(table.assign(crop=crop), tmp_path / "new", size=16, format="PNG")
    assert "crop" not in made
    first, second = (load(p) for p in table.path[:2])
    assert np.array_equal(load(made.path[0]), resize(np.ascontiguousarray(first[6:26, 4:24]), 16, 16))
    assert np.array_equal(load(made.path[1]), resize(second, 16, 16))


def test_the_side_of_the_crop_is_recorded(table: pd.DataFrame, tmp_path: Path) -> None:
    crop = ["4 6 24 26"] + [""] * (len(table) - 1)
    made = reencode(table.assign(crop=crop), tmp_path / "new", size=30)
    assert list(made.side) == [20] + [40] * (len(table) - 1)
    assert list(reencode(made, tmp_path / "newer", size=36).side) == [20] + [30] * (len(table) - 1)  # never finer


def test_a_side_may_be_missing_and_any_further_column_passes_through(table: pd.DataFrame, tmp_path: Path) -> None:
    sides = ["30", "", *["90"] * (len(table) - 2)]
    made = reencode(table.assign(side=sides, old="young", reason="none given"), tmp_path / "new", size=24)
    assert made.side.tolist()[:3] == [30, 40, 40]
    assert (set(made.old), set(made.reason)) == ({"young"}, {"none given"})
    again = reencode(table.assign(side=[np.nan, *[20] * (len(table) - 1)]), tmp_path / "new", size=24)
    assert again.side.tolist()[:2] == [40, 20]


def test_two_faces_in_one_picture_are_two_copies(table: pd.DataFrame, tmp_path: Path) -> None:
    twice = pd.concat([table.head(1).assign(crop="0 0 20 20"), table.head(1).assign(crop="20 20 40 40"), table.tail(8)])
    made = reencode(twice, tmp_path / "new", size=16)
    assert len(made) == len(set(made.path)) == len(set(made.sha256)) == 10


def test_a_second_run_decodes_nothing_and_gives_the_same_table(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int, int]] = []
    made = reencode(table, tmp_path / "new", size=24, progress=lambda *step: steps.append(step))
    assert steps == [("re-encoding", i + 1, 16) for i in range(16)]
    lost = Path(made.path[3])
    lost.unlink()
    decoded: list[str] = []
    monkeypatch.setattr(
        reencoding, "load_square", lambda path, crop: (decoded.append(path), load_square(path, crop))[1]
    )
    again = reencode(table, tmp_path / "new", size=24)
    pd.testing.assert_frame_equal(made, again)
    assert decoded == [table.path[3]]
    assert set(reencode(table, tmp_path / "new", size=24, quality=60).path).isdisjoint(made.path)


def test_unreadable_pictures_and_twins_are_left_out_and_listed(table: pd.DataFrame, tmp_path: Path) -> None:
    Path(table.path[2]).write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    Path(table.path[5]).unlink()
    twin = tmp_path / "old" / "twin.bmp"
    data = encode(load(table.path[0]), "BMP")
    twin.write_bytes(data)
    table = pd.concat([table, table.head(1).assign(path=str(twin), sha256=sha256(data))], ignore_index=True)
    made = reencode(table, tmp_path / "new", size=24)
    assert list(made.label) == [0] * 6 + [1] * 8
    skipped = pd.read_csv(tmp_path / "new" / "skipped.csv")
    assert list(skipped.sha256) == [table.sha256[2], table.sha256[5], table.sha256[16]]
    assert [reason.split(":")[0] for reason in skipped.reason] == [
        "unsupported format", "unreadable", "its copy has the same bytes as an earlier one",
    ]  # fmt: skip
    reencode(make_manifest(tmp_path / "good", n=3), tmp_path / "new", size=24)
    assert not (tmp_path / "new" / "skipped.csv").exists()


def test_refusals(table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="re-encoded as JPEG, PNG, WEBP, not as EPS"):
        reencode(table, tmp_path / "new", size=24, format="EPS")
    fake = draw_picture(0)
    Path(table.path[0]).write_bytes(encode(fake))
    Path(table.path[15]).write_bytes(encode(fake))
    with pytest.raises(ManifestError, match="same bytes stand under two labels"):
        reencode(table, tmp_path / "new", size=24)
    shutil.rmtree(tmp_path / "old")
    with pytest.raises(ManifestError, match="not one of the 16 pictures could be read"):
        reencode(table, tmp_path / "other", size=24)
