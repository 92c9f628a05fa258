"""`detector train` after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import run_inside


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_killed_training_is_resumed(tmp_path: Path, drawn: Path) -> None:
    words = ["train", "detector", "cnn", "--manifest", drawn / "manifest.csv", "--size", 48, "--backbone", "resnet10t",
             "--epochs", 3]  # fmt: skip
    out = tmp_path / "cut"
    process = subprocess.Popen([sys.executable, "-m", "detector", *map(str, words), "-o", str(out)])
    while process.poll() is None and not (out / "resume.safetensors").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "card.json").exists()
    for folder in (out, tmp_path / "whole"):
        done = run_inside(*words, "-o", folder)
        assert done.returncode == 0, done.stderr
        assert not list(folder.glob(".*"))
    histories = [(f / "history.json").read_text() for f in (out, tmp_path / "whole")]
    assert histories[0] == histories[1]
