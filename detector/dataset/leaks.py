"""Find leaks from training into testing (groups, labels, twins across splits), and uneven shares of fakes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from detector.dataset.findings import ERROR, AuditFinding, Severity
from detector.dataset.manifest import COLUMNS, SPLITS
from detector.dataset.traits import Traits
from detector.dataset.twins import find_pairs
from detector.statistics.proportions import clopper_pearson
from detector.types import Label

LEAK = 0.005  # share of val and test pictures with a near twin in another split, above which a finding is serious
REPEATS = 0.01  # share of pictures that repeat another one, above which a finding is a note
SLICES = 20  # largest number of values of a column between which the share of fakes is compared
SHOWN = 5  # largest number of names in a finding
ORDER = {split: rank for rank, split in enumerate(SPLITS)}  # the twin in the earlier split is left out


def find_unreadable(table: pd.DataFrame, bad: pd.Series) -> AuditFinding:
    """Return a finding on unreadable pictures. bad: for each row, whether its picture cannot be read."""
    if not bad.any():
        return AuditFinding("unreadable", Severity.OK, "every picture can be read", value=0.0)
    real, fake = (int((bad & (table.label == label)).sum()) for label in Label)
    return AuditFinding(
        "unreadable", Severity.NOTE, f"{real:,} photographs and {fake:,} fakes cannot be read",
        "leave them out: `detector audit --fix`", float(bad.mean()), rows=tuple(table.path[bad]),
    )  # fmt: skip


def find_torn_groups(table: pd.DataFrame) -> AuditFinding:
    """Return a finding on groups that are in two splits."""
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


def find_torn_labels(table: pd.DataFrame) -> AuditFinding:
    """Return a finding on equal files with different labels."""
    torn = table.groupby("sha256").label.transform("nunique") > 1
    if not torn.any():
        return AuditFinding("two labels", Severity.OK, "no file has both labels", value=0.0)
    return AuditFinding(
        "two labels", Severity.SERIOUS, f"the bytes of {int(torn.sum()):,} rows have both labels",
        "find out which label is right; `detector audit --fix` leaves them out", float(torn.mean()),
        rows=tuple(table.path[torn]),
    )  # fmt: skip


def find_twins(table: pd.DataFrame, traits: Traits) -> Iterator[AuditFinding]:
    """Yield findings on exact and near twins across splits, across labels, and within a split and label."""
    key = table.sha256.astype(str) + (" " + table["crop"].astype(str) if "crop" in table else "")
    chain = np.argsort(key.to_numpy(), kind="stable")
    equal = key.to_numpy()[chain][1:] == key.to_numpy()[chain][:-1]
    a, b = np.concatenate(
        [find_pairs(traits.hashes, traits.mirrored), np.column_stack([chain[:-1], chain[1:]])[equal]]
    ).T
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


def find_one_sided(table: pd.DataFrame) -> AuditFinding:
    """Return a finding on pictures from a source (column `dataset`) with only photographs or only fakes.

    Such a source reveals the label, so a detector may learn any property that its pictures share instead of the face.
    """
    if "dataset" not in table:
        return AuditFinding("label by dataset", Severity.OK, "the manifest names no datasets")
    names = table.dataset.fillna("").astype(str)
    alone = table.label.groupby(names).transform("nunique") == 1
    share = float(alone.mean())
    if not alone.any() or table.label.nunique() < 2:
        return AuditFinding("label by dataset", Severity.OK, "every dataset holds photographs and fakes", value=share)
    sources = [f"{name or 'unnamed'} ({'fakes' if part.iloc[0] == Label.FAKE else 'photographs'})"
               for name, part in table.label[alone].groupby(names[alone])]  # fmt: skip
    more = f" and {len(sources) - SHOWN} others" if len(sources) > SHOWN else ""
    return AuditFinding(
        "label by dataset", Severity.NOTE,
        f"the dataset alone reveals the label of {share:.0%} of the pictures: {', '.join(sources[:SHOWN])}{more}",
        "add fakes made from each set of photographs, and evaluate on photographs of other sources", share,
    )  # fmt: skip


def find_imbalances(table: pd.DataFrame) -> Iterator[AuditFinding]:
    """Yield findings on shares of fakes that differ between splits, or between values of a further column."""
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
