"""The command line. Each command parses options, calls one public function and prints the result.

Only this package prints or exits. Heavy modules are imported when a command needs them, so that `detector --help` is
fast.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from detector import __version__
from detector.cli.making import generate, index, mix
from detector.cli.measuring import audit, evaluate, score
from detector.cli.options import BAD_INPUT, BROKEN_PIPE, INTERNAL, INTERRUPTED, SERIOUS, Out, Seed
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
from detector.cli.settings import read_settings, split_words
from detector.cli.showing import gallery, quiz
from detector.cli.training import train_app
from detector.cli.verifying import feedback, verify
from detector.files import printable

app = typer.Typer(name="detector", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich",
                  help="Tells synthetic and manipulated faces from photographs.",
                  context_settings={"help_option_names": ["-h", "--help"]})  # fmt: skip
app.add_typer(train_app, name="train")


def main(words: list[str] | None = None) -> None:
    """Run the command line and exit with its status; every expected error becomes one line.

    words: arguments of the command; None means those of the process.
    """
    from detector.errors import DetectorError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for file names that the encoding cannot represent
    try:
        words, flags, config = split_words(sys.argv[1:] if words is None else words)
        choose_output(json="--json" in flags, quiet="--quiet" in flags)
        settings = {} if config is None else read_settings(config, typer.main.get_command(app))
        status = app(words, standalone_mode=False, default_map=settings)
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
        if not hasattr(error, "format_message"):
            traceback.print_exc()
            status = INTERNAL
        elif "NoArgsIsHelp" in type(error).__name__:
            status = error.show() or BAD_INPUT  # type: ignore[attr-defined]
        else:
            status = _complain(f"{error.format_message()} (-h shows what there is)", BAD_INPUT)
    if status == INTERRUPTED:
        _complain("interrupted; the same command goes on from here", INTERRUPTED)
    if status == BROKEN_PIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest of the output has no reader
    sys.exit(status)


def _complain(error: object, status: int) -> int:
    """Print one line and return the status."""
    print(f"detector: {printable(' '.join(str(error).split()))}", file=sys.stderr)
    return status


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"detector {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with options of commands; docs/scale.md. Also after a command.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each row. Also after a command.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors alone. Also after a command.")] = False,
) -> None:
    """Show the options that `split_words` takes out of every command."""


for _command in (index, generate, mix, score, verify, evaluate, audit, feedback, quiz, gallery, serve):
    app.command()(_command)


@app.command()
def quickstart(
    output: Out = Path("quickstart"),
    real: Annotated[Path | None, typer.Option(help="Folder of photographs, instead of the embedded ones.")] = None,
    seed: Seed = 0,
) -> None:
    """Run the whole pipeline in minutes: photographs, fakes, a CNN, a report. The same command resumes it."""
    from detector import quickstart as pipeline

    with show_progress() as progress:
        made = pipeline.run(output, real=real, seed=seed, command=command_line(), progress=progress)
    print_results(made.results)
    print_rows(made.scored)
    for what, path in made.paths.items():
        say(f"{what:>22}: {path}")


@app.command("list")
def list_things(
    card: Annotated[str | None, typer.Option(help="Show the card of these shipped weights, or of a folder.")] = None,
) -> None:
    """List generators, detectors, metrics, perturbations and shipped weights, or show one model card."""
    from detector import tasks

    if card is not None:
        print_table([card, ""], [[key, value] for key, value in tasks.describe_card(card)])
        return

    for kind, things in tasks.list_things().items():
        print_table([kind, ""], [[name, facts] for name, facts in things.items()])


@app.command()
def doctor(
    detector: Annotated[
        Path | None, typer.Option("--detector", help="Folder of a trained detector, instead of the shipped one.")
    ] = None,
) -> None:
    """Say what is installed, and try it on a shipped synthetic picture. Status 1 if something needed is broken."""
    from detector import tasks

    found = tasks.diagnose(detector)
    print_table(["what", "state", "detail"], [[one.what, one.state, one.detail] for one in found])
    if any(one.state == "broken" for one in found):
        raise typer.Exit(SERIOUS)
