"""A small sample of `benchmarks/kills.py`: killed and repeated commands give the same results."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import kills
import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends a signal")


@pytest.mark.parametrize(
    ("name", "long", "short"),
    [("generate", "-n 12", "-n 6"), ("train-generator", "--pictures 320", "--pictures 320 --set width=8")],
)
def test_a_killed_command_ends_as_the_uninterrupted_one(name: str, long: str, short: str) -> None:
    command = kills.COMMANDS[name]
    assert long in command.arguments
    _, wrong = kills.run(replace(command, arguments=command.arguments.replace(long, short)), 1)
    assert wrong == []


def test_a_registry_with_a_surplus_line_and_another_picture_are_differences(tmp_path: Path) -> None:
    from detector import tasks

    for name in ("whole", "cut"):
        tasks.generate("style", 2, tmp_path / name / kills.OUT, label=False)
        (tmp_path / name / "home").mkdir()
    lines = (tmp_path / "cut" / "home" / "fingerprints.jsonl").open("w")
    with lines:
        for digest in pd.read_csv(tmp_path / "cut" / kills.OUT / "manifest.csv").sha256:
            lines.write(f'{{"sha256": "{digest}", "phash": "00", "generator": "style", "seed": 0, "checkpoint": ""}}\n')
    assert kills.compare_generated(tmp_path / "whole", tmp_path / "cut") == []
    with (tmp_path / "cut" / "home" / "fingerprints.jsonl").open("a") as lines:
        lines.write('{"sha256": "ff", "phash": "00", "generator": "style", "seed": 0, "checkpoint": ""}\n')
    picture = tmp_path / "cut" / kills.OUT / "00000001.png"
    picture.write_bytes(kills.encode(np.zeros((128, 128, 3), np.uint8)))
    wrong = kills.compare_generated(tmp_path / "whole", tmp_path / "cut")
    assert wrong == ["other pixels in 00000001.png", "the fingerprint registry does not have one line per file"]
