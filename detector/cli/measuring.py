"""Measure: `score`, `evaluate` and `audit`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.options import SERIOUS, SOME_UNREADABLE, Out, Seed
from detector.cli.rendering import (
    command_line,
    print_results,
    print_rows,
    print_sources,
    print_table,
    show_progress,
)

Runtime = Annotated[
    str, typer.Option("--runtime", help="Of the network: onnx, or openvino (an extra): faster, in bf16 if the CPU can.")
]


def score(
    inputs: Annotated[
        list[str], typer.Argument(help="Pictures, folders, manifests, or - for a list on standard input.")
    ],
    detector: Annotated[
        Path | None, typer.Option("--detector", help="Folder of a trained detector, instead of the shipped one.")
    ] = None,
    runtime: Runtime = "onnx",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .csv, .jsonl or .parquet file; else a table.")
    ] = None,
    faces: Annotated[Path | None, typer.Option(help="A second such file, with a row for every face.")] = None,
) -> None:
    """Score pictures by their most suspicious face: log-odds, larger is more fake. Status 3 if some cannot be read."""
    from detector import tasks

    lines = sys.stdin if "-" in inputs else ()
    with show_progress() as progress:
        answer = tasks.score(
            inputs, detector=detector, runtime=runtime, out=output, faces=faces, lines=lines, progress=progress
        )  # fmt: skip
    if isinstance(answer, int):
        errors = answer
    else:
        print_rows(answer)
        errors = sum(row.verdict == "error" for row in answer)
    if errors:
        raise typer.Exit(SOME_UNREADABLE)


def evaluate(
    manifest: Annotated[Path | None, typer.Argument(help="What the pictures are; not with --suite.")] = None,
    detector: Annotated[
        list[Path] | None, typer.Option("--detector", help="Folder of a trained detector; may be repeated.")
    ] = None,
    runtime: Runtime = "onnx",
    scores: Annotated[
        list[Path] | None, typer.Option("--scores", help="Scores of any tool: path or sha256, and score.")
    ] = None,
    output: Out = Path("evaluation"),
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    no_audit: Annotated[bool, typer.Option("--no-audit", help="Do not look for shortcuts in the pictures.")] = False,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="Column by whose values errors are compared; may be repeated.")
    ] = None,
    suite: Annotated[str | None, typer.Option(help="A suite's name or TOML file, in place of a manifest.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="Compare a suite with this; status 1 if it got worse.")] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write the baseline instead of comparing with it.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Measure detectors on a manifest: every metric per generator with its 95 % interval, in a report."""
    from detector import tasks
    from detector.errors import DetectorError

    if (manifest is None) == (suite is None):
        raise DetectorError("name either a manifest or a --suite")
    if suite is not None and runtime != "onnx":
        raise DetectorError("a suite is measured by the runtime of its baseline; leave out --runtime")
    report = None
    with show_progress() as progress:
        if suite is not None:
            results, report = tasks.run_suite(
                suite, out=output, detectors=detector or [], baseline=baseline, update_baseline=update_baseline,
                command=command_line(), audited=not no_audit, progress=progress,
            )  # fmt: skip
        else:
            results = tasks.evaluate(
                manifest or "", detectors=detector or [], runtime=runtime, scores=scores or [], out=output, split=split,
                seed=seed, audited=not no_audit, by=by or [], command=command_line(), progress=progress,
            )  # fmt: skip
    print_results(results)
    print_sources(*tasks.read_headline(output))
    print(f"report: {output / 'report.html'}")
    if report is not None:
        print("\n".join([*report.reasons, *report.notes]))
        print("gate: passed" if report.passed else "gate: failed")
        if not report.passed:
            raise typer.Exit(SERIOUS)


def audit(
    manifest: Annotated[Path, typer.Argument(help="What the pictures are said to be.")],
    fix: Annotated[
        Path | None, typer.Option(help="Folder for a balanced copy, every picture re-encoded alike, with its manifest.")
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the re-encoded pictures, in pixels.")] = 128,
    seed: Seed = 0,
) -> None:
    """Find what gives the label away besides the face. Status 1 if a finding is serious."""
    from detector import tasks

    with show_progress() as progress:
        findings = tasks.check_data(manifest, fixed=fix, size=size, seed=seed, progress=progress)
    print_table(
        ["finding", "severity", "what", "fix"], [[f.name, f.severity.value, f.summary, f.fix] for f in findings]
    )
    if fix is not None:
        print(f"fixed copy: {fix / 'manifest.csv'}")
    if any(f.severity.value == "serious" for f in findings):
        raise typer.Exit(SERIOUS)
