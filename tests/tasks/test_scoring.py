"""The public `score`: paths, pictures in memory, lists of them, and tables."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture
from PIL import Image as Pillow

import detector
from detector.errors import DetectorError
from detector.pictures.images import encode

COLUMNS = ["path", "sha256", "width", "height", "score", "probability", "verdict", "reason", "faces"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "p.png"
    path.write_bytes(encode(draw_picture(1, size=64)))
    return path


def test_one_picture_is_the_same_as_path_text_pillow_and_array(photo: Path) -> None:
    pixels = np.asarray(Pillow.open(photo))
    forms = [photo, str(photo), Pillow.open(photo), pixels]
    tables = [detector.score(picture) for picture in forms]
    assert all(list(table.columns) == COLUMNS and len(table) == 1 for table in tables)
    assert len({table.score[0] for table in tables}) == 1
    together = detector.score(forms)
    assert together.score.nunique() == 1
    assert together.path.tolist() == [str(photo), str(photo), "picture 3", "picture 4"]
    assert together.sha256.tolist()[2:] == ["", ""]
    assert together[["width", "height"]].to_numpy().tolist() == [[64, 64]] * 4


def test_a_pillow_picture_has_the_score_of_its_file(tmp_path: Path) -> None:
    upright = Pillow.fromarray(draw_picture(2, size=64)[:48])
    turned = upright.getexif()
    turned[0x0112] = 6
    clear = np.dstack([draw_picture(3, size=64), np.full((64, 64), 90, np.uint8)])
    files = {"turned.png": (upright, {"exif": turned}), "clear.png": (Pillow.fromarray(clear), {}),
             "grey16.png": (Pillow.fromarray(draw_picture(4)[:, :, 0].astype(np.uint16) * 200), {}),
             "cmyk.jpg": (upright.convert("CMYK"), {})}  # fmt: skip
    for name, (picture, options) in files.items():
        picture.save(tmp_path / name, **options)
        file, memory = detector.score([tmp_path / name, Pillow.open(tmp_path / name)]).itertuples()
        assert (file.width, file.height, file.score) == (memory.width, memory.height, memory.score), name


def test_a_bad_picture_gets_a_row_and_a_bad_call_is_an_error(photo: Path) -> None:
    torn = Pillow.open(io.BytesIO(photo.read_bytes()[:-400]))
    first, second, third = detector.score([photo.with_name("absent.png"), torn, photo]).itertuples()
    assert (first.verdict, second.verdict) == ("error", "error")
    assert "damaged" in second.reason
    assert third.verdict != "error"
    floating = Pillow.fromarray(np.zeros((40, 40), np.float32))
    assert detector.score(floating).reason[0].startswith("unsupported format")
    grey, wide, empty = np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)
    for wrong in ("", [photo, ""], [], grey, wide, empty, [3], b"bytes", np.zeros((2, 9, 9, 3), np.uint8)):
        with pytest.raises(DetectorError):
            detector.score(wrong)


def test_a_folder_a_table_and_a_manifest_in_memory_stand_for_their_pictures(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photo.parent
    (folder / "q.png").write_bytes(encode(draw_picture(2, size=64)))
    names = pd.DataFrame({"path": [str(folder / "q.png"), str(photo)]})
    names.to_csv(folder / "list.csv", index=False)
    assert detector.score(folder).path.map(lambda p: Path(p).name).tolist() == ["p.png", "q.png"]
    for table in (names, folder / "list.csv"):
        assert detector.score(table).path.map(lambda p: Path(p).name).tolist() == ["q.png", "p.png"]
    monkeypatch.chdir(folder)
    assert len(detector.score(".")) == 2
    with pytest.raises(DetectorError, match="no column 'path'"):
        detector.score(names.rename(columns={"path": "file"}))


def test_a_written_table_is_the_one_returned(photo: Path) -> None:
    written = detector.score([photo, photo.with_name("absent.png")], out=photo.with_name("s.csv"))
    returned = detector.score([photo, photo.with_name("absent.png")])
    assert written.score.tolist()[0] == returned.score.tolist()[0]
    assert written.verdict.tolist() == returned.verdict.tolist()
    assert photo.with_name("s.csv").is_file()
    with pytest.raises(DetectorError, match="in memory"):
        detector.score(draw_picture(1), out=photo.with_name("t.csv"))
