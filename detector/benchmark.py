"""Scores x manifest -> results: each generator against all real pictures of the split, each figure with its interval.

The headline is the worst generator and the mean over generators, never one pooled AUC: a pool rewards whoever sees
most of the easiest fakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from detector.errors import ImageError, ScoresError
from detector.faces import prepare
from detector.images import encode, load
from detector.intervals import measure
from detector.manifest import read_crop
from detector.metrics import METRICS, det, roc
from detector.report import Report, Thumbnail, write_report
from detector.types import Images, Label

METRIC_NAMES = ("auc", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "balanced_accuracy")
KEYS = ["detector", "perturbation", "severity"]  # what else, beside the generator, a row is measured for
COLUMNS = ["detector", "generator", "perturbation", "severity", "metric", "value", "low", "high", "n_real", "n_fake"]


def join_scores(scores: pd.DataFrame, manifest: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """Return the split's rows of the manifest beside their scores, by hash if there is one, else by path.

    Optional columns of scores: detector ("scores"), perturbation ("none"), severity (0), verdict. Pictures that could
    not be read (verdict "error") are left out; every other picture of the split must have a finite score.

    Raises ScoresError naming what is missing.
    """
    if "score" not in scores:
        raise ScoresError(f"the scores have no column 'score'; there are: {', '.join(str(c) for c in scores.columns)}")
    table = manifest[manifest.split == split]
    if table.empty:
        there = ", ".join(sorted(manifest.split.unique()))
        raise ScoresError(f"the manifest has no picture in the split {split!r}; it has: {there}")
    for label in Label:
        if not (table.label == label).any():
            both = [s for s, rows in manifest.groupby("split") if rows.label.nunique() == 2]
            instead = f"; both classes are in: {', '.join(both)}" if both else ""
            raise ScoresError(
                f"the split {split!r} has no {label.name.lower()} picture to tell apart{instead}"
            )
    theirs = scores.copy()
    for column, value in zip(KEYS, ("scores", "none", 0), strict=True):
        if column not in theirs:
            theirs[column] = value
    if "verdict" in theirs:
        theirs = theirs[theirs.verdict != "error"]
        unread = set(scores.path[scores.verdict == "error"].astype(str)) if "path" in scores else set()
        table = table[~table.path.isin(unread)]
    key = "sha256" if "sha256" in theirs and theirs.sha256.notna().all() and (theirs.sha256 != "").all() else "path"
    if key not in theirs:
        raise ScoresError("the scores have neither a column 'sha256' nor a column 'path' to join them by")
    if key == "path":
        theirs = theirs.assign(path=_match_paths(theirs.path.astype(str), table.path))
    theirs = theirs.assign(score=pd.to_numeric(theirs.score, errors="coerce"))
    parts = []
    for names, part in theirs.groupby(KEYS, sort=False):
        part = part.drop_duplicates(key)
        joined = table.merge(part[[key, *KEYS, "score"]], on=key, how="left")
        absent = joined[joined.score.isna() | np.isinf(joined.score)]
        if len(absent):
            what = "has no finite score" if len(absent) == 1 else "have no finite score"
            raise ScoresError(
                f"{len(absent)} of {len(joined)} pictures {what} by {names[0]!r}, the first: {absent.path.iloc[0]}"
            )
        parts.append(joined)
    if not parts:
        raise ScoresError("the scores table is empty")
    return pd.concat(parts, ignore_index=True)


def measure_scores(
    joined: pd.DataFrame,
    *,
    metrics: Sequence[str] = METRIC_NAMES,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the results, tidy: one row a detector, generator, perturbation, severity and metric (COLUMNS)."""
    rows = []
    for (detector, perturbation, severity), part in joined.groupby(KEYS, sort=False):
        for generator, both in _pairs(part):
            found = measure(both.label.to_numpy(), both.score.to_numpy(), both.group.to_numpy(), metrics,
                            seed=seed, level=level, resamples=resamples)  # fmt: skip
            rows += [
                (detector, generator, perturbation, severity, name, e.value, e.low, e.high, e.n_real, e.n_fake)
                for name, e in found.items()
            ]
    return pd.DataFrame(rows, columns=COLUMNS)


def summarise(results: pd.DataFrame, *, metric: str = "auc") -> list[dict[str, Any]]:
    """Return the headline of each detector on unperturbed pictures: its worst generator, and the mean over all."""
    sign = 1 if METRICS.facts(metric)["higher"] else -1
    plain = results[(results.metric == metric) & (results.perturbation == "none")]
    lines = []
    for detector, part in plain.groupby("detector", sort=False):
        worst = part.iloc[int((sign * part.value).to_numpy().argmin())]
        lines.append({"detector": detector, "metric": metric, "worst_generator": worst.generator, "value": float(worst.value),
                      "low": float(worst.low), "high": float(worst.high), "mean": float(part.value.mean()),
                      "generators": len(part)})  # fmt: skip
    return lines


def publish(
    joined: pd.DataFrame,
    results: pd.DataFrame,
    folder: Path,
    *,
    metadata: Mapping[str, Any],
    faces: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write report.json, report.html, report.md and the plots below a folder.

    faces: caption -> paths of pictures to show as a grid.
    """
    figures = dict(_draw(joined)) | {f"faces {name}": _grid(name, paths) for name, paths in (faces or {}).items()}
    write_report(folder, Report.model_validate({"metadata": dict(metadata), "results": results.to_dict("records")}), headline=summarise(results),
                 figures=figures, mistakes=_mistakes(joined))  # fmt: skip


def _pairs(part: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each generator's fakes together with all real pictures."""
    real = part[part.label == Label.REAL]
    for generator, fake in part[part.label == Label.FAKE].groupby("generator"):
        yield str(generator), pd.concat([real, fake])


def _match_paths(theirs: pd.Series, ours: pd.Series) -> list[str]:
    """Return our path for each of theirs: the same, or the only one that ends in it; theirs where there is none."""
    known = set(ours)
    by_name: dict[str, list[str]] = {}
    for path in ours:
        by_name.setdefault(Path(path).name, []).append(path)
    matched = []
    for path in theirs:
        ends = [p for p in by_name.get(Path(path).name, []) if p.endswith("/" + path.lstrip("./"))]
        matched.append(path if path in known or len(ends) != 1 else ends[0])
    return matched


def _draw(joined: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    from detector import plots

    rocs, dets = {}, {}
    plain = joined[joined.perturbation == "none"]
    for detector, part in plain.groupby("detector", sort=False):
        for generator, both in _pairs(part):
            name = f"{detector} on {generator}"
            rocs[name] = roc(both.label.to_numpy(), both.score.to_numpy())[:2]
            dets[name] = det(both.label.to_numpy(), both.score.to_numpy())[:2]
    for name, draw, curves in (("roc", plots.draw_roc, rocs), ("det", plots.draw_det, dets)):
        figure, ax = plots.new_figure()
        draw(curves, ax)
        yield name, plots.to_png(figure)
    for detector, part in plain.groupby("detector", sort=False):
        for generator, both in _pairs(part):
            figure, ax = plots.new_figure(5.2, 3.2)
            plots.draw_histogram(both.score[both.label == 0], both.score[both.label == 1], ax, name=generator)
            ax.set_title(f"{detector} on {generator}", loc="left", fontsize=10)
            yield f"scores {detector} {generator}", plots.to_png(figure)


def _grid(name: str, paths: Sequence[str]) -> bytes:
    from detector import plots

    figure, ax = plots.new_figure(6.4, 3.4)
    plots.draw_faces(_load_faces(paths, 96), ax, title=name)
    return plots.to_png(figure)


def _load_faces(paths: Iterable[str], size: int) -> Images:
    return np.stack([prepare(load(path), size) for path in paths])


def _mistakes(joined: pd.DataFrame, n: int = 6) -> list[Thumbnail]:
    """Return, for each detector, the pictures it was most wrong about."""
    out = []
    plain = joined[joined.perturbation == "none"]
    for detector, part in plain.groupby("detector", sort=False):
        wrong = part.assign(error=np.where(part.label == 1, -part.score, part.score)).nlargest(n, "error")
        for row in wrong[wrong.error > 0].itertuples():
            score = float(str(row.score))
            try:
                crop = read_crop(getattr(row, "crop", None))
                picture = encode(prepare(load(str(row.path)), 96, crop), "JPEG", quality=85)
            except ImageError:
                continue
            out.append(
                Thumbnail(
                    str(detector), Path(str(row.path)).name, str(row.generator) or "real", float(row.score), picture
                )
            )
    return out
