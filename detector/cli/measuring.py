"""The commands `score`, `evaluate` and `audit`."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.options import (
    SERIOUS,
    SOME_UNREADABLE,
    Column,
    DetectorFolder,
    DetectorFolders,
    MaybeOut,
    MaybeSeed,
    Out,
    Seed,
    refuse,
)
from detector.cli.rendering import (
    any_serious,
    command_line,
    parse_shard,
    print_findings,
    print_results,
    print_rows,
    print_sources,
    say,
    show_progress,
    summarise,
)

if TYPE_CHECKING:
    from detector.evaluation.gate import GateReport

Faces = Annotated[Path | None, typer.Option(help="Also write a table with a row for every face.")]
Frames = Annotated[
    int | None, typer.Option(min=1, max=64, help="Number of frames of a video that are scored; 16 by default.")
]
FramesOut = Annotated[
    Path | None,
    typer.Option("--frames-out", help="Also write a .jsonl file with a row for every face in a frame of a video."),
]
Engine = Annotated[
    str,
    typer.Option(
        help="Score in threads (the default), in worker processes (process), or on a Ray cluster (ray, an extra)."
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, max=4096, help="Number of workers of process or ray; one for each core by default.")
]
Baseline = Annotated[
    Path | None,
    typer.Option(help="Compare the suite with this baseline (.json file, or smoke); status 1 if it got worse."),
]
ScoreTables = Annotated[
    list[Path] | None,
    typer.Option(
        "--scores", help="Table of scores to measure, with the columns path or sha256, and score; may be repeated."
    ),
]
Shard = Annotated[
    str | None, typer.Option(metavar="I/N", help="Score only the I-th of N parts of the pictures, such as 1/4.")
]
Probabilities = Annotated[
    bool, typer.Option("--probabilities", help="The --scores are probabilities of a fake, 0 to 1, not log-odds.")
]


def score(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pictures, videos, folders, tar files, tables of paths, or - for a list of paths on standard input."
        ),
    ] = None,
    detector: DetectorFolder = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Score one picture that is read from standard input.")] = False,
    column: Column = None,
    output: MaybeOut = None,
    faces: Faces = None,
    frames: Frames = None,
    frames_out: FramesOut = None,
    engine: Engine = "threads",
    workers: Workers = None,
    shard: Shard = None,
) -> None:
    """Score pictures and videos by their most suspicious face; a score is log-odds, and larger is more fake.

    Status 3 if some cannot be read or were left out of a folder; all others get their rows.
    """
    from detector import tasks
    from detector.dataset.foreign import TABLES, read_columns, read_list
    from detector.dataset.listing import LeftOut
    from detector.errors import DetectorError
    from detector.pictures.images import MAX_BYTES

    names = inputs or []
    if not names and not stdin:
        raise DetectorError("name pictures, folders or tables to score, - for a list, or --stdin for one picture")
    if stdin and "-" in names:
        raise DetectorError("standard input holds either a list (-) or one picture (--stdin)")
    if not any(Path(name).suffix.lower() in TABLES for name in names):
        refuse("no input is a table", column=column)
    piped = sys.stdin.buffer.read(MAX_BYTES + 1) if stdin or "-" in names else b""
    if len(piped) > MAX_BYTES:
        raise DetectorError(f"standard input holds more than {MAX_BYTES:,} bytes")
    left_out = LeftOut()
    with show_progress() as progress:
        answer = tasks.score_inputs(
            names, detector=detector, out=output, faces=faces,
            frames=frames, frames_out=frames_out, engine=engine, workers=workers,
            shard=parse_shard(shard or "1/1"), lines=read_list(piped) if "-" in names else (),
            picture=piped if stdin else None, columns=read_columns(column or ()), left_out=left_out, progress=progress,
        )  # fmt: skip
    if isinstance(answer, list):
        print_rows(answer)
        answer = Counter(row.verdict for row in answer)
    status = SOME_UNREADABLE if answer["error"] or left_out else 0
    say(summarise(answer, left_out.describe(), status), err=True)
    if status:
        raise typer.Exit(status)


def evaluate(
    manifest: Annotated[Path | None, typer.Argument(help="Manifest of the pictures; omit it with --suite.")] = None,
    detector: DetectorFolders = None,
    scores: ScoreTables = None,
    column: Column = None,
    probabilities: Probabilities = False,
    output: Out = Path("evaluation"),
    split: Annotated[str | None, typer.Option(help="Split to measure: train, val or test (default).")] = None,
    no_audit: Annotated[bool, typer.Option("--no-audit", help="Skip the audit for shortcuts in the pictures.")] = False,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="Compare errors between the values of a column; may be repeated.")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Run this suite (smoke, or a TOML file) instead of measuring a manifest.")
    ] = None,
    baseline: Baseline = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write the baseline instead of comparing with it.")
    ] = False,
    seed: MaybeSeed = None,
) -> None:
    """Measure detectors on a manifest, and write a report with every metric per generator and its 95 % interval."""
    from detector import tasks
    from detector.dataset.foreign import read_columns
    from detector.errors import DetectorError

    if (manifest is None) == (suite is None):
        raise DetectorError("name either a manifest or a --suite")
    if suite is not None:
        refuse("the suite defines it", split=split, scores=scores, by=by, seed=seed, column=column,
               probabilities=probabilities)  # fmt: skip
    else:
        refuse("only a --suite has a baseline", baseline=baseline, update_baseline=update_baseline)
    refuse("it describes the tables of --scores", probabilities=probabilities and not scores)
    refuse("name the file to write with --baseline", update_baseline=update_baseline and baseline is None)
    report = None
    with show_progress() as progress:
        if suite is not None:
            results, report = tasks.run_suite(
                suite, out=output, detectors=detector or [], baseline=baseline, update_baseline=update_baseline,
                command=command_line(), audited=not no_audit, progress=progress,
            )  # fmt: skip
        else:
            results = tasks.evaluate(
                manifest or "", detectors=detector or [], scores=scores or [], out=output,
                split=split or "test", seed=seed or 0, audited=not no_audit, by=by or [],
                columns=read_columns(column or ()), probabilities=probabilities, command=command_line(),
                progress=progress,
            )  # fmt: skip
    print_results(results)
    _show_report(output)
    _show_gate(report, baseline if update_baseline else None)


def _show_report(output: Path) -> None:
    """Print the headlines, the findings about sources and the warnings of a report, and where it is."""
    from detector import tasks

    print_sources(*tasks.read_headline(output))
    for note in tasks.read_notes(output):
        say(f"note: {note}", err=True)
    say(f"report: {output / 'report.html'}")


def _show_gate(report: GateReport | None, written: Path | None) -> None:
    """Print the result of the gate, if there was one, and exit with status 1 if it failed; or the baseline written."""
    if written is not None:
        say(f"baseline: {written}")
    if report is not None:
        for line in (*report.reasons, *report.notes):
            say(line)
        say("gate: passed" if report.passed else "gate: failed")
        if not report.passed:
            raise typer.Exit(SERIOUS)


def audit(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the pictures.")],
    fix: Annotated[
        Path | None,
        typer.Option(
            help="Write a balanced copy to this folder, with its manifest and every picture re-encoded alike."
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=16, max=4096, help="Side of the re-encoded pictures in pixels; 128 by default.")
    ] = None,
    column: Column = None,
    seed: Seed = 0,
) -> None:
    """Find what reveals the label of a picture besides the face. Status 1 if a finding is serious."""
    from detector import tasks
    from detector.dataset.foreign import read_columns

    if fix is None:
        refuse("pictures are only re-encoded with --fix", size=size)
    with show_progress() as progress:
        findings = tasks.audit(manifest, fixed=fix, size=size or 128, seed=seed,
                                    columns=read_columns(column or ()), progress=progress)  # fmt: skip
    print_findings(findings)
    if fix is not None:
        say(f"fixed copy: {fix / 'manifest.csv'}")
    if any_serious(findings):
        raise typer.Exit(SERIOUS)
