"""`benchmarks/hostile.py` notices crashes, timeouts and output, and resumes interrupted runs."""

from __future__ import annotations

import sys
from pathlib import Path

import crafted
import hostile
import pytest
from hostile_workers import Row, judge_all
from misbehaving import MEMORY, misbehave

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_every_behaviour_of_a_file_is_one_row(tmp_path: Path) -> None:
    names = ("good", "crash", "raise", "invalid", "hang", "sleep", "noise", "memory", "good")
    rows = list(judge_all([tmp_path / name for name in names], misbehave, 0.5, jobs=1, patience=10))
    words = ["decoded", "crash", "crash", "invalid", "hang", "hang", "decoded", "decoded", "decoded"]
    assert [row.word for row in rows] == words
    assert [bool(row.what) for row in rows] == [row.word in hostile.FAULTS for row in rows]
    assert [row.noise for row in rows] == [9 if name == "noise" else 0 for name in names]
    assert rows[7].memory > rows[8].memory + MEMORY // 2
    assert list(judge_all([], misbehave, 1)) == list(judge_all([tmp_path], misbehave, 1, end=0)) == []


def test_the_time_of_a_batch_counts_for_each_of_its_files_and_its_memory_for_all() -> None:
    seconds, memory = hostile.LIMITS["score"]
    batch = Row("together", 4, "decoded", seconds=4 * seconds, memory=memory)
    late, large = Row("late", 1, "decoded", seconds=seconds + 0.1), Row("large", 4, "decoded", memory=memory + 1)
    assert hostile.find_excess([batch, late, large], "score") == [late, large]
    *lines, summary = hostile.describe([batch, late, large], "score", 5)
    assert [line for line in lines if line.startswith("over")] == ["over a limit: 'late'", "over a limit: 'large'"]
    assert summary.startswith("score: 3 of 5 files (3 decoded): 0 crashes, 0 hangs, 0 invalid, 2 over a limit; at most")


def test_a_file_that_is_not_decoded_has_a_report_and_one_that_is_missing_has_none(tmp_path: Path) -> None:
    picture = crafted.saved((64, 64), "PNG")
    for name, data in (("whole.png", picture), ("torn.png", picture[:60]), ("text.png", b"no picture")):
        (tmp_path / name).write_bytes(data)
    words = [hostile.verify(tmp_path / name) for name in ("whole.png", "torn.png", "text.png", "absent.png")]
    assert words == ["decoded", "not decoded", "not decoded", "refused"]


def test_a_run_is_resumed_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The small sample: two crafted files, two mutants and one of a folder, scored by the shipped detector."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.png").write_text("no picture")
    sample = [("many.jpg", crafted.jpeg_of_scans(64, 120)), ("small.png", crafted.saved((64, 64), "PNG"))]
    monkeypatch.setattr(hostile, "craft", lambda: iter(sample))
    monkeypatch.setattr(hostile, "TOGETHER", ("small.png", "small.png"))
    arguments = ["hostile", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--command", "score", "--mutants", "2"]
    monkeypatch.setenv("DETECTOR_HOME", "")
    monkeypatch.setattr(sys, "argv", arguments)
    assert hostile.main() == 0
    summary = capsys.readouterr().out.splitlines()[-1]
    assert summary.startswith("score: 6 of 6 files")
    kept = tmp_path / "out" / "hostile-score.jsonl"
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join(lines[:5]) + "\n" + lines[5][:20])
    monkeypatch.setattr(sys, "argv", [*arguments, "--minutes", "0"])
    assert hostile.main() == 3
    assert len(kept.read_text().splitlines()) == 5
    monkeypatch.setattr(sys, "argv", arguments)
    assert hostile.main() == 0
    assert [line.partition(', "word')[0] for line in kept.read_text().splitlines()] == [
        line.partition(', "word')[0] for line in lines
    ]
