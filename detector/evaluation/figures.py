"""Publish results as a report: tables, plots, faces, mistakes and warnings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from detector.dataset.findings import AuditFinding
from detector.dataset.manifest import read_crop
from detector.errors import ImageError
from detector.evaluation.formats import name_metric
from detector.evaluation.measuring import ALL, drop_repeats, list_compared, pair_generators, summarise, worst_first
from detector.evaluation.oddities import warn_of_scores
from detector.evaluation.power import describe_power
from detector.evaluation.report import Figure, Report, Thumbnail, write_report
from detector.evaluation.source_effects import count_false_alarms, find_source_effects
from detector.pictures.faces import load_face
from detector.pictures.images import encode, tile
from detector.statistics.fairness import Fairness
from detector.statistics.metrics import det, roc
from detector.types import Image, Label

FACE = 96  # side of a face in the report, pixels
MISTAKES = 5  # number of mistakes of each kind that the report shows per detector


def publish(
    joined: pd.DataFrame,
    results: pd.DataFrame,
    folder: Path,
    *,
    pairs: pd.DataFrame,
    metadata: Mapping[str, Any],
    faces: Mapping[str, Sequence[str]] | None = None,
    audit: Sequence[Mapping[str, Any]] = (),
    aligned: pd.DataFrame | None = None,
    fairness: Fairness | None = None,
    flips: pd.DataFrame | None = None,
    means: pd.DataFrame | None = None,
    differences: pd.DataFrame | None = None,
    drops: pd.DataFrame | None = None,
    level: float = 0.95,
) -> None:
    """Write report.json, report.html, report.md and the plots below a folder.

    pairs: as `pairs.measure_pairs`. metadata: what to say of the evaluation, plain JSON; the headline, findings on the
    sources, what was left out and notes are added to it. faces: caption -> paths of pictures to show as a grid. audit:
    findings, with name, severity, summary and fix. aligned: as `alignment.compare_aligned`. flips: as
    `running.count_flips`. means: as `pairs.average_pairs`. drops: as `power.measure_power`.
    differences: as `differences.compare_detectors`.
    """
    false_alarms = count_false_alarms(joined, level=level)
    effects = find_source_effects(pairs, joined)
    headline = _records(pd.DataFrame(summarise(results, pairs, false_alarms, means)))
    notes = [*_notes(joined), *warn_of_scores(joined, results)]
    record = {**metadata, "level": level, "headline": headline,
              "sources": _records_of_effects(effects), "excluded": _excluded(joined), "notes": notes,
              "audit": [dict(finding) for finding in audit], "aligned": _records(aligned),
              "verdict_flips": _records(flips), "power": [] if drops is None else describe_power(drops)}  # fmt: skip
    if fairness is not None:
        record["fairness"] = {"rows": _records(fairness.rows), "gaps": _records(fairness.gaps)}
    read = joined[joined.score.notna()]
    plain = read[read.perturbation == "none"]
    figures = [*_draw_examples(effects, plain), *_draw_false_alarms(false_alarms), *_draw(plain, results),
               *_draw_robustness(list_compared(results, pairs)), *_draw_flips(flips)]  # fmt: skip
    for name, paths in (faces or {}).items():
        grid = _draw_faces((path, "") for path in paths)
        figures += [Figure(f"faces_{name}", "Faces", name, grid)] if grid else []
    tables = {
        "results": _records(drop_repeats(results)),
        "pairs": _records(pairs),
        "false_alarms": _records(false_alarms),
        "means": _records(means),
        "differences": _records(differences),
        "visible_drops": _records(drops),
    }
    write_report(folder, Report.model_validate({"metadata": record, **tables}),
                 figures=figures, mistakes=_mistakes(read))  # fmt: skip


def _excluded(joined: pd.DataFrame) -> dict[str, Any]:
    """Return how many pictures could not be read, detector -> generator ("real") -> number."""
    lost = joined[joined.score.isna()]
    return {
        str(detector): {str(g) or "real": int(n) for g, n in rows.groupby("generator").sha256.nunique().items()}
        for detector, rows in lost.groupby("detector", sort=False)
    }


def _notes(joined: pd.DataFrame) -> list[str]:
    """Return the warnings about pictures that could not be read."""
    notes = []
    for detector, counts in _excluded(joined).items():
        total = joined.sha256[joined.detector == detector].nunique()
        lost = ", ".join(f"{n:,} {generator}" for generator, n in counts.items())
        notes.append(
            f"{detector} could not read {sum(counts.values()):,} of its {total:,} pictures, "
            f"which its figures leave out: {lost}"
        )
    return notes


def _draw(plain: pd.DataFrame, results: pd.DataFrame) -> Iterator[Figure]:
    """Yield the figures of unperturbed pictures: one panel per detector, the worst generator first."""
    from detector.evaluation import plots

    pooled = results[(results.perturbation == "none") & (results.real == ALL)]
    first = pooled[pooled.metric == results.metric.iloc[0]]
    order = list(dict.fromkeys(worst_first(first).generator)) if len(first) else []
    parts = {str(name): dict(sorted(pair_generators(part), key=lambda pair: order.index(pair[0])))
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


def _draw_robustness(compared: pd.DataFrame) -> Iterator[Figure]:
    """Yield the curves of the worst compared result (`measuring.list_compared`) under each perturbation."""
    from detector.evaluation import plots

    names = [name for name in compared.perturbation.unique() if name != "none"]
    if not names:
        return
    title = name_metric(str(compared.metric.iloc[0]))
    axes = plots.new_axes(len(names), height=3.2)
    for ax, name in zip(axes, names, strict=True):
        curves = {}
        for detector, part in compared[compared.perturbation.isin(["none", name])].groupby("detector", sort=False):
            worst = pd.DataFrame([worst_first(rows).iloc[0] for _, rows in part.groupby("severity")])
            curves[str(detector)] = (worst.severity, worst.value, worst.low, worst.high)
        plots.draw_robustness(curves, ax, metric=f"{title}, the worst", title=name)
    yield Figure("robustness", "Robustness", "the worst figure at each severity; bands are the intervals",
                 plots.to_png(axes[0].figure))  # fmt: skip


def _draw_false_alarms(false_alarms: pd.DataFrame) -> Iterator[Figure]:
    """Yield the rates of unperturbed photographs, one figure per detector, the worst source on top."""
    from detector.evaluation import plots

    for detector, part in false_alarms[false_alarms.perturbation == "none"].groupby("detector", sort=False):
        rows = part.sort_values(["rate", "high"], ascending=False)
        (ax,) = plots.new_axes(height=0.9 + 0.35 * len(rows))
        rates = {str(r["real"]): (r["rate"], r["low"], r["high"]) for r in rows.to_dict("records")}
        plots.draw_rates(rates, ax, label="photographs called likely-fake", title=str(detector))
        yield Figure(f"false_alarms_{detector}", "False alarms", f"{detector}: bars are the intervals",
                     plots.to_png(ax.figure))  # fmt: skip


def _draw_examples(effects: Sequence[tuple[str, AuditFinding]], plain: pd.DataFrame) -> Iterator[Figure]:
    """Yield the example pictures of serious findings, one figure per source."""
    for detector, finding in effects:
        examples = plain[(plain.detector == detector) & plain.path.isin(finding.rows)]
        for dataset, rows in examples.groupby("dataset"):
            crops = rows["crop"] if "crop" in rows else [""] * len(rows)
            grid = _draw_faces(zip(rows.path, crops, strict=True))
            caption = f"{dataset}: {detector} scores these {rows.score.min():+.2f} to {rows.score.max():+.2f}"
            if grid:
                yield Figure(f"{finding.name}_{detector}_{dataset}", "Sources", caption, grid)


def _draw_flips(flips: pd.DataFrame | None) -> Iterator[Figure]:
    """Yield the curves of the share of verdicts that each perturbation changes; untouched, none has changed."""
    from detector.evaluation import plots

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
    """Return the rows of a table as plain JSON, with null for missing values."""
    rows = [] if table is None else table.to_dict("records")
    return [
        {str(k): None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()} for row in rows
    ]


def _records_of_effects(effects: Sequence[tuple[str, AuditFinding]]) -> list[dict[str, Any]]:
    """Return findings as plain JSON, their examples by file name."""
    return [
        {"detector": detector} | asdict(finding) | {"rows": [Path(path).name for path in finding.rows]}
        for detector, finding in effects
    ]


def _draw_faces(pictures: Iterable[tuple[str, object]]) -> bytes:
    """Return a grid of the pictures (path, crop) that can be read, or None if none can."""
    faces = [face for path, crop in pictures if (face := _face(path, crop)) is not None]
    return encode(tile(np.stack(faces), min(8, len(faces)))) if faces else b""


def _face(path: str, crop: object = None) -> Image | None:
    try:
        return load_face(path, FACE, read_crop(crop))
    except ImageError:
        return None


def _mistakes(read: pd.DataFrame) -> list[Thumbnail]:
    """Return, for each detector, the real pictures with the highest scores and the fakes with the lowest."""
    thumbnails = []
    plain = read[read.perturbation == "none"].assign(wrong=lambda t: np.where(t.label == Label.FAKE, -t.score, t.score))
    for (detector, _), part in plain[plain.wrong > 0].groupby(["detector", "label"], sort=False):
        for row in part.nlargest(MISTAKES, "wrong").to_dict("records"):
            face = _face(row["path"], row.get("crop"))
            picture = b"" if face is None else encode(face, "JPEG", quality=85)
            truth = row["generator"] or "real"
            thumbnails.append(Thumbnail(str(detector), Path(row["path"]).name, truth, row["score"], picture))
    return thumbnails
