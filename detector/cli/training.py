"""The commands `train generator` and `train detector`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from detector.cli.options import Column, Group, Log, Out, Seed, Set
from detector.cli.rendering import say, show_progress

train_app = typer.Typer(no_args_is_help=True, cls=Group, help="Train a generator or a detector on a manifest.")


@train_app.command("generator")
def train_generator(
    name: Annotated[str, typer.Argument(help="Name of a generator; `detector list` shows all.")],
    manifest: Annotated[
        Path, typer.Option("--manifest", help="Manifest; the real pictures of its training split are used.")
    ],
    output: Out,
    seed: Seed = 0,
    device: Annotated[
        str | None, typer.Option(help="Device, such as cpu or cuda; by default a GPU if there is one.")
    ] = None,
    column: Column = None,
    size: Annotated[int | None, typer.Option(min=16, max=1024, help="Side in pixels: 32, 64, 128 or 256.")] = None,
    pictures: Annotated[
        int | None, typer.Option(min=1, max=10**10, help="Length of the run: number of real pictures shown.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0, max=10**6, help="Stop after this many minutes.")] = None,
    loss: Annotated[
        Literal["logistic", "relativistic"] | None,
        typer.Option(help="GAN loss: non-saturating logistic, or relativistic."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Start from the weights of the trained generator in this folder.")
    ] = None,
    settings: Set = None,
    log: Log = None,
) -> None:
    """Train a generator; the same command resumes an interrupted run. Under torchrun all processes take part."""
    from detector import generators, tasks
    from detector.dataset.foreign import read_columns

    named = {"pictures": pictures, "seconds": None if minutes is None else 60 * minutes, "loss": loss}
    arguments, options = tasks.read_settings("generator", name, settings or (), {"size": size, **named})
    with show_progress(log="detector.training") as progress, _naming(settings):
        tasks.train("generator", name, manifest, output, seed=seed, device=device,
                    arguments=arguments if size is None else {"size": size, **arguments},
                    columns=read_columns(column or ()), log=log, progress=progress,
                    **generators.generator_options(name, {**named, **options}, start))  # fmt: skip
    _say_trained(output)


@contextmanager
def _naming(settings: list[str] | None) -> Iterator[None]:
    """Replace an error that a library raises if --set is used by a DetectorError that names the hyper-parameters."""
    from detector.errors import DetectorError

    try:
        yield
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if not settings or isinstance(error, DetectorError):
            raise
        shown = " ".join(f"--set {setting}" for setting in settings)
        raise DetectorError(
            f"training failed with {shown}: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error


def _say_trained(output: Path) -> None:
    """Print the folder of the weights; under torchrun only the first process prints it."""
    from detector.learning.processes import is_first

    if is_first():
        say(f"trained: {output}")


@train_app.command("detector")
def train_detector(
    name: Annotated[str, typer.Argument(help="Name of a detector; `detector list` shows all.")],
    manifest: Annotated[Path, typer.Option("--manifest", help="Manifest; its val split decides when training stops.")],
    output: Out,
    seed: Seed = 0,
    device: Annotated[
        str | None, typer.Option(help="Device, such as cpu or cuda; by default a GPU if there is one.")
    ] = None,
    column: Column = None,
    size: Annotated[int | None, typer.Option(min=16, max=1024, help="Side of the face in pixels.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Backbone of cnn: the name of any timm model.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, max=100_000, help="Largest number of epochs of cnn.")] = None,
    settings: Set = None,
    log: Log = None,
) -> None:
    """Train a detector, calibrate it, and save it; the same command resumes an interrupted run."""
    from detector import tasks
    from detector.dataset.foreign import read_columns

    named = {"size": size, "backbone": backbone, "epochs": epochs}
    arguments, _ = tasks.read_settings("detector", name, settings or (), named)
    with show_progress(log="detector.training") as progress, _naming(settings):
        tasks.train("detector", name, manifest, output, seed=seed, device=device,
                    arguments={k: v for k, v in named.items() if v is not None} | arguments,
                    columns=read_columns(column or ()), log=log, progress=progress)  # fmt: skip
    _say_trained(output)
