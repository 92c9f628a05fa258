"""`detector generate` with weights that were trained a moment before."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import draw_picture, run_inside
from PIL import Image

from detector.generators import load_generator
from detector.generators.style import Style


def test_generate_and_mix_with_a_trained_generator(tmp_path: Path, drawn: Path) -> None:
    weights = tmp_path / "g"
    words = ["train", "generator", "style", "--manifest", drawn / "manifest.csv", "-o", weights]
    assert run_inside(*words, "--size", 32, "--pictures", 32).returncode == 0
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        done = run_inside(
            "generate", "style", "-n", 3, "--seed", 7, "-o", folder, "--weights", weights, "--truncation", 0.5,
            "--no-label",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "home").exists()
    a, b = ([p.read_bytes() for p in sorted(f.glob("*.png"))] for f in folders)
    assert len(a) == 3
    assert a == b
    table = pd.read_csv(folders[0] / "manifest.csv")
    assert table.generator.unique().tolist() == ["style"]
    assert table.group.tolist() == ["style/seed-7", "style/seed-8", "style/seed-9"]
    grid = tmp_path / "grid.png"
    done = run_inside("generate", "style", "--mix", "1-2", "5,6,7", "-o", grid, "--weights", weights)
    assert done.returncode == 0, done.stderr
    with Image.open(grid) as picture:
        assert min(picture.size) > 32 * 3
        assert b"trainedAlgorithmicMedia" in grid.read_bytes()
    done = run_inside("generate", "style", "-n", 1, "-o", tmp_path, "--weights", weights, "--sign-with", grid)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "private key" in done.stderr
    assert run_inside("generate", "crude", "-n", 1, "--weights", weights).returncode == 2


def test_photographs_are_drawn_again_mixed_and_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Style.project, "__kwdefaults__", {**Style.project.__kwdefaults__, "steps": 2})
    Image.fromarray(load_generator("style").sample(1, seed=0)[0]).save(tmp_path / "a.png")  # type: ignore[attr-defined]
    Image.fromarray(draw_picture(0)).save(tmp_path / "b.png")
    out = tmp_path / "out"
    done = run_inside("generate", "style", "--project", tmp_path / "a.png", tmp_path / "b.png", "-o", out,
                      "--edit", "coarse-1=1", "--edit", "fine-2=-0.5")  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "00000000.png" in done.stdout
    assert (
        f"1 faces in {out}, listed in {out / 'manifest.csv'}; beside their photographs: {out}-sheet.png" in done.stdout
    )
    assert f"left out: {tmp_path / 'b.png'}: no face was found" in done.stderr
    assert b"trainedAlgorithmicMedia" in (tmp_path / "out-sheet.png").read_bytes()
    assert b"trainedAlgorithmicMedia" in (out / "00000000.png").read_bytes()
    grid = tmp_path / "grid.png"
    done = run_inside(
        "generate", "style", "--mix", f"{out / 'codes.safetensors'},{tmp_path / 'a.png'}", "3-4", "-o", grid
    )
    assert done.returncode == 0, done.stderr
    with Image.open(grid) as picture:
        assert picture.size == (32 + 128 + 21 + 2 * 128, 32 + 128 + 3 * (21 + 2 * 128))
