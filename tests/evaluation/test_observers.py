"""People and a detector are measured in the same way, as computed by hand."""

from __future__ import annotations

import pytest

from detector.errors import ScoresError
from detector.evaluation.observers import PUBLISHED, measure_observer

LABELS = [0] * 5 + [1] * 5
ANSWERS = [-3, -3, -2, -1, 2, -1, 1, 2, 3, 3]  # one photograph accused, one fake missed


def test_an_observer_computed_by_hand() -> None:
    """8 of 10 are right. Of 25 pairs the fake is above in 21 and level in 2: AUC .88.

    Fake -1: above -3, -3, -2 and level with -1 (3.5); 1: above four (4); 2: above four, level with 2 (4.5); 3, 3: five.
    """
    found = measure_observer("one", LABELS, ANSWERS)
    assert (found.found, found.accused, found.reals, found.fakes) == (4, 1, 5, 5)
    assert found.accuracy == 0.8
    assert found.auc == pytest.approx((3.5 + 4 + 4.5 + 5 + 5) / 25)
    assert found.accuracy_interval == pytest.approx((0.4439, 0.9748), abs=1e-4)  # Clopper and Pearson, 8 of 10
    assert found.d_prime == pytest.approx(2 * 0.6745, abs=1e-3)  # z(4.5 / 6) - z(1.5 / 6)
    assert found.criterion == pytest.approx(0)


def test_random_answers_have_an_auc_of_chance() -> None:
    found = measure_observer("one", LABELS, [1, -1] * 5)
    assert found.accuracy == 0.4
    assert found.accuracy_interval[0] < 0.5 < found.accuracy_interval[1]
    assert found.auc_interval is not None
    assert found.auc_interval[0] < 0.5 < found.auc_interval[1]


def test_the_order_of_the_answers_does_not_matter_and_one_person_has_no_interval() -> None:
    turned = measure_observer("one", LABELS[::-1], ANSWERS[::-1])
    assert turned == measure_observer("one", LABELS, ANSWERS)
    assert measure_observer("one", LABELS, ANSWERS, LABELS).auc_interval is None


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(ScoresError, match="one class"):
        measure_observer("one", [1, 1], [1, -1])


def test_the_published_figures_are_those_of_the_paper() -> None:
    assert [(p.accuracy, p.low, p.high) for p in PUBLISHED] == [(0.482, 0.471, 0.492), (0.590, 0.577, 0.604)]
