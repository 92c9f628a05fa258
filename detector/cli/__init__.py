"""The command line: parse, call one public function, render. Nothing outside of this package prints or exits.

Nothing heavy is imported before a command needs it: `detector --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from detector import __version__
from detector.cli.making import generate, index
from detector.cli.measuring import audit, evaluate, score
from detector.cli.options import BAD_INPUT, Out, Seed
from detector.cli.rendering import command_line, print_results, print_rows, print_table, show_progress
from detector.cli.training import train_app
from detector.cli.verifying import feedback, verify

app = typer.Typer(name="detector", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich",
                  help="Tells synthetic and manipulated faces from photographs.",
                  context_settings={"help_option_names": ["-h", "--help"]})  # fmt: skip
app.add_typer(train_app, name="train")


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


for _command in (index, generate, score, verify, evaluate, audit, feedback):
    app.command()(_command)


@app.command()
def quickstart(
    output: Out = Path("quickstart"),
    real: Annotated[Path | None, typer.Option(help="Any folder of photographs, instead of the embedded ones.")] = None,
    seed: Seed = 0,
) -> None:
    """Run the whole pipeline in minutes: real faces, built-in fakes, a CNN, a report. Run it again to go on."""
    from detector import quickstart as pipeline

    with show_progress() as progress:
        made = pipeline.run(output, real=real, seed=seed, command=command_line(), progress=progress)
    print_results(made.results)
    print_rows(made.scored)
    for what, path in made.paths.items():
        print(f"{what:>22}: {path}")


@app.command("list")
def list_things(
    card: Annotated[str | None, typer.Option(help="Show this card: of shipped weights, or a folder's.")] = None,
) -> None:
    """List what there is: generators, detectors, metrics, perturbations, shipped weights; or show one card."""
    from detector import tasks

    if card is not None:
        print_table([card, ""], [[key, value] for key, value in tasks.describe_card(card)])
        return

    for kind, things in tasks.list_things().items():
        print_table([kind, ""], [[name, facts] for name, facts in things.items()])
