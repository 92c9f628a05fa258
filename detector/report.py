"""Results -> JSON (the record), one self-contained HTML page, Markdown and PNGs.

The HTML needs no network and no other file, reads in light and in dark, and prints. Whatever comes from a manifest is
escaped: file names are other people's text.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jinja2
from pydantic import BaseModel, ConfigDict, Field

from detector.files import write_bytes, write_text

TEMPLATES, SCHEMA = Path(__file__).parent / "templates", Path(__file__).parent / "schemas" / "report.schema.json"
METRIC_TITLES = {"auc": "AUC", "ap": "AP", "eer": "EER", "tpr_at_fpr_1": "TPR at 1 % FPR", "tpr_at_fpr_5": "TPR at 5 % FPR",
                 "balanced_accuracy": "balanced accuracy", "brier": "Brier", "ece": "ECE", "cllr": "Cllr",
                 "cllr_min": "Cllr min"}  # fmt: skip


class Result(BaseModel):
    """One measured figure: a detector, a generator's fakes against all real pictures, one perturbation and metric."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    detector: str
    generator: str
    perturbation: str
    severity: Annotated[int, Field(ge=0, le=5)]
    metric: str
    value: float
    low: float
    high: float
    n_real: Annotated[int, Field(ge=1)]
    n_fake: Annotated[int, Field(ge=1)]


class Report(BaseModel):
    """What report.json holds."""

    model_config = ConfigDict(extra="forbid")

    metadata: dict[str, Any]
    results: list[Result]


@dataclass(frozen=True)
class Thumbnail:
    """A picture a detector was most wrong about: its file's name, what it is, its score, and a small JPEG."""

    detector: str
    name: str
    truth: str
    score: float
    jpeg: bytes


def write_report(
    folder: Path,
    report: Report,
    *,
    headline: Sequence[Mapping[str, Any]],
    figures: Mapping[str, bytes],
    mistakes: Sequence[Thumbnail] = (),
) -> None:
    """Write report.json, report.md, report.html and each figure (title -> PNG) below a folder, each file whole.

    headline: one line a detector, as `benchmark.summarise` gives them.
    """
    for title, png in figures.items():
        write_bytes(folder / f"{_slug(title)}.png", png)
    tables = _tables(report.results)
    names = [r.metric for r in report.results]
    context = {
        "metadata": report.metadata,
        "headline": headline,
        "tables": tables,
        "metrics": [(m, METRIC_TITLES.get(m, m)) for m in dict.fromkeys(names)],
        "figures": {title: base64.b64encode(png).decode() for title, png in figures.items()},
        "mistakes": [(t, base64.b64encode(t.jpeg).decode()) for t in mistakes],
        "slug": _slug,
    }
    page = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    write_text(folder / "report.html", page.get_template("report.html.jinja").render(context))
    write_text(folder / "report.md", _markdown(context))
    write_text(folder / "report.json", json.dumps(report.model_dump(), indent=1) + "\n")  # last: the record is complete


def make_schema() -> str:
    """Return the JSON schema of report.json, as published in `schemas/`."""
    return json.dumps(Report.model_json_schema(), indent=1) + "\n"


def _tables(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return one row a detector, perturbation and generator, its metrics in a dictionary; the worst AUC first."""
    rows: dict[tuple[str, str, int, str], dict[str, Any]] = {}
    for r in results:
        row = rows.setdefault((r.detector, r.perturbation, r.severity, r.generator), {
            "detector": r.detector, "generator": r.generator, "n_real": r.n_real, "n_fake": r.n_fake, "metrics": {},
            "perturbation": r.perturbation if r.perturbation == "none" else f"{r.perturbation} {r.severity}",
        })  # fmt: skip
        row["metrics"][r.metric] = r
    return sorted(rows.values(), key=lambda row: row["metrics"]["auc"].value if "auc" in row["metrics"] else 0.0)


def _markdown(context: Mapping[str, Any]) -> str:
    def cell(text: object) -> str:
        return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", str(text)).replace("\n", " ")

    lines = ["# Evaluation", ""]
    for h in context["headline"]:
        lines.append(
            f"- **{cell(h['detector'])}**: worst generator {cell(h['worst_generator'])}, {METRIC_TITLES[h['metric']]} "
            f"{h['value']:.3f} [{h['low']:.3f}, {h['high']:.3f}]; mean over {h['generators']} generators {h['mean']:.3f}"
        )
    heads = ["detector", "generator", "perturbation", "real", "fake", *(title for _, title in context["metrics"])]
    lines += ["", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in context["tables"]:
        found = [row["metrics"].get(name) for name, _ in context["metrics"]]
        values = [f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" if r else "" for r in found]
        cells = [row["detector"], row["generator"], row["perturbation"], row["n_real"], row["n_fake"]]
        lines.append("| " + " | ".join([*map(cell, cells), *values]) + " |")
    lines += ["", "Brackets are 95 % intervals.", "", "| | |", "|---|---|"]
    lines += [
        f"| {cell(key)} | {cell(value)} |" for key, value in context["metadata"].items() if not isinstance(value, dict)
    ]
    return "\n".join(lines) + "\n"


def _slug(title: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", title).strip("_") or "figure"
