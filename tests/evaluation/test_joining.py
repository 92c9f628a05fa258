"""Probabilities of other tools become log-odds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from detector.errors import ScoresError
from detector.evaluation.joining import read_probabilities


def test_probabilities_become_log_odds_in_the_same_order() -> None:
    values = np.array([0, 1e-38, 1e-20, 0.25, 0.5, 0.75, 1 - 1e-12, 1])
    scores = read_probabilities(pd.DataFrame({"path": "a.jpg", "score": values}), "t.csv").score
    assert np.isfinite(scores).all()
    assert (np.diff(scores) > 0).all()
    assert expit(scores).tolist() == pytest.approx(values.tolist())
    assert scores.iloc[3:6].tolist() == pytest.approx([-np.log(3), 0, np.log(3)])


def test_a_missing_score_stays_missing() -> None:
    table = pd.DataFrame({"path": ["a.jpg", "b.jpg"], "score": [0.5, None], "verdict": ["", "error"]})
    assert read_probabilities(table, "t.csv").score.isna().tolist() == [False, True]


@pytest.mark.parametrize("bad", [-0.01, 1.5, 97, "high", np.inf])
def test_what_is_no_probability_is_named_by_its_row(bad: object) -> None:
    table = pd.DataFrame({"path": ["a.jpg", "b.jpg", "c.jpg"], "score": pd.Series([0.5, bad, 2], dtype=object)})
    with pytest.raises(ScoresError, match=rf"^t\.csv, row 1 \(b\.jpg\): {bad} is no probability"):
        read_probabilities(table, "t.csv")


def test_a_table_without_scores_is_one_sentence() -> None:
    with pytest.raises(ScoresError, match="--column score="):
        read_probabilities(pd.DataFrame({"path": ["a.jpg"], "p": [0.5]}), "t.csv")
