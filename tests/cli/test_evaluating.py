"""`detector evaluate`: reports of a manifest, of the scores of another tool, and of a suite with its gate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from conftest import run_inside

from detector.dataset.manifest import read_manifest, write_manifest
from detector.evaluation.suites import SHIPPED
from detector.scoring.checkpoint import read_card, read_tensors, write_checkpoint


def test_evaluate_writes_its_report(tmp_path: Path, drawn: Path, spectrum: Path) -> None:
    words = ["evaluate", drawn / "manifest.csv", "--detector", spectrum, "-o", tmp_path / "out"]
    done = run_inside(*words, "--by", "dataset")
    assert done.returncode == 0, done.stderr
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"report.json", "report.md", "report.html", "roc.png", "det.png"} <= names
    assert "spectrum" in done.stdout
    metadata = json.loads((tmp_path / "out" / "report.json").read_text())["metadata"]
    assert {row["group"] for row in metadata["fairness"]["rows"]} == set(pd.read_csv(drawn / "manifest.csv").dataset)
    assert {row["generator"] for row in metadata["aligned"]} == {"one", "two"}
    assert "aligned AUC" in {finding["name"] for finding in metadata["audit"]}
    assert run_inside(*words, "--by", "datase").returncode == 2
    done = run_inside(*words, "--no-audit")
    metadata = json.loads((tmp_path / "out" / "report.json").read_text())["metadata"]
    assert (done.returncode, metadata["aligned"], metadata["audit"]) == (0, [], [])


def test_scores_of_another_tool_are_evaluated(tmp_path: Path, drawn: Path) -> None:
    table = read_manifest(drawn / "manifest.csv")
    scores = pd.DataFrame({"path": table.path, "score": table.label * 2.0 - 1 + np.arange(len(table)) * 1e-3})
    scores.to_csv(tmp_path / "scores.csv", index=False)
    words = ["evaluate", drawn / "manifest.csv", "--scores", tmp_path / "scores.csv", "-o", tmp_path / "out"]
    done = run_inside(*words)
    assert done.returncode == 0, done.stderr
    assert "1.000" in done.stdout
    assert done.stderr == ""
    scores.assign(score=-scores.score).to_csv(tmp_path / "scores.csv", index=False)
    done = run_inside(*words, "--no-audit")
    assert done.returncode == 0
    assert done.stderr.startswith("note: the AUC of scores is far below 0.5")


def test_pictures_that_are_not_there_need_no_audit(tmp_path: Path, drawn: Path) -> None:
    table = read_manifest(drawn / "manifest.csv").assign(path=lambda t: "/gone/" + t.index.astype(str) + ".png")
    table.to_csv(tmp_path / "m.csv", index=False)
    table[["sha256"]].assign(score=table.label * 2.0 - 1).to_csv(tmp_path / "s.csv", index=False)
    words = ["evaluate", tmp_path / "m.csv", "--scores", tmp_path / "s.csv", "-o", tmp_path / "out"]
    done = run_inside(*words)
    assert done.returncode == 2
    assert "--no-audit" in done.stderr
    assert run_inside(*words, "--no-audit").returncode == 0


def test_a_single_class_is_one_clear_error(tmp_path: Path, drawn: Path, spectrum: Path) -> None:
    table = read_manifest(drawn / "manifest.csv")
    write_manifest(table[table.label == 0], tmp_path / "reals.csv")
    done = run_inside("evaluate", tmp_path / "reals.csv", "--detector", spectrum, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "fake" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_smoke_suite_passes_its_gate_and_a_worse_detector_does_not(tmp_path: Path) -> None:
    words = ["evaluate", "--suite", "smoke", "--baseline", "smoke", "-o"]
    done = run_inside(*words, tmp_path / "same", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gate: passed" in done.stdout
    assert (tmp_path / "same" / "junit.xml").is_file()
    metadata = json.loads((tmp_path / "same" / "report.json").read_text())["metadata"]
    assert {"aligned AUC", "file format", "twins across splits"} <= {finding["name"] for finding in metadata["audit"]}
    assert metadata["aligned"]
    worse = tmp_path / "spectrum"
    shutil.copytree(SHIPPED / "spectrum", worse)
    tensors = read_tensors(worse)
    tensors["slope"] = tensors["slope"] * np.random.default_rng(0).normal(0, 1, tensors["slope"].shape)
    write_checkpoint(worse, tensors, read_card(worse, "detector"))
    done = run_inside(*words, tmp_path / "worse", "--detector", worse, "--no-audit", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "gate: failed" in done.stdout


def test_a_baseline_that_was_written_is_named_and_the_same_run_passes(
    tmp_path: Path, drawn: Path, spectrum: Path
) -> None:
    (tmp_path / "s.toml").write_text(
        f"name = 's'\nmanifests = ['{drawn / 'manifest.csv'}']\nresamples = 100\ntolerances = {{auc = 0.02}}\n"
    )
    words = ["evaluate", "--suite", tmp_path / "s.toml", "--detector", spectrum, "--no-audit", "-o", tmp_path / "out"]
    done = run_inside(*words, "--baseline", tmp_path / "b.json", "--update-baseline")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"baseline: {tmp_path / 'b.json'}"
    done = run_inside(*words, "--baseline", tmp_path / "b.json")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "gate: passed")
