"""The regression gate: it fails if a run is significantly worse than its baseline.

A baseline holds the results and the score of every picture, so that both detectors are compared on the same pictures,
one-sided, with a correction for the number of comparisons. Tolerances and baselines change only when a person changes
them.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from detector.errors import DetectorError
from detector.evaluation.measuring import ALL, drop_repeats
from detector.files import printable, write_bytes, write_text
from detector.statistics.intervals import compare as compare_scores
from detector.statistics.proportions import holm
from detector.types import Label

ALPHA = 0.05  # probability that an equally good detector fails, over all comparisons together
KEYS = ["detector", "perturbation", "severity"]
SUMMARY = "GITHUB_STEP_SUMMARY"  # environment variable with the file whose text a CI service shows


class BaselineError(DetectorError):
    """A baseline cannot be read, or is of another suite."""


class Picture(BaseModel):
    """One picture that was scored."""

    model_config = ConfigDict(extra="forbid")

    sha256: str
    label: Label
    generator: str
    group: str


class Column(BaseModel):
    """The scores of one detector under one condition, in the order of the pictures; null if one could not be read."""

    model_config = ConfigDict(extra="forbid")

    detector: str
    perturbation: str
    severity: int
    scores: list[float | None]


class Baseline(BaseModel):
    """The results and scores with which later runs of a suite are compared."""

    model_config = ConfigDict(extra="forbid")

    suite: str
    results: list[dict[str, Any]]
    pictures: list[Picture]
    columns: list[Column]


@dataclass(frozen=True)
class GateRow:
    """One comparison.

    verdict: "pass", "worse" or "missing". p: corrected for the number of comparisons; None if none was possible.
    """

    detector: str
    generator: str
    real: str
    perturbation: str
    severity: int
    metric: str
    before: float
    after: float | None
    tolerance: float
    p: float | None
    verdict: str

    @property
    def name(self) -> str:
        """The metric, detector, generator, photographs and condition in words."""
        condition = "" if self.perturbation == "none" else f" under {self.perturbation} {self.severity}"
        against = "" if self.real == ALL else f" against {self.real}"
        return f"{self.metric} of {self.detector} on {self.generator}{against}{condition}"


@dataclass(frozen=True)
class GateReport:
    """The result of the gate: the reasons why it failed (none if it passed), notes, and each comparison."""

    suite: str
    reasons: list[str]
    notes: list[str]
    rows: list[GateRow]

    @property
    def passed(self) -> bool:
        """Whether the gate passed, which it did if there is no reason against it."""
        return not self.reasons


def make_baseline(suite: str, joined: pd.DataFrame, results: pd.DataFrame) -> Baseline:
    """Return the baseline of a run. joined: as `joining.join_scores`. results: as `measuring` makes them."""
    pictures = joined.drop_duplicates("sha256").sort_values("sha256")
    order = pictures.sha256.tolist()
    columns = []
    keys: Any
    for keys, part in joined.groupby(KEYS, sort=False):
        scores = part.set_index("sha256").score.reindex(order)
        values = [None if math.isnan(s) else float(s) for s in scores]
        columns.append(Column(detector=keys[0], perturbation=keys[1], severity=int(keys[2]), scores=values))
    rows = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
            for row in drop_repeats(results).to_dict("records")]  # fmt: skip
    kept = [Picture.model_validate(row) for row in pictures[list(Picture.model_fields)].to_dict("records")]
    return Baseline(suite=suite, results=[{str(k): v for k, v in row.items()} for row in rows], pictures=kept,
                    columns=columns)  # fmt: skip


def write_baseline(baseline: Baseline, path: Path | str) -> None:
    """Write a baseline as JSON, one line per picture and condition, so that a diff can be read."""
    record = baseline.model_dump(mode="json")
    lines = []
    for key in ("results", "pictures", "columns"):
        items = ",\n".join(json.dumps(item) for item in record[key])
        lines.append(f'"{key}": [\n{items}\n]')
    write_text(path, "{\n" + ",\n".join([f'"suite": {json.dumps(baseline.suite)}', *lines]) + "\n}\n")


def read_baseline(path: Path | str) -> Baseline:
    """Return a baseline; BaselineError if there is none or it is not one.

    A row without `real`, of an earlier version, is against all photographs.
    """
    try:
        baseline = Baseline.model_validate_json(Path(path).read_bytes())
    except OSError:
        raise BaselineError(f"there is no baseline {path}; make it with --update-baseline") from None
    except ValidationError as error:
        first: Any = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BaselineError(
            f"{path} is not a baseline: {where} {first['msg']}; make it with --update-baseline"
        ) from None
    for row in baseline.results:
        row.setdefault("real", ALL)
    return baseline


def compare(
    suite: str,
    joined: pd.DataFrame,
    results: pd.DataFrame,
    baseline: Baseline,
    tolerances: Mapping[str, float],
    *,
    seed: int = 0,
    resamples: int = 2000,
    alpha: float = ALPHA,
) -> GateReport:
    """Return whether a run is no worse than its baseline.

    tolerances: metric -> how much worse it may be, in its unit; other metrics do not gate. It fails if a metric is
    significantly worse by more than that (paired, one-sided, after Holm), if a row of the baseline is missing, or if
    the pictures are others. Raises BaselineError if the baseline is another suite's.
    """
    if baseline.suite != suite:
        raise BaselineError(f"the baseline is of the suite {baseline.suite!r}, not {suite!r}; name that suite's")
    reasons = _compare_pictures(joined, baseline)
    if reasons:
        return GateReport(suite, reasons, [], [])
    before = _unfold(baseline)
    new = joined[[*KEYS, "sha256", "score"]].rename(columns={"score": "after"})
    both = before.merge(new, on=[*KEYS, "sha256"], how="left", indicator="found")
    both = both.merge(joined[["sha256", "dataset"]].drop_duplicates("sha256"), on="sha256")
    now = {_key(row): float(row["value"]) for row in drop_repeats(results).to_dict("records")}
    gating = [row for row in baseline.results if row["metric"] in tolerances]
    # The least p of a bootstrap is 1 / resamples; corrected for all rows it must still be able to reach alpha.
    resamples = max(resamples, math.ceil(2 * len(gating) / alpha))
    parts = dict(iter(both.groupby(KEYS, sort=False)))
    compared: list[float | None] = []
    for row in gating:
        part = parts.get(tuple(row[key] for key in KEYS))
        if part is None or _key(row) not in now:
            compared.append(None)
            continue
        pair = part[part.score.notna() & part.after.notna() & _belongs(part, row)]
        metric = row["metric"]
        found = compare_scores(pair.label.to_numpy(), pair.score.to_numpy(), pair.after.to_numpy(),
                               pair.group.to_numpy(), [metric], seed=seed, resamples=resamples,
                               margin=tolerances[metric])  # fmt: skip
        compared.append(found[metric].p_worse)
    corrected = iter(holm([p for p in compared if p is not None]).tolist())
    rows = []
    for row, raw in zip(gating, compared, strict=True):
        p = None if raw is None else next(corrected)
        verdict = "missing" if p is None else "worse" if p <= alpha else "pass"
        names = {key: row[key] for key in (*KEYS, "generator", "real", "metric")}
        rows.append(GateRow(**names, before=float(row["value"]), after=now.get(_key(row)),
                            tolerance=tolerances[row["metric"]], p=p, verdict=verdict))  # fmt: skip
    reasons += [_explain(row) for row in rows if row.verdict != "pass"]
    lost = both[(both.found == "both") & both.score.notna() & both.after.isna()]
    for detector in lost.detector.unique():
        count = lost[lost.detector == detector].sha256.nunique()
        reasons.append(f"{detector} can no longer score {count:,} pictures that the baseline has scores of")
    fresh = len(set(now) - {_key(row) for row in baseline.results})
    notes = [f"{fresh:,} rows are not in the baseline; --update-baseline takes them in"] if fresh else []
    return GateReport(suite, reasons, notes, rows)


def write_junit(report: GateReport, path: Path | str) -> None:
    """Write the comparisons as JUnit XML: one test case per row, and one for reasons that concern no row."""
    cases = [(row.name, _explain(row) if row.verdict != "pass" else "") for row in report.rows]
    rowless = [reason for reason in report.reasons if reason not in {text for _, text in cases}]
    cases.append(("pictures are those of the baseline", "; ".join(rowless)))
    failures = sum(bool(text) for _, text in cases)
    root = ElementTree.Element("testsuite", name=_clean(f"detector.{report.suite}"), tests=str(len(cases)),
                               failures=str(failures), errors="0", skipped="0")  # fmt: skip
    for name, text in cases:
        case = ElementTree.SubElement(root, "testcase", classname=_clean(f"detector.{report.suite}"), name=_clean(name))
        if text:
            ElementTree.SubElement(case, "failure", message=_clean(text)).text = _clean(text)
    write_bytes(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def make_markdown(report: GateReport) -> str:
    """Return the verdict, the reasons and a table, the failures first."""
    state = "passed" if report.passed else "failed"
    lines = [f"## {_cell(report.suite)}: the gate {state}", ""]
    lines += [f"- {_cell(text)}" for text in (*report.reasons, *report.notes)]
    if report.rows:
        lines += ["", "| | detector | generator | photographs | condition | metric | baseline | now | tolerance "
                  "| p (Holm) |", "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in sorted(report.rows, key=lambda row: row.verdict == "pass"):
        condition = "untouched" if row.perturbation == "none" else f"{row.perturbation} {row.severity}"
        numbers = [f"{row.before:.3f}", *("" if v is None else f"{v:.3f}" for v in (row.after, row.tolerance, row.p))]
        words = [row.verdict, row.detector, row.generator, row.real, condition, row.metric]
        lines.append("| " + " | ".join([*map(_cell, words), *numbers]) + " |")
    return "\n".join(lines) + "\n"


def write_summary(report: GateReport, path: Path | str) -> None:
    """Write the Markdown, and append it to the file that $GITHUB_STEP_SUMMARY names, if it names one."""
    text = make_markdown(report)
    write_text(path, text)
    if where := os.environ.get(SUMMARY):
        with open(where, "a", encoding="utf-8") as file:
            file.write(text)


def _compare_pictures(joined: pd.DataFrame, baseline: Baseline) -> list[str]:
    """Return what differs between the pictures of a run and those of the baseline."""
    old = {p.sha256: (int(p.label), p.generator, p.group) for p in baseline.pictures}
    unique = joined.drop_duplicates("sha256")
    facts = zip(unique.label.astype(int), unique.generator, unique.group, strict=True)
    new = dict(zip(unique.sha256, facts, strict=True))
    reasons = []
    gone, come = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    if gone or come:
        reasons.append(
            f"the pictures differ by hash: {len(gone):,} of the baseline's are gone and {len(come):,} are new, the "
            f"first: {(gone or come)[0][:12]}; restore them, or decide on a new baseline with --update-baseline"
        )
    moved = sorted(h for h in old.keys() & new.keys() if old[h] != new[h])
    if moved:
        reasons.append(f"{len(moved):,} pictures have another label, generator or group, the first: {moved[0][:12]}")
    return reasons


def _unfold(baseline: Baseline) -> pd.DataFrame:
    """Return the baseline's scores, one row per picture and condition."""
    pictures = pd.DataFrame([p.model_dump(mode="json") for p in baseline.pictures])
    parts = []
    for column in baseline.columns:
        if len(column.scores) != len(pictures):
            raise BaselineError(
                f"the baseline has {len(column.scores)} scores for {len(pictures)} pictures; make it anew"
            )
        names = {key: getattr(column, key) for key in KEYS}
        parts.append(pictures.assign(**names, score=pd.Series(column.scores, dtype=float)))
    return pd.concat(parts, ignore_index=True)


def _key(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    return (row["detector"], row["generator"], row["real"], row["perturbation"], int(row["severity"]), row["metric"])


def _belongs(part: pd.DataFrame, row: Mapping[str, Any]) -> pd.Series:
    """Return which pictures a row of the results is measured on."""
    photograph: pd.Series = part.label == Label.REAL
    if row["real"] != ALL:
        photograph = photograph & (part.dataset == row["real"])
    belongs: pd.Series = photograph | (part.generator == row["generator"])
    return belongs


def _explain(row: GateRow) -> str:
    if row.verdict == "missing":
        return f"{row.name} is missing; the baseline has {row.before:.3f}"
    return (
        f"{row.name} is significantly worse: {row.before:.3f} before, {row.after:.3f} now, "
        f"more than the tolerance of {row.tolerance:g} (p = {row.p:.2g} after Holm)"
    )


def _cell(text: object) -> str:
    return re.sub(r"([|\\`*_<>\[\]#~&])", r"\\\1", printable(" ".join(str(text).split())))


def _clean(text: str) -> str:
    """Return text with escaped control characters, which XML forbids and which steer a terminal."""
    return re.sub(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", printable(text))
