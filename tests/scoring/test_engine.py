"""Streaming, order, errors as rows, and going on after a kill."""

from __future__ import annotations

import time
from pathlib import Path

import crafted
import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture
from PIL import Image as Pillow

from detector.dataset.manifest import read_table
from detector.errors import DetectorError
from detector.files import sha256
from detector.pictures.faces import Box
from detector.pictures.images import decode_picture, encode
from detector.scoring import engine
from detector.scoring.engine import score_pictures
from detector.scoring.tables import COLUMNS, score_to_file
from detector.scoring.targets import Target, expand
from detector.types import Decoded, Image, Images, Opinion, Scores


class Brightness:
    """Five lines of detector: the brighter, the more fake."""

    name, size = "brightness", 16

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls, self.fail_at = 0, fail_at

    def score(self, faces: Images) -> Scores:
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        return faces.mean((1, 2, 3), dtype=np.float64) / 32 - 4

    def judge(self, scores: Scores) -> list[Opinion]:
        return [Opinion.LIKELY_FAKE if s > 0 else Opinion.LIKELY_REAL for s in scores]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Target]:
    targets = []
    for i in range(150):
        path = tmp_path / "in" / f"{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no picture" if i % 50 == 7 else encode(draw_picture(i, size=24)))
        targets.append(Target(str(path)))
    return targets


def test_rows_come_in_order_with_errors_in_place(pictures: list[Target]) -> None:
    rows = list(score_pictures(pictures, Brightness(), batch=16))
    assert [r.path for r in rows] == [t.path for t in pictures]
    bad = [r for r in rows if r.verdict == "error"]
    assert [Path(r.path).stem for r in bad] == ["007", "057", "107"]
    assert all(r.score is None and r.reason.startswith("unsupported format: ") for r in bad)
    good = rows[0]
    assert good.sha256 == sha256(Path(good.path).read_bytes())
    assert (good.width, good.height) == (24, 24)
    assert good.score is not None
    assert good.probability == pytest.approx(1 / (1 + np.exp(-good.score)))


def test_scores_do_not_depend_on_the_batch(pictures: list[Target]) -> None:
    some = [[r.score for r in score_pictures(pictures, Brightness(), batch=b)] for b in (1, 7, 64)]
    assert some[0] == some[1] == some[2]


def test_crop_is_cut_before_scoring(pictures: list[Target]) -> None:
    path = pictures[0].path
    whole, corner = score_pictures([Target(path), Target(path, (0, 0, 4, 4))], Brightness())
    assert whole.score != corner.score


def test_nothing_in_nothing_out() -> None:
    assert list(score_pictures([], Brightness())) == []


@pytest.mark.parametrize("name", ["s.csv", "s.jsonl", "s.parquet"])
def test_every_format_holds_the_same_table(tmp_path: Path, pictures: list[Target], name: str) -> None:
    seen: list[tuple[int, int]] = []
    errors = score_to_file(pictures, Brightness(), tmp_path / name, progress=lambda i, n: seen.append((i, n)))
    table = read_table(tmp_path / name)
    assert errors == 3
    assert tuple(table.columns) == COLUMNS
    assert table.path.tolist() == [t.path for t in pictures]
    expected = [r.score for r in score_pictures(pictures, Brightness())]
    assert np.array_equal(table.score.to_numpy(float), np.array(expected, float), equal_nan=True)
    assert seen[-1] == (150, 150)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("torn", [b"", b'{"path": "half a li'])
def test_a_killed_run_goes_on_to_the_same_table(tmp_path: Path, pictures: list[Target], torn: bytes) -> None:
    out, whole = tmp_path / "s.csv", tmp_path / "whole.csv"
    score_to_file(pictures, Brightness(), whole)
    with pytest.raises(KeyboardInterrupt):
        score_to_file(pictures, Brightness(fail_at=3), out)
    partial = tmp_path / ".s.csv.partial"
    assert not out.exists()
    assert len(partial.read_text().splitlines()) == 1 + 64
    with open(partial, "ab") as file:
        file.write(torn)
    second = Brightness()
    score_to_file(pictures, second, out)
    assert second.calls == 3  # 86 pictures are left
    assert out.read_bytes() == whole.read_bytes()
    assert not partial.exists()


def test_a_kept_row_is_dropped_if_its_picture_changed(tmp_path: Path, pictures: list[Target]) -> None:
    out = tmp_path / "s.csv"
    with pytest.raises(KeyboardInterrupt):
        score_to_file(pictures, Brightness(fail_at=3), out)
    Path(pictures[10].path).write_bytes(encode(np.full((30, 30, 3), 255, np.uint8)))
    score_to_file(pictures, Brightness(), out)
    assert pd.read_csv(out).score[10] == pytest.approx(255 / 32 - 4)


@pytest.mark.parametrize(("fingerprint", "runtime"), [("two", "onnx"), ("one", "openvino")])
def test_another_detector_or_runtime_starts_afresh(
    tmp_path: Path, pictures: list[Target], fingerprint: str, runtime: str
) -> None:
    out, first, again = tmp_path / "s.csv", Brightness(fail_at=3), Brightness()
    first.runtime, again.runtime = "onnx", runtime
    with pytest.raises(KeyboardInterrupt):
        score_to_file(pictures, first, out, fingerprint="one")
    score_to_file(pictures, again, out, fingerprint=fingerprint)
    assert again.calls == 5


def test_a_detector_that_locates_does_not_judge_what_has_no_face(pictures: list[Target]) -> None:
    class Locating(Brightness):
        locates = True

    row = next(iter(score_pictures(pictures[:1], Locating())))
    assert row.score is not None
    assert (row.verdict, row.reason) == ("not-applicable", "no face found")
    given = next(iter(score_pictures([Target(pictures[0].path, (0, 0, 8, 8))], Locating())))
    assert given.verdict in ("likely-fake", "likely-real")


def test_large_pictures_are_in_memory_one_at_a_time(pictures: list[Target], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they are large by their bytes, which is known before they are read, or by their header."""
    inside, most = 0, [0]
    read, prepare = engine.read, engine.prepare

    def enter(path: str) -> bytes:
        nonlocal inside
        inside += large == "bytes"
        most.append(inside)
        time.sleep(0.005)
        return read(path)

    def decode(data: bytes) -> Decoded:
        nonlocal inside
        inside += large == "header"
        most.append(inside)
        time.sleep(0.005)
        return Decoded(np.zeros((24, 24, 3), np.uint8), 24, 24)

    def leave(image: Image, size: int, crop: Box, turns: int) -> Image:
        nonlocal inside
        inside -= 1
        return prepare(image, size, crop, turns)

    monkeypatch.setattr(engine, "read", enter)
    monkeypatch.setattr(engine, "decode_picture", decode)
    monkeypatch.setattr(engine, "prepare", leave)
    for large in ("bytes", "header"):
        monkeypatch.setattr(engine, "PLAIN_BYTES", 0 if large == "bytes" else 10**9)
        monkeypatch.setattr(engine, "is_plain", lambda data, large=large: large == "bytes")
        assert len(list(score_pictures(pictures[:20], Brightness(), threads=4))) == 20
    assert max(most) == 1


def test_a_crop_is_in_pixels_of_the_file_however_small_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.zeros((80, 120, 3), np.uint8)
    image[40:, 60:] = 255
    path = tmp_path / "large.jpg"
    path.write_bytes(encode(image, "JPEG"))
    monkeypatch.setattr(engine, "decode_picture", lambda data: decode_picture(data, max_pixels=80 * 120 // 4))
    whole, corner = score_pictures([Target(str(path)), Target(str(path), (60, 40, 120, 80))], Brightness())
    assert (whole.width, whole.height) == (120, 80)
    assert corner.score == pytest.approx(255 / 32 - 4, abs=0.1)
    assert whole.score < corner.score


def test_a_row_says_which_frame_was_looked_at(tmp_path: Path) -> None:
    frames = [Pillow.fromarray(draw_picture(seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    (row,) = score_pictures([Target(str(tmp_path / "a.webp"))], Brightness())
    assert row.reason == "only frame 1 of 3 was looked at"
    assert row.verdict in ("likely-fake", "likely-real")


def test_what_costs_too_much_is_one_row(tmp_path: Path, pictures: list[Target]) -> None:
    (tmp_path / "scans.jpg").write_bytes(crafted.jpeg_of_scans(64, 120))
    bad, good = score_pictures([Target(str(tmp_path / "scans.jpg")), pictures[0]], Brightness())
    assert (bad.verdict, bad.reason) == ("error", "too costly to decode: it has 130 scans; the cap is 100")
    assert good.score is not None


def test_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"\.csv, \.jsonl or \.parquet"):
        score_to_file([], Brightness(), tmp_path / "scores.xlsx")


def test_inputs_are_opened_in_order(tmp_path: Path, pictures: list[Target], manifest: pd.DataFrame) -> None:
    folder = str(tmp_path / "in")
    table = Path(manifest.path[0]).parent / "manifest.csv"
    targets = expand(["absent.jpg", folder, "-", str(table)], lines=["x.jpg\n", "\n", "a b.png\r\n"])
    assert [t.path for t in targets[:1]] == ["absent.jpg"]
    assert [t.path for t in targets[1:151]] == [t.path for t in pictures]
    assert [t.path for t in targets[151:153]] == ["x.jpg", "a b.png"]
    assert len(targets) == 153 + len(manifest)


def test_odd_file_names_survive(tmp_path: Path) -> None:
    path = tmp_path / 'a "b", c\nd.png'
    path.write_bytes(encode(draw_picture(0)))
    score_to_file([Target(str(path))], Brightness(), tmp_path / "s.csv")
    assert pd.read_csv(tmp_path / "s.csv").path[0] == str(path)
