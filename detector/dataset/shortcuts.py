"""What but the face gives the label away.

A small tree is asked to tell fakes from photographs by what has nothing to do with a face: the container, the JPEG
tables, the size, the colour, the border, the sharpness. It is asked about pictures it did not learn from, groups kept
whole, and each generator is held against all photographs. What it can tell, a detector can, and will.

A finding is serious only if the lower end of its interval, corrected for the number of questions, is well above
chance: small clean sets stay quiet. An AUC of 0.6 is too much for headers, which no face depends on, if only for one
generator. A generator may fail in colour or sharpness by itself, so there 0.6 is a note, and serious is what tells
every generator from the photographs at 0.8: then it is the pictures that were treated differently. With fewer than
some fifteen pictures of a class nothing is certain enough to be serious.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from detector.dataset.findings import AuditFinding, Severity
from detector.statistics.intervals import Estimate, measure
from detector.types import Label

CLEAR = 0.6  # AUC that the lower end of an interval has to pass
STRONG = 0.8  # AUC of every generator at which colour, border or sharpness are serious
FOLDS = 5


@dataclass(frozen=True)
class Family:
    """Traits of a picture that are asked about together."""

    name: str
    columns: tuple[str, ...]
    fix: str
    only: str = ""  # a column that must not be empty for a picture to count
    inherent: bool = False  # a generator may differ in them by itself


SAVE = "re-encode every picture alike: `detector audit --fix`"
HEADER = ("format", "mode", "standard", "tables", "quality", "subsampling", "progressive", "width", "height", "aspect",
          "exif", "icc", "xmp", "comment")  # fmt: skip
FAMILIES = (
    Family("file format", ("format", "mode"), SAVE),
    Family("jpeg quality", ("quality", "standard", "tables", "subsampling", "progressive"),
           f"{SAVE}; where qualities differ much, recompress the better ones first", only="tables"),
    Family("picture size", ("width", "height", "aspect"), "take photographs and fakes of the same sizes, or "
           "crop and resize alike: `detector audit --fix`"),
    Family("metadata", ("exif", "icc", "xmp", "comment"), SAVE),
    Family("header", HEADER, SAVE),
    Family("black wedges", ("wedge",), "leave out pictures whose crop or rotation reaches beyond their edge"),
    Family("border", ("flat_border", "border_light"), "crop to the face: backgrounds and paddings differ",
           inherent=True),
    Family("colour", ("red", "green", "blue", "spread", "saturation"), "make fakes from the photographs' own "
           "source, or match colours; grey pictures belong in both classes or in neither", inherent=True),
    Family("sharpness", ("fine", "medium"), "take both classes from one resolution and resize alike; a "
           "generator that only blurs is caught by blur alone and teaches nothing else", inherent=True),
)  # fmt: skip


def find_shortcut(family: Family, table: pd.DataFrame, traits: pd.DataFrame, level: float, seed: int) -> AuditFinding:
    """Return how well a tree tells each generator from the photographs by the traits of a family; the worst counts."""
    use = traits[family.only].ne("").to_numpy() if family.only else np.ones(len(table), bool)
    rows, frame = table[use].reset_index(drop=True), traits.loc[use, list(family.columns)].reset_index(drop=True)
    fake = (rows.label == Label.FAKE).to_numpy()
    fold = _folds(rows.group, fake, seed)
    if fold is None:
        return AuditFinding(family.name, Severity.OK, "too few groups of photographs or of fakes to ask")
    x = _numbers(frame)
    told = np.zeros(len(rows))
    for k in range(fold.max() + 1):
        told[fold == k] = _tree(x[fold != k], fake[fold != k], seed).predict_proba(x[fold == k])[:, 1]
    sides = {
        generator: ~fake | (rows.generator == generator).to_numpy() for generator in sorted(set(rows.generator[fake]))
    }
    apart = {generator: _auc(fake[side], told[side], rows.group[side], level) for generator, side in sides.items()}
    whole = _auc(fake, told, rows.group, level)
    every = min(one.value for one in apart.values()) > STRONG and whole.low > CLEAR
    sides["all fakes"], apart["all fakes"] = np.ones(len(rows), bool), whole
    worst = max(apart, key=lambda generator: np.nan_to_num(apart[generator].low, nan=-1.0))  # NaN: of a single group
    one, side = apart[worst], sides[worst]
    loud = Severity.SERIOUS if every or not family.inherent else Severity.NOTE
    severity = loud if one.low > CLEAR else Severity.OK
    summary = f"AUC {one.value:.2f} [{one.low:.2f}, {one.high:.2f}] on {worst or 'fakes'}"
    if severity is Severity.OK:
        return AuditFinding(family.name, severity, summary, "", one.value, one.low, one.high)
    sure = side & (np.where(fake, told, 1 - told) >= 0.9)
    return AuditFinding(
        family.name, severity, f"{summary}: {_contrast(frame[side], fake[side])}", family.fix,
        one.value, one.low, one.high, tuple(rows.path[sure]),
    )  # fmt: skip


def _auc(fake: ArrayLike, scores: ArrayLike, groups: ArrayLike | None, level: float) -> Estimate:
    return measure(fake, scores, groups, ["auc"], seed=0, level=level)["auc"]


def _folds(groups: pd.Series, fake: NDArray[np.bool_], seed: int) -> NDArray[np.intp] | None:
    """Return a fold a picture, groups whole and both classes outside each fold; None if there are too few groups."""
    names, where = np.unique(groups, return_inverse=True)
    has_fake, has_real = (np.bincount(where, side, len(names)) > 0 for side in (fake, ~fake))
    k = min(FOLDS, int(has_fake.sum()), int(has_real.sum()))
    if k < 2:
        return None
    kind = has_fake * 1 - has_real * 1  # photographs, both, fakes: dealt in this order, each class is spread evenly
    order = np.lexsort([np.random.default_rng(seed).random(len(names)), kind])
    fold = np.empty(len(names), np.intp)
    fold[order] = np.arange(len(names)) % k
    return np.asarray(fold[where])


def _tree(x: NDArray[np.float64], fake: NDArray[np.bool_], seed: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    leaf = max(5, len(x) // 200)
    tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=leaf, class_weight="balanced", random_state=seed)
    return tree.fit(x, fake)


def _numbers(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Return numbers as they are, -1 if absent, and a column for each of the ten most frequent values of a text."""
    columns = []
    for name in frame:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column):
            columns.append(column.fillna(-1).to_numpy(np.float64))
        else:
            columns += [column.eq(value).to_numpy(np.float64) for value in column.value_counts().index[:10]]
    return np.column_stack(columns)


def _contrast(frame: pd.DataFrame, fake: NDArray[np.bool_]) -> str:
    """Return in words the trait that differs most between photographs and fakes."""
    best, words = -1.0, ""
    for name in frame:
        column, what = frame[name], str(name).replace("_", " ")
        if column.dtype == bool or not pd.api.types.is_numeric_dtype(column):
            for value in column.value_counts().index[:10]:
                real, forged = (float(column[side].eq(value).mean()) for side in (~fake, fake))
                if abs(forged - real) > best:
                    best, is_what = abs(forged - real), what if column.dtype == bool else f"{what} {value}"
                    words = f"{is_what} in {real:.0%} of photographs and {forged:.0%} of fakes"
        else:
            auc = _auc(fake, column.fillna(-1), None, 0.95).value
            if 2 * abs(auc - 0.5) > best:
                best = 2 * abs(auc - 0.5)
                real, forged = (float(column[side].mean()) for side in (~fake, fake))
                words = f"{what} {round(real, 3):.4g} in photographs and {round(forged, 3):.4g} in fakes, on average"
    return words
