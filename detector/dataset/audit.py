"""Audit a data set: find traits that reveal the label without the face, and leaks between splits, and mend both."""

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
    """Return one finding for each test, serious ones first, and among these the more specific ones.

    manifest: a table with path, sha256, label, generator, group and split, and perhaps crop. It need not be valid: a
    group in two splits, or the same bytes with two labels, are findings.

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
        raise ManifestError(
            f"not one of the {len(table)} pictures can be read, so there is nothing to audit: correct the "
            "paths in the manifest, or leave the audit out with `evaluate --no-audit`"
        )
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
    """Return a valid, balanced manifest without pictures that leak, repeat, have two labels or cannot be read.

    A group in two splits is moved to the one that has most of it. The result still has to be re-encoded, by
    `reencoding.reencode`.
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
