"""Pairs of picture sets and the AUC of the score between them: matched pairs, and the control of sources.

| role | first set | second set | AUC of a good detector |
|---|---|---|---|
| matched | the fakes of a generator or dataset | photographs of the same size, codec and framing | 1 |
| photographs | the photographs of one dataset | the photographs of another | 0.5 |
| fakes | a generator's fakes in one dataset | the same generator's fakes in another | 0.5 |

The last two are the control: a score that depends on the face alone does not distinguish two sources of photographs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from detector.errors import UnknownName
from detector.evaluation.joining import KEYS
from detector.statistics.averages import Sample, average_auc
from detector.statistics.intervals import measure
from detector.types import Label

COLUMNS = ["detector", "role", "first", "second", "generator", "kind", "perturbation", "severity", "auc", "low", "high",
           "n_first", "n_second", "groups", "saved"]  # fmt: skip
MEANS = [*KEYS, "mean", "low", "high", "pairs"]


class Role(StrEnum):
    """The reason why two sets are compared."""

    MATCHED = "matched"
    PHOTOGRAPHS = "photographs"
    FAKES = "fakes"


@dataclass(frozen=True)
class Pair:
    """Two sets of pictures.

    first, second: names of datasets; of a matched pair, `first` may also name a generator. generator: of both sets of
    fakes. kind: only pictures with this value in the manifest's column `kind` belong to the pair; empty takes all.
    """

    role: Role
    first: str
    second: str
    generator: str = ""
    kind: str = ""

    def split(self, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the rows of the first and of the second set."""
        rows = table[table.kind == self.kind] if self.kind else table
        real, fake = rows[rows.label == Label.REAL], rows[rows.label == Label.FAKE]
        if self.role is Role.MATCHED:
            return fake[_named(fake, self.first)], real[real.dataset == self.second]
        either = real if self.role is Role.PHOTOGRAPHS else fake[fake.generator == self.generator]
        return either[either.dataset == self.first], either[either.dataset == self.second]


def find_pairs(pictures: pd.DataFrame, named: Sequence[tuple[str, str]] = ()) -> list[Pair]:
    """Return the matched pairs, then the control pairs, of a manifest.

    named: matched pairs as (generator or dataset of fakes, dataset of photographs). If there are none, a generator and
    a dataset of photographs are matched where they share a value of the column `kind`.

    Raises UnknownName if a named set has no pictures.
    """
    return [*(_check_names(pictures, named) if named else _match_kinds(pictures)), *_find_controls(pictures)]


def measure_pairs(pairs: Iterable[Pair], joined: pd.DataFrame, *, level: float = 0.95, saved: str = "") -> pd.DataFrame:
    """Return the AUC of each pair, one row per detector, pair and condition (COLUMNS).

    joined: as `joining.join_scores`. auc: the chance that a picture of the first set scores above one of the second,
    ties count half. groups: leakage groups (people, seeds) of the set that has fewer. saved: how the pictures were
    re-encoded, in words. A pair without readable pictures has no row.
    """
    rows = []
    for (detector, perturbation, severity), part in joined[joined.score.notna()].groupby(KEYS, sort=False):
        for pair in pairs:
            first, second = pair.split(part)
            if first.empty or second.empty:
                continue
            both = pd.concat([first, second])
            is_first = np.arange(len(both)) < len(first)
            e = measure(is_first, both.score, both.group, ["auc"], seed=0, level=level)["auc"]
            groups = min(first.group.nunique(), second.group.nunique())
            rows.append((detector, pair.role.value, pair.first, pair.second, pair.generator, pair.kind, perturbation,
                         severity, e.value, e.low, e.high, e.n_fake, e.n_real, groups, saved))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def cross_generators(pictures: pd.DataFrame) -> list[Pair]:
    """Return each generator with each dataset of photographs, whether or not their pictures are of one kind."""
    generators = sorted(set(pictures.generator[pictures.label == Label.FAKE]))
    datasets = sorted(set(pictures.dataset[pictures.label == Label.REAL]))
    return [Pair(Role.MATCHED, first, second) for first, second in product(generators, datasets)]


def average_pairs(compared: Sequence[tuple[Pair, pd.DataFrame]], *, level: float = 0.95) -> pd.DataFrame:
    """Return the mean AUC of several pairs with its interval, one row per detector and condition (MEANS).

    compared: pairs, each with the joined scores that it is measured on, as `measure_pairs`.
    """
    samples: dict[tuple[Any, ...], list[Sample]] = {}
    keys: Any
    for pair, joined in compared:
        for keys, part in joined[joined.score.notna()].groupby(KEYS, sort=False):
            first, second = pair.split(part)
            if len(first) and len(second):
                both = pd.concat([first, second])
                samples.setdefault(keys, []).append((np.arange(len(both)) < len(first), both.score, both.group))
    rows = [(*keys, *average_auc(those, level=level), len(those)) for keys, those in samples.items()]
    return pd.DataFrame(rows, columns=MEANS)


def _check_names(pictures: pd.DataFrame, named: Sequence[tuple[str, str]]) -> Iterator[Pair]:
    fake, real = pictures[pictures.label == Label.FAKE], pictures[pictures.label == Label.REAL]
    for first, second in named:
        if not _named(fake, first).any():
            raise UnknownName("generator or dataset of fakes", first, {*fake.generator, *fake.dataset})
        if not (real.dataset == second).any():
            raise UnknownName("dataset of photographs", second, {*real.dataset})
        yield Pair(Role.MATCHED, first, second)


def _match_kinds(pictures: pd.DataFrame) -> Iterator[Pair]:
    if "kind" not in pictures:
        return
    for kind, rows in pictures[pictures.kind != ""].groupby("kind"):
        generators = sorted(set(rows.generator[rows.label == Label.FAKE]))
        datasets = sorted(set(rows.dataset[rows.label == Label.REAL]))
        for first, second in product(generators, datasets):
            yield Pair(Role.MATCHED, first, second, kind=str(kind))


def _find_controls(pictures: pd.DataFrame) -> Iterator[Pair]:
    for first, second in combinations(sorted(set(pictures.dataset[pictures.label == Label.REAL])), 2):
        yield Pair(Role.PHOTOGRAPHS, first, second)
    for generator, rows in pictures[pictures.label == Label.FAKE].groupby("generator"):
        for first, second in combinations(sorted(set(rows.dataset)), 2):
            yield Pair(Role.FAKES, first, second, generator=str(generator))


def _named(fake: pd.DataFrame, name: str) -> pd.Series:
    """Return which fakes a name means: those of the generator if there is one of that name, else of the dataset."""
    of_generator: pd.Series = fake.generator == name
    return of_generator if of_generator.any() else fake.dataset == name
