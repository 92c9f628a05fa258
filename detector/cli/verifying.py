"""The commands `verify` and `feedback`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from detector.cli.options import SERIOUS, SOME_UNREADABLE, DetectorFolder, MaybeSeed, Out, refuse
from detector.cli.rendering import print_table, say, show_progress


def verify(
    inputs: Annotated[list[str] | None, typer.Argument(help="Pictures, folders or manifests to examine.")] = None,
    output: Out = Path("evidence"),
    case: Annotated[str, typer.Option(help="Name or number of the case.")] = "",
    examiner: Annotated[str, typer.Option(help="Name of the examiner.")] = "",
    detector: DetectorFolder = None,
    known: Annotated[Path | None, typer.Option(help="Table of known pictures: sha256 or phash, and label.")] = None,
    trust: Annotated[
        Path | None, typer.Option(help="Trust list for Content Credentials: a .pem file, or a folder of them.")
    ] = None,
    sign: Annotated[Path | None, typer.Option(help="Sign the custody log with this Ed25519 key (PEM).")] = None,
    fail_on: Annotated[
        Literal["likely-fake", "inconclusive"] | None,
        typer.Option(
            help="Exit with status 1 if any exhibit gets this opinion or a worse one; declared-generated is the worst."
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            help="Compare a report.json or a case with the log. Status 1 if it differs, 3 if parts are missing."
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="With --check: public key (PEM) that must verify the signatures of the log.")
    ] = None,
    head: Annotated[
        str,
        typer.Option(
            help="With --check: head of the log that was printed earlier; without it, a removed end is not noticed."
        ),
    ] = "",
    exhibit: Annotated[
        Path | None, typer.Option(help="With --check: present path of the exhibit, or folder of all exhibits.")
    ] = None,
) -> None:
    """Examine questioned pictures, by default with strong: write reports, a custody log and an index."""
    from detector import tasks
    from detector.dataset.listing import LeftOut
    from detector.errors import DetectorError

    if check is not None:
        if inputs or any([case, examiner, detector, known, trust, sign, fail_on]):
            raise DetectorError("--check examines nothing; it only takes --key, --head and --exhibit")
        return _check(check, key, head, exhibit)
    if key is not None or head or exhibit is not None:
        raise DetectorError("--key, --head and --exhibit need --check; to sign a log, use --sign")
    if not inputs:
        raise DetectorError("name pictures to examine, or a report with --check")
    left_out = LeftOut()
    with show_progress() as progress:
        rows = tasks.verify(
            inputs, output, detector=detector, known=known, trust=trust, case=case, examiner=examiner, key=sign,
            left_out=left_out, progress=progress,
        )  # fmt: skip
    _show_reports(rows, output)
    if left_out:
        say(left_out.describe(), err=True)
    if status := _find_status(rows, fail_on, bool(left_out)):
        raise typer.Exit(status)


def _find_status(rows: list[dict[str, Any]], fail_on: str | None, left_out: bool) -> int:
    """Return the exit status: a serious finding is never hidden by another file that cannot be read."""
    bad = set() if fail_on is None else {"declared-generated", "likely-fake", fail_on}
    if any(row["changed"] or row["opinion"] in bad for row in rows):
        return SERIOUS
    return SOME_UNREADABLE if left_out or any(row["error"] for row in rows) else 0


def _show_reports(rows: list[dict[str, Any]], output: Path) -> None:
    from detector.evidence.integrity import describe_log

    print_table(["exhibit", "opinion", "log10 LR", "others", "statement"],
           [[row["name"], row["opinion"], _shorten(row["ratio"]),
             ", ".join(row["others"]), row["statement"]] for row in rows])  # fmt: skip
    if any(row["note"] for row in rows):
        print_table(["exhibit", "note"], [[row["name"], row["note"]] for row in rows if row["note"]])
    say(f"reports: {output / 'index.html'}")
    say(f"log: {describe_log(output)}")


def _shorten(ratio: str) -> str:
    """Return a likelihood ratio without its interval, and with >= or <= for "at least" or "at most"."""
    return ratio.split(" [")[0].replace("at least", ">=").replace("at most", "<=")


def _check(report: Path, key: Path | None, head: str, exhibit: Path | None) -> None:
    from detector.evidence.integrity import check_case

    found = check_case(report, key=key, head=head, exhibits=exhibit)
    for line in found.describe().splitlines():
        say(line)
    if found.problems:
        raise typer.Exit(SERIOUS)
    if found.missing:
        raise typer.Exit(SOME_UNREADABLE)


def feedback(
    report: Annotated[
        Path | None, typer.Argument(help="A report.json that verify wrote, or the folder of the report.")
    ] = None,
    label: Annotated[Literal["real", "fake", "unsure"] | None, typer.Option(help="True label of the picture.")] = None,
    note: Annotated[str, typer.Option(help="How the label is known.")] = "",
    export: Annotated[
        Path | None, typer.Option(help="Write a manifest of all recorded labels to this file, for train and evaluate.")
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"] | None,
        typer.Option(help="Put every exported picture in this split; without it they are split at random."),
    ] = None,
    seed: MaybeSeed = None,
) -> None:
    """Record the true label of a verified picture, or export all recorded labels as a manifest."""
    from detector.errors import DetectorError
    from detector.evidence.feedback import export_feedback, give_feedback

    if export is not None and report is None and label is None:
        refuse("it is recorded with a label, not exported", note=note)
        table = export_feedback(export, split=split, seed=seed or 0)
        say(f"{int((table.label == 0).sum())} real and {int((table.label == 1).sum())} fake pictures in {export}")
    elif report is not None and label is not None and export is None:
        refuse("it only has an effect with --export", split=split, seed=seed)
        answer = give_feedback(report, label, note=note)
        say(f"{answer.label}: {answer.path}")
    else:
        raise DetectorError("name either a report with its --label, or a file to --export to")
