"""Warnings about unusual scores and groups."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_manifest

from detector import tasks
from detector.dataset.manifest import write_manifest
from detector.evaluation.measuring import measure_scores
from detector.evaluation.oddities import warn_of_scores
from detector.statistics.intervals import compare, measure


def make_joined(scores: np.ndarray, groups: np.ndarray | None = None) -> pd.DataFrame:
    n = len(scores)
    labels = np.arange(n) % 2
    return pd.DataFrame(
        {"label": labels, "score": scores, "group": np.arange(n) if groups is None else groups, "detector": "theirs",
         "generator": np.where(labels == 1, "gan", ""), "dataset": "faces", "perturbation": "none", "severity": 0}
    )  # fmt: skip


def warn(joined: pd.DataFrame) -> list[str]:
    return warn_of_scores(joined, measure_scores(joined, metrics=["auc"], resamples=50))


LABELS = np.arange(60) % 2
NOISE = np.random.default_rng(0).normal(size=60)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (1 / (1 + np.exp(-NOISE - LABELS)), "between 0 and 1, as probabilities do"),
        (100 / (1 + np.exp(-NOISE - LABELS)), "between 0 and 100, as percentages do"),
        (200 + NOISE + LABELS, "on one side of 0"),
        (-200 + NOISE + LABELS, "on one side of 0"),
    ],
)
def test_scores_of_another_scale_give_a_warning(scores: np.ndarray, words: str) -> None:
    (note,) = warn(make_joined(scores))
    assert f"the scores of theirs all lie {words}" in note


def test_inverted_scores_give_a_warning() -> None:
    (note,) = warn(make_joined(-4 * LABELS + 2 + NOISE))
    assert "turned round" in note
    assert "far below 0.5" in note


def test_equal_scores_give_a_warning() -> None:
    (note,) = warn(make_joined(np.full(len(LABELS), 0.5)))
    assert "the scores of theirs are all 0.5" in note


def test_log_odds_and_weak_detectors_give_no_warning() -> None:
    assert warn(make_joined(4 * LABELS - 2 + NOISE)) == []
    assert warn(make_joined(NOISE)) == []


def test_a_class_of_one_group_has_no_interval_for_any_metric() -> None:
    for groups in (LABELS, np.where(LABELS == 1, 60, np.arange(60)), np.zeros(60)):
        for e in measure(LABELS, NOISE + LABELS, groups, seed=0, resamples=50).values():
            assert np.isfinite(e.value)
            assert np.isnan([e.low, e.high]).all()
        for d in compare(LABELS, NOISE, NOISE + LABELS, groups, seed=0, resamples=50).values():
            assert np.isnan([d.low, d.high]).all()
    two = np.arange(60) % 4  # two groups a class
    for e in measure(LABELS, NOISE + LABELS, two, seed=0, resamples=50).values():
        assert e.low < e.high


def test_a_report_of_one_group_per_class_states_why_it_has_no_interval(tmp_path: Path) -> None:
    table = make_manifest(tmp_path / "in", n=20)
    table = table.assign(group=[f"g{label}-{split}" for label, split in zip(table.label, table.split, strict=True)])
    write_manifest(table, tmp_path / "in" / "manifest.csv")
    scores = table[["sha256"]].assign(score=np.random.default_rng(0).normal(2 * table.label - 1))
    scores.to_csv(tmp_path / "s.csv", index=False)
    tasks.evaluate(tmp_path / "in" / "manifest.csv", scores=[tmp_path / "s.csv"], out=tmp_path / "out", audited=False)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {(row["low"], row["high"]) for row in report["results"]} == {(None, None)}
    assert any("photographs of drawn belong to one group" in note for note in report["metadata"]["notes"])
    for name in ("report.html", "report.md"):
        text = (tmp_path / "out" / name).read_text()
        assert "no interval" in text
        assert "belong to one group" in text
        assert "nan" not in text.replace("nance", "")
