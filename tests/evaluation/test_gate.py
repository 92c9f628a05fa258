from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from detector.evaluation.gate import (  # fmt: skip
    BaselineError,
    compare,
    make_baseline,
    make_markdown,
    read_baseline,
    write_baseline,
    write_junit,
    write_summary,
)
from detector.evaluation.measuring import measure_scores
from detector.evaluation.running import Run, run_suite
from detector.evaluation.suites import SHIPPED, find_baseline, read_suite
from detector.scoring.checkpoint import read_card, read_tensors, write_checkpoint

SPECTRUM = SHIPPED / "spectrum"
BASELINE = find_baseline("smoke")
SUITE = read_suite("smoke")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return run_suite(SUITE, folder)


def gate(joined: pd.DataFrame, results: pd.DataFrame, **options: int):
    return compare("smoke", joined, results, read_baseline(BASELINE), SUITE.tolerances, **options)


def test_a_worse_detector_fails(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = read_tensors(SPECTRUM)
    weights["slope"] = weights["slope"] + np.random.default_rng(0).normal(0, 3 * weights["slope"].std(), 16)
    write_checkpoint(tmp_path / "worse", weights, read_card(SPECTRUM, "detector"))
    worse = run_suite(SUITE, folder, detectors={"spectrum": tmp_path / "worse"})
    report = gate(worse.joined, worse.results)
    assert not report.passed
    assert any("significantly worse" in reason for reason in report.reasons)

    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    (tmp_path / "step.md").write_text("before\n")
    write_summary(report, tmp_path / "gate.md")
    assert (tmp_path / "step.md").read_text() == "before\n" + make_markdown(report)
    write_junit(report, tmp_path / "gate.xml")
    root = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert int(root.attrib["failures"]) == len(root.findall("testcase/failure")) == len(report.reasons)
    assert int(root.attrib["tests"]) == len(report.rows) + 1


def test_an_equal_detector_passes_whatever_the_seed_of_the_bootstrap(run: Run) -> None:
    passed = [gate(run.joined, run.results, seed=seed, resamples=400).passed for seed in range(1, 9)]
    assert passed == [True] * 8


def test_scores_with_equal_noise_pass() -> None:
    """Two equally good detectors, whose scores differ on every picture."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], 200)
    face = labels + rng.normal(0, 1, 400)
    names = [f"{i:064x}" for i in range(400)]
    table = pd.DataFrame({"sha256": names, "label": labels, "group": names,
                          "generator": np.where(labels == 1, "g", ""), "dataset": "s", "detector": "d",
                          "perturbation": "none", "severity": 0})  # fmt: skip
    failures = 0
    for _ in range(20):
        old, new = (table.assign(score=face + rng.normal(0, 0.5, 400)) for _ in range(2))
        results = [measure_scores(t, metrics=["auc"], resamples=100) for t in (old, new)]
        failures += not compare("s", new, results[1], make_baseline("s", old, results[0]), {"auc": 0.01}).passed
    assert failures <= 3


def test_a_loss_against_one_source_of_photographs_fails_with_the_name_of_the_source() -> None:
    rng = np.random.default_rng(3)
    kinds = ["", "", "g"]
    table = pd.DataFrame({"sha256": [f"{i:064x}" for i in range(300)], "generator": np.repeat(kinds, 100),
                          "dataset": np.repeat(["a", "b", "f"], 100), "detector": "d", "perturbation": "none",
                          "severity": 0})  # fmt: skip
    table = table.assign(label=(table.generator != "").astype(int), group=table.sha256)
    old = table.assign(score=rng.normal(3.0 * table.label))
    new = old.assign(score=old.score + 1.5 * (old.dataset == "b"))
    results = [measure_scores(t, metrics=["auc"], resamples=100) for t in (old, new)]
    baseline = make_baseline("s", old, results[0])
    assert {row["real"] for row in baseline.results} == {"all", "a", "b"}
    report = compare("s", new, results[1], baseline, {"auc": 0.01})
    assert {row.real: row.verdict for row in report.rows} == {"all": "worse", "a": "pass", "b": "worse"}
    assert any("auc of d on g against b is significantly worse" in reason for reason in report.reasons)


def test_a_baseline_without_the_column_is_against_all_photographs(run: Run, tmp_path: Path) -> None:
    made = make_baseline("smoke", run.joined, run.results)
    assert {row["real"] for row in made.results} == {"all"}  # a single source would only be repeated
    older = made.model_copy(update={"results": [{k: row[k] for k in row if k != "real"} for row in made.results]})
    write_baseline(older, tmp_path / "b.json")
    assert read_baseline(tmp_path / "b.json") == made


def test_a_missing_row_fails(run: Run) -> None:
    fewer = [t[~((t.perturbation == "blur") & (t.severity == 3))] for t in (run.joined, run.results)]
    report = gate(*fewer, resamples=400)
    assert [row.verdict for row in report.rows if row.perturbation == "blur" and row.severity == 3] == ["missing"] * 2
    assert len(report.reasons) == 2
    assert "is missing" in report.reasons[0]


def test_a_changed_picture_fails(run: Run) -> None:
    victim = run.joined.sha256.iloc[0]
    report = gate(run.joined.assign(sha256=run.joined.sha256.replace(victim, "0" * 64)), run.results)
    assert not report.passed
    assert "differ by hash: 1 of the baseline's are gone and 1 are new" in report.reasons[0]


def test_a_picture_that_can_no_longer_be_read_fails(run: Run) -> None:
    victim = run.joined.sha256.iloc[0]
    report = gate(
        run.joined.assign(score=run.joined.score.mask(run.joined.sha256 == victim)), run.results, resamples=400
    )
    assert report.reasons == ["spectrum can no longer score 1 pictures that the baseline has scores of"]


def test_a_baseline_can_be_written_and_read_and_a_foreign_file_is_refused(run: Run, tmp_path: Path) -> None:
    made = make_baseline("smoke", run.joined, run.results)
    write_baseline(made, tmp_path / "b.json")
    assert read_baseline(tmp_path / "b.json") == made
    with pytest.raises(BaselineError, match="of the suite 'smoke', not 'other'"):
        compare("other", run.joined, run.results, made, {})
    with pytest.raises(BaselineError, match="--update-baseline"):
        read_baseline(tmp_path / "none.json")
    (tmp_path / "b.json").write_text('{"suite": 1}')
    with pytest.raises(BaselineError, match="is not a baseline"):
        read_baseline(tmp_path / "b.json")


def test_names_are_escaped(run: Run, tmp_path: Path) -> None:
    report = gate(run.joined, run.results, resamples=400)
    odd = dataclasses.replace(report.rows[0], detector='<b>|"&\x00', verdict="missing", p=None, after=None)
    write_junit(dataclasses.replace(report, rows=[odd], reasons=[]), tmp_path / "odd.xml")
    assert '<b>|"&\\x00' in ElementTree.parse(tmp_path / "odd.xml").getroot()[0].attrib["name"]
    assert r"\<b\>\|" in make_markdown(dataclasses.replace(report, rows=[odd]))
