"""The report as Markdown: the same tables as the page, for a pull request or a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detector.evaluation.formats import (
    count_compared,
    format_chance,
    format_gap,
    format_group,
    format_interval,
    format_mean,
    format_number,
    format_share,
    name_metric,
)
from detector.files import printable


def make_markdown(context: Mapping[str, Any]) -> str:
    """Return the report; context: what `report.write_report` gives the page."""
    lines = [
        "# Evaluation",
        "",
        *_list_headlines(context["metadata"]),
        *_list_generators(context),
        *_list_pairs(context),
        *_list_differences(context["differences"]),
        *_list_false_alarms(context),
        *_list_perturbed(context),
        *_list_audit(context["metadata"]),
        *_list_groups(context["fairness"]),
        *_list_figures(context["sections"]),
        *_list_facts(context["metadata"], context["elsewhere"]),
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def describe_headline(headline: Mapping[str, Any]) -> str:
    """Return the headline of a detector as one sentence, without markup."""
    h, title = headline, name_metric(headline["metric"])
    against = "" if h["worst_real"] == "all" else f" against {h['worst_real']}"
    line = f"{title} {format_number(h['value'])} {format_interval(h)} on {h['worst_generator']}{against}, "
    line += f"{count_compared(h)}; mean {format_mean(h)}"
    if alarms := h["false_alarms"]:
        line += f"; false alarms at worst {format_share(alarms['rate'], alarms)}, of {alarms['real']}"
    return line


def _list_headlines(metadata: Mapping[str, Any]) -> Iterator[str]:
    for h in metadata["headline"]:
        yield f"- **{_cell(h['detector'])}**: {_cell(describe_headline(h))}"
    for finding in metadata["sources"]:
        fix = f" ({finding['fix']})" if finding["fix"] else ""
        yield f"- **{finding['severity']}**: {_cell(finding['summary'] + fix)}"
    yield from (f"- {_cell(note)}" for note in (*metadata["notes"], *metadata["power"]))


def _list_generators(context: Mapping[str, Any]) -> Iterator[str]:
    titles = [title for title, _ in context["metrics"].values()]
    rows = []
    for row in context["rows"]:
        one = next(iter(row.values()))
        values = [_figure(row.get(metric)) for metric in context["metrics"]]
        rows.append([_cell(one.detector), _cell(one.generator), one.n_real, one.n_fake, *values])
    yield from _table(["detector", "generator", "real", "fake", *titles], rows)
    yield f"Brackets are {context['metadata']['level']:.0%} intervals.".replace("%", " %")
    for matrix in context["matrices"]:
        yield from ("", f"## {titles[0]} of {_cell(matrix['detector'])}: generators against sources of photographs")
        rows = [[_cell(generator), *(_figure(cells.get(name)) for name in matrix["datasets"])]
                for generator, cells in matrix["rows"].items()]  # fmt: skip
        yield from _table(["generator", *map(_cell, matrix["datasets"])], rows)


def _list_pairs(context: Mapping[str, Any]) -> Iterator[str]:
    if context["matched"]:
        yield from ("", "## Matched pairs: fakes against photographs of the same kind")
        rows = []
        for row in context["matched"]:
            one = next(iter(row.values()))
            figures = [_figure(row.get(detector), "auc") for detector in context["detectors"]]
            rows.append(
                [*map(_cell, (one.first, one.second, one.kind)), one.n_first, one.n_second, one.saved, *figures]
            )
        heads = ["fakes", "photographs", "kind", "fake", "real", "saved as"]
        yield from _table([*heads, *map(_cell, context["detectors"])], rows)
    for table in context["controls"]:
        of = f"the fakes of {table['generator']}" if table["generator"] else "the photographs"
        yield from ("", f"## AUC of {_cell(table['detector'])} between sources of {_cell(of)}")
        rows = [[_cell(a), *(_figure(table["cells"].get((a, b)), "auc") for b in table["names"])]
                for a in table["names"]]  # fmt: skip
        yield from _table(["", *map(_cell, table["names"])], rows)


def _list_differences(differences: Sequence[Any]) -> Iterator[str]:
    if differences:
        yield from ("", "## Detectors on the same pictures")
        rows = [[_cell(d.generator), _cell(f"{d.real} {d.kind}"), _cell(d.detector), _cell(d.other),
                 format_number(d.auc), format_number(d.auc_other), f"{d.difference:+.3f} {format_interval(d)}",
                 format_chance(d.p)] for d in differences]  # fmt: skip
        heads = ["fakes", "photographs", "detector A", "detector B", "AUC of A", "AUC of B", "A - B", "p (Holm)"]
        yield from _table(heads, rows)


def _list_false_alarms(context: Mapping[str, Any]) -> Iterator[str]:
    if context["false_alarms"]:
        yield from ("", "## False alarms: photographs called likely-fake")
        rows = [[_cell(f.detector), _cell(f.real), f.n, f.called, format_share(f.rate, f)]
                for f in context["false_alarms"]]  # fmt: skip
        yield from _table(["detector", "photographs", "n", "called", "rate"], rows)


def _list_perturbed(context: Mapping[str, Any]) -> Iterator[str]:
    if not context["perturbed"]:
        return
    heads = ["untouched" if severity == 0 else f"severity {severity}" for severity in context["severities"]]
    rows = []
    for (name, detector), row in context["perturbed"].items():
        cells = []
        for severity in context["severities"]:
            worst, flip = row.get(severity), context["flips"].get((name, detector, severity))
            text = f"{_figure(worst)}, mean {format_mean(worst)}" if worst else ""
            cells.append(text + (f"; flips {format_share(flip['flips'], flip)}" if flip else ""))
        rows.append([_cell(name), _cell(detector), *cells])
    title = name_metric(context["measured"])
    yield from ("", f"## Under perturbations: {title}, the worst and the mean")
    yield from _table(["perturbation", "detector", *heads], rows)


def _list_audit(metadata: Mapping[str, Any]) -> Iterator[str]:
    if metadata["audit"]:
        yield from ("", "## Audit of the pictures")
        found = [[_cell(a[key]) for key in ("severity", "name", "summary", "fix")] for a in metadata["audit"]]
        yield from _table(["severity", "question", "answer", "fix"], found)
    if metadata["aligned"]:
        yield from ("", "## AUC once every picture is re-encoded alike")
        heads = ["detector", "generator", "real", "fake", "as they are", "re-encoded", "difference", "p of a loss",
                 "saved as"]  # fmt: skip
        rows = [[_cell(a["detector"]), _cell(a["generator"]), a["n_real"], a["n_fake"], format_number(a["plain"]),
                 format_number(a["aligned"]), f"{a['difference']:+.3f} {format_interval(a)}", format_chance(a["p"]),
                 a["saved"]] for a in metadata["aligned"]]  # fmt: skip
        yield from _table(heads, rows)


def _list_groups(tables: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for t in tables:
        yield from ("", f"## Errors of {_cell(t['detector'])} by {_cell(t['column'])}")
        rows = [
            [_cell(group), *(format_group(figures.get(m)) for m in t["metrics"])]
            for group, figures in t["groups"].items()
        ]
        yield from _table([_cell(t["column"]), *(name_metric(m) for m in t["metrics"])], rows)
        yield from (f"- {_cell(format_gap(gap))}" for gap in t["gaps"])


def _list_figures(sections: Mapping[str, Any]) -> Iterator[str]:
    for section, figures in sections.items():
        yield from ("", f"## {section}", "", *(f"![{_cell(figure.caption)}]({name})" for figure, name in figures))


def _list_facts(metadata: Mapping[str, Any], elsewhere: Sequence[str]) -> Iterator[str]:
    facts = {k: v for k, v in metadata.items() if k not in elsewhere}
    yield from ("", "## How to repeat it")
    rows = [("command", metadata["command"]), *facts.items()]
    yield from _table(["", ""], [[_cell(key.replace("_", " ")), _cell(_list_entries(value))] for key, value in rows])


def _list_entries(value: Any) -> Any:
    """Return the entries of a dict as text, and anything else as it is."""
    return ", ".join(f"{key} {entry}" for key, entry in value.items()) if isinstance(value, Mapping) else value


def _cell(text: object) -> str:
    return re.sub(r"([|\\`*_<>\[\]#~&])", r"\\\1", printable(" ".join(str(text).split())))


def _figure(result: Any, key: str = "value") -> str:
    if result is None:
        return ""
    value = result[key] if isinstance(result, Mapping) else getattr(result, key)
    return f"{format_number(value)} {format_interval(result)}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return ["", *("| " + " | ".join(map(str, row)) + " |" for row in (heads, ["---"] * len(heads), *rows)), ""]
