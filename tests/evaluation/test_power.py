"""The drop of the AUC that a gate could have noticed, in the report and as text."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from detector.evaluation.measuring import measure_scores
from detector.evaluation.power import COLUMNS, describe_power, measure_power
from detector.statistics.power import find_visible_drop


@pytest.fixture
def joined() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    generator = np.repeat(["", "one", "two"], 60)
    label = (generator != "").astype(int)
    table = pd.DataFrame({
        "sha256": [f"{i:064x}" for i in range(180)], "label": label, "generator": generator, "dataset": "d",
        "group": [f"g{i // 2}" for i in range(180)], "detector": "cnn", "perturbation": "none", "severity": 0,
        "score": rng.normal(2.0 * label),
    })  # fmt: skip
    return pd.concat([table, table.assign(perturbation="jpeg", severity=3, score=table.score / 2)])


def test_each_auc_has_its_drop_at_the_level_of_all_gated_comparisons(joined: pd.DataFrame) -> None:
    results = measure_scores(joined, metrics=["auc", "cllr"], resamples=20)
    found = measure_power(joined, results, {"auc": 0.01, "cllr": 0.1})
    assert list(found) == COLUMNS
    assert list(zip(found.generator, found.perturbation, strict=True)) == [
        ("one", "none"), ("two", "none"), ("one", "jpeg"), ("two", "jpeg")
    ]  # fmt: skip
    part = joined[(joined.perturbation == "none") & joined.generator.isin(["", "one"])]
    expected = find_visible_drop(part.label, part.score, part.group, margin=0.01, comparisons=8)
    assert found["drop"][0] == expected
    ungated = measure_power(joined, results, {})
    assert ungated["drop"][0] == find_visible_drop(part.label, part.score, part.group, comparisons=4)


def test_the_sentence_states_the_range_or_that_there_is_none(joined: pd.DataFrame) -> None:
    found = measure_power(joined, measure_scores(joined, metrics=["auc"], resamples=20), {"auc": 0.01})
    (line,) = describe_power(found)
    assert f"at least {found['drop'].min():.3f} to {found['drop'].max():.3f}" in line
    assert "cnn: a drop of the AUC is noticed with 80 % power" in line
    (line,) = describe_power(found.assign(drop=[0.1, math.inf, math.inf, math.inf]))
    assert "at least 0.100; on 3 no drop can be noticed" in line
    (line,) = describe_power(found.assign(drop=math.inf))
    assert "no drop of any AUC can be noticed" in line
