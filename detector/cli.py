"""The command line: parse, call one public function, render. The only module that prints or exits.

Nothing heavy is imported before a command needs it: `detector --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from detector import __version__

if TYPE_CHECKING:
    from detector.scoring.engine import Row

app = typer.Typer(name="detector", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich",
                  help="Tells synthetic and manipulated faces from photographs.",
                  context_settings={"help_option_names": ["-h", "--help"]})  # fmt: skip
train_app = typer.Typer(no_args_is_help=True, help="Train a generator or a detector on a manifest.")
app.add_typer(train_app, name="train")

SERIOUS, BAD_INPUT, SOME_UNREADABLE = 1, 2, 3  # exit statuses


def main() -> None:
    """Run the command line; what we raise on purpose becomes one line and status 2."""
    from detector.errors import DetectorError

    try:
        app()
    except DetectorError as error:
        print(f"detector: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print("detector: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"detector {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


Out = Annotated[Path, typer.Option("-o", "--output", help="Where to write.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same result.")]
Runtime = Annotated[
    str, typer.Option("--runtime", help="Of the network: onnx, or openvino (an extra): faster, in bf16 if the CPU can.")
]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Folder of a trained generator, instead of the shipped one.")
]


@app.command()
def index(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures, or what --layout reads.", exists=True)],
    output: Out = Path("manifest.csv"),
    label: Annotated[
        Literal["real", "fake"] | None, typer.Option(help="Of all of them; else the layout real/, fake/<generator>/.")
    ] = None,
    generator: Annotated[str, typer.Option(help="What made the fakes.")] = "",
    dataset: Annotated[str, typer.Option(help="Where the pictures come from; else the folder's name.")] = "",
    group: Annotated[
        str, typer.Option(help='Leakage unit: "file", "folder", or a regular expression on the path.')
    ] = "file",
    licence: Annotated[str, typer.Option(help="Of the pictures.")] = "unknown",
    layout: Annotated[
        Literal["folders", "jsonl", "deepfakebench", "webdataset"] | None,
        typer.Option(help="Of another tool's data set."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Build a manifest from folders: hash every picture, split by group."""
    from detector import tasks
    from detector.types import Label

    with _progress() as progress:
        table = tasks.index(folder, output, label=Label[label.upper()] if label else None, generator=generator,
                            dataset=dataset, group_by=group, licence=licence, layout=layout, seed=seed,
                            progress=progress)  # fmt: skip
    counts = table.groupby(["split", "label"]).size().unstack(fill_value=0)
    rows = [
        [split, *(str(counts.loc[split].get(k, 0)) for k in (0, 1))]
        for split in ("train", "val", "test")
        if split in counts.index
    ]
    _table(["split", "real", "fake"], rows)
    print(f"{len(table)} pictures in {output}")


@app.command()
def generate(
    name: Annotated[str, typer.Argument(help="A generator; `detector list` names them.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many faces.")] = 16,
    seed: Seed = 0,
    output: Out = Path("generated"),
    weights: Weights = None,
    truncation: Annotated[
        float | None, typer.Option(min=0, max=2, help="0 is the average face, 1 the whole variety.")
    ] = None,
    mix: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="SOURCES DESTINATIONS", help="Seeds such as 1,2,5-8: draw the style-mixing grid."),
    ] = None,
    size: Annotated[int | None, typer.Option(min=16, help="Side in pixels, of a generator that can choose.")] = None,
    originals: Annotated[
        Path | None, typer.Option("--from", help="Manifest whose real pictures are altered (reconstruct, swap).")
    ] = None,
    format: Annotated[Literal["png", "jpg", "webp"], typer.Option(help="Of the files.")] = "png",
    no_label: Annotated[
        bool, typer.Option("--no-label", help="Plain files, the same bytes every time: to train on.")
    ] = False,
    signer: Annotated[
        Path | None, typer.Option("--sign-with", help="PEM with your key and certificates, instead of local ones.")
    ] = None,
) -> None:
    """Make fake faces that say so, with their manifest, or the source x destination grid of the StyleGAN paper.

    Every file carries XMP, Content Credentials where c2pa-python is installed, and is remembered in ~/.detector.
    """
    from detector import tasks

    options: dict[str, Any] = {"label": not no_label, "signer": signer}
    drawn: dict[str, Any] = {
        key: value for key, value in (("truncation", truncation), ("size", size)) if value is not None
    }
    print(tasks.describe_licence(name), end="", file=sys.stderr)
    if mix is not None:
        sources, destinations = (_seeds(text) for text in mix)
        if output.suffix.lower() != ".png":
            output = output / "grid.png"
        tasks.draw_mixing(name, sources, destinations, output, weights=weights, **options, **drawn)
        print(output)
        return
    with _progress() as progress:
        if originals is not None:
            table = tasks.alter(name, originals, output, n=n, seed=seed, weights=weights, progress=progress, **options)
        else:
            table = tasks.generate(
                name, n, output, seed=seed, weights=weights, format=format, progress=progress, **options, **drawn
            )
    print(f"{len(table)} faces in {output}, listed in {output / 'manifest.csv'}")


@train_app.command("generator")
def train_generator(
    name: Annotated[str, typer.Argument(help="A generator; `detector list` names them.")],
    manifest: Annotated[Path, typer.Option("--manifest", help="Its real pictures of the training split are learnt.")],
    output: Out,
    seed: Seed = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; else what there is.")] = None,
    size: Annotated[int | None, typer.Option(help="Side in pixels: 32, 64, 128 or 256.")] = None,
    pictures: Annotated[int | None, typer.Option(min=1, help="Length of the run, in real pictures shown.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop after this much time.")] = None,
    loss: Annotated[Literal["logistic", "relativistic"] | None, typer.Option(help="The game they play.")] = None,
    start: Annotated[Path | None, typer.Option(help="Folder of a trained generator to begin from.")] = None,
) -> None:
    """Train a generator; run it again to go on after an interrupt. Under torchrun it uses every process."""
    from detector import generators, tasks

    given = {"pictures": pictures, "seconds": None if minutes is None else 60 * minutes, "loss": loss}
    with _progress() as progress:
        tasks.train("generator", name, manifest, output, seed=seed, device=device,
                    arguments={} if size is None else {"size": size}, progress=progress,
                    **generators.generator_options(name, given, start))  # fmt: skip
    print(f"trained: {output}")


@train_app.command("detector")
def train_detector(
    name: Annotated[str, typer.Argument(help="A detector; `detector list` names them.")],
    manifest: Annotated[Path, typer.Option("--manifest", help="Trains on its train split, stops by its val split.")],
    output: Out,
    seed: Seed = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; else what there is.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the face in pixels.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Any name timm knows (cnn).")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most this many (cnn).")] = None,
) -> None:
    """Train a detector; run it again to go on after an interrupt. It ends by exporting ONNX."""
    from detector import tasks

    given = {"size": size, "backbone": backbone, "epochs": epochs}
    with _progress() as progress:
        tasks.train("detector", name, manifest, output, seed=seed, device=device,
                    arguments={k: v for k, v in given.items() if v is not None}, progress=progress)  # fmt: skip
    print(f"trained: {output}")


@app.command()
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
) -> None:
    """Score pictures: log-odds, larger is more fake. Status 3 if some could not be read; the others have their rows."""
    from detector import tasks

    lines = sys.stdin if "-" in inputs else ()
    with _progress() as progress:
        answer = tasks.score(
            inputs, detector=detector, runtime=runtime, out=output, lines=lines, progress=progress
        )  # fmt: skip
    if isinstance(answer, int):
        errors = answer
    else:
        _table(["picture", "score", "probability", "verdict", "reason"], [_cells(row) for row in answer])
        errors = sum(row.verdict == "error" for row in answer)
    if errors:
        raise typer.Exit(SOME_UNREADABLE)


@app.command()
def verify(
    inputs: Annotated[list[str] | None, typer.Argument(help="Pictures, folders or manifests.")] = None,
    output: Out = Path("evidence"),
    case: Annotated[str, typer.Option(help="Name or number of the case.")] = "",
    examiner: Annotated[str, typer.Option(help="Who examines.")] = "",
    detector: Annotated[
        Path | None, typer.Option("--detector", help="Folder of a trained detector, instead of the shipped one.")
    ] = None,
    known: Annotated[Path | None, typer.Option(help="CSV of known pictures: sha256 or phash, label.")] = None,
    trust: Annotated[Path | None, typer.Option(help="Trust list for Content Credentials: .pem, or a folder.")] = None,
    sign: Annotated[Path | None, typer.Option(help="Ed25519 key (PEM) that signs the custody log.")] = None,
    fail_on: Annotated[
        Literal["likely-fake", "inconclusive"] | None, typer.Option(help="Status 1 if an exhibit is that, or worse.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="A report.json: is it, its log and its exhibit as they were? 1 if changed.")
    ] = None,
) -> None:
    """Examine questioned pictures: an evidence report each (JSON, HTML, PDF, Markdown), a custody log, an index."""
    from detector import tasks
    from detector.errors import DetectorError

    if check is not None:
        from detector.casefile import check_case

        problems = check_case(check)
        print("\n".join(problems) if problems else "untouched: report, renderings, log and exhibit are as they were")
        if problems:
            raise typer.Exit(SERIOUS)
        return
    if not inputs:
        raise DetectorError("name pictures to examine, or a report with --check")
    with _progress() as progress:
        rows = tasks.verify(
            inputs, output, detector=detector, known=known, trust=trust, case=case, examiner=examiner, key=sign,
            progress=progress,
        )  # fmt: skip
    _table(["exhibit", "opinion", "log10 LR", "others", "statement"],
           [[row["name"], row["opinion"], "" if row["log10_lr"] is None else f"{row['log10_lr']:+.2f}",
             ", ".join(row["others"]), row["statement"]] for row in rows])  # fmt: skip
    print(f"reports: {output / 'index.html'}")
    opinions = {row["opinion"] for row in rows}
    if "error" in opinions:
        raise typer.Exit(SOME_UNREADABLE)
    if fail_on is not None and opinions & {"likely-fake", fail_on}:
        raise typer.Exit(SERIOUS)


@app.command()
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
    with _progress() as progress:
        if suite is not None:
            results, report = tasks.run_suite(
                suite, out=output, detectors=detector or [], baseline=baseline, update_baseline=update_baseline,
                command=_command(), audited=not no_audit, progress=progress,
            )  # fmt: skip
        else:
            results = tasks.evaluate(
                manifest or "", detectors=detector or [], runtime=runtime, scores=scores or [], out=output, split=split,
                seed=seed, audited=not no_audit, by=by or [], command=_command(), progress=progress,
            )  # fmt: skip
    _results(results)
    _sources(*tasks.read_headline(output))
    print(f"report: {output / 'report.html'}")
    if report is not None:
        print("\n".join([*report.reasons, *report.notes]))
        print("gate: passed" if report.passed else "gate: failed")
        if not report.passed:
            raise typer.Exit(SERIOUS)


@app.command()
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

    with _progress() as progress:
        findings = tasks.check_data(manifest, fixed=fix, size=size, seed=seed, progress=progress)
    _table(["finding", "severity", "what", "fix"], [[f.name, f.severity.value, f.summary, f.fix] for f in findings])
    if fix is not None:
        print(f"fixed copy: {fix / 'manifest.csv'}")
    if any(f.severity.value == "serious" for f in findings):
        raise typer.Exit(SERIOUS)


@app.command()
def feedback(
    report: Annotated[Path | None, typer.Argument(help="A report.json that verify wrote, or its folder.")] = None,
    label: Annotated[
        Literal["real", "fake", "unsure"] | None, typer.Option(help="What the picture turned out to be.")
    ] = None,
    note: Annotated[str, typer.Option(help="How that is known.")] = "",
    export: Annotated[
        Path | None, typer.Option(help="Write a manifest of all answers, for train and evaluate, instead.")
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"] | None, typer.Option(help="Of all that is exported; else drawn by the seed.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Keep what a verified picture turned out to be, or export all of that: mistakes become the next test set."""
    from detector.errors import DetectorError
    from detector.feedback import export_feedback, give_feedback

    if export is not None and report is None and label is None:
        table = export_feedback(export, split=split, seed=seed)
        print(f"{int((table.label == 0).sum())} real and {int((table.label == 1).sum())} fake pictures in {export}")
    elif report is not None and label is not None and export is None:
        answer = give_feedback(report, label, note=note)
        print(f"{answer.label}: {answer.path}")
    else:
        raise DetectorError("name either a report with its --label, or a file to --export to")


@app.command()
def quickstart(
    output: Out = Path("quickstart"),
    real: Annotated[Path | None, typer.Option(help="Any folder of photographs, instead of the embedded ones.")] = None,
    seed: Seed = 0,
) -> None:
    """Run the whole pipeline in minutes: real faces, built-in fakes, a CNN, a report. Run it again to go on."""
    from detector import quickstart as pipeline

    with _progress() as progress:
        made = pipeline.run(output, real=real, seed=seed, command=_command(), progress=progress)
    _results(made.results)
    _table(["picture", "score", "probability", "verdict", "reason"], [_cells(row) for row in made.scored])
    for what, path in made.paths.items():
        print(f"{what:>22}: {path}")


@app.command("list")
def list_things(
    card: Annotated[str | None, typer.Option(help="Show this card: of shipped weights, or a folder's.")] = None,
) -> None:
    """List what there is: generators, detectors, metrics, perturbations, shipped weights; or show one card."""
    from detector import tasks

    if card is not None:
        _table([card, ""], [[key, value] for key, value in tasks.describe_card(card)])
        return

    for kind, things in tasks.list_things().items():
        _table([kind, ""], [[name, facts] for name, facts in things.items()])


def _cells(row: Row) -> list[str]:
    known = row.score is not None and row.probability is not None
    return [
        row.path,
        f"{row.score:+.2f}" if known else "",
        f"{row.probability:.3f}" if known else "",
        row.verdict,
        row.reason,
    ]


def _results(results: Any) -> None:
    """Print one line a detector, generator and source of photographs: the AUC with its interval."""
    auc = results[(results.metric == "auc") & (results.perturbation == "none")]
    if auc.real.nunique() == 2:  # a single source, which repeats the figures of all photographs
        auc = auc[auc.real != "all"]
    _table(["detector", "generator", "photographs", "AUC", "95 % interval", "real", "fake"],
           [[r.detector, r.generator, r.real, f"{r.value:.3f}", f"{r.low:.3f} to {r.high:.3f}", str(r.n_real),
             str(r.n_fake)] for r in auc.itertuples()])  # fmt: skip


def _sources(headlines: list[str], findings: list[dict[str, Any]]) -> None:
    """Print the headlines of a report, and what it found about the sources of the pictures."""
    print("\n".join(headlines))
    _table(["finding", "severity", "what", "fix"],
           [[f["name"], f["severity"], f["summary"], f["fix"]] for f in findings])  # fmt: skip


def _table(head: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000, highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: a file name is not markup
    console.print(table)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a progress function: a bar with the time left on standard error if it is a terminal, else silence."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
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


def _seeds(text: str) -> list[int]:
    """Return the numbers of a list such as 1,2,5-8."""
    from detector.errors import DetectorError

    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            seeds += range(int(first), int(last or first) + 1)
    except ValueError:
        raise DetectorError(f"seeds are numbers such as 1,2,5-8, not {text!r}") from None
    return seeds


def _command() -> str:
    import shlex

    return shlex.join(["detector", *sys.argv[1:]])


if __name__ == "__main__":
    main()
