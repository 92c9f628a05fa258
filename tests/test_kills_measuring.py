"""A small sample of `benchmarks/kills_measuring.py`: killed and repeated verifying; `cli/test_scoring.py` scores."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import kills
import pytest
from kills_measuring import COMMANDS, compare_bytes, compare_cases, copy_faces

from detector import tasks

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends a signal")


def test_a_killed_case_ends_as_the_uninterrupted_one() -> None:
    fewer = replace(COMMANDS["verify"], prepare=lambda data: copy_faces(data, 2))
    _, wrong = kills.run(fewer, 1)
    assert wrong == []


def test_another_table_and_an_exhibit_that_was_received_twice_are_differences(tmp_path: Path) -> None:
    copy_faces(tmp_path, 1)
    tasks.verify(tmp_path / "in", tmp_path / "whole" / kills.OUT)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for name in ("whole", "cut"):
        (tmp_path / name / kills.OUT / "scores.csv").write_text(name)
    assert compare_bytes(tmp_path / "whole", tmp_path / "cut")[-1] == "scores.csv differs"
    assert compare_cases(tmp_path / "whole", tmp_path / "cut") == []
    tasks.verify(tmp_path / "in", tmp_path / "cut" / kills.OUT, case="another")
    assert "other events in the custody log" in compare_cases(tmp_path / "whole", tmp_path / "cut")
