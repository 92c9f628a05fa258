"""Write results as JSON (the record), as one self-contained HTML page, as Markdown, and as PNG files.

The HTML needs no network and no other file, reads in light and in dark, and prints. Whatever comes from a manifest is
escaped: file names are other people's text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from detector.evaluation import formats
from detector.evaluation.markdown import make_markdown
from detector.evaluation.measuring import ALL, list_compared, worst_first
from detector.evaluation.naming import file_names
from detector.evaluation.pairs import COLUMNS as PAIR_COLUMNS
from detector.evaluation.pairs import Role
from detector.evaluation.source_effects import MAX_AUC, is_beyond
from detector.files import open_templates, write_bytes, write_text
from detector.statistics.metrics import METRICS

TEMPLATES, SCHEMA = Path(__file__).parent, Path(__file__).with_name("report.schema.json")
ELSEWHERE = (
    "command",
    "headline",
    "sources",
    "notes",
    "audit",
    "excluded",
    "level",
    "aligned",
    "fairness",
    "verdict_flips",
    "power",
)  # metadata that has its own place on the page
NEUTRAL_AUC = 0.75  # AUC of a cell without colour; lower ones are orange, higher ones blue
STRONGEST = 45  # largest percentage of colour in a cell, so that its text stays legible
Severity = Annotated[int, Field(ge=0, le=5)]
Count = Annotated[int, Field(ge=1)]


class Row(BaseModel):
    """One measured figure."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Result(Row):
    """A metric of a detector on a generator's fakes and the photographs of one dataset, under one perturbation."""

    detector: str
    generator: str
    real: Annotated[str, Field(description="dataset of the photographs; all: those of every dataset together")]
    perturbation: str
    severity: Severity
    metric: str
    value: float
    low: Annotated[float | None, Field(description="null: there is no interval, a class has a single group")]
    high: Annotated[float | None, Field(description="null: the interval has no upper end, or there is none")]
    n_real: Count
    n_fake: Count


class ComparedPair(Row):
    """The AUC of a detector's score between two sets of pictures: the chance that the first set scores higher."""

    detector: str
    role: Annotated[Role, Field(description="matched: fakes and photographs of one kind; else a control of sources")]
    first: Annotated[str, Field(description="dataset, or generator of a matched pair")]
    second: Annotated[str, Field(description="dataset")]
    generator: Annotated[str, Field(description="of both sets of fakes; empty if the pair is not of fakes")]
    kind: Annotated[str, Field(description="the value of the manifest's column kind that both sets have")]
    perturbation: str
    severity: Severity
    auc: float
    low: Annotated[float | None, Field(description="null: there is no interval, a set has a single group")]
    high: float | None
    n_first: Count
    n_second: Count
    groups: Annotated[int, Field(ge=1, description="people or seeds of the set that has fewer")]
    saved: Annotated[str, Field(description="how both sets were re-encoded; empty: pictures as they are")]


class FalseAlarms(Row):
    """The share of one dataset's photographs that a detector calls likely-fake."""

    detector: str
    real: Annotated[str, Field(description="dataset")]
    perturbation: str
    severity: Severity
    rate: float
    low: float
    high: float
    called: Annotated[int, Field(ge=0)]
    n: Count


class MeanAuc(Row):
    """The mean AUC over what the headline compares: the matched pairs, else every generator and source."""

    detector: str
    perturbation: str
    severity: Severity
    mean: float
    low: Annotated[float | None, Field(description="null: there is no interval, a class has a single group")]
    high: float | None
    pairs: Count


class Difference(Row):
    """The AUC of a detector minus that of another on the same pictures, as they are."""

    detector: str
    other: str
    generator: Annotated[str, Field(description="generator or dataset of the fakes")]
    real: Annotated[str, Field(description="dataset of the photographs")]
    kind: Annotated[str, Field(description="the value of the manifest's column kind that the pictures have")]
    auc: float
    auc_other: float
    difference: float
    low: Annotated[float | None, Field(description="null: there is no interval, a class has a single group")]
    high: float | None
    p: Annotated[float, Field(ge=0, le=1, description="two-sided, paired DeLong test, Holm over all rows")]
    n_real: Count
    n_fake: Count


class VisibleDrop(Row):
    """The smallest drop of an AUC that the gate of a suite would have noticed with 80 % power."""

    detector: str
    generator: str
    real: str
    perturbation: str
    severity: Severity
    auc: float
    drop: Annotated[float | None, Field(description="null: no drop can be noticed")]


class Report(BaseModel):
    """The content of report.json."""

    model_config = ConfigDict(extra="forbid")

    metadata: dict[str, Any]
    results: list[Result]
    pairs: list[ComparedPair] = []
    false_alarms: list[FalseAlarms] = []
    means: list[MeanAuc] = []
    differences: list[Difference] = []
    visible_drops: list[VisibleDrop] = []


@dataclass(frozen=True)
class Figure:
    """A PNG with its file name, its section of the page, and its caption."""

    name: str
    section: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Thumbnail:
    """A mistake of a detector: file name and class of the picture, its score, and a small JPEG (may be empty)."""

    detector: str
    name: str
    truth: str
    score: float
    jpeg: bytes


def write_report(
    folder: Path, report: Report, *, figures: Sequence[Figure] = (), mistakes: Sequence[Thumbnail] = ()
) -> None:
    """Write report.json, report.md, report.html and each figure below a folder, each file whole, report.json last.

    The page shows what metadata holds: headline (one entry per detector, as `measuring.summarise` gives them), notes,
    sources and audit (findings with name, severity, summary and fix), power (sentences), command, level, aligned,
    fairness and verdict_flips (rows of the tables that `figures.publish` takes), and anything else as a list.
    """
    names = [f"{name}.png" for name in file_names([figure.name for figure in figures])]
    sections: dict[str, list[tuple[Figure, str]]] = {}
    for figure, name in zip(figures, names, strict=True):
        write_bytes(folder / name, figure.png)
        sections.setdefault(figure.section, []).append((figure, name))
    context = {**_arrange(report), "sections": sections, "mistakes": mistakes}
    filters: dict[str, Callable[..., object]] = {
        "base64": lambda data: base64.b64encode(data).decode(), "number": formats.format_number,
        "title": formats.name_metric,
        "interval": formats.format_interval, "mean": formats.format_mean, "gap": formats.format_gap,
        "chance": formats.format_chance, "share": formats.format_share, "compared": formats.count_compared,
        "heat": _colour_auc, "control": _colour_control, "pixels": lambda png: int.from_bytes(png[16:20], "big"),
    }  # fmt: skip
    page = open_templates(TEMPLATES, **filters).get_template("report.html.jinja")
    write_text(folder / "report.html", page.render(context))
    write_text(folder / "report.md", make_markdown(context))
    write_text(folder / "report.json", json.dumps(report.model_dump(mode="json"), indent=1, allow_nan=False) + "\n")


def read_report(folder: Path) -> dict[str, Any]:
    """Return the content of the report.json in a folder."""
    content: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return content


def make_schema() -> str:
    """Return the JSON schema of report.json, as published in `report.schema.json`."""
    return json.dumps(Report.model_json_schema(), indent=1) + "\n"


def _arrange(report: Report) -> dict[str, Any]:
    """Return the tables of the page and of the Markdown."""
    metrics = list(dict.fromkeys(r.metric for r in report.results))
    plain = [r for r in report.results if r.perturbation == "none"]
    pairs = [p for p in report.pairs if p.perturbation == "none"]
    detectors = list(dict.fromkeys(r.detector for r in report.results))
    alarms = [f for f in report.false_alarms if f.perturbation == "none"]
    perturbed = _under_perturbations(report)
    optional = {"headline": [], "sources": [], "notes": [], "audit": [], "aligned": [], "command": "", "level": 0.95,
                "power": []}  # fmt: skip
    return {
        "metadata": optional | report.metadata,
        "elsewhere": ELSEWHERE,
        "rows": _worst_first([r for r in plain if r.real == ALL], metrics),
        "matrices": _make_matrices([r for r in plain if r.metric == metrics[0]], report.metadata.get("headline", [])),
        "matched": _list_matched([p for p in pairs if p.role is Role.MATCHED]),
        "detectors": detectors,
        "controls": _make_controls([p for p in pairs if p.role is not Role.MATCHED]),
        "false_alarms": sorted(alarms, key=lambda f: (detectors.index(f.detector), -f.rate, -f.high)),
        "differences": sorted(report.differences, key=lambda d: d.p),
        "bounds": (1 - MAX_AUC, MAX_AUC),
        "measured": metrics[0],
        "perturbed": perturbed,
        "severities": sorted({severity for row in perturbed.values() for severity in row}),
        "flips": {
            (f["perturbation"], f["detector"], f["severity"]): f for f in report.metadata.get("verdict_flips", [])
        },
        "fairness": _by_group(report.metadata.get("fairness", {})),
        "metrics": {m: (formats.name_metric(m), METRICS.facts(m)) for m in metrics},
    }


def _worst_first(results: Sequence[Result], metrics: Sequence[str]) -> list[dict[str, Result]]:
    """Return one row, metric -> result, a detector and generator: detectors in order, the worst generator first."""
    rows: dict[tuple[str, str], dict[str, Result]] = {}
    for r in results:
        rows.setdefault((r.detector, r.generator), {})[r.metric] = r
    order = list(dict.fromkeys(detector for detector, _ in rows))

    def place(key: tuple[str, str]) -> tuple[int, float]:
        return order.index(key[0]), -_badness(rows[key][metrics[0]]) if metrics[0] in rows[key] else 0.0

    return [rows[key] for key in sorted(rows, key=place)]


def _make_matrices(results: Sequence[Result], headline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return generators against datasets of photographs, one matrix per detector; none if there is a single dataset."""
    datasets = [*sorted({r.real for r in results} - {ALL}), ALL]
    if len(datasets) < 3:
        return []
    worst = {h["detector"]: (h["worst_generator"], h["worst_real"]) for h in headline if not h["matched"]}
    matrices: dict[str, dict[str, Any]] = {}
    for r in sorted(results, key=_badness, reverse=True):
        empty: dict[str, Any] = {"detector": r.detector, "datasets": datasets, "rows": {}}
        matrix = matrices.setdefault(r.detector, empty | {"worst": worst.get(r.detector)})
        matrix["rows"].setdefault(r.generator, {})[r.real] = r
    return [matrices[detector] for detector in dict.fromkeys(r.detector for r in results)]


def _list_matched(pairs: Sequence[ComparedPair]) -> list[dict[str, ComparedPair]]:
    """Return one row, detector -> figure, a matched pair; the one with the lowest mean AUC first."""
    rows: dict[tuple[str, str, str], dict[str, ComparedPair]] = {}
    for p in pairs:
        rows.setdefault((p.first, p.second, p.kind), {})[p.detector] = p
    return sorted(rows.values(), key=lambda row: sum(p.auc for p in row.values()) / len(row))


def _make_controls(pairs: Sequence[ComparedPair]) -> list[dict[str, Any]]:
    """Return sources against sources, one square matrix per detector and control; below the diagonal, mirrored."""
    tables: dict[tuple[str, ...], dict[str, Any]] = {}
    for p in pairs:
        empty: dict[str, Any] = {"detector": p.detector, "role": p.role, "generator": p.generator, "cells": {}}
        cells = tables.setdefault((p.detector, p.role, p.generator), empty)["cells"]
        low, high = (np.nan if end is None else end for end in (p.low, p.high))
        more = {"beyond": is_beyond(low, high, p.groups), "saved": p.saved}
        cells[p.first, p.second] = {"auc": p.auc, "low": low, "high": high} | more
        cells[p.second, p.first] = {"auc": 1 - p.auc, "low": 1 - high, "high": 1 - low} | more
    return [table | {"names": sorted({name for name, _ in table["cells"]})} for table in tables.values()]


def _under_perturbations(report: Report) -> dict[tuple[str, str], dict[int, dict[str, Any]]]:
    """Return perturbation, detector -> severity (0 is untouched) -> the worst compared result, and the mean of all."""
    compared = list_compared(
        pd.DataFrame([r.model_dump() for r in report.results]),
        pd.DataFrame([p.model_dump() for p in report.pairs], columns=PAIR_COLUMNS),
    )
    rows: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    means = {(m.detector, m.perturbation, m.severity): {"mean_low": m.low, "mean_high": m.high} for m in report.means}
    keys: Any
    for name in sorted(set(compared.perturbation) - {"none"}):
        part = compared[compared.perturbation.isin(["none", name])]
        for keys, cells in part.groupby(["detector", "severity"], sort=False):
            worst = {str(key): value for key, value in worst_first(cells).iloc[0].items()}
            place = (keys[0], name if keys[1] else "none", keys[1])
            ends = means.get(place, {}) if worst["metric"] == "auc" else {}
            rows.setdefault((name, keys[0]), {})[keys[1]] = worst | {"mean": cells.value.mean()} | ends
    return rows


def _by_group(fairness: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one table per detector and column: its metrics, rows (group -> metric -> figure), and gaps."""
    tables: dict[tuple[str, str], dict[str, Any]] = {}
    for row in fairness.get("rows", []):
        key = row["detector"], row["column"]
        empty: dict[str, Any] = {"detector": key[0], "column": key[1], "metrics": [], "groups": {}, "gaps": []}
        table = tables.setdefault(key, empty)
        table["metrics"] = list(dict.fromkeys([*table["metrics"], row["metric"]]))
        table["groups"].setdefault(row["group"], {})[row["metric"]] = row
    for gap in fairness.get("gaps", []):
        tables[gap["detector"], gap["column"]]["gaps"].append(gap)
    return list(tables.values())


def _badness(result: Result) -> float:
    return -result.value if METRICS.facts(result.metric)["higher"] else result.value


def _colour_auc(auc: float) -> str:
    """Return the style of a cell: blue if its AUC is good, orange if it is bad."""
    return _colour((NEUTRAL_AUC - auc) / (1 - NEUTRAL_AUC))


def _colour_control(auc: float) -> str:
    """Return the style of a cell: blue if two sources score alike, orange beyond the bound in either direction."""
    return _colour(abs(auc - 0.5) / (MAX_AUC - 0.5) - 1)


def _colour(badness: float) -> str:
    """Return a style; badness: -1 (blue) to 1 (orange), 0 is without colour."""
    return f"--colour:var(--{'bad' if badness > 0 else 'accent'});--share:{STRONGEST * min(abs(badness), 1):.0f}%"
