"""Every two detectors on the same pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_manifest

from detector import tasks
from detector.evaluation.differences import compare_detectors, describe_differences
from detector.evaluation.pairs import Pair, Role, cross_generators
from detector.statistics.intervals import compare_auc
from detector.statistics.proportions import holm


def make_scores(seed: int, gains: dict[str, float], n: int = 60) -> pd.DataFrame:
    """Scores of a detector: noise that all detectors share, noise of its own, and a gain for each generator's fakes."""
    rows = []
    for name in ("", *gains):
        for i in range(n):
            shared, own = np.random.default_rng([i, len(name)]).normal(), np.random.default_rng([seed, i]).normal()
            rows.append(
                (f"{name}{i}", int(name != ""), name, "photos", f"{name}{i}", shared + own + gains.get(name, 0))
            )
    table = pd.DataFrame(rows, columns=["sha256", "label", "generator", "dataset", "group", "score"])
    return table.assign(detector=f"d{seed}", perturbation="none", severity=0)


def test_a_difference_is_that_of_the_aucs_on_the_pictures_that_both_could_read() -> None:
    a, b = make_scores(1, {"one": 2.0, "three": 0.5}), make_scores(2, {"one": 0.5, "three": 0.5})
    b.loc[3, "score"] = np.nan
    rows = compare_detectors(cross_generators(a), pd.concat([a, b]))
    assert rows.generator.tolist() == ["one", "three"]
    assert rows.n_real.tolist() == [59, 59]
    assert np.allclose(rows.difference, rows.auc - rows.auc_other)
    both = a.assign(other=b.score.to_numpy()).dropna()
    raw = []
    for row in rows.itertuples():
        part = both[both.generator.isin(["", row.generator])]
        d = compare_auc(part.label, part.other, part.score, part.group)
        assert (row.difference, row.low, row.high) == pytest.approx((d.value, d.low, d.high))
        raw.append(2 * min(d.p_worse, 1 - d.p_worse))
    assert rows.p.tolist() == pytest.approx(holm(np.minimum(raw, 1)).tolist())
    assert rows.p[0] < 0.01 < rows.p[1]


def test_the_correction_counts_every_comparison() -> None:
    tables = [make_scores(seed, {"one": gain}) for seed, gain in ((1, 1.2), (2, 0.5), (3, 0.5))]
    pairs = [Pair(Role.MATCHED, "one", "photos")]
    two, three = (compare_detectors(pairs, pd.concat(tables[:n])) for n in (2, 3))
    assert len(three) == 3
    assert three.p[0] > two.p[0]
    assert compare_detectors(pairs, tables[0]).empty


def test_perturbed_pictures_are_not_compared() -> None:
    a, b = make_scores(1, {"one": 1.0}), make_scores(2, {"one": 1.0})
    more = pd.concat([a, b]).assign(perturbation="blur", severity=1)
    pairs = cross_generators(a)
    pd.testing.assert_frame_equal(
        compare_detectors(pairs, pd.concat([a, b, more])), compare_detectors(pairs, pd.concat([a, b]))
    )


def test_pictures_of_one_group_have_a_difference_without_an_interval() -> None:
    a, b = make_scores(1, {"one": 1.0}), make_scores(2, {"one": 0.0})
    rows = compare_detectors(cross_generators(a), pd.concat([a, b]).assign(group="same"))
    assert rows.low.isna().all()
    assert rows.p.tolist() == [1.0]


def test_the_report_has_them_in_all_three_forms(tmp_path: Path) -> None:
    table = make_manifest(tmp_path / "set", n=20)
    for name, gain in (("good", 5.0), ("bad", 0.0)):
        noise = np.random.default_rng(len(name)).normal(size=len(table))
        table[["sha256"]].assign(score=gain * table.label + noise).to_csv(tmp_path / f"{name}.csv", index=False)
    tasks.evaluate(tmp_path / "set" / "manifest.csv", scores=[tmp_path / "good.csv", tmp_path / "bad.csv"],
                   out=tmp_path / "out", split="train", audited=False)  # fmt: skip
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["differences"]
    assert {(r["detector"], r["other"], r["real"]) for r in rows} == {("good", "bad", "drawn")}
    assert {r["generator"] for r in rows} == {"one", "two"}
    for name in ("report.md", "report.html"):
        text = (tmp_path / "out" / name).read_text()
        assert "Detectors on the same pictures" in text
        assert all(f"{r['difference']:+.3f}" in text for r in rows)
    (line,) = [line for line in tasks.read_headline(tmp_path / "out")[0] if "same pictures" in line]
    assert line.startswith("good and bad on the same pictures: of 2 pairs")
    assert "good is better on 0, bad on 0, and 2 show no difference" in line  # few groups show none


def test_every_two_detectors_get_a_sentence() -> None:
    tables = [make_scores(seed, {"one": gain}) for seed, gain in ((1, 3.0), (2, 0.0), (3, 0.0))]
    rows = compare_detectors(cross_generators(tables[0]), pd.concat(tables)).to_dict("records")
    lines = describe_differences(rows)
    assert [line.partition(" on ")[0] for line in lines] == ["d1 and d2", "d1 and d3", "d2 and d3"]
    assert f"{rows[0]['difference']:+.3f}" in lines[0]
    assert "p < 0.001" in lines[0]
    assert describe_differences([]) == []
    two = [{**rows[0], "generator": name} for name in ("x", "y")] + [{**rows[2], "detector": "d1", "other": "d2"}]
    assert "d1 is better on 2, d2 on 0, and 1 show no difference" in describe_differences(two)[0]
