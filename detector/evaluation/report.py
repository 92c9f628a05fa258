"""Results -> JSON (the record), one self-contained HTML page, Markdown and PNGs.

The HTML needs no network and no other file, reads in light and in dark, and prints. Whatever comes from a manifest is
escaped: file names are other people's text.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jinja2
from pydantic import BaseModel, ConfigDict, Field

from detector.evaluation.naming import file_names
from detector.files import printable, printable_in_html, write_bytes, write_text
from detector.statistics.metrics import METRICS

TEMPLATES, SCHEMA = Path(__file__).parent, Path(__file__).with_name("report.schema.json")
METRIC_TITLES = {"auc": "AUC", "ap": "AP", "eer": "EER", "tpr_at_fpr_1": "TPR at 1 % FPR",
                 "tpr_at_fpr_5": "TPR at 5 % FPR", "balanced_accuracy": "balanced accuracy", "brier": "Brier",
                 "ece": "ECE", "cllr": "Cllr", "cllr_min": "Cllr min", "fpr": "FPR", "fnr": "FNR",
                 "auc_of_fakes": "AUC of its fakes"}  # fmt: skip
ELSEWHERE = (
    "command",
    "headline",
    "notes",
    "audit",
    "excluded",
    "level",
    "aligned",
    "fairness",
    "verdict_flips",
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
    low: Annotated[float | None, Field(description="null: there is no interval, a class has a single group")]
    high: Annotated[float | None, Field(description="null: the interval has no upper end, or there is none")]
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

    The page shows what metadata holds: headline (one entry a detector, as `measuring.summarise` gives them), notes,
    audit (findings with name, severity, summary and fix), command, level, aligned, fairness and verdict_flips (rows of
    the tables that `figures.publish` takes), and anything else as a list.
    """
    names = [f"{name}.png" for name in file_names([figure.name for figure in figures])]
    sections: dict[str, list[tuple[Figure, str]]] = {}
    for figure, name in zip(figures, names, strict=True):
        write_bytes(folder / name, figure.png)
        sections.setdefault(figure.section, []).append((figure, name))
    plain = [r for r in report.results if r.perturbation == "none"]
    metrics = list(dict.fromkeys(r.metric for r in report.results))
    perturbed = _under_perturbations(report.results, metrics[0])
    context = {
        "metadata": {"headline": [], "notes": [], "audit": [], "aligned": [], "command": "", "level": 0.95}
        | report.metadata,
        "elsewhere": ELSEWHERE,
        "rows": _worst_first(plain, metrics),
        "measured": metrics[0],
        "perturbed": perturbed,
        "severities": sorted({severity for row in perturbed.values() for severity in row}),
        "flips": {
            (f["perturbation"], f["detector"], f["severity"]): f for f in report.metadata.get("verdict_flips", [])
        },
        "fairness": _by_group(report.metadata.get("fairness", {})),
        "titles": METRIC_TITLES,
        "metrics": {m: (METRIC_TITLES.get(m, m), METRICS.facts(m)) for m in metrics},
        "sections": sections,
        "mistakes": mistakes,
    }
    page = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=jinja2.StrictUndefined,
                              finalize=printable_in_html)  # fmt: skip
    filters: dict[str, Callable[..., object]] = {
        "base64": lambda data: base64.b64encode(data).decode(), "number": _number, "interval": _interval, "gap": _gap,
        "chance": _chance, "share": _share, "pixels": lambda png: int.from_bytes(png[16:20], "big"),
    }  # fmt: skip
    page.filters |= filters
    write_text(folder / "report.html", page.get_template("report.html.jinja").render(context))
    write_text(folder / "report.md", _markdown(context))
    write_text(folder / "report.json", json.dumps(report.model_dump(), indent=1, allow_nan=False) + "\n")


def make_schema() -> str:
    """Return the JSON schema of report.json, as published in `report.schema.json`."""
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


def _by_group(fairness: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one table a detector and column: its metrics, rows (group -> metric -> figure), and gaps."""
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


def _markdown(context: Mapping[str, Any]) -> str:
    def cell(text: object) -> str:
        return re.sub(r"([|\\`*_<>\[\]#~&])", r"\\\1", printable(" ".join(str(text).split())))

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
        rows = []
        for (name, detector), row in context["perturbed"].items():
            flips = {
                s: f"; flips {_share(f)}" for (n, d, s), f in context["flips"].items() if (n, d) == (name, detector)
            }
            cells = (shown(row.get(s)) + flips.get(s, "") for s in context["severities"])
            rows.append([cell(name), cell(detector), *cells])
        lines += ["", f"## Under perturbations: {titles[0]} of the worst generator"]
        lines += table(["perturbation", "detector", *heads], rows)
    if metadata["audit"]:
        lines += ["", "## Audit of the pictures"]
        found = [[cell(a[key]) for key in ("severity", "name", "summary", "fix")] for a in metadata["audit"]]
        lines += table(["severity", "question", "answer", "fix"], found)
    if metadata["aligned"]:
        lines += ["", "## AUC once every picture is re-encoded alike"]
        heads = [
            "detector",
            "generator",
            "real",
            "fake",
            "as they are",
            "re-encoded",
            "difference",
            "p of a loss",
            "saved as",
        ]
        rows = [[cell(a["detector"]), cell(a["generator"]), a["n_real"], a["n_fake"], _number(a["plain"]),
                 _number(a["aligned"]), f"{a['difference']:+.3f} {_interval(a)}", _chance(a["p"]), a["saved"]]
                for a in metadata["aligned"]]  # fmt: skip
        lines += table(heads, rows)
    for t in context["fairness"]:
        lines += ["", f"## Errors of {cell(t['detector'])} by {cell(t['column'])}"]
        rows = [
            [cell(group), *(_figure(figures.get(m)) for m in t["metrics"])] for group, figures in t["groups"].items()
        ]
        lines += table([cell(t["column"]), *(METRIC_TITLES[m] for m in t["metrics"])], rows)
        lines += [f"- {cell(_gap(gap))}" for gap in t["gaps"]]
    for section, figures in context["sections"].items():
        lines += ["", f"## {section}", "", *(f"![{cell(figure.caption)}]({name})" for figure, name in figures)]
    facts = {k: v for k, v in metadata.items() if k not in ELSEWHERE}
    lines += ["", "## How to repeat it"]
    lines += table(["", ""], [["command", cell(metadata["command"])], *([cell(k), cell(v)] for k, v in facts.items())])
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _number(value: float | None) -> str:
    return "∞" if value is None else f"{value:.3f}"


def _share(row: Mapping[str, Any]) -> str:
    return f"{row['flips']:.1%} [{row['low']:.1%}, {row['high']:.1%}]".replace("%", " %")


def _figure(row: Mapping[str, Any] | None) -> str:
    """Return a group's figure with its interval and what it rests on, or that it rests on too little."""
    if row is None:
        return ""
    value = "too few" if row["value"] is None else f"{_number(row['value'])} {_interval(row)}"
    return f"{value} n = {row['n']:,}"


def _gap(gap: Mapping[str, Any]) -> str:
    """Return a gap in words."""
    sure = "beyond chance" if gap["p_corrected"] <= 0.05 else "within chance"
    return (
        f"{METRIC_TITLES[gap['metric']]}: worst {gap['worst']}, best {gap['best']}, {gap['gap']:.3f} apart, {sure} "
        f"(p {_chance(gap['p'])}, corrected {_chance(gap['p_corrected'])})"
    )


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _interval(result: Any) -> str:
    low, high = (result["low"], result["high"]) if isinstance(result, Mapping) else (result.low, result.high)
    return "no interval" if low is None else f"[{_number(low)}, {_number(high)}]"
