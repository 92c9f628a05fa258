"""`detector score`: folders with anything in them, what it imports, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import draw_picture, png_header, run_inside

from detector.pictures.images import encode


def test_a_mixed_folder_is_scored_within_a_bound_of_memory(tmp_path: Path, cnn: Path) -> None:
    """200 photographs, a text file, a truncated JPEG, a bomb and an empty file: 204 rows, 4 errors, status 3."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for i in range(200):
        (folder / f"{i:03d}.jpg").write_bytes(encode(draw_picture(i, size=256), "JPEG"))
    (folder / "text.jpg").write_text("This is not a picture.")
    (folder / "torn.jpg").write_bytes(encode(draw_picture(1, size=256), "JPEG")[:2000])
    (folder / "bomb.png").write_bytes(png_header(20_000, 20_000))
    (folder / "empty.jpg").touch()
    code = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    out = tmp_path / "scores.csv"
    words = [sys.executable, "-m", "detector", "score", folder, "--detector", cnn, "-o", out]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert int(done.stdout) < 600 * 1024  # kB
    table = pd.read_csv(out, keep_default_na=False)
    names = ["path", "sha256", "width", "height", "score", "probability", "verdict", "reason", "faces"]
    assert table.columns.tolist() == names
    assert len(table) == 204
    assert table.path.tolist() == sorted(str(p) for p in folder.iterdir())
    bad = table[table.verdict == "error"]
    assert sorted(Path(p).name for p in bad.path) == ["bomb.png", "empty.jpg", "text.jpg", "torn.jpg"]
    assert bad.reason.str.len().min() > 10


def test_standard_input_and_the_table(drawn: Path, spectrum: Path) -> None:
    table = pd.read_csv(drawn / "manifest.csv")
    paths = [str(drawn / p) for p in table.path[:3]]
    done = run_inside("score", "-", "--detector", spectrum, stdin="\n".join(paths))
    assert done.returncode == 0, done.stderr
    assert all(p in done.stdout for p in paths)
    assert done.stderr.count("\n") == 1


def test_scoring_imports_no_torch(drawn: Path, cnn: Path, spectrum: Path) -> None:
    code = (
        f"import sys; from detector import tasks; [tasks.score([{str(drawn)!r}], detector=d) for d in sys.argv[1:]];"
        "heavy = {'torch', 'timm', 'albumentations', 'sklearn', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, cnn, spectrum], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_killed_scoring_is_resumed_to_the_same_file(tmp_path: Path, cnn: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(150):
        (tmp_path / "in" / f"{i:03d}.jpg").write_bytes(encode(draw_picture(i, size=300), "JPEG"))

    def name_words(name: str) -> list[str]:
        words = ["score", tmp_path / "in", "--detector", cnn, "-o", tmp_path / f"{name}.csv"]
        return [*map(str, words), "--faces", str(tmp_path / f"{name}-faces.csv")]

    assert run_inside(*name_words("whole")).returncode == 0
    out = tmp_path / "cut.csv"
    process = subprocess.Popen([sys.executable, "-m", "detector", *name_words("cut")])
    partial = tmp_path / ".cut.csv.partial"
    while process.poll() is None and not (partial.exists() and partial.stat().st_size > 5_000):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert partial.exists()
    assert run_inside(*name_words("cut")).returncode == 0
    for end in (".csv", "-faces.csv"):
        assert (tmp_path / f"cut{end}").read_bytes() == (tmp_path / f"whole{end}").read_bytes()
    assert not partial.exists()
