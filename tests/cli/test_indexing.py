"""`detector index`, and `detector audit` of what was indexed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from conftest import draw_picture, run_inside

from detector.pictures.images import decode, encode


def test_index_of_a_tree_and_of_another_layout(tmp_path: Path) -> None:
    for i in range(8):
        folder = tmp_path / "set" / ("real" if i % 2 else "fake/gan")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(encode(draw_picture(i, size=16)))
    done = run_inside("index", tmp_path / "set", "-o", tmp_path / "a.csv")
    assert done.returncode == 0, done.stderr
    done = run_inside("index", tmp_path / "set", "--layout", "folders", "-o", tmp_path / "b.csv")
    assert done.returncode == 0, done.stderr
    tables = [pd.read_csv(tmp_path / name, keep_default_na=False) for name in ("a.csv", "b.csv")]
    assert tables[0].label.tolist() == tables[1].label.tolist()
    assert set(tables[0].generator) == {"", "gan"}


def test_index_counts_copies_of_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for i, name in enumerate(("a.png", "b.png", "c.png")):
        (tmp_path / "set" / name).write_bytes(encode(draw_picture(i // 2, size=16)))
    done = run_inside("index", tmp_path / "set", "--label", "real", "-o", tmp_path / "a.csv")
    assert (done.returncode, len(pd.read_csv(tmp_path / "a.csv"))) == (0, 2)
    assert done.stdout.splitlines()[-1] == f"2 pictures in {tmp_path / 'a.csv'}, without 1 copy of the same bytes"


def test_audit_finds_a_planted_shortcut(tmp_path: Path) -> None:
    for name, format in (("clean", "PNG"), ("planted", "JPEG")):
        for i in range(60):
            folder = tmp_path / name / ("real" if i % 2 else "fake/gan")
            folder.mkdir(parents=True, exist_ok=True)
            picture = decode(encode(draw_picture(i, size=32), "JPEG"))  # what was never a JPEG would show even then
            data = encode(picture, "PNG" if i % 2 else format)
            (folder / f"{i}.png").write_bytes(data)
        assert run_inside("index", tmp_path / name, "-o", tmp_path / f"{name}.csv").returncode == 0
    clean, planted = (run_inside("audit", tmp_path / f"{name}.csv") for name in ("clean", "planted"))
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert planted.returncode == 1, planted.stdout + planted.stderr
    assert "file format" in planted.stdout
    fixed = run_inside("audit", tmp_path / "planted.csv", "--fix", tmp_path / "fixed", "--size", 32)
    assert fixed.returncode == 1
    assert run_inside("audit", tmp_path / "fixed" / "manifest.csv").returncode == 0
