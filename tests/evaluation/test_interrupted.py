"""A killed and repeated evaluation writes the same files as an uninterrupted one, to the byte."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from conftest import make_manifest, run_inside

from detector.evaluation.suites import SHIPPED

MOMENTS = ("scores/.spectrum.csv.partial", "aligned/*.jpg", "*.png")


def start(words: list[object], folder: Path) -> subprocess.Popen[bytes]:
    """Start a command in a folder."""
    return subprocess.Popen([sys.executable, "-m", "detector", *map(str, words)], cwd=folder,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


def kill_when(process: subprocess.Popen[bytes], out: Path, pattern: str) -> bool:
    """Kill a process as soon as a new file appears; return whether the process was still running."""
    before = set(out.rglob("*"))
    while process.poll() is None:
        if set(out.glob(pattern)) - before:
            process.kill()
            process.wait()
            return True
        time.sleep(0.002)
    return False


def test_a_killed_and_repeated_evaluation_is_the_same_to_the_byte(tmp_path: Path) -> None:
    make_manifest(tmp_path, n=30)
    words = ["evaluate", tmp_path / "manifest.csv", "--detector", SHIPPED / "spectrum", "-o", "out"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    assert run_inside(*words, cwd=whole).returncode == 0
    killed = 0
    for moment in MOMENTS:
        process = start(words, broken)
        killed += kill_when(process, broken / "out", moment)
        for name in (".report", "scores/.spectrum", "aligned/.picture"):  # as a process of that number leaves them
            left = broken / "out" / f"{name}.{process.pid}.tmp.csv"
            left.parent.mkdir(parents=True, exist_ok=True)
            left.write_text("half a")
    assert killed >= 2
    assert run_inside(*words, cwd=broken).returncode == 0
    files = {path.relative_to(whole): path for path in whole.rglob("*") if path.is_file()}
    assert files.keys() == {path.relative_to(broken) for path in broken.rglob("*") if path.is_file()}
    for name, path in files.items():
        assert (broken / name).read_bytes() == path.read_bytes(), name
    assert {"report.json", "scores/spectrum.csv", "scores/spectrum-aligned.csv"} <= {
        str(name.relative_to("out")) for name in files
    }
