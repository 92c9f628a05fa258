"""Tables of scores: one run at a time, complete, with any names of pictures."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture

from detector.dataset.foreign import read_table
from detector.errors import DetectorError
from detector.files import locking
from detector.pictures.images import encode
from detector.scoring import tables
from detector.scoring.tables import score_to_file
from detector.scoring.targets import Target
from detector.types import Images, Opinion, Scores

NAMES = [b"a.png", b"caf\xe9.png", b"=1+1.png", b"-2.png", b"new\nline.png", b"\xe2\x80\xaegpj.png", b" b.png"]


class Middle:
    name, size = "middle", 8

    def score(self, faces: Images) -> Scores:
        return faces.mean((1, 2, 3)) / 32 - 4.0

    def judge(self, scores: Scores) -> list[Opinion]:
        return [Opinion.LIKELY_FAKE if s > 0 else Opinion.LIKELY_REAL for s in scores]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for i, name in enumerate(NAMES):
        Path(tmp_path, os.fsdecode(name)).write_bytes(encode(draw_picture(i, size=12)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_name_has_its_row_and_leads_back_to_its_picture(ending: str, folder: Path) -> None:
    bad = ["nul\0.png", "x" * 300 + ".png", "y/" * 1200 + "y.png", "gone.png", str(folder)]
    targets = [Target(name) for name in (*map(os.fsdecode, NAMES), *bad)]
    out = folder / f"s.{ending}"
    verdicts = score_to_file(targets, Middle(), out)
    assert (verdicts["error"], verdicts.total()) == (len(bad), len(targets))
    table = read_table(out)
    assert len(table) == len(targets)
    assert table.path.tolist()[:4] == ["a.png", "caf\\xe9.png", "./=1+1.png", "./-2.png"]
    again = score_to_file([Target(path) for path in table.path[: len(NAMES)]], Middle(), folder / "again.csv")
    assert again["error"] == 0
    assert read_table(folder / "again.csv").sha256.tolist() == table.sha256.tolist()[: len(NAMES)]


def test_no_cell_of_a_csv_begins_a_formula_but_numbers(folder: Path) -> None:
    score_to_file([Target(os.fsdecode(name)) for name in NAMES], Middle(), folder / "s.csv")
    with open(folder / "s.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for cell in row.values():
                assert not cell.startswith(("=", "+", "-", "@")) or np.isfinite(float(cell))


def test_a_second_run_into_one_file_is_refused_and_the_first_keeps_its_rows(folder: Path) -> None:
    class Interrupting(Middle):
        def score(self, faces: Images) -> Scores:
            with pytest.raises(DetectorError, match=r"another run is writing .*s\.csv"):
                score_to_file([Target("a.png")], Middle(), folder / "s.csv")
            return super().score(faces)

    targets = [Target(os.fsdecode(name)) for name in NAMES]
    assert score_to_file(targets, Interrupting(), folder / "s.csv").total() == len(NAMES)
    assert len(read_table(folder / "s.csv")) == len(NAMES)
    assert score_to_file(targets[:1], Middle(), folder / "s.csv").total() == 1


def test_rows_that_went_missing_are_noticed_before_the_table_appears(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(targets: object, detector: object, partial: Path, head: object, *rest: object) -> None:
        partial.write_text(json.dumps(head) + "\n")

    monkeypatch.setattr(tables, "_score_rest", lose)
    with pytest.raises(DetectorError, match="has 0 of 1 pictures"):
        score_to_file([Target("a.png")], Middle(), folder / "s.csv")
    assert not (folder / "s.csv").exists()


def test_what_a_killed_run_left_is_cleaned_up(folder: Path) -> None:
    (folder / ".s.1234567.tmp.csv").touch()
    score_to_file([Target("a.png")], Middle(), folder / "s.csv")
    assert not list(folder.glob(".s*"))


def test_an_output_that_is_a_folder_costs_no_work(folder: Path) -> None:
    (folder / "s.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        score_to_file([Target("a.png")], Middle(), folder / "s.csv")
    assert not list(folder.glob(".s*"))


def test_a_picture_that_is_no_file_is_scored_by_its_bytes(folder: Path) -> None:
    data = Path("a.png").read_bytes()
    score_to_file([Target("a.png"), Target("standard input", data=data)], Middle(), folder / "s.csv")
    table = pd.read_csv(folder / "s.csv")
    assert table.score[0] == table.score[1]
    assert table.sha256[0] == table.sha256[1]


def test_the_lock_ends_with_the_run(folder: Path) -> None:
    score_to_file([Target("a.png")], Middle(), folder / "s.csv")
    with locking(folder / ".s.csv.partial", wait=False):
        pass
