"""Find traits that reveal the label of a picture without its face.

A small classifier is trained to distinguish fakes from photographs by the traits of one family. It is tested on other
pictures (cross-validation with whole groups), and each generator is compared with all photographs. A difference that it
finds can also be learned by a detector.

A finding is serious only if the lower end of the interval of the AUC exceeds CLEAR, at a level that is corrected for
the number of tests (Bonferroni), so clean sets seldom have one. The interval takes the division into folds as given,
but another division gives another AUC. What exceeds CLEAR is therefore predicted again with further divisions, and the
mean of the predictions decides (repeated cross-validation: Kim 2009, doi:10.1016/j.csda.2009.04.009).

A generator may really differ in colour or noise (`Family.inherent`): for these traits such an AUC is only a note. It
becomes serious if the AUC of every generator exceeds STRONG, because then the pictures were processed differently. With
fewer than about fifteen pictures of a class, nothing is certain enough to be serious.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from detector.dataset.families import FAMILIES, Family
from detector.dataset.findings import ERROR, AuditFinding, Severity
from detector.dataset.traits import Traits
from detector.statistics.intervals import Estimate, measure
from detector.types import Label

CLEAR = 0.6  # AUC that the lower end of the interval of a finding exceeds
STRONG = 0.8  # AUC that all generators must exceed for a serious finding in an inherent family
SURE = 0.9  # smallest probability of the true label for which a picture is listed with a finding
FOLDS = 5  # largest number of folds of the cross-validation
DIVISIONS = 4  # number of divisions into folds over which a finding is averaged
VALUES = 10  # number of values of a text column, the most frequent ones, that a classifier distinguishes

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def find_shortcuts(table: pd.DataFrame, traits: Traits, seed: int) -> Iterator[AuditFinding]:
    """Yield one finding for each family of traits. table: rows of the manifest whose pictures can be read."""
    generators = table.generator[table.label == Label.FAKE].nunique()
    questions = len(FAMILIES) * (generators + 1 if generators > 1 else 1)
    for family in FAMILIES:
        yield find_shortcut(family, table, traits, 1 - 2 * ERROR / questions, seed)


def find_shortcut(family: Family, table: pd.DataFrame, traits: Traits, level: float, seed: int) -> AuditFinding:
    """Return how well a family of traits distinguishes fakes from photographs, for the clearest generator.

    level: level of the intervals.
    """
    use = np.ones(len(table), bool)
    if family.needs:
        use = traits.table[family.needs].fillna("").ne("").to_numpy() if family.needs in traits.table else ~use
    rows = table[use].reset_index(drop=True)
    fake = (rows.label == Label.FAKE).to_numpy()
    if _folds(rows.group, fake, seed) is None:
        return AuditFinding(family.name, Severity.OK, "too few groups of photographs or of fakes for a test")
    frame, x = _choose_traits(family, traits.keep(use))
    if not x.shape[1]:
        return AuditFinding(family.name, Severity.OK, "no picture has such traits")
    probability = _predict(family, x, rows.group, fake, [seed])
    best, side, every = _choose_generator(rows, fake, probability, level)
    if best.low > CLEAR:
        probability = _predict(family, x, rows.group, fake, range(seed, seed + DIVISIONS))
        best, side, every = _choose_generator(rows, fake, probability, level)
    clear = Severity.SERIOUS if every or not family.inherent else Severity.NOTE
    severity = Severity.OK if not best.low > CLEAR else Severity.NOTE if family.harmless else clear
    named = rows.generator[side & fake].unique()
    summary = f"AUC {best.value:.2f} [{best.low:.2f}, {best.high:.2f}] on "
    summary += (named[0] or "fakes") if len(named) == 1 else "all fakes"
    if severity is Severity.OK:
        return AuditFinding(family.name, severity, summary, "", best.value, best.low, best.high)
    sure = side & (np.where(fake, probability, 1 - probability) >= SURE)
    difference = family.says or _contrast(frame[side], fake[side])
    return AuditFinding(
        family.name, severity, f"{summary}: {difference}", family.fix, best.value, best.low, best.high,
        tuple(rows.path[sure]),
    )  # fmt: skip


def _predict(family: Family, x: Floats, groups: pd.Series, fake: Mask, seeds: Sequence[int]) -> Floats:
    """Return the probability of a fake for each picture, by classifiers that did not see its group.

    x: (N, D). seeds: one for each division into folds; the probability is the mean over these.
    """
    probability = np.zeros(len(x))
    for seed in seeds:
        fold = _folds(groups, fake, seed)
        assert fold is not None  # whether there are enough groups does not depend on the seed
        for k in range(fold.max() + 1):
            fitted = _classifier(family, len(x), seed).fit(x[fold != k], fake[fold != k])
            probability[fold == k] += fitted.predict_proba(x[fold == k])[:, 1] / len(seeds)
    return probability


def _choose_traits(family: Family, traits: Traits) -> tuple[pd.DataFrame, Floats]:
    """Return the named traits of a family, and the input of a classifier: numbers (N, D)."""
    if not family.columns and not family.prefix:
        return pd.DataFrame(), traits.vectors.get(family.name, np.zeros((len(traits.table), 0)))
    names = [name for name in family.columns if name in traits.table]
    names += [str(name) for name in traits.table if family.prefix and str(name).startswith(family.prefix)]
    return traits.table[names], _numbers(traits.table[names])


def _choose_generator(rows: pd.DataFrame, fake: Mask, scores: Floats, level: float) -> tuple[Estimate, Mask, bool]:
    """Return the AUC of the clearest generator, or of all; its rows; and whether the AUC of all exceeds STRONG.

    The clearest one has the largest lower end of its interval. A generator of a single group has no interval and is
    never chosen.
    """
    sides = [~fake | (rows.generator == generator).to_numpy() for generator in sorted(set(rows.generator[fake]))]
    sides.append(np.ones(len(rows), bool))
    found = [_auc(fake[side], scores[side], rows.group[side], level) for side in sides]
    every = min(one.value for one in found[:-1]) > STRONG and found[-1].low > CLEAR
    best = max(range(len(found)), key=lambda k: np.nan_to_num(found[k].low, nan=-1.0))
    return found[best], sides[best], every


def _auc(fake: ArrayLike, scores: ArrayLike, groups: ArrayLike | None, level: float) -> Estimate:
    return measure(fake, scores, groups, ["auc"], seed=0, level=level)["auc"]


def _folds(groups: pd.Series, fake: Mask, seed: int) -> NDArray[np.intp] | None:
    """Return a fold for each picture; None if there are too few groups.

    A group is in one fold, and both classes occur outside each fold.
    """
    names, where = np.unique(groups, return_inverse=True)
    has_fake, has_real = (np.bincount(where, side, len(names)) > 0 for side in (fake, ~fake))
    k = min(FOLDS, int(has_fake.sum()), int(has_real.sum()))
    if k < 2:
        return None
    kind = has_fake * 1 - has_real * 1  # in the order photographs, both, fakes, each class is spread evenly over folds
    order = np.lexsort([np.random.default_rng(seed).random(len(names)), kind])
    fold = np.empty(len(names), np.intp)
    fold[order] = np.arange(len(names)) % k
    return np.asarray(fold[where])


def _classifier(family: Family, count: int, seed: int) -> Any:
    """Return an untrained classifier: a small tree, or linear discriminant analysis with a shrunk covariance.

    Source: Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4 (shrinkage).
    """
    if family.linear:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        shrunk = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
        return make_pipeline(StandardScaler(), shrunk)
    from sklearn.tree import DecisionTreeClassifier

    leaf = max(5, count // 200)
    return DecisionTreeClassifier(max_depth=4, min_samples_leaf=leaf, class_weight="balanced", random_state=seed)


def _numbers(frame: pd.DataFrame) -> Floats:
    """Return numbers unchanged, -1 for missing ones, and a column for each of the most frequent values of a text."""
    columns: list[Floats] = [np.empty((len(frame), 0))]
    for name in frame:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column):
            columns.append(column.fillna(-1).to_numpy(np.float64)[:, None])
        else:
            common = column.value_counts().index[:VALUES]
            columns += [np.asarray(column.eq(value), np.float64)[:, None] for value in common]
    return np.hstack(columns)


def _contrast(frame: pd.DataFrame, fake: Mask) -> str:
    """Return a text on the trait that differs most between photographs and fakes."""
    best, text = -1.0, ""
    for name in frame:
        column, what = frame[name], str(name).removeprefix("field ").replace("_", " ")
        if column.dtype == bool or not pd.api.types.is_numeric_dtype(column):
            for value in column.value_counts().index[:VALUES]:
                real, forged = (float(column[side].eq(value).mean()) for side in (~fake, fake))
                if abs(forged - real) > best:
                    best, is_what = abs(forged - real), what if value is True else f"{what} {value}"
                    text = f"{is_what} in {real:.0%} of photographs and {forged:.0%} of fakes"
        else:
            auc = _auc(fake, column.fillna(-1), None, 0.95).value
            if 2 * abs(auc - 0.5) > best:
                best = 2 * abs(auc - 0.5)
                real, forged = (float(column[side].mean()) for side in (~fake, fake))
                text = f"{what} {round(real, 3):.4g} in photographs and {round(forged, 3):.4g} in fakes, on average"
    return text
