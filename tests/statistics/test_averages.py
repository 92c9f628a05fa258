"""The mean of several AUCs: its interval against that of one AUC, by hand, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest

from detector.statistics.averages import average_auc
from detector.statistics.intervals import measure
from detector.statistics.metrics import METRICS

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw(seed: int, gap: float = 1.5, n: int = 60, members: int = 3) -> Columns:
    rng = np.random.default_rng(seed)
    groups = np.arange(2 * n) // members
    labels = np.repeat([0, 1], n)
    return labels, rng.normal(gap * labels) + rng.normal(0, 0.7, 2 * n)[groups], groups


def test_the_mean_of_one_is_that_auc_with_its_interval() -> None:
    labels, scores, groups = draw(0)
    one = measure(labels, scores, groups, ["auc"], seed=0)["auc"]
    assert average_auc([(labels, scores, groups)]) == pytest.approx((one.value, one.low, one.high), abs=1e-12)


def test_the_same_pictures_twice_do_not_narrow_the_interval() -> None:
    sample = draw(0)
    assert average_auc([sample, sample]) == pytest.approx(average_auc([sample]), abs=1e-12)


def test_other_pictures_narrow_the_interval_by_the_root_of_their_number() -> None:
    rng = np.random.default_rng(0)
    apart = []
    for i in range(4):
        labels, scores, groups = draw(0)
        apart.append((labels, scores, [f"{i}/{g}" for g in rng.permutation(groups.max() + 1)[groups]]))
    one, four = average_auc(apart[:1]), average_auc(apart)
    assert four[0] == pytest.approx(one[0])
    assert (four[2] - four[1]) / (one[2] - one[1]) == pytest.approx(0.5, rel=0.05)


def test_a_class_of_one_group_has_no_interval() -> None:
    labels, scores, groups = draw(1)
    mean, low, high = average_auc([draw(0), (labels, scores, np.where(labels == 0, 0, groups))])
    assert mean == pytest.approx(np.mean([METRICS.get("auc")(*draw(i)[:2]) for i in (0, 1)]))
    assert np.isnan([low, high]).all()


def test_a_sample_without_errors_has_an_interval_with_width() -> None:
    labels, scores, groups = draw(0, gap=50.0)
    mean, low, high = average_auc([(labels, scores, groups)] * 2)
    assert mean == high == 1
    assert 0.7 < low < 0.95


def test_the_interval_covers_the_truth_when_generators_share_their_photographs() -> None:
    truth = np.mean([METRICS.get("auc")(*draw(99, gap, 100_000, 1)[:2]) for gap in (1.0, 1.5, 2.0)])
    hits = 0
    for run in range(300):
        rng = np.random.default_rng([3, run])
        real = rng.normal(0, 1, 60) + np.repeat(rng.normal(0, 0.7, 20), 3)
        samples = []
        for i, gap in enumerate((1.0, 1.5, 2.0)):
            fake = gap + rng.normal(0, 1, 60) + np.repeat(rng.normal(0, 0.7, 20), 3)
            people = [*(f"r{j // 3}" for j in range(60)), *(f"{i}/{j // 3}" for j in range(60))]
            samples.append((np.repeat([0, 1], 60), np.concatenate([real, fake]), people))
        _, low, high = average_auc(samples)
        hits += low <= truth <= high
    assert 270 <= hits <= 297
