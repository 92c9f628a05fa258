"""A video's tracks, their scores and intervals, and its rows in every table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from clips import count_up, move, write_clip
from conftest import draw_picture

from detector import tasks
from detector.dataset.embedded import unpack_faces
from detector.errors import DetectorError, MissingExtra
from detector.pictures import video as clips
from detector.pictures.images import encode, load
from detector.scoring.engine import Judged, score_pictures
from detector.scoring.targets import Target
from detector.scoring.video import link_boxes, opening
from detector.statistics.autocorrelation import mean_interval
from detector.types import Images, Opinion, Scores

pytest.importorskip("av", reason="the extra video is not installed")


class Brightness:
    """A detector whose score is the brightness of located faces."""

    name, size, locates = "brightness", 16, True

    def score(self, faces: Images) -> Scores:
        return faces.mean((1, 2, 3), dtype=np.float64) / 32 - 4

    def judge(self, scores: Scores) -> list[Opinion]:
        return [Opinion.LIKELY_FAKE if s > 0 else Opinion.LIKELY_REAL for s in scores]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of two people, the second one bright."""
    folder = tmp_path_factory.mktemp("two")
    table = unpack_faces(folder / "orl")
    dark, bright = load(table.path[0]) // 2, load(table.path[10]) // 2 + 125
    return write_clip(folder / "two.mp4", move([dark, bright], 40))


def judge(path: Path, frames: int = 8) -> Judged:
    ((judged,),) = score_pictures([Target(str(path))], Brightness(), opener=opening(frames))
    return judged


def test_two_faces_are_two_tracks_and_the_more_suspicious_one_decides(two: Path) -> None:
    judged = judge(two)
    row, tracks = judged.row, judged.faces
    assert (row.faces, row.width, row.height) == (2, 520, 264)
    assert [track.face for track in tracks] == [1, 2]
    first = max(tracks, key=lambda track: track.score)
    assert (row.score, row.verdict) == (first.score, first.verdict)
    assert int(first.box.split()[0]) > 260
    assert row.reason.startswith(f"track {first.face} of 2; 8 of 8 frames, 95 % interval ")
    assert row.reason.endswith(f"s, at {first.box}")


def test_a_track_has_the_mean_of_its_frames_and_its_interval(two: Path) -> None:
    judged = judge(two)
    assert len(judged.frames) == 16
    for track in judged.faces:
        members = [frame for frame in judged.frames if frame.track == track.face]
        scores = [frame.score for frame in members]
        assert [frame.time for frame in members] == sorted(frame.time for frame in members)
        assert track.score == pytest.approx(np.mean(scores))
        assert (members[0].track_low, members[0].track_high) == mean_interval(scores)
        assert members[int(np.argmax(scores))].box == track.box
    assert judge(two, 4).frames[0].track_low is None


def test_a_video_without_a_face_is_not_judged(tmp_path: Path) -> None:
    judged = judge(write_clip(tmp_path / "a.mp4", count_up(20)))
    assert (judged.row.verdict, judged.row.faces, judged.row.score) == ("not-applicable", 0, None)
    assert judged.row.reason == "no face found in 8 frames"


def test_a_broken_video_is_a_row_and_a_manifest_must_name_the_file_it_means(two: Path, tmp_path: Path) -> None:
    (tmp_path / "torn.mp4").write_bytes(two.read_bytes()[:5000])
    row = judge(tmp_path / "torn.mp4").row
    assert (row.verdict, row.score) == ("error", None)
    assert row.reason.startswith("damaged: the file is truncated")
    assert len(row.sha256) == 64


def test_boxes_are_linked_by_overlap_then_by_distance() -> None:
    left, right = (0, 0, 50, 50), (200, 0, 250, 50)
    assert link_boxes([[left, right], [right, left], [left]]) == [1, 2, 2, 1, 1]
    jump = (60, 0, 110, 50)  # no overlap, a little more than a side away; then beyond reach
    assert link_boxes([[left], [(45, 0, 95, 50)]]) == [1, 1]
    assert link_boxes([[left], [jump]]) == [1, 2]
    assert link_boxes([[left], [(0, 0, 120, 120)]]) == [1, 2]  # of another size
    assert link_boxes([[left], [], [], [left]]) == [1, 1]
    assert link_boxes([[left], [], [], [], [left]]) == [1, 2]
    assert link_boxes([[right], [left], [left]]) == [2, 1, 1]  # the track of most frames is the first
    assert link_boxes([[], []]) == []


def test_tables_have_one_row_a_video_one_a_track_and_one_a_face_in_a_frame(two: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "clip").write_bytes(two.read_bytes())  # recognised by its bytes
    (tmp_path / "in" / "a.png").write_bytes(encode(draw_picture(1)))
    out, faces, frames = (tmp_path / name for name in ("s.csv", "faces.csv", "frames.jsonl"))
    tasks.score([tmp_path / "in"], out=out, faces=faces, frames=6, frames_out=frames)
    table = pd.read_csv(out)
    assert table.path.map(lambda path: Path(path).name).tolist() == ["a.png", "clip"]
    assert table.faces[1] == 2
    assert len(pd.read_csv(faces)) == 2
    lines = [json.loads(line) for line in frames.read_text().splitlines()]
    assert len(lines) == 12
    assert {"path", "time", "box", "track", "score", "track_low", "track_high", "verdict"} <= set(lines[0])
    rows = tasks.score([two], frames=6, frames_out=tmp_path / "again.jsonl")
    assert rows.score[0] == pytest.approx(table.score[1], abs=1e-4)
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert [line["score"] for line in again] == pytest.approx([line["score"] for line in lines], abs=1e-4)


def test_options_without_a_video_and_without_the_extra_are_errors(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(encode(draw_picture(1)))
    with pytest.raises(DetectorError, match="leave out --frames: there is no video"):
        tasks.score([tmp_path / "a.png"], frames=4)
    with pytest.raises(DetectorError, match="leave out --frames-out: there is no video"):
        tasks.score([tmp_path / "a.png"], frames_out=tmp_path / "f.jsonl")
    with pytest.raises(DetectorError, match=r"frames are written as \.jsonl"):
        tasks.score([two], frames_out=tmp_path / "f.csv")
    with pytest.raises(DetectorError, match="from 1 to 64"):
        tasks.score([two], frames=65)
    monkeypatch.setattr(clips, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="install the extra `video`"):
        tasks.score([two], frames=4)
    assert judge(two).row.reason.startswith("unsupported format: it is a video; install the extra `video`")
