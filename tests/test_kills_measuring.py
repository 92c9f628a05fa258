"""A small sample of `benchmarks/kills_measuring.py`: killed and repeated scoring and verifying."""

from __future__ import annotations

import os
from pathlib import Path

import kills
import pytest
from kills_measuring import COMMANDS, compare_bytes, compare_cases, prepare_few

from detector import tasks

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends a signal")


@pytest.mark.parametrize("name", ["score", "verify"])
def test_a_killed_command_ends_as_the_uninterrupted_one(name: str) -> None:
    _, wrong = kills.run(COMMANDS[name], 1)
    assert wrong == []


def test_another_table_and_an_exhibit_that_was_received_twice_are_differences(tmp_path: Path) -> None:
    prepare_few(tmp_path)
    for name in ("whole", "cut"):
        tasks.verify(tmp_path / "in", tmp_path / name / kills.OUT)
        (tmp_path / name / kills.OUT / "scores.csv").write_text(name)
    assert compare_bytes(tmp_path / "whole", tmp_path / "cut")[-1] == "scores.csv differs"
    assert compare_cases(tmp_path / "whole", tmp_path / "cut") == []
    tasks.verify(tmp_path / "in", tmp_path / "cut" / kills.OUT, case="another")
    assert "other events in the custody log" in compare_cases(tmp_path / "whole", tmp_path / "cut")
