"""Shortcuts: each planted one is found and named, and random labels give no finding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from audit_plants import PLANTS, describe, write
from clean_sets import choose_labels, draw_portraits

from detector.dataset.families import FAMILIES
from detector.dataset.findings import ERROR, Severity
from detector.dataset.shortcuts import _folds, find_shortcut, find_shortcuts
from detector.dataset.traits import Traits, measure_traits
from detector.types import Image

N = 56  # pictures of a plant, half of them called fakes
LEVEL = 1 - 2 * ERROR / len(FAMILIES)
BY_NAME = {family.name: family for family in FAMILIES}
WEAK = {"colour cast of 4 levels": 160, "earlier JPEG on another grid": 160}  # plants that take more pictures
LEFT = {name for name, plant in PLANTS.items() if plant.own}


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Image], list[str]]:
    return draw_portraits(max(WEAK.values()), tmp_path_factory.mktemp("orl"))


def as_traits(table: pd.DataFrame) -> Traits:
    none = np.zeros((len(table), 32), np.uint8)
    return Traits(table, {}, none, none)


@pytest.mark.parametrize("name", [name for name in PLANTS if name not in LEFT])
def test_each_plant_is_found_and_named(tmp_path: Path, portraits: tuple[list[Image], list[str]], name: str) -> None:
    plant, n = PLANTS[name], WEAK.get(name, N)
    images, groups = portraits[0][:n], portraits[1][:n]
    table = write(tmp_path, images, groups, choose_labels(groups, 0), plant)
    found = find_shortcut(BY_NAME[plant.finding], table, measure_traits(table), LEVEL, 0)
    wanted = Severity.NOTE if name == "file date" else Severity.SERIOUS
    assert (found.name, found.severity) == (plant.finding, wanted), found.summary
    assert found.low > 0.6
    assert len(found.rows) > n / 6
    assert ":" in found.summary
    assert describe([found], plant.finding)["named"] == wanted.value


def test_a_clean_set_has_no_serious_finding_under_random_labels(
    tmp_path: Path, portraits: tuple[list[Image], list[str]]
) -> None:
    """A small sample of `benchmarks/audit_plants.py --labelings 200`."""
    images, groups = portraits[0][:N], portraits[1][:N]
    table = write(tmp_path, images, groups, [False] * N, PLANTS["file date"])
    traits = measure_traits(table)
    for seed in range(3):
        fakes = np.array(choose_labels(groups, seed))
        labelled = table.assign(label=fakes.astype(int), generator=np.where(fakes, "planted", ""))
        assert [f.name for f in find_shortcuts(labelled, traits, seed) if f.severity is Severity.SERIOUS] == []


def test_every_family_has_traits_or_a_vector(tmp_path: Path, portraits: tuple[list[Image], list[str]]) -> None:
    table = write(tmp_path, portraits[0][:8], portraits[1][:8], [i % 2 == 0 for i in range(8)], PLANTS["EXIF date"])
    traits = measure_traits(table)
    for family in FAMILIES:
        assert set(family.columns) <= set(traits.table), family.name
        assert family.columns or family.name in traits.vectors
        assert family.fix
        assert bool(family.says) == (family.name in traits.vectors)


def test_chance_is_seldom_reported() -> None:
    """Random traits under random labels, 100 questions: at most 1 in 100 is reported, and a shortcut at once."""
    rng = np.random.default_rng(0)
    colour = next(f for f in FAMILIES if f.name == "colour")
    reported = 0
    for trial in range(100):
        n = int(rng.integers(8, 120))
        label = np.arange(n) % 2
        table = pd.DataFrame({"label": label, "generator": np.where(label, "g", ""), "path": "p",
                              "group": rng.integers(0, n, n).astype(str)})  # fmt: skip
        numbers = pd.DataFrame(rng.normal(size=(n, 5)), columns=list(colour.columns[:5]))
        reported += find_shortcut(colour, table, as_traits(numbers), 0.98, trial).severity is not Severity.OK
    assert reported <= 1
    assert find_shortcut(colour, table, as_traits(numbers.assign(red=label)), 0.98, 0).severity is Severity.SERIOUS


def test_a_generator_of_one_group_hides_no_shortcut_of_another() -> None:
    """One group has no interval, and NaN would win or lose every comparison by the order of the names."""
    rng, (colour,) = np.random.default_rng(0), [f for f in FAMILIES if f.name == "colour"]
    label = np.repeat([0, 1], 60)
    names = np.where(label, "b", "")
    names[-20:] = "a"
    groups = np.where(names == "a", "one", np.arange(120).astype(str))
    table = pd.DataFrame({"label": label, "generator": names, "path": "p", "group": groups})
    numbers = pd.DataFrame(rng.normal(size=(120, 5)), columns=list(colour.columns[:5]))
    found = find_shortcut(colour, table, as_traits(numbers.assign(red=label)), 0.95, 0)
    assert found.severity is Severity.SERIOUS
    assert found.low > 0.6


def test_folds_keep_groups_whole_and_both_classes_outside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        fake = rng.random(60) < 0.5
        groups = pd.Series(rng.integers(0, 20, 60).astype(str))  # most hold both
        fold = _folds(groups, fake, 0)
        assert fold is not None
        assert (pd.Series(fold).groupby(groups).nunique() == 1).all()
        for k in range(fold.max() + 1):
            assert set(fake[fold != k]) == {False, True}
    assert _folds(pd.Series(["a"] * 5 + ["b"] * 5), np.arange(10) < 5, 0) is None
