"""Does a detector rely on file encoding rather than on the face? Its AUC before and after re-encoding all pictures.

Every picture is cropped to what the detector sees, reduced to one side and saved at one JPEG quality: the side and the
quality that nearly all pictures already reach, because a finer re-encoding would leave the traces of coarser files.
If photographs and fakes were saved in the same way, the AUC changes little. A loss shows that the detector used the
container, the resolution, the compression, or detail that not all pictures have. Its plain AUC then does not hold for
pictures that differ in the face alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from detector.dataset.findings import AuditFinding, Severity
from detector.dataset.manifest import MAX_SIDE, read_crops, write_table
from detector.dataset.reencoding import add_crops, measure_sides, reencode
from detector.errors import ImageError, ManifestError
from detector.evaluation.naming import file_names
from detector.pictures.headers import describe
from detector.pictures.images import read
from detector.scoring.checkpoint import digest_checkpoint
from detector.scoring.tables import COLUMNS as SCORES
from detector.scoring.tables import score_manifest
from detector.statistics.intervals import compare_auc
from detector.statistics.metrics import METRICS
from detector.statistics.proportions import holm
from detector.types import Detector, Label, Progress, silent

AUDITED = 2000  # largest number of pictures that an evaluation searches for shortcuts
COARSE = 0.05  # share of the pictures that may be coarser than the re-encoded copies
QUALITIES = (50, 95)  # lowest and highest JPEG quality of the copies
MARGIN = 0.02  # loss of AUC that is tolerated
ALPHA = 0.05  # probability of a false finding, over all generators together
COLUMNS = ["detector", "generator", "plain", "aligned", "difference", "low", "high", "p", "n_real", "n_fake",
           "saved"]  # fmt: skip


def align(table: pd.DataFrame, detector: Detector, folder: Path, *, progress: Progress = silent) -> pd.DataFrame:
    """Return the manifest of copies re-encoded alike, as the detector sees them; columns as `save_alike`.

    Where the detector locates faces, so does this; pictures without one, or that cannot be read, are left out.

    Raises ManifestError if none is left.
    """
    table = cut_faces(table, detector, progress=progress)
    side, quality = find_coarsest(table)
    return save_alike(table, folder, side=min(side, detector.size), quality=quality, progress=progress)


def cut_faces(table: pd.DataFrame, detector: Detector, *, progress: Progress = silent) -> pd.DataFrame:
    """Return the manifest with the crops that the detector would score; without rows that lack a needed face."""
    if not getattr(detector, "locates", False):
        return table
    given = table.crop.ne("") if "crop" in table else pd.Series(False, index=table.index)
    located = add_crops(table[~given], progress=lambda done, total: progress("locating faces", done, total))
    return pd.concat([table[given], located], ignore_index=True)


def save_alike(
    table: pd.DataFrame, folder: Path, *, side: int, quality: int, progress: Progress = silent
) -> pd.DataFrame:
    """Return the manifest of copies, cut, resized to `side` pixels and saved as JPEG of one quality.

    Further columns: `original`, the hash a picture had, and `saved`, how all were saved, in words. Raises ManifestError
    if no picture can be read.
    """
    copies = reencode(table.assign(original=table.sha256), folder, size=side, quality=quality, progress=progress)
    return copies.assign(crop=f"0 0 {side} {side}", saved=f"{side} px, JPEG {quality}")


def align_pair(
    sets: Sequence[tuple[str, pd.DataFrame]],
    folder: Path,
    *,
    quality: int,
    largest: int | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return the manifest of copies of sets of pictures, all at one side and JPEG quality; columns as `save_alike`.

    sets: names and rows of a manifest. The side is the one that all but COARSE of each set reach, so that hardly any
    picture is enlarged; it is at most `largest` pixels. Raises ManifestError if a set has no readable picture.
    """
    side = largest or MAX_SIDE
    for name, rows in sets:
        sides = measure_sides(rows)
        if not (sides > 0).any():
            raise ManifestError(f"no picture of {name!r} shows a face that can be re-encoded; leave it out by `keep`")
        side = min(side, int(np.quantile(sides[sides > 0], COARSE, method="lower")))
    return save_alike(pd.concat([rows for _, rows in sets]), folder, side=side, quality=quality, progress=progress)


def find_coarsest(table: pd.DataFrame) -> tuple[int, int]:
    """Return the side in pixels of the cut square, and the JPEG quality, that all but COARSE of the pictures reach."""
    sides, qualities = [], []
    for path, crop in zip(table.path, read_crops(table), strict=True):
        try:
            header = describe(read(path))
        except ImageError:
            continue
        left, top, right, bottom = crop or (0, 0, header.width, header.height)
        sides.append(min(right - left, bottom - top))
        qualities.append(100 if header.quality is None else header.quality)
    if not sides:
        raise ManifestError(f"not one of the {len(table)} pictures shows a face that can be re-encoded")
    side, quality = (int(np.quantile(values, COARSE, method="lower")) for values in (sides, qualities))
    return side, int(np.clip(quality, *QUALITIES))


def compare_aligned(joined: pd.DataFrame, aligned: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return each detector's AUC on each generator, plain and aligned, on the same pictures (COLUMNS).

    joined: as `joining.join_scores`. aligned: detector -> table with `original`, `saved` and `score`. p: of a loss
    beyond MARGIN, one-sided, corrected by Holm's method over all rows; low and high: of the difference, 95 %.
    """
    rows, auc = [], METRICS.get("auc")
    for name, scores in aligned.items():
        plain = joined[(joined.detector == name) & (joined.perturbation == "none")]
        again = scores.drop_duplicates("original").set_index("original").score
        both = plain.assign(again=plain.sha256.map(again)).dropna(subset=["score", "again"])
        real = both[both.label == Label.REAL]
        for generator, fake in both[both.label == Label.FAKE].groupby("generator"):
            pair = pd.concat([real, fake])
            if real.empty:
                continue
            d = compare_auc(pair.label, pair.score, pair.again, pair.group, margin=MARGIN)
            values = (float(auc(pair.label, column)) for column in (pair.score, pair.again))
            rows.append((name, generator, *values, d.value, d.low, d.high, d.p_worse, len(real), len(fake),
                         scores.saved.iloc[0]))  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(p=holm(table.p.astype(float)))


def find_losses(comparison: pd.DataFrame) -> list[AuditFinding]:
    """Return one finding per detector of `compare_aligned`: serious if its AUC falls by more than MARGIN for sure."""
    findings = []
    for name, part in comparison.groupby("detector", sort=False):
        lost = part[part.p < ALPHA]
        worst = (part if lost.empty else lost).sort_values("difference").iloc[0]
        summary = (
            f"{name}: AUC {worst.plain:.3f} becomes {worst.aligned:.3f} on {worst.generator} when every picture is "
            f"re-encoded alike ({worst.saved}), {worst.difference:+.3f} "
            + ("[no interval]" if np.isnan(worst.low) else f"[{worst.low:+.3f}, {worst.high:+.3f}]")
        )
        if lost.empty:
            findings.append(AuditFinding("aligned AUC", Severity.OK, summary, "", float(worst.aligned)))
            continue
        summary += f"; so on {len(lost)} of {len(part)} generators" if len(lost) > 1 else ""
        fix = "believe the aligned AUC; train and test on pictures saved alike: `detector audit --fix`"
        findings.append(AuditFinding("aligned AUC", Severity.SERIOUS, summary, fix, float(worst.aligned)))
    return findings


def look_behind(
    pictures: pd.DataFrame, joined: pd.DataFrame, detectors: Mapping[str, tuple[Path, Detector]], out: Path, seed: int,
    progress: Progress,
) -> tuple[list[dict[str, Any]], pd.DataFrame]:  # fmt: skip
    """Return the findings of an audit, the most serious first, and each detector's AUC on pictures re-encoded alike.

    At most AUDITED of the pictures are audited. joined: as `joining.join_scores`. detectors: name -> (folder of
    weights, detector).
    """
    from detector.dataset.audit import audit

    some = pictures.sample(min(len(pictures), AUDITED), random_state=seed)
    findings: list[AuditFinding] = []
    again = {}
    paths = dict(zip(some.sha256, some.path, strict=True))
    for file, (name, (folder, detector)) in zip(file_names(list(detectors)), detectors.items(), strict=True):
        try:
            copies = align(some, detector, out / "aligned", progress=progress)
        except ManifestError as error:
            findings.append(AuditFinding("aligned AUC", Severity.NOTE, f"{name}: {error}"))
            continue
        where = out / "scores" / f"{file}-aligned.csv"
        kept = score_manifest(copies, detector, name, where, fingerprint=digest_checkpoint(folder), progress=progress)
        kept = kept.merge(copies[["sha256", "original", "saved"]], on="sha256")
        kept["path"] = kept.original.map(paths)  # paths of the originals: those of the copies depend on `out`
        write_table(kept[[*SCORES]], where)
        again[name] = kept
    aligned = compare_aligned(joined, again)
    findings += [*find_losses(aligned), *audit(some, progress=progress)]
    findings.sort(key=lambda finding: -list(Severity).index(finding.severity))
    return [asdict(finding) | {"rows": len(finding.rows)} for finding in findings], aligned
