"""Errors by group: figures computed by hand, the test of the largest gap, and groups that are left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from detector.errors import UnknownName
from detector.statistics.fairness import GAPS, MINIMUM, ROWS, measure_fairness
from detector.statistics.intervals import measure
from detector.statistics.proportions import clopper_pearson


def draw(shift: float = 0.0, *, n: int = 60, seed: int = 0, fakes_too: bool = False) -> pd.DataFrame:
    """n real pictures of each of "a", "b", "c" (c scores higher by `shift`) and 3 n fakes, one group each."""
    rng = np.random.default_rng(seed)
    cells = np.repeat(["a", "b", "c"], n)
    real = rng.normal(-1, 1, 3 * n) + shift * (cells == "c")
    fake = rng.normal(1.5, 1, 3 * n)
    label = np.repeat([0, 1], 3 * n)
    return pd.DataFrame({
        "detector": "d", "perturbation": "none", "severity": 0, "label": label, "score": np.concatenate([real, fake]),
        "verdict": "", "group": [f"g{i}" for i in range(6 * n)], "generator": np.where(label, "one", ""),
        "race": [*cells, *(cells if fakes_too else [""] * 3 * n)],
    })  # fmt: skip


def test_figures_are_those_by_hand() -> None:
    table = draw(1.0, fakes_too=True)
    found = measure_fairness(table, ["race"], permutations=99)
    assert list(found.rows) == ROWS
    assert list(found.gaps) == GAPS
    rows = found.rows.set_index(["metric", "group"])
    reals, fakes = table[table.label == 0], table[table.label == 1]
    for cell in "abc":
        cell_reals, cell_fakes = reals[reals.race == cell], fakes[fakes.race == cell]
        k = int((cell_reals.score > 0).sum())
        row = rows.loc[("fpr", cell)]
        assert (row.value, row.n, row.people) == (k / 60, 60, 60)
        assert (row.low, row.high) == pytest.approx(clopper_pearson(k, 60))
        assert rows.loc[("fnr", cell)].value == pytest.approx((cell_fakes.score <= 0).mean())
        both = pd.concat([cell_reals, fakes])
        same = measure(both.label, both.score, both.group, ["auc"], seed=0)["auc"]
        row = rows.loc[("auc", cell)]
        assert row.value == pytest.approx(roc_auc_score(both.label, both.score))
        assert (row.low, row.high) == pytest.approx((same.low, same.high))
        both = pd.concat([cell_fakes, reals])
        assert rows.loc[("auc_of_fakes", cell)].value == pytest.approx(roc_auc_score(both.label, both.score))
    gap = found.gaps.set_index("metric").loc["fpr"]
    values = rows.loc["fpr"].value
    assert (gap.worst, gap.best) == (values.idxmax(), values.idxmin())
    assert gap.gap == pytest.approx(values.max() - values.min())
    assert rows.loc["auc"].value.idxmin() == found.gaps.set_index("metric").loc["auc"].worst == "c"


def test_a_planted_gap_is_found_and_none_is_not_invented() -> None:
    planted = measure_fairness(draw(1.5), ["race"], permutations=199).gaps
    assert set(planted.metric) == {"fpr", "auc"}  # the fakes have no race
    assert (planted.worst == "c").all()
    assert (planted.p_corrected < 0.05).all()
    alarms = [
        (measure_fairness(draw(seed=seed), ["race"], permutations=99).gaps.p_corrected < 0.05).any()
        for seed in range(20)
    ]
    assert sum(alarms) <= 3


def test_the_chance_of_a_gap_is_uniform_when_there_is_none() -> None:
    p = [measure_fairness(draw(seed=s, n=30), ["race"], permutations=99).gaps.set_index("metric").p["auc"]
         for s in range(60)]  # fmt: skip
    assert 0.35 < np.mean(p) < 0.65
    assert np.mean(np.array(p) <= 0.2) < 0.4


def test_verdicts_are_the_operating_point_where_there_are_any() -> None:
    table = draw()
    table["verdict"] = np.where(table.score > 1, "likely-fake", "inconclusive")
    rows = measure_fairness(table, ["race"], permutations=9).rows.set_index(["metric", "group"])
    cell_reals = table[(table.label == 0) & (table.race == "a")]
    assert rows.loc[("fpr", "a")].value == pytest.approx((cell_reals.score > 1).mean())


def test_groups_of_few_people_have_no_figure_and_are_left_out_of_the_test() -> None:
    table = draw()
    table.loc[table.race == "c", "group"] = [f"p{i % (MINIMUM - 1)}" for i in range(60)]  # 60 pictures of 29 people
    table.loc[(table.race == "c"), "score"] = 9.0
    found = measure_fairness(table, ["race"], permutations=9)
    few = found.rows[found.rows.group == "c"]
    assert few[["value", "low", "high"]].isna().all(axis=None)
    assert (few.people == MINIMUM - 1).all()
    assert (few.n == 60).all()
    assert not found.gaps[["worst", "best"]].isin(["c"]).any(axis=None)


def test_pictures_of_one_person_count_together() -> None:
    table = draw()
    one = measure_fairness(table, ["race"], permutations=9).rows.set_index(["metric", "group"]).loc[("fpr", "a")]
    twice = pd.concat([table, table])  # every person photographed twice, alike
    two = measure_fairness(twice, ["race"], permutations=9).rows.set_index(["metric", "group"]).loc[("fpr", "a")]
    assert two.n == 120
    assert (two.value, two.low, two.high) == pytest.approx((one.value, one.low, one.high))


def test_a_column_that_is_not_there_and_one_that_is_empty() -> None:
    with pytest.raises(UnknownName, match="did you mean 'race'"):
        measure_fairness(draw(), ["rac"])
    found = measure_fairness(draw().assign(race=""), ["race"])
    assert (len(found.rows), len(found.gaps)) == (0, 0)
