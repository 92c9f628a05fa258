"""Scores x manifest -> results: each generator against all real pictures of the split, each figure with its interval.

The headline is the worst generator and the mean over generators, never one pooled AUC: a pool rewards whoever sees
most of the easiest fakes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from detector.errors import ImageError, ScoresError, UnknownName
from detector.faces import prepare
from detector.fairness import Fairness
from detector.images import encode, load, tile
from detector.intervals import measure
from detector.manifest import SPLITS, read_crop
from detector.metrics import METRICS, det, roc
from detector.report import METRIC_TITLES, Figure, Report, Thumbnail, write_report
from detector.types import Image, Label

METRIC_NAMES = ("auc", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "balanced_accuracy")
KEYS = ["detector", "perturbation", "severity"]  # what else, beside the generator, a row is measured for
DEFAULTS: dict[str, Any] = dict(zip(KEYS, ("scores", "none", 0), strict=True))
COLUMNS = ["detector", "generator", "perturbation", "severity", "metric", "value", "low", "high", "n_real", "n_fake"]
FACE = 96  # side of a face in the report, pixels
MISTAKES = 5  # of each kind a detector, in the report


def evaluate(
    scores: pd.DataFrame,
    manifest: pd.DataFrame,
    *,
    split: str = "test",
    metrics: Sequence[str] = METRIC_NAMES,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the results of `measure_scores` on what `join_scores` joins; raises as both."""
    joined = join_scores(scores, manifest, split=split)
    return measure_scores(joined, metrics=metrics, level=level, resamples=resamples, seed=seed)


def join_scores(scores: pd.DataFrame, manifest: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """Return the split's rows of the manifest beside their scores, once for every detector, perturbation and severity.

    scores: a column score, and sha256 or path; a row is found by its hash if it has one, else by its path: as it is,
    from the working folder, by its ending, or by its file name if that is the only one. Optional columns: detector
    ("scores"), perturbation ("none"), severity (0), verdict, reason. Rows of other pictures are passed over. A picture
    that could not be read (no score, verdict "error") stays as a row whose score is NaN, and is not measured.

    Raises ScoresError if a class is missing, a score is not finite, or a picture has no score or two; UnknownName.
    """
    table = _take_split(manifest, split)
    theirs = _check_scores(scores)
    theirs["sha256"] = _find_hashes(theirs, manifest)
    parts = []
    names: Any
    for names, part in theirs.groupby(KEYS, sort=False):
        name, condition = names[0], "" if names[1] == "none" else f" under {names[1]} {names[2]}"
        found = part.groupby("sha256").agg(score=("score", "first"), high=("score", "max"), low=("score", "min"),
                                           verdict=("verdict", "first"), reason=("reason", "first"))  # fmt: skip
        joined = table.merge(found, left_on="sha256", right_index=True, how="left", indicator=True)
        absent = joined[joined.pop("_merge") == "left_only"]
        torn = joined[joined.pop("high") - joined.pop("low") > 1e-6]
        if len(absent):
            raise ScoresError(
                f"{len(absent):,} of {len(table):,} pictures of the split {split!r} have no score by {name!r}"
                f"{condition}, the first: {absent.path.iloc[0]}; "
                "score them too (rows are matched by sha256 if given, else by path)"
            )
        if len(torn):
            raise ScoresError(f"{torn.path.iloc[0]} has two scores by {name!r}{condition}; keep one row a picture")
        _check_classes(joined, f"{name!r}{condition}")
        parts.append(joined.assign(detector=str(names[0]), perturbation=str(names[1]), severity=names[2]))
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


def summarise(results: pd.DataFrame, *, metric: str | None = None) -> list[dict[str, Any]]:
    """Return the headline of each detector on unperturbed pictures: its worst generator, and the mean over all.

    metric: None takes the first that was measured.
    """
    metric = metric or str(results.metric.iloc[0])
    plain = results[(results.metric == metric) & (results.perturbation == "none")]
    return [
        {"detector": detector, "metric": metric, "worst_generator": worst.generator, "value": float(worst.value),
         "low": float(worst.low), "high": float(worst.high), "mean": float(part.value.mean()), "generators": len(part)}
        for detector, part in plain.groupby("detector", sort=False)
        for worst in [_worst_first(part).iloc[0]]
    ]  # fmt: skip


def publish(
    joined: pd.DataFrame,
    results: pd.DataFrame,
    folder: Path,
    *,
    metadata: Mapping[str, Any],
    faces: Mapping[str, Sequence[str]] | None = None,
    audit: Sequence[Mapping[str, Any]] = (),
    aligned: pd.DataFrame | None = None,
    fairness: Fairness | None = None,
    flips: pd.DataFrame | None = None,
    level: float = 0.95,
) -> None:
    """Write report.json, report.html, report.md and the plots below a folder.

    metadata: what to say of the evaluation, plain JSON; the headline, what was left out and notes are added to it.
    faces: caption -> paths of pictures to show as a grid. audit: findings, with name, severity, summary and fix.
    aligned: as `alignment.compare_aligned`. flips: as `suites.count_flips`.
    """
    headline = summarise(results)
    record = {**metadata, "level": level, "headline": headline, "excluded": _excluded(joined), "notes": _notes(joined),
              "audit": [dict(finding) for finding in audit], "aligned": _records(aligned),
              "verdict_flips": _records(flips)}  # fmt: skip
    if fairness is not None:
        record["fairness"] = {"rows": _records(fairness.rows), "gaps": _records(fairness.gaps)}
    read = joined[joined.score.notna()]
    figures = [*_draw(read[read.perturbation == "none"], results), *_draw_robustness(results), *_draw_flips(flips)]
    for name, paths in (faces or {}).items():
        grid = _draw_faces(paths)
        figures += [Figure(f"faces_{name}", "Faces", name, grid)] if grid else []
    rows = [row | {"high": row["high"] if np.isfinite(row["high"]) else None} for row in results.to_dict("records")]
    write_report(folder, Report.model_validate({"metadata": record, "results": rows}),
                 figures=figures, mistakes=_mistakes(read))  # fmt: skip


def _take_split(manifest: pd.DataFrame, split: str) -> pd.DataFrame:
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    table = manifest[manifest.split == split]
    both = [str(s) for s, rows in manifest.groupby("split") if rows.label.nunique() == 2]
    for label in Label:
        if not (table.label == label).any():
            other = f"only {Label(1 - label).name.lower()} pictures" if len(table) else "no picture at all"
            instead = f"these splits have both classes: {', '.join(both)}" if both else "no split has both classes"
            raise ScoresError(f"the split {split!r} has {other}, and a metric needs real and fake ones; {instead}")
    return table.reset_index(drop=True)


def _check_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that are needed, each of its type."""
    if "score" not in scores or not {"sha256", "path"} & set(scores):
        there = ", ".join(str(c) for c in scores.columns)
        raise ScoresError(f"scores need a column 'score', and 'sha256' or 'path'; these have: {there or 'none'}")
    if scores.empty:
        raise ScoresError("the table of scores is empty")
    theirs = pd.DataFrame({"score": pd.to_numeric(scores.score, errors="coerce").astype(float)}, index=scores.index)
    defaults: dict[str, Any] = {"sha256": "", "path": "", "verdict": "", "reason": ""} | DEFAULTS
    for column, value in defaults.items():
        theirs[column] = scores[column].fillna(value) if column in scores else value
    theirs["severity"] = pd.to_numeric(theirs.severity, errors="coerce").fillna(-1).astype(int)
    if (theirs.severity < 0).any():
        raise ScoresError("a severity is not a whole number; 0 is untouched, 1 to 5 is mild to strong")
    bad = theirs[~np.isfinite(theirs.score) & ~(theirs.score.isna() & (theirs.verdict == "error"))]
    if len(bad):
        shown = ", ".join(f"row {i} ({p or s})" for i, p, s in zip(bad.index[:3], bad.path, bad.sha256, strict=False))
        raise ScoresError(
            f"{len(bad):,} of {len(theirs):,} scores are NaN, infinite or no numbers: {shown}"
            f"{' and others' if len(bad) > 3 else ''}; score them again, or say verdict=error if they cannot be read"
        )
    return theirs


def _find_hashes(theirs: pd.DataFrame, manifest: pd.DataFrame) -> pd.Series:
    """Return for each row the hash of its picture: the one it has, else that of the manifest's row its path means."""
    hashes = dict(zip(manifest.path.astype(str), manifest.sha256, strict=True))
    given = theirs.sha256.astype(str).str.lower()
    paths = theirs.path.astype(str)[given == ""].unique()
    meant = {path: guess for path in paths for guess in (path, os.path.abspath(path)) if guess in hashes}
    for whole in (True, False):  # all of a relative path, then the file name alone
        rest = {path: _tail(os.path.normpath(path), whole) for path in paths if path and path not in meant}
        twice = Counter(rest.values())
        for depth in {tail.count("/") + 1 for tail in rest.values()}:
            ours: dict[str, str] = {}
            for path in hashes:
                tail = "/".join(path.split("/")[-depth:])
                ours[tail] = path if tail not in ours else ""
            meant |= {path: ours[tail] for path, tail in rest.items() if ours.get(tail) and twice[tail] == 1}
    return given.where(given != "", theirs.path.map(lambda path: hashes.get(meant.get(path, ""), "")))


def _tail(path: str, whole: bool) -> str:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return "/".join(parts if whole else parts[-1:])


def _check_classes(joined: pd.DataFrame, what: str) -> None:
    """Raise ScoresError if all real pictures, or all fakes of a generator, are unreadable."""
    for generator, rows in joined.groupby("generator"):
        if rows.score.isna().all():
            kind = f"fakes of {generator!r}" if generator else "real pictures"
            raise ScoresError(f"{what} could read none of the {len(rows):,} {kind}; look at the column 'reason'")


def _pairs(part: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each generator's readable fakes together with all readable real pictures."""
    read = part[part.score.notna()]
    real = read[read.label == Label.REAL]
    for generator, fake in read[read.label == Label.FAKE].groupby("generator"):
        yield str(generator), pd.concat([real, fake])


def _worst_first(results: pd.DataFrame) -> pd.DataFrame:
    """Return rows of one metric, the worst value first."""
    return results.sort_values("value", ascending=METRICS.facts(str(results.metric.iloc[0]))["higher"], kind="stable")


def _excluded(joined: pd.DataFrame) -> dict[str, Any]:
    """Return how many pictures could not be read, detector -> generator ("real") -> number."""
    lost = joined[joined.score.isna()]
    return {
        str(detector): {str(g) or "real": int(n) for g, n in rows.groupby("generator").sha256.nunique().items()}
        for detector, rows in lost.groupby("detector", sort=False)
    }


def _notes(joined: pd.DataFrame) -> list[str]:
    """Return what a reader of these figures should be warned of."""
    notes = []
    for detector, counts in _excluded(joined).items():
        total = joined.sha256[joined.detector == detector].nunique()
        lost = ", ".join(f"{n:,} {generator}" for generator, n in counts.items())
        notes.append(
            f"{detector} could not read {sum(counts.values()):,} of its {total:,} pictures, "
            f"which its figures leave out: {lost}"
        )
    for name, part in joined.groupby("detector", sort=False):
        if part.score.dropna().between(0, 1).all():
            notes.append(
                f"the scores of {name} all lie between 0 and 1, as probabilities do; balanced accuracy and "
                "whatever rests on probabilities take log-odds, with 0 for undecided"
            )
    return notes


def _draw(plain: pd.DataFrame, results: pd.DataFrame) -> Iterator[Figure]:
    """Yield the figures of unperturbed pictures: one panel a detector, the worst generator first."""
    from detector import plots

    first = results[(results.metric == results.metric.iloc[0]) & (results.perturbation == "none")]
    order = list(dict.fromkeys(_worst_first(first).generator)) if len(first) else []
    parts = {str(name): dict(sorted(_pairs(part), key=lambda pair: order.index(pair[0])))
             for name, part in plain.groupby("detector", sort=False)}  # fmt: skip
    if not parts:
        return

    def real(both: pd.DataFrame) -> Any:
        return both.score[both.label == Label.REAL]

    def fake(both: pd.DataFrame) -> Any:
        return both.score[both.label == Label.FAKE]

    for name, draw, curve, words in (
        ("roc", plots.draw_roc, roc, "ROC: fakes found against real pictures accused, at every threshold"),
        ("det", plots.draw_det, det, "DET: both kinds of error, on normal-deviate scales; lower left is better"),
    ):
        axes = plots.new_axes(len(parts))
        for ax, (detector, pairs) in zip(axes, parts.items(), strict=True):
            draw({g: curve(both.label, both.score)[:2] for g, both in pairs.items()}, ax, title=detector)
        yield Figure(name, "ROC and DET", words, plots.to_png(axes[0].figure))
    for generator in order:
        shown = {detector: pairs[generator] for detector, pairs in parts.items() if generator in pairs}
        axes = plots.new_axes(len(shown), width=4.3, height=2.7)
        for ax, (detector, both) in zip(axes, shown.items(), strict=True):
            plots.draw_histogram(real(both), fake(both), ax, generator=generator, title=detector)
        yield Figure(f"scores_{generator}", "Scores", f"real and {generator}", plots.to_png(axes[0].figure))
    axes = plots.new_axes(len(parts))
    for ax, (detector, pairs) in zip(axes, parts.items(), strict=True):
        fakes = {generator: fake(both) for generator, both in pairs.items()}
        plots.draw_tippett(real(next(iter(pairs.values()))), fakes, ax, title=detector)
    words = "Tippett: how often a likelihood ratio is at least so large; right of 0, the real line misleads"
    yield Figure("tippett", "Calibration", words, plots.to_png(axes[0].figure))
    axes = plots.new_axes(len(parts))
    for ax, detector in zip(axes, parts, strict=True):
        part = plain[plain.detector == detector]
        plots.draw_reliability(part.label, part.score, ax, title=detector)
    words = "Reliability: on the diagonal, a probability means what it says; bars are 95 % intervals"
    yield Figure("reliability", "Calibration", words, plots.to_png(axes[0].figure))


def _draw_robustness(results: pd.DataFrame) -> Iterator[Figure]:
    """Yield the curves of the worst generator under each perturbation, if there are perturbations."""
    from detector import plots

    metric = str(results.metric.iloc[0])
    first = results[results.metric == metric]
    names = [name for name in first.perturbation.unique() if name != "none"]
    if not names:
        return
    axes = plots.new_axes(len(names), height=3.2)
    for ax, name in zip(axes, names, strict=True):
        curves = {}
        for detector, part in first[first.perturbation.isin(["none", name])].groupby("detector", sort=False):
            worst = pd.DataFrame([_worst_first(rows).iloc[0] for _, rows in part.groupby("severity")])
            curves[str(detector)] = (worst.severity, worst.value, worst.low, worst.high)
        plots.draw_robustness(curves, ax, metric=f"{METRIC_TITLES.get(metric, metric)}, worst generator", title=name)
    yield Figure("robustness", "Robustness", "the worst generator at each severity; bands are the intervals",
                 plots.to_png(axes[0].figure))  # fmt: skip


def _draw_flips(flips: pd.DataFrame | None) -> Iterator[Figure]:
    """Yield the curves of the share of verdicts that each perturbation changes; untouched, none has changed."""
    from detector import plots

    if flips is None or flips.empty:
        return
    names = list(flips.perturbation.unique())
    axes = plots.new_axes(len(names), height=3.2)
    for ax, name in zip(axes, names, strict=True):
        curves = {}
        for detector, part in flips[flips.perturbation == name].groupby("detector", sort=False):
            part = part.sort_values("severity")
            severities, *bands = (np.array([0, *part[c]]) for c in ("severity", "flips", "low", "high"))
            curves[str(detector)] = (severities, bands[0], bands[1], bands[2])
        plots.draw_robustness(curves, ax, metric="verdicts changed", title=name)
    yield Figure("verdict_flips", "Robustness", "the share of verdicts that a perturbation changes, whichever way; "
                 "bands are the intervals", plots.to_png(axes[0].figure))  # fmt: skip


def _records(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return the rows of a table as plain JSON, what is missing as null."""
    rows = [] if table is None else table.to_dict("records")
    return [
        {str(k): None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()} for row in rows
    ]


def _draw_faces(paths: Sequence[str]) -> bytes:
    """Return a grid of those pictures that can be read; nothing if none can."""
    faces = [face for path in paths if (face := _face(path)) is not None]
    return encode(tile(np.stack(faces), min(8, len(faces)))) if faces else b""


def _face(path: str, crop: object = None) -> Image | None:
    try:
        return prepare(load(path), FACE, read_crop(crop))
    except ImageError:
        return None


def _mistakes(read: pd.DataFrame) -> list[Thumbnail]:
    """Return, for each detector, the real pictures it was surest are fake, and the fakes it was surest are real."""
    thumbnails = []
    plain = read[read.perturbation == "none"].assign(wrong=lambda t: np.where(t.label == Label.FAKE, -t.score, t.score))
    for (detector, _), part in plain[plain.wrong > 0].groupby(["detector", "label"], sort=False):
        for row in part.nlargest(MISTAKES, "wrong").to_dict("records"):
            face = _face(row["path"], row.get("crop"))
            picture = b"" if face is None else encode(face, "JPEG", quality=85)
            truth = row["generator"] or "real"
            thumbnails.append(Thumbnail(str(detector), Path(row["path"]).name, truth, row["score"], picture))
    return thumbnails
