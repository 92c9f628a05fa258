"""What but the face gives the label away, and what leaks from training into testing.

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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from detector.errors import ManifestError
from detector.manifest import COLUMNS, SPLITS, validate
from detector.reencoding import balance
from detector.statistics.intervals import Estimate, measure
from detector.statistics.proportions import clopper_pearson
from detector.traits import Hashes, measure_traits, near_pairs
from detector.types import Label, Progress, silent

NEEDED = ("path", "sha256", "label", "generator", "group", "split")
CLEAR = 0.6  # AUC that the lower end of an interval has to pass
STRONG = 0.8  # AUC of every generator at which colour, border or sharpness are serious
ERROR = 0.05  # chance that any alarm rings where the truth lies at its bound
FOLDS = 5
LEAK = 0.005  # share of held-out pictures with a near twin elsewhere that is serious
REPEATS = 0.01  # share of pictures that repeat another that is worth a note
SLICES = 20  # a column of more values is no slice
ORDER = {split: rank for rank, split in enumerate(SPLITS)}  # of two twins the earlier split gives one up


class Severity(StrEnum):
    """What a finding asks for: nothing, a look, or a stop."""

    OK = "ok"
    NOTE = "note"
    SERIOUS = "serious"


@dataclass(frozen=True)
class AuditFinding:
    """The answer to one question about a dataset.

    value, low, high: an AUC or a share, with its interval where there is one. rows: paths of the pictures behind it.
    """

    name: str
    severity: Severity
    summary: str
    fix: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: tuple[str, ...] = ()


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


def audit(manifest: pd.DataFrame, *, seed: int = 0, progress: Progress = silent) -> list[AuditFinding]:
    """Return one finding a question, the serious ones first.

    manifest: need not be valid: a group in two splits or the same bytes under two labels are what is looked for. It
    needs path, sha256, label, generator, group and split; a crop is honoured.

    Raises ManifestError if a column is missing, a label is neither 0 nor 1, or no picture can be read.
    """
    absent = [c for c in NEEDED if c not in manifest]
    if absent:
        raise ManifestError(f"the manifest lacks the columns {', '.join(absent)}; `detector index` writes them all")
    table = manifest.reset_index(drop=True)
    for column in ("sha256", "generator", "group", "split", "crop"):
        if column in table:
            table[column] = table[column].fillna("").astype(str)
    table["label"] = pd.to_numeric(table.label, errors="coerce")
    if not table.label.isin([0, 1]).all():
        raise ManifestError("a label is neither 0 (real) nor 1 (fake)")
    traits, hashes = measure_traits(table, progress)
    readable = traits.format != ""
    if not readable.any():
        raise ManifestError(f"not one of the {len(table)} pictures can be read, so there is nothing to audit")
    found = [_unreadable(table, ~readable), _groups(table), _labels(table), *_twins(table, hashes)]
    kept, traits = table[readable].reset_index(drop=True), traits[readable].reset_index(drop=True).infer_objects()
    generators = kept.generator[kept.label == Label.FAKE].nunique()
    questions = len(FAMILIES) * (generators + 1 if generators > 1 else 1)
    found += [_shortcut(family, kept, traits, 1 - 2 * ERROR / questions, seed) for family in FAMILIES]
    found += _balances(kept)
    rank = list(Severity)
    return sorted(found, key=lambda finding: -rank.index(finding.severity))


def mend(manifest: pd.DataFrame, findings: Sequence[AuditFinding], *, seed: int) -> pd.DataFrame:
    """Return a validated, balanced manifest without the pictures that leak, repeat, contradict or cannot be read.

    A group in two splits goes to the one that holds most of it. `reencoding.reencode` of the result is the fix.
    """
    drop = {"unreadable", "two labels", "twins across splits"}
    gone = {path for finding in findings if finding.name in drop for path in finding.rows}
    table = (
        manifest[~manifest.path.isin(gone)]
        .drop_duplicates([c for c in ("sha256", "crop") if c in manifest])
        .reset_index(drop=True)
    )
    table["split"] = table.groupby("group").split.transform(lambda splits: splits.mode()[0])
    return balance(validate(table), seed=seed)


# --- shortcuts -----------------------------------------------------------------------------------------------------


def _shortcut(family: Family, table: pd.DataFrame, traits: pd.DataFrame, level: float, seed: int) -> AuditFinding:
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
    worst = max(apart, key=lambda generator: apart[generator].low)
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


# --- leaks ---------------------------------------------------------------------------------------------------------


def _unreadable(table: pd.DataFrame, bad: pd.Series) -> AuditFinding:
    if not bad.any():
        return AuditFinding("unreadable", Severity.OK, "every picture can be read", value=0.0)
    real, fake = (int((bad & (table.label == label)).sum()) for label in Label)
    return AuditFinding(
        "unreadable", Severity.NOTE, f"{real:,} photographs and {fake:,} fakes cannot be read",
        "leave them out: `detector audit --fix`", float(bad.mean()), rows=tuple(table.path[bad]),
    )  # fmt: skip


def _groups(table: pd.DataFrame) -> AuditFinding:
    torn = table.groupby("group").split.transform("nunique") > 1
    if not torn.any():
        return AuditFinding(
            "groups across splits", Severity.OK, f"each of {table.group.nunique():,} groups in one split"
        )
    names = sorted(table.group[torn].astype(str).unique())
    return AuditFinding(
        "groups across splits", Severity.SERIOUS,
        f"{len(names):,} groups (people, videos or seeds) are in two splits: {', '.join(names[:3])}",
        "give every group one split: `detector audit --fix`", float(torn.mean()), rows=tuple(table.path[torn]),
    )  # fmt: skip


def _labels(table: pd.DataFrame) -> AuditFinding:
    torn = table.groupby("sha256").label.transform("nunique") > 1
    if not torn.any():
        return AuditFinding("two labels", Severity.OK, "no bytes stand under both labels", value=0.0)
    return AuditFinding(
        "two labels", Severity.SERIOUS, f"the bytes of {int(torn.sum()):,} rows stand under both labels",
        "look which label is true; `detector audit --fix` leaves them out", float(torn.mean()),
        rows=tuple(table.path[torn]),
    )  # fmt: skip


def _twins(table: pd.DataFrame, hashes: Hashes) -> Iterator[AuditFinding]:
    """Yield what exact and near twins there are across splits, across labels and within both."""
    key = table.sha256.astype(str) + (" " + table["crop"].astype(str) if "crop" in table else "")
    chain = np.argsort(key.to_numpy(), kind="stable")
    equal = key.to_numpy()[chain][1:] == key.to_numpy()[chain][:-1]
    a, b = np.concatenate([near_pairs(hashes), np.column_stack([chain[:-1], chain[1:]])[equal]]).T
    exact = key.to_numpy()[a] == key.to_numpy()[b]
    split, label, group = (table[c].to_numpy() for c in ("split", "label", "group"))
    rank = np.array([ORDER.get(s, 0) for s in split])

    torn = split[a] != split[b]
    gives, keeps = (np.unique(np.where((rank[a] <= rank[b]) == first, a, b)[torn]) for first in (True, False))
    share = len(keeps) / max(int((rank > 0).sum()), 1)
    severity = Severity.SERIOUS if exact[torn].any() or share > LEAK else Severity.NOTE if len(keeps) else Severity.OK
    summary = f"{len(keeps):,} pictures ({share:.1%} of val and test) have a twin in another split"
    yield AuditFinding(
        "twins across splits", severity, f"{summary}, {len(np.unique(b[torn & exact])):,} of them exact",
        "leave the twin in the earlier split out: `detector audit --fix`", share, rows=tuple(table.path.iloc[gives]),
    )  # fmt: skip

    crossed = np.unique(np.concatenate([side[(label[a] != label[b]) & (group[a] != group[b])] for side in (a, b)]))
    yield AuditFinding(
        "twins across labels", Severity.NOTE if len(crossed) else Severity.OK,
        f"{len(crossed):,} pictures have a near twin of the other label in another group",
        "a fake made from a photograph belongs in the photograph's group", len(crossed) / max(len(table), 1),
        rows=tuple(table.path.iloc[crossed]),
    )  # fmt: skip

    repeats = np.unique(b[~torn & (label[a] == label[b]) & (group[a] != group[b])])
    share = len(repeats) / max(len(table), 1)
    yield AuditFinding(
        "repeats", Severity.NOTE if share > REPEATS else Severity.OK,
        f"{len(repeats):,} pictures ({share:.1%}) repeat another of their split and label",
        "they count less than they seem; give twins one group", share, rows=tuple(table.path.iloc[repeats]),
    )  # fmt: skip


def _balances(table: pd.DataFrame) -> Iterator[AuditFinding]:
    """Yield where the share of fakes depends on the split or on a further column with few values."""
    extra = [c for c in table if c not in (*COLUMNS, "crop") and 2 <= table[c].nunique(dropna=False) <= SLICES]
    overall = float((table.label == Label.FAKE).mean())
    for column in ["split", *extra]:
        uneven = []
        for value, labels in table.groupby(table[column].fillna("").astype(str)).label:
            k, n = int((labels == Label.FAKE).sum()), len(labels)
            low, high = clopper_pearson(k, n, 1 - 2 * ERROR / SLICES)
            if low > overall + 0.1 or high < overall - 0.1:
                uneven.append(f"{value or 'empty'} {k / n:.0%} of {n:,}")
        yield AuditFinding(
            f"balance by {column}", Severity.NOTE if uneven else Severity.OK,
            f"{overall:.0%} of all pictures are fakes" + (f", but {', '.join(uneven[:5])}" if uneven else ""),
            "draw as many photographs as fakes in each: `detector audit --fix` does for splits", overall,
        )  # fmt: skip
