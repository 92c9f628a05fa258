"""Printing of tables and progress bars, and parsing of arguments such as lists of seeds."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from detector.cli.options import MAX_SEED

if TYPE_CHECKING:
    from detector.dataset.findings import AuditFinding
    from detector.scoring.engine import Row

MOST_SEEDS = 64  # largest number of seeds on each side of the style-mixing grid


@dataclass
class Output:
    """Output settings.

    json: print one JSON object per row, and all other lines on standard error. quiet: print only errors.
    """

    json: bool = False
    quiet: bool = False


OUTPUT = Output()


def choose_output(*, json: bool, quiet: bool) -> None:
    """Set the output settings of the running command."""
    OUTPUT.json, OUTPUT.quiet = json, quiet


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print each row as a JSON object on one line; NaN is printed as null."""
    import json

    for row in rows:
        print(json.dumps({key: None if value != value else value for key, value in row.items()}, default=str))


def print_rows(rows: Iterable[Row]) -> None:
    """Print one line per scored picture."""
    if OUTPUT.json and not OUTPUT.quiet:
        print_json(map(asdict, rows))
        return
    print_table(["picture", "score", "probability", "verdict", "faces", "reason"],
                [[row.path, _number(row.score, "+.2f"), _number(row.probability, ".3f"), row.verdict,
                  _number(row.faces, "d"), row.reason] for row in rows])  # fmt: skip


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def say(text: str, *, err: bool = False) -> None:
    """Print a line with terminal control characters escaped. err: print it on standard error."""
    from detector.files import printable

    if not OUTPUT.quiet:
        print(printable(text), file=sys.stderr if err or OUTPUT.json else sys.stdout)


def summarise(verdicts: Mapping[str, int], left_out: str, status: int) -> str:
    """Return the last line of `score`: counts of the verdicts, files left out, exit status."""
    counts = ", ".join(f"{n:,} {verdict}" for verdict, n in sorted(verdicts.items(), key=lambda pair: -pair[1]))
    return "; ".join(filter(None, (f"{sum(verdicts.values()):,} scored: {counts}", left_out, f"status {status}")))


def print_results(results: Any) -> None:
    """Print one line per detector, generator and source of photographs: the AUC with its interval."""
    auc = results[(results.metric == "auc") & (results.perturbation == "none")]
    if auc.real.nunique() == 2:  # with a single source, its figures and those of all photographs are the same
        auc = auc[auc.real != "all"]
    if OUTPUT.json and not OUTPUT.quiet:
        print_json(auc.to_dict("records"))
        return
    print_table(["detector", "generator", "photographs", "AUC", "95 % interval", "real", "fake"],
                [[r.detector, r.generator, r.real, f"{r.value:.3f}", _interval(r.low, r.high), str(r.n_real),
                  str(r.n_fake)] for r in auc.itertuples()])  # fmt: skip


def print_sources(headlines: list[str], findings: list[dict[str, Any]]) -> None:
    """Print the headlines of a report, and its findings about the sources of the pictures."""
    for line in headlines:
        say(line)
    print_table(["finding", "severity", "what", "fix"],
                [[f["name"], f["severity"], f["summary"], f["fix"]] for f in findings])  # fmt: skip


def any_serious(findings: Iterable[AuditFinding]) -> bool:
    """Return whether a finding of an audit is serious."""
    return any(finding.severity.value == "serious" for finding in findings)


def print_findings(findings: Iterable[AuditFinding]) -> None:
    """Print the findings of an audit, one line each."""
    print_table(["finding", "severity", "what", "fix"],
                [[f.name, f.severity.value, f.summary, f.fix] for f in findings])  # fmt: skip


def _interval(low: float, high: float) -> str:
    return "none: one group" if low != low else f"{low:.3f} to {high:.3f}"  # NaN is not equal to itself


def print_table(head: list[str], rows: list[list[str]]) -> None:
    """Print a table as wide as the terminal, or without limit where the output is not a terminal."""
    if OUTPUT.quiet:
        return
    if OUTPUT.json:
        print_json(dict(zip(head, row, strict=True)) for row in rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from detector.files import printable

    console = Console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))  # as Text, because rich would read markup in file names
    if console.is_terminal:
        return console.print(table)
    console = Console(width=10_000, highlight=False)
    with console.capture() as text:
        console.print(table)
    for line in text.get().splitlines():
        print(line.rstrip())


@contextmanager
def show_progress(*, log: str = "") -> Iterator[Callable[[str, int, int], None]]:
    """Yield a progress function that draws a bar on standard error if that is a terminal, and does nothing otherwise.

    log: name of a logger whose lines are printed on standard error if there is no bar.
    """
    if OUTPUT.quiet or not sys.stderr.isatty():
        import logging

        logger, handler = logging.getLogger(log or __name__), logging.StreamHandler()
        handler.setLevel(logging.ERROR if OUTPUT.quiet else logging.INFO)
        logger.setLevel(logging.INFO)  # other handlers of the logger get every line
        logger.addHandler(handler)
        try:
            yield lambda what, done, total: None
        finally:
            logger.removeHandler(handler)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for other in tasks.values():
                    bars.stop_task(other)
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def parse_seeds(text: str) -> list[int]:
    """Return the numbers of a list such as 1,2,5-8."""
    from detector.errors import DetectorError

    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            seeds += range(int(first), min(int(last or first), int(first) + MOST_SEEDS) + 1)
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or max(seeds) > MAX_SEED:
        raise DetectorError(f"seeds are numbers such as 1,2,5-8, from 0 to {MAX_SEED:,}, not {text!r}")
    if len(seeds) > MOST_SEEDS:
        raise DetectorError(f"a grid has at most {MOST_SEEDS} seeds per side; {text!r} has more")
    return seeds


def parse_faces(text: str) -> list[int | str]:
    """Return the seeds and the paths of a list such as 1,5-8,photo.jpg; all that is no seed is a path."""
    from detector.errors import DetectorError

    faces: list[int | str] = []
    for part in text.split(","):
        named = bool(part) and not set(part) <= set("0123456789- ")
        if named and "." not in part and not os.path.exists(part):  # such as 1-x: no name of a picture
            raise DetectorError(f"{part!r} is not a file, and seeds are numbers such as 1,2,5-8")
        faces += [part] if named else parse_seeds(part)
    if len(faces) > MOST_SEEDS:
        raise DetectorError(f"a grid has at most {MOST_SEEDS} faces per side; {text!r} has more")
    return faces


def parse_edits(words: Iterable[str]) -> dict[str, float]:
    """Return direction -> amount of words such as coarse-1=2."""
    from detector.errors import DetectorError

    edits: dict[str, float] = {}
    for word in words:
        direction, _, amount = word.partition("=")
        try:
            value = float(amount)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DetectorError(f"--edit is a direction and a number, such as coarse-1=2, not {word!r}")
        if direction in edits:
            raise DetectorError(f"--edit {direction} is chosen twice; leave one out")
        edits[direction] = value
    return edits


def parse_shard(text: str) -> tuple[int, int]:
    """Return the numbers of a shard such as 1/4."""
    from detector.errors import DetectorError

    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise DetectorError(f"a shard is one of several, such as 1/4, not {text!r}")
    return int(number), int(count)


def command_line() -> str:
    """Return the running command in a form that can be typed again."""
    import shlex

    return shlex.join(["detector", *sys.argv[1:]])
