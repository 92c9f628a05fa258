"""Audit of a dataset: which traits tell the label without the face, what leaks between splits, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from detector.dataset.findings import AuditFinding, Severity
from detector.dataset.leaks import (
    find_imbalances,
    find_one_sided,
    find_torn_groups,
    find_torn_labels,
    find_twins,
    find_unreadable,
)
from detector.dataset.manifest import validate
from detector.dataset.reencoding import balance
from detector.dataset.shortcuts import find_shortcuts
from detector.dataset.traits import measure_traits
from detector.errors import ManifestError
from detector.types import Progress, silent

NEEDED = ("path", "sha256", "label", "generator", "group", "split")


def audit(manifest: pd.DataFrame, *, seed: int = 0, progress: Progress = silent) -> list[AuditFinding]:
    """Return one finding for each question: the serious ones first, and of these the more special ones.

    manifest: with path, sha256, label, generator, group and split; a crop is honoured. It need not be valid, since a
    group in two splits or the same bytes under two labels are what the audit looks for.

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
    traits = measure_traits(table, progress)
    readable = traits.readable
    if not readable.any():
        raise ManifestError(f"not one of the {len(table)} pictures can be read, so there is nothing to audit")
    found = [
        find_unreadable(table, pd.Series(~readable)),
        find_torn_groups(table),
        find_torn_labels(table),
        *find_twins(table, traits),
    ]
    kept = table[readable].reset_index(drop=True)
    found += find_shortcuts(kept, traits.keep(readable), seed)
    found += [find_one_sided(kept), *find_imbalances(kept)]
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
