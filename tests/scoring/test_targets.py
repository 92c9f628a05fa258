"""Targets from files, folders, tables, tars and lists."""

from __future__ import annotations

import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from bright import Bright
from conftest import draw_picture

from detector.dataset.listing import LeftOut
from detector.errors import DetectorError, UnreadableFile
from detector.pictures.images import encode, read
from detector.scoring.engine import score_pictures
from detector.scoring.tables import score_to_file
from detector.scoring.targets import Target, expand, list_targets, take_shard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).write_bytes(encode(draw_picture(1, size=12)))
    return tmp_path


@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.jsonl"])
def test_a_table_of_paths_needs_nothing_else(name: str, folder: Path) -> None:
    text = {"list.csv": "path\nin/a.png\ngone.png\n", "list.tsv": "image\tn\nin/a.png\t1\ngone.png\t2\n",
            "list.jsonl": '{"file_name": "in/a.png"}\n{"file_name": "gone.png"}\n'}[name]  # fmt: skip
    (folder / name).write_text(text)
    assert [t.path for t in expand([str(folder / name)])] == [str(folder / "in/a.png"), str(folder / "gone.png")]


def test_a_table_without_paths_is_an_error_that_lists_its_columns(folder: Path) -> None:
    (folder / "t.csv").write_text("where,what\nin/a.png,x\n")
    with pytest.raises(DetectorError, match=r"no column 'path' \(it has where, what\).*--column path="):
        expand([str(folder / "t.csv")])
    assert len(expand([str(folder / "t.csv")], columns={"path": "where"})) == 1


def test_inputs_without_any_picture_are_an_error(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "empty" / "a.svg").touch()
    with pytest.raises(DetectorError, match=r"there is no picture among the inputs: 1 left out: 1 \.svg"):
        expand([str(folder / "empty")])
    with pytest.raises(DetectorError, match="no picture"):
        expand(["-"], lines=[])
    with pytest.raises(DetectorError, match="an empty path is not a picture"):
        expand(["", str(folder / "in")])
    left_out = LeftOut()
    targets = expand([str(folder / "empty"), str(folder / "in")], left_out=left_out)
    assert [Path(t.path).name for t in targets] == ["empty", "a.png", "b.png"]
    assert left_out.types == {".svg": 1}


def test_names_that_no_file_can_have_stay_as_targets() -> None:
    names = ["nul\0.png", "x" * 300, "y/" * 1200]
    assert [t.path for t in expand(names)] == names


def test_only_regular_files_are_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    os.symlink(folder / "self.png", folder / "self.png")
    for name, words in (("pipe.png", "not a regular file"), ("in", "a folder"), ("self.png", "symbolic links"),
                        ("a\0b", "null"), ("z" * 300, "too long")):  # fmt: skip
        with pytest.raises(UnreadableFile, match=words):
            read(folder / name)
    with pytest.raises(UnreadableFile, match="not a regular file"):
        read("/dev/zero")


def test_shards_divide_the_pictures_and_lose_none() -> None:
    targets = [Target(str(i)) for i in range(7)]
    shards = [take_shard(targets, number, 3) for number in (1, 2, 3)]
    assert sorted(t.path for shard in shards for t in shard) == [t.path for t in targets]
    assert [len(shard) for shard in shards] == [3, 2, 2]
    assert take_shard(targets, 1, 1) == targets
    for number, count, why in ((0, 2, "no shard 0/2"), (3, 2, "no shard 3/2"), (8, 8, "is empty")):
        with pytest.raises(DetectorError, match=why):
            take_shard(targets, number, count)


def test_a_tar_stands_for_its_pictures_which_are_scored_as_files_are(tmp_path: Path) -> None:
    names = [tmp_path / f"{i}.png" for i in range(3)]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for i, path in enumerate(names):
            path.write_bytes(encode(draw_picture(i, size=24)))
            archive.add(path, path.name)
    inside = expand([str(tmp_path / "a.tar")], archives=True)
    assert [target.path for target in inside] == [f"{tmp_path / 'a.tar'}/{path.name}" for path in names]
    for span, file in zip(inside, names, strict=True):
        one, other = (judged.row for (judged,) in score_pictures([span, Target(str(file))], Bright()))
        assert replace(one, path=other.path) == other
    score_to_file(inside, Bright(), tmp_path / "s.csv")
    assert "error" not in (tmp_path / "s.csv").read_text()


def test_targets_of_a_table_are_created_when_they_are_accessed(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["a.png", "/b.png"], "crop": ["1 2 3 4", ""], "sha256": ["0" * 64, "1" * 64]})
    listed = list_targets(table, checked=True, root="/r")
    assert list(listed) == [Target("/r/a.png", (1, 2, 3, 4), "0" * 64), Target("/b.png", None, "1" * 64)]
    assert list(listed[1:]) == [listed[1]]
    assert listed[-1] == listed[1]
    with pytest.raises(IndexError):
        listed[2]
