"""A small sample of `benchmarks/kills_measuring.py`: killed and repeated scoring and verifying."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import kills
import pytest
from kills_measuring import COMMANDS, compare_bytes, compare_cases, copy_faces

from detector import tasks

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends a signal")


@pytest.mark.parametrize("name", ["score", "verify"])
def test_a_killed_command_ends_as_the_uninterrupted_one(name: str) -> None:
    fewer = replace(COMMANDS[name], prepare=lambda data: copy_faces(data, {"score": 80, "verify": 3}[name]))
    _, wrong = kills.run(fewer, 1)
    assert wrong == []


def test_another_table_and_an_exhibit_that_was_received_twice_are_differences(tmp_path: Path) -> None:
    copy_faces(tmp_path, 2)
    for name in ("whole", "cut"):
        tasks.verify(tmp_path / "in", tmp_path / name / kills.OUT)
        (tmp_path / name / kills.OUT / "scores.csv").write_text(name)
    assert compare_bytes(tmp_path / "whole", tmp_path / "cut")[-1] == "scores.csv differs"
    assert compare_cases(tmp_path / "whole", tmp_path / "cut") == []
    tasks.verify(tmp_path / "in", tmp_path / "cut" / kills.OUT, case="another")
    assert "other events in the custody log" in compare_cases(tmp_path / "whole", tmp_path / "cut")
