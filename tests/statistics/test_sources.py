"""Calibration over several sources of photographs: the worst source decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import ScoresError
from detector.statistics.calibration import MIN_FAKES, fit_calibration
from detector.statistics.metrics import METRICS
from detector.statistics.proportions import clopper_pearson
from detector.statistics.sources import (
    MIN_PHOTOGRAPHS,
    cllr_of_unseen_sources,
    even_weights,
    false_alarms,
    fit_over_sources,
    share_verdicts,
    shared_cllr_min,
)

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def simulate(
    seed: int, shifts: tuple[float, ...] = (0.0, 0.0, 0.0), sizes: tuple[int, ...] = (300, 300, 300)
) -> Columns:
    """Scores, labels, sources and groups: photographs of sources whose scores are shifted, and two generators."""
    rng = np.random.default_rng(seed)
    scores = [rng.normal(-1 + shift, 1, n) for shift, n in zip(shifts, sizes, strict=True)]
    scores += [rng.normal(1, 1, 300), rng.normal(1.5, 1, 300)]
    names = [f"source-{i}" for i in range(len(shifts))] + ["one", "two"]
    sources = np.concatenate([[name] * len(part) for name, part in zip(names, scores, strict=True)])
    labels = np.array([0] * sum(sizes) + [1] * 600)
    return np.concatenate(scores), labels, sources, np.arange(len(labels))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 3))
def test_no_source_has_more_false_alarms_than_asked_for(seed: int, shift: float) -> None:
    scores, labels, sources, groups = simulate(seed, (0.0, shift, -shift))
    c = fit_over_sources(scores, labels, sources, groups)
    real = labels == 0
    alarms = false_alarms(c.log_odds(scores[real]), sources[real], groups[real], c.fake_above)
    assert (alarms.share <= 0.01).all()
    assert c.fpr_high == alarms.high.max()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_sources_too_small_to_show_the_share_are_taken_together(seed: int) -> None:
    """One photograph of 40 is more than 1 %: by itself, such a source would allow none, however unusual that one is."""
    scores, labels, sources, groups = simulate(seed, (0.0, 0.0, 0.0, 0.0), (300, 40, 40, 40))
    scores[300] = 9.0  # one unusual photograph of a small source
    c = fit_over_sources(scores, labels, sources, groups)
    real = labels == 0
    odds = c.log_odds(scores[real])
    small = np.isin(sources[real], ["source-1", "source-2", "source-3"])
    assert c.fake_above < c.log_odds(np.array([9.0]))[0]
    assert (odds[small] > c.fake_above).sum() == 1
    assert (odds[~small] > c.fake_above).mean() <= 0.01


def test_small_sources_together_support_larger_ratios_than_one_of_them() -> None:
    one, three = (fit_over_sources(*simulate(1, (0.0,) * n, (300, *[40] * (n - 1)))) for n in (2, 4))
    assert three.high > one.high + 0.1


def test_a_pooled_threshold_gives_one_source_many_false_alarms() -> None:
    """A pooled threshold gives the shifted source many false alarms; the module exists to avoid this."""
    scores, labels, sources, groups = simulate(0, (0.0, 0.0, 2.5))
    real = labels == 0
    pooled, over = fit_calibration(scores, labels, groups), fit_over_sources(scores, labels, sources, groups)
    rates = [false_alarms(c.log_odds(scores[real]), sources[real], groups[real], c.fake_above) for c in (pooled, over)]
    assert rates[0].share.max() > 0.02
    assert rates[1].share.max() <= 0.01


def test_sources_that_disagree_shrink_the_ratio_and_its_bound() -> None:
    agree, apart = (fit_over_sources(*simulate(1, shifts)) for shifts in ((0.0, 0.0, 0.0), (-2.0, 0.0, 2.5)))
    assert apart.slope < 0.8 * agree.slope
    assert apart.high < agree.high


def test_a_small_source_weighs_as_much_as_a_large_one() -> None:
    names = np.array(["a"] * 90 + ["b"] * 10 + ["fake"] * 50)
    weight = even_weights(names, names == "fake")
    assert weight[:90].sum() == pytest.approx(0.5)
    assert weight[90:100].sum() == pytest.approx(0.5)
    assert weight[100:].sum() == pytest.approx(1.0)


def test_related_photographs_count_for_less() -> None:
    odds, sources = np.arange(40.0), np.array(["a"] * 40)
    alone = false_alarms(odds, sources, np.arange(40), 37.5)
    related = false_alarms(odds, sources, np.arange(40) // 10, 37.5)
    assert alone.alarms.tolist() == related.alarms.tolist() == [2]
    assert related.high[0] > alone.high[0]


def test_shares_of_verdicts_have_exact_intervals_by_groups() -> None:
    verdicts = np.array(["likely-fake"] * 2 + ["inconclusive"] * 38)
    alone = share_verdicts(verdicts, ["a"] * 40, np.arange(40))
    assert alone.verdict.tolist() == ["inconclusive", "likely-fake"]
    assert alone.share.tolist() == [0.95, 0.05]
    assert (alone.low[1], alone.high[1]) == pytest.approx(clopper_pearson(2, 40))
    related = share_verdicts(verdicts, ["a"] * 40, np.arange(40) // 10)
    assert related.high[1] > alone.high[1]


def test_related_pictures_widen_the_interval_of_cllr() -> None:
    scores, labels, sources, groups = simulate(2)
    alike = [f"{sources[i]}/{(scores[sources == sources[i]] < scores[i]).sum() // 50}" for i in groups]
    alone, related = (cllr_of_unseen_sources(scores, labels, sources, g) for g in (groups, alike))
    assert alone.cllr.tolist() == related.cllr.tolist()
    assert np.mean(related.high - related.low) > np.mean(alone.high - alone.low)


def test_ratios_of_sources_that_agree_hold_on_one_that_was_left_out() -> None:
    table = cllr_of_unseen_sources(*simulate(2)[:3])
    assert len(table) == 6
    assert ((table.low < table.cllr) & (table.cllr < table.high)).all()
    assert ((table.cllr - table.cllr_min) < 0.08).all()  # PAV flatters by about 0.055 with 600 pictures
    apart = cllr_of_unseen_sources(*simulate(2, (0.0, 0.0, 3.0))[:3])
    assert (apart.cllr - apart.cllr_min).max() > 0.2


def test_a_recalibration_that_all_share_costs_more_where_generators_or_sources_differ() -> None:
    scores, labels, sources, _ = simulate(2)
    one = np.isin(sources, ["source-0", "one"])
    alone = METRICS.get("cllr_min")(labels[one], scores[one])
    assert shared_cllr_min(scores[one], labels[one], sources[one]) == pytest.approx(alone)
    apart = simulate(2, (0.0, 0.0, 3.0))[0]
    pairs = cllr_of_unseen_sources(apart, labels, sources)
    assert shared_cllr_min(apart, labels, sources) > pairs.cllr_min.mean() + 0.05
    assert shared_cllr_min(3 * apart + 1, labels, sources) == pytest.approx(shared_cllr_min(apart, labels, sources))


def test_one_source_is_not_enough() -> None:
    scores, labels, sources, groups = simulate(0, (0.0,), (300,))
    with pytest.raises(ScoresError, match="at least two datasets"):
        fit_over_sources(scores, labels, sources, groups)


@pytest.mark.parametrize(("fakes", "counts"), [(MIN_FAKES, True), (MIN_FAKES - 1, False)])
def test_a_generator_sets_a_threshold_from_the_least_number_of_fakes_on(fakes: int, counts: bool) -> None:
    """Fakes that score like photographs lower the threshold of likely-real, if there are MIN_FAKES of them."""
    scores, labels, sources, groups = simulate(3)
    hidden = np.full(fakes, -4.0)
    c = fit_over_sources(
        np.r_[scores, hidden], np.r_[labels, np.ones(fakes, int)], np.r_[sources, np.full(fakes, "hidden")],
        np.r_[groups, len(groups) + np.arange(fakes)],
    )  # fmt: skip
    assert (c.real_below <= c.log_odds(hidden).max()) == counts


@pytest.mark.parametrize(("photographs", "counts"), [(MIN_PHOTOGRAPHS, True), (MIN_PHOTOGRAPHS - 1, False)])
def test_a_source_narrows_the_bounds_from_the_least_number_of_photographs_on(photographs: int, counts: bool) -> None:
    """Photographs of one source that score like fakes leave no ratio, if there are MIN_PHOTOGRAPHS of them."""
    scores, labels, sources, groups = simulate(4)
    odd = np.random.default_rng(4).normal(1.5, 1, photographs)
    c = fit_over_sources(
        np.r_[scores, odd], np.r_[labels, np.zeros(photographs, int)], np.r_[sources, np.full(photographs, "odd")],
        np.r_[groups, len(groups) + np.arange(photographs)],
    )  # fmt: skip
    assert (c.high < 0.3) == counts
