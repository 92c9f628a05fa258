"""Learn: `train generator` and `train detector`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from detector.cli.options import Column, Out, Seed, Set
from detector.cli.rendering import say, show_progress

train_app = typer.Typer(no_args_is_help=True, help="Train a generator or a detector on a manifest.")


@train_app.command("generator")
def train_generator(
    name: Annotated[str, typer.Argument(help="A generator; `detector list` names them.")],
    manifest: Annotated[Path, typer.Option("--manifest", help="Trains on the real pictures of its training split.")],
    output: Out,
    seed: Seed = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; by default a GPU if there is one.")] = None,
    column: Column = None,
    size: Annotated[int | None, typer.Option(min=16, max=1024, help="Side in pixels: 32, 64, 128 or 256.")] = None,
    pictures: Annotated[
        int | None, typer.Option(min=1, max=10**10, help="Length of the run, in real pictures shown.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0, max=10**6, help="Stop after this much time.")] = None,
    loss: Annotated[
        Literal["logistic", "relativistic"] | None,
        typer.Option(help="GAN loss: non-saturating logistic, or relativistic."),
    ] = None,
    start: Annotated[Path | None, typer.Option(help="Folder of a trained generator to begin from.")] = None,
    settings: Set = None,
) -> None:
    """Train a generator; run it again to go on after an interrupt. Under torchrun it uses every process."""
    from detector import generators, tasks
    from detector.dataset.foreign import read_columns

    given = {"pictures": pictures, "seconds": None if minutes is None else 60 * minutes, "loss": loss}
    arguments, options = tasks.read_settings("generator", name, settings or (), {"size": size, **given})
    with show_progress(log="detector.training") as progress, _naming(settings):
        tasks.train("generator", name, manifest, output, seed=seed, device=device,
                    arguments=arguments if size is None else {"size": size, **arguments},
                    columns=read_columns(column or ()), progress=progress,
                    **generators.generator_options(name, {**given, **options}, start))  # fmt: skip
    _say_trained(output)


@contextmanager
def _naming(settings: list[str] | None) -> Iterator[None]:
    """Turn what a library raises because of hyper-parameters that were set by hand into one line that names them."""
    from detector.errors import DetectorError

    try:
        yield
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if not settings or isinstance(error, DetectorError):
            raise
        shown = " ".join(f"--set {word}" for word in settings)
        raise DetectorError(
            f"training failed with {shown}: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error


def _say_trained(output: Path) -> None:
    """Print where the weights are; under torchrun only the first process does."""
    if os.environ.get("RANK", "0") == "0":
        say(f"trained: {output}")


@train_app.command("detector")
def train_detector(
    name: Annotated[str, typer.Argument(help="A detector; `detector list` names them.")],
    manifest: Annotated[Path, typer.Option("--manifest", help="Trains on its train split, stops by its val split.")],
    output: Out,
    seed: Seed = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; by default a GPU if there is one.")] = None,
    column: Column = None,
    size: Annotated[int | None, typer.Option(min=16, max=1024, help="Side of the face in pixels.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Any name timm knows (cnn).")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, max=100_000, help="Maximum number of epochs (cnn).")] = None,
    settings: Set = None,
) -> None:
    """Train a detector; run it again to go on after an interrupt. It ends by exporting ONNX."""
    from detector import tasks
    from detector.dataset.foreign import read_columns

    given = {"size": size, "backbone": backbone, "epochs": epochs}
    arguments, _ = tasks.read_settings("detector", name, settings or (), given)
    with show_progress(log="detector.training") as progress, _naming(settings):
        tasks.train("detector", name, manifest, output, seed=seed, device=device,
                    arguments={k: v for k, v in given.items() if v is not None} | arguments,
                    columns=read_columns(column or ()), progress=progress)  # fmt: skip
    _say_trained(output)
