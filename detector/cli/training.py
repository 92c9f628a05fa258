"""Learn: `train generator` and `train detector`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from detector.cli.options import Column, Out, Seed
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
) -> None:
    """Train a generator; run it again to go on after an interrupt. Under torchrun it uses every process."""
    from detector import generators, tasks
    from detector.dataset.foreign import read_columns

    given = {"pictures": pictures, "seconds": None if minutes is None else 60 * minutes, "loss": loss}
    with show_progress(log="detector.training") as progress:
        tasks.train("generator", name, manifest, output, seed=seed, device=device,
                    arguments={} if size is None else {"size": size}, columns=read_columns(column or ()),
                    progress=progress,
                    **generators.generator_options(name, given, start))  # fmt: skip
    _say_trained(output)


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
) -> None:
    """Train a detector; run it again to go on after an interrupt. It ends by exporting ONNX."""
    from detector import tasks
    from detector.dataset.foreign import read_columns

    given = {"size": size, "backbone": backbone, "epochs": epochs}
    with show_progress(log="detector.training") as progress:
        tasks.train("detector", name, manifest, output, seed=seed, device=device,
                    arguments={k: v for k, v in given.items() if v is not None}, columns=read_columns(column or ()),
                    progress=progress)  # fmt: skip
    _say_trained(output)
