"""The command line. Each command parses options, calls one public function and prints the result.

Only this package prints or exits. Heavy modules are imported when a command needs them, so that `detector --help` is
fast.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.generating import generate
from detector.cli.making import index, mix
from detector.cli.measuring import audit, evaluate, score
from detector.cli.options import (
    BAD_INPUT,
    BROKEN_PIPE,
    INTERNAL,
    INTERRUPTED,
    SERIOUS,
    DetectorFolder,
    Group,
    Out,
    Seed,
)
from detector.cli.rendering import (
    choose_output,
    command_line,
    print_results,
    print_rows,
    print_table,
    say,
    show_progress,
)
from detector.cli.serving import serve
from detector.cli.settings import read_config, split_arguments
from detector.cli.showing import gallery, quiz
from detector.cli.training import train_app
from detector.cli.verifying import feedback, verify

app = typer.Typer(name="detector", no_args_is_help=True, pretty_exceptions_enable=False, cls=Group,
                  help="Tells synthetic and manipulated faces from photographs.",
                  rich_markup_mode=None,  # importing Rich would take longer than all else that a help page needs
                  context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})  # fmt: skip
app.add_typer(train_app, name="train")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status; every expected error becomes one line.

    arguments: arguments of the command line; None means those of the process.
    """
    from detector.errors import DetectorError

    sys.stdout, sys.stderr = (
        stream or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w") for stream in (sys.stdout, sys.stderr)
    )  # None if the shell closed it: `>&-`
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for file names that the encoding cannot represent
    try:
        arguments, flags, config = split_arguments(sys.argv[1:] if arguments is None else arguments)
        choose_output(json="--json" in flags, quiet="--quiet" in flags)
        settings = {} if config is None else read_config(config, typer.main.get_command(app))
        status = app(arguments, standalone_mode=False, default_map=settings)
        sys.stdout.flush()
    except DetectorError as error:
        status = _complain(error, BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:
        status = BROKEN_PIPE
    except OSError as error:
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        status = _complain(f"{name}{error.strerror or error}", BAD_INPUT)
    except SystemExit as error:  # raised by Typer for a closed pipe
        status = BROKEN_PIPE if error.code == 1 else error.code
    except Exception as error:
        if _is_interrupt(error):
            status = INTERRUPTED
        elif not hasattr(error, "format_message"):
            import traceback

            traceback.print_exc()
            status = INTERNAL
        elif "NoArgsIsHelp" in type(error).__name__:
            status = error.show() or BAD_INPUT  # type: ignore[attr-defined]
        else:
            status = _complain(f"{error.format_message()} (-h lists the options)", BAD_INPUT)
    if status == INTERRUPTED:
        _complain("interrupted; the same command resumes from here", INTERRUPTED)
    if status == BROKEN_PIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest of the output has no reader
    sys.exit(status)


def _is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C caused an error; a compiled module whose import it stops raises ImportError from it."""
    return error is not None and (isinstance(error, KeyboardInterrupt) or _is_interrupt(error.__cause__))


def _complain(error: object, status: int) -> int:
    """Print an error as one line on standard error, and return the status."""
    from detector.files import printable

    print(f"detector: {printable(' '.join(str(error).split()))}", file=sys.stderr)
    return status


def _show_version(value: bool) -> None:
    if value:
        from detector import __version__

        print(f"detector {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Read options of commands from this TOML file (docs/scale.md); may also stand after the command."
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each row; may also stand after the command.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print only errors; may also stand after the command.")
    ] = False,
) -> None:
    """Declare the options that `split_arguments` accepts at any place of the command line, for the help page."""


for _command in (index, generate, mix, score, verify, evaluate, audit, feedback, quiz, gallery, serve):
    app.command()(_command)


@app.command()
def quickstart(
    output: Out = Path("quickstart"),
    real: Annotated[
        Path | None, typer.Option(help="Use the photographs in this folder instead of the embedded ones.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Run the whole pipeline in a few minutes: photographs, fakes, a CNN, a report. The same command resumes it."""
    from detector import quickstart as pipeline

    with show_progress() as progress:
        made = pipeline.run(output, real=real, seed=seed, command=command_line(), progress=progress)
    print_results(made.results)
    print_rows(made.scored)
    for title, path in made.paths.items():
        say(f"{title:>22}: {path}")


@app.command("list")
def list_registered(
    card: Annotated[
        str | None, typer.Option(help="Show the model card of these shipped weights, or of a folder of weights.")
    ] = None,
) -> None:
    """List generators, detectors, metrics, perturbations and shipped weights, or show one model card."""
    from detector import tasks

    if card is not None:
        print_table([card, ""], [[key, value] for key, value in tasks.describe_card(card)])
        return

    for kind, summaries in tasks.list_registered().items():
        print_table([kind, ""], [[name, summary] for name, summary in summaries.items()])


@app.command()
def doctor(
    detector: DetectorFolder = None,
) -> None:
    """Report what is installed, and score a shipped synthetic picture. Status 1 if a required part is broken."""
    from detector import tasks

    found = tasks.diagnose(detector)
    print_table(["what", "state", "detail"], [[one.what, one.state, one.detail] for one in found])
    if any(one.state == "broken" for one in found):
        raise typer.Exit(SERIOUS)
