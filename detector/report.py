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
from detector.metrics import METRICS

TEMPLATES, SCHEMA = Path(__file__).parent / "templates", Path(__file__).parent / "schemas" / "report.schema.json"
METRIC_TITLES = {"auc": "AUC", "ap": "AP", "eer": "EER", "tpr_at_fpr_1": "TPR at 1 % FPR",
                 "tpr_at_fpr_5": "TPR at 5 % FPR", "balanced_accuracy": "balanced accuracy", "brier": "Brier",
                 "ece": "ECE", "cllr": "Cllr", "cllr_min": "Cllr min"}  # fmt: skip
ELSEWHERE = (
    "command",
    "headline",
    "notes",
    "audit",
    "excluded",
    "level",
)  # metadata that has its own place on the page


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
    high: Annotated[float | None, Field(description="null: the interval has no upper end")]
    n_real: Annotated[int, Field(ge=1)]
    n_fake: Annotated[int, Field(ge=1)]


class Report(BaseModel):
    """What report.json holds."""

    model_config = ConfigDict(extra="forbid")

    metadata: dict[str, Any]
    results: list[Result]


@dataclass(frozen=True)
class Figure:
    """A PNG, the name of its file, the section of the page it stands in, and a line below it."""

    name: str
    section: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Thumbnail:
    """A picture a detector was wrong about: its file's name, what it is, its score, and a small JPEG, empty if none."""

    detector: str
    name: str
    truth: str
    score: float
    jpeg: bytes


def write_report(
    folder: Path, report: Report, *, figures: Sequence[Figure] = (), mistakes: Sequence[Thumbnail] = ()
) -> None:
    """Write report.json, report.md, report.html and each figure below a folder, each file whole, report.json last.

    The page shows what metadata holds: headline (one entry a detector, as `benchmark.summarise` gives them), notes,
    audit (findings with name, severity, summary and fix), command, level, and anything else as a list.
    """
    names = _file_names(figures)
    sections: dict[str, list[tuple[Figure, str]]] = {}
    for figure, name in zip(figures, names, strict=True):
        write_bytes(folder / name, figure.png)
        sections.setdefault(figure.section, []).append((figure, name))
    plain = [r for r in report.results if r.perturbation == "none"]
    metrics = list(dict.fromkeys(r.metric for r in report.results))
    perturbed = _under_perturbations(report.results, metrics[0])
    context = {
        "metadata": {"headline": [], "notes": [], "audit": [], "command": "", "level": 0.95} | report.metadata,
        "elsewhere": ELSEWHERE,
        "rows": _worst_first(plain, metrics),
        "measured": metrics[0],
        "perturbed": perturbed,
        "severities": sorted({severity for row in perturbed.values() for severity in row}),
        "metrics": {m: (METRIC_TITLES.get(m, m), METRICS.facts(m)) for m in metrics},
        "sections": sections,
        "mistakes": mistakes,
    }
    page = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=jinja2.StrictUndefined)  # fmt: skip
    page.filters |= {"base64": lambda data: base64.b64encode(data).decode(), "number": _number, "interval": _interval,
                     "pixels": lambda png: int.from_bytes(png[16:20], "big")}  # fmt: skip
    write_text(folder / "report.html", page.get_template("report.html.jinja").render(context))
    write_text(folder / "report.md", _markdown(context))
    write_text(folder / "report.json", json.dumps(report.model_dump(), indent=1, allow_nan=False) + "\n")


def make_schema() -> str:
    """Return the JSON schema of report.json, as published in `schemas/`."""
    return json.dumps(Report.model_json_schema(), indent=1) + "\n"


def _worst_first(results: Sequence[Result], metrics: Sequence[str]) -> list[dict[str, Result]]:
    """Return one row, metric -> result, a detector and generator: detectors in order, the worst generator first."""
    rows: dict[tuple[str, str], dict[str, Result]] = {}
    for r in results:
        rows.setdefault((r.detector, r.generator), {})[r.metric] = r
    order = list(dict.fromkeys(detector for detector, _ in rows))

    def place(key: tuple[str, str]) -> tuple[int, float]:
        return order.index(key[0]), -_badness(rows[key][metrics[0]]) if metrics[0] in rows[key] else 0.0

    return [rows[key] for key in sorted(rows, key=place)]


def _under_perturbations(results: Sequence[Result], metric: str) -> dict[tuple[str, str], dict[int, Result]]:
    """Return perturbation, detector -> severity (0 is untouched) -> the worst generator's result."""
    worst: dict[tuple[str, str], dict[int, Result]] = {}
    names = sorted({r.perturbation for r in results} - {"none"})
    for name in names:
        for r in results:
            if r.metric == metric and r.perturbation in ("none", name):
                row = worst.setdefault((name, r.detector), {})
                severity = 0 if r.perturbation == "none" else r.severity
                if severity not in row or _badness(r) > _badness(row[severity]):
                    row[severity] = r
    return worst


def _badness(result: Result) -> float:
    return -result.value if METRICS.facts(result.metric)["higher"] else result.value


def _markdown(context: Mapping[str, Any]) -> str:
    def cell(text: object) -> str:
        return re.sub(r"([|\\`*_<>\[\]#~&])", r"\\\1", " ".join(str(text).split()))

    def shown(result: Result | None) -> str:
        return f"{_number(result.value)} {_interval(result)}" if result else ""

    def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
        return ["", *("| " + " | ".join(map(str, row)) + " |" for row in (heads, ["---"] * len(heads), *rows)), ""]

    metadata, titles = context["metadata"], [title for title, _ in context["metrics"].values()]
    lines = ["# Evaluation", ""]
    for h in metadata["headline"]:
        lines.append(
            f"- **{cell(h['detector'])}**: worst generator {cell(h['worst_generator'])}, {METRIC_TITLES[h['metric']]} "
            f"{_number(h['value'])} {_interval(h)}; mean over {h['generators']} generators {_number(h['mean'])}"
        )
    lines += [f"- {cell(note)}" for note in metadata["notes"]]
    rows = []
    for row in context["rows"]:
        one = next(iter(row.values()))
        values = [shown(row.get(metric)) for metric in context["metrics"]]
        rows.append([cell(one.detector), cell(one.generator), one.n_real, one.n_fake, *values])
    lines += table(["detector", "generator", "real", "fake", *titles], rows)
    lines.append(f"Brackets are {metadata['level']:.0%} intervals.".replace("%", " %"))
    if context["perturbed"]:
        heads = ["untouched" if severity == 0 else f"severity {severity}" for severity in context["severities"]]
        rows = [[cell(name), cell(detector), *(shown(row.get(s)) for s in context["severities"])]
                for (name, detector), row in context["perturbed"].items()]  # fmt: skip
        lines += ["", f"## Under perturbations: {titles[0]} of the worst generator"]
        lines += table(["perturbation", "detector", *heads], rows)
    if metadata["audit"]:
        lines += ["", "## Audit of the pictures"]
        found = [[cell(a[key]) for key in ("severity", "name", "summary", "fix")] for a in metadata["audit"]]
        lines += table(["severity", "question", "answer", "fix"], found)
    for section, figures in context["sections"].items():
        lines += ["", f"## {section}", "", *(f"![{cell(figure.caption)}]({name})" for figure, name in figures)]
    facts = {k: v for k, v in metadata.items() if k not in ELSEWHERE}
    lines += ["", "## How to repeat it"]
    lines += table(["", ""], [["command", cell(metadata["command"])], *([cell(k), cell(v)] for k, v in facts.items())])
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _number(value: float | None) -> str:
    return "∞" if value is None else f"{value:.3f}"


def _interval(result: Any) -> str:
    low, high = (result["low"], result["high"]) if isinstance(result, Mapping) else (result.low, result.high)
    return f"[{_number(low)}, {_number(high)}]"


def _file_names(figures: Sequence[Figure]) -> list[str]:
    """Return a name a figure that any file system takes, no two alike in upper or lower case."""
    names: list[str] = []
    taken: set[str] = set()
    for figure in figures:
        stem = name = re.sub(r"[^A-Za-z0-9-]+", "_", figure.name).strip("_")[:80] or "figure"
        number = 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        names.append(f"{name}.png")
    return names
