"""Make: `index` and `generate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from detector.cli.options import Out, Seed
from detector.cli.rendering import parse_seeds, print_table, show_progress

Weights = Annotated[
    Path | None, typer.Option("--weights", help="Folder of a trained generator, instead of the shipped one.")
]


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

    with show_progress() as progress:
        table = tasks.index(folder, output, label=Label[label.upper()] if label else None, generator=generator,
                            dataset=dataset, group_by=group, licence=licence, layout=layout, seed=seed,
                            progress=progress)  # fmt: skip
    counts = table.groupby(["split", "label"]).size().unstack(fill_value=0)
    rows = [
        [split, *(str(counts.loc[split].get(k, 0)) for k in (0, 1))]
        for split in ("train", "val", "test")
        if split in counts.index
    ]
    print_table(["split", "real", "fake"], rows)
    print(f"{len(table)} pictures in {output}")


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
        sources, destinations = (parse_seeds(text) for text in mix)
        if output.suffix.lower() != ".png":
            output = output / "grid.png"
        tasks.draw_mixing(name, sources, destinations, output, weights=weights, **options, **drawn)
        print(output)
        return
    with show_progress() as progress:
        if originals is not None:
            table = tasks.alter(name, originals, output, n=n, seed=seed, weights=weights, progress=progress, **options)
        else:
            table = tasks.generate(
                name, n, output, seed=seed, weights=weights, format=format, progress=progress, **options, **drawn
            )
    print(f"{len(table)} faces in {output}, listed in {output / 'manifest.csv'}")
