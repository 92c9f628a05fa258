"""A table as a folder of Parquet files: its files, shards, and files of earlier runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from bright import Bright
from conftest import draw_picture

from detector.errors import DetectorError
from detector.pictures.images import encode
from detector.scoring import tables
from detector.scoring.tables import score_to_file
from detector.scoring.targets import Target, take_shard


@pytest.fixture
def targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    monkeypatch.setattr(tables, "PART_ROWS", 4)
    for i in range(10):
        (tmp_path / f"{i}.png").write_bytes(encode(draw_picture(i, size=24)))
    return [Target(str(tmp_path / f"{i}.png")) for i in range(10)]


def test_the_parts_are_the_table(targets: list[Target], tmp_path: Path) -> None:
    out = tmp_path / "scores"
    score_to_file(targets, Bright(), tmp_path / "s.parquet", faces=tmp_path / "f.parquet")
    assert score_to_file(targets, Bright(), out, faces=tmp_path / "faces").total() == 10
    assert sorted(p.name for p in out.iterdir()) == [f"part-1-of-1-{i:05d}.parquet" for i in range(3)]
    pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(tmp_path / "s.parquet"))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "faces"), pd.read_parquet(tmp_path / "f.parquet"))


def test_shards_write_into_one_folder_and_a_shorter_run_leaves_nothing_behind(
    targets: list[Target], tmp_path: Path
) -> None:
    out = tmp_path / "scores"
    for number in (2, 1):
        score_to_file(take_shard(targets, number, 2), Bright(), out, shard=(number, 2))
    assert sorted(pd.read_parquet(out).path) == [target.path for target in targets]
    assert len(list(out.iterdir())) == 4
    score_to_file(targets[:1], Bright(), out, shard=(1, 2))
    assert len(list(out.iterdir())) == 3


def test_a_folder_of_something_else_is_refused(targets: list[Target], tmp_path: Path) -> None:
    score_to_file(targets[::2], Bright(), tmp_path / "scores", shard=(1, 2))
    for folder, shard in ((tmp_path / "scores", (1, 1)), (tmp_path / "scores", (1, 3)), (tmp_path, (1, 1))):
        with pytest.raises(DetectorError, match="name another folder"):
            score_to_file(targets, Bright(), folder, shard=shard)


def test_a_killed_run_is_resumed(targets: list[Target], tmp_path: Path) -> None:
    class Failing(Bright):
        def score(self, faces: object) -> object:  # type: ignore[override]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_to_file(targets, Failing(), tmp_path / "scores")
    assert not list((tmp_path / "scores").glob("*.parquet"))
    assert score_to_file(targets, Bright(), tmp_path / "scores").total() == 10
