"""The public API: fifteen functions, from making faces to a report, with nothing else imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import draw_picture, run_command
from PIL import Image

import detector

FUNCTIONS = {"index", "generate", "alter", "mix", "train", "score", "evaluate", "audit", "verify", "combine",
             "unpack_photographs", "project", "make_quiz", "mark_quiz", "make_gallery"}  # fmt: skip


def test_every_public_name_is_there_and_documented() -> None:
    assert set(detector.__all__) == FUNCTIONS | {"DetectorError", "Label"}
    for name in FUNCTIONS:
        text = getattr(detector, name).__doc__
        assert text.startswith(("Return", "Write")), name
        assert "Raises" in text, name
        assert name in detector.__doc__, name
    assert set(detector.__all__) <= set(dir(detector))
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = detector.scores


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, detector; assert not {'numpy', 'pandas', 'torch', 'PIL', 'typer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert detector.__version__ == version("face-forgery-detector")
    assert run_command("--version").stdout == f"detector {detector.__version__}\n"


def test_from_making_faces_to_a_report(tmp_path: Path) -> None:
    for i in range(40):
        path = tmp_path / "data" / "real" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_picture(i, size=64)).save(path)
    photographs = detector.index(tmp_path / "data" / "real", tmp_path / "real.csv", label=detector.Label.REAL)
    detector.alter("swap", photographs, tmp_path / "data" / "fake" / "swap", n=20, size=64, label=False)
    made = detector.generate("style", 20, tmp_path / "data" / "fake" / "style", label=False)
    detector.mix("style", [1, 2], [11, 12], tmp_path / "grid.png", label=False)
    mixed = detector.index(tmp_path / "data", tmp_path / "mixed.csv")
    assert mixed.label.value_counts().tolist() == [40, 40]
    assert set(mixed.generator) == {"", "style", "swap"}
    assert (tmp_path / "grid.png").is_file()

    detector.train("detector", "spectrum", tmp_path / "mixed.csv", tmp_path / "weights")
    scores = detector.score(made, detector=tmp_path / "weights")
    assert scores.path.tolist() == made.path.tolist()
    assert scores.score.notna().all()
    results = detector.evaluate(tmp_path / "mixed.csv", detectors=tmp_path / "weights", out=tmp_path / "report")
    assert {"detector", "generator", "metric", "value", "low", "high"} <= set(results)
    assert (tmp_path / "report" / "report.html").is_file()
    assert all(finding.summary for finding in detector.audit(tmp_path / "mixed.csv"))
    (row,) = detector.verify(made.path[0], tmp_path / "evidence", detector=tmp_path / "weights")
    assert row["path"] == made.path[0]
    assert (tmp_path / "evidence" / row["folder"] / "report.html").is_file()
