"""The commands `index`, `generate` and `mix`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from detector.cli.options import SERIOUS, SOME_UNREADABLE, Column, MaybeSeed, Out, Seed, Weights, refuse
from detector.cli.rendering import any_serious, parse_seeds, print_findings, print_table, say, show_progress

if TYPE_CHECKING:
    import pandas as pd


def index(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures, or data set in the layout that --layout names.")],
    output: Out = Path("manifest.csv"),
    label: Annotated[
        Literal["real", "fake"] | None,
        typer.Option(help="Label for every picture; without it the label is read from real/ and fake/<generator>/."),
    ] = None,
    generator: Annotated[str, typer.Option(help="Name of the generator that made the fakes.")] = "",
    dataset: Annotated[str, typer.Option(help="Name of the data set; by default the name of the folder.")] = "",
    group: Annotated[
        str | None,
        typer.Option(
            help='What keeps pictures in one split: "file" (default), "folder", or a regular expression on the path.'
        ),
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the pictures.")] = "unknown",
    layout: Annotated[
        Literal["folders", "jsonl", "deepfakebench", "webdataset"] | None,
        typer.Option(help="Read the data set of another tool, which has this layout."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Write a manifest of the pictures in a folder, with hashes, and splits by group. Status 3 if one was left out."""
    from detector import tasks
    from detector.dataset.listing import LeftOut
    from detector.errors import DetectorError
    from detector.types import Label

    if not folder.exists():
        raise DetectorError(f"there is no folder {folder}")
    if layout is not None:
        refuse("the layout already gives it for every picture", label=label, generator=generator, group=group)
    left_out = LeftOut()
    with show_progress() as progress:
        table = tasks.index(folder, output, label=Label[label.upper()] if label else None, generator=generator,
                            dataset=dataset, group_by=group or "file", licence=licence, layout=layout, seed=seed,
                            left_out=left_out, progress=progress)  # fmt: skip
    _print_counts(table)
    say(f"{len(table)} pictures in {output}")
    for path, reason in left_out.pictures.items():
        say(f"left out: {path}: {reason}", err=True)
    if left_out:
        say(left_out.describe(), err=True)
    if left_out.pictures:
        raise typer.Exit(SOME_UNREADABLE)


def _print_counts(table: pd.DataFrame) -> None:
    """Print how many photographs and fakes each split has."""
    counts = table.groupby(["split", "label"]).size().unstack(fill_value=0)
    rows = [
        [split, *(str(counts.loc[split].get(k, 0)) for k in (0, 1))]
        for split in ("train", "val", "test")
        if split in counts.index
    ]
    print_table(["split", "real", "fake"], rows)


def mix(
    manifests: Annotated[list[Path], typer.Argument(help="Manifests that together list photographs and fakes.")],
    output: Out = Path("mixed.csv"),
    size: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=4096,
            help="Side of the pictures in pixels; by default the median side of the class with smaller pictures.",
        ),
    ] = None,
    format: Annotated[Literal["png", "jpg", "webp"], typer.Option(help="File format of all pictures.")] = "jpg",
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="Quality of JPEG and WebP; 95 by default.")
    ] = None,
    crop: Annotated[
        bool, typer.Option("--crop", help="Crop every picture to its largest face, and leave out pictures without one.")
    ] = False,
    no_audit: Annotated[bool, typer.Option("--no-audit", help="Skip the audit of the result.")] = False,
    column: Column = None,
    seed: Seed = 0,
) -> None:
    """Combine manifests into one data set: split by group, with every picture saved in the same way, and audited.

    Status 1 if something besides the face still reveals the labels, otherwise 3 if a picture was left out.
    """
    from detector import tasks
    from detector.dataset.foreign import read_columns
    from detector.dataset.reencoding import SKIPPED

    if format == "png":
        refuse("PNG is lossless", quality=quality)
    with show_progress() as progress:
        table, findings = tasks.combine(
            manifests, output, size=size, format=format, quality=quality or 95, crop=crop, audited=not no_audit,
            seed=seed, columns=read_columns(column or ()), progress=progress,
        )  # fmt: skip
    _print_counts(table)
    if findings:
        print_findings(findings)
    skipped = output.with_suffix("") / SKIPPED
    say(f"{len(table)} pictures in {output}")
    if skipped.is_file():
        say(f"some pictures were left out; {skipped} lists them with the reasons", err=True)
    if any_serious(findings):
        raise typer.Exit(SERIOUS)
    if skipped.is_file():
        raise typer.Exit(SOME_UNREADABLE)


def generate(
    name: Annotated[str, typer.Argument(help="Name of a generator; `detector list` shows all.")],
    n: Annotated[int | None, typer.Option("-n", min=1, max=10_000_000, help="Number of faces; 16 by default.")] = None,
    seed: MaybeSeed = None,
    output: Out = Path("generated"),
    weights: Weights = None,
    truncation: Annotated[
        float | None, typer.Option(min=0, max=2, help="Truncation psi: 0 gives the average face, 1 full variety.")
    ] = None,
    mix: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="SOURCES DESTINATIONS", help="Draw the style-mixing grid of seeds such as 1,2,5-8."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=16, max=1024, help="Side in pixels, if the generator has several sizes.")
    ] = None,
    originals: Annotated[
        Path | None, typer.Option("--from", help="Alter the real pictures of a manifest (reconstruct, latent, swap).")
    ] = None,
    column: Column = None,
    format: Annotated[Literal["png", "jpg", "webp"] | None, typer.Option(help="File format; png by default.")] = None,
    no_label: Annotated[
        bool, typer.Option("--no-label", help="Write reproducible files without labels, for training.")
    ] = False,
    signer: Annotated[
        Path | None, typer.Option("--sign-with", help="Sign with the key and certificates in this PEM file.")
    ] = None,
) -> None:
    """Generate fake faces with their manifest, or the style-mixing grid of the StyleGAN paper.

    Files are labelled as synthetic by XMP, by Content Credentials if c2pa-python is installed, and in ~/.detector.
    """
    from detector import tasks
    from detector.dataset.foreign import read_columns

    if mix is not None:
        refuse("a grid is a PNG of the seeds that --mix names", n=n, seed=seed, __from=originals, format=format)
    if originals is not None:
        refuse("the generator decides it for altered pictures", size=size, format=format, truncation=truncation)
    else:
        refuse("it names a column of the manifest of --from", column=column)
    refuse("nothing is signed with --no-label", sign_with=signer if no_label else None)
    options: dict[str, Any] = {"label": not no_label, "signer": signer}
    drawn: dict[str, Any] = {k: v for k, v in (("truncation", truncation), ("size", size)) if v is not None}
    print(tasks.describe_licence(name), end="", file=sys.stderr)
    if mix is not None:
        output = output if output.suffix.lower() == ".png" else output / "grid.png"
        sources, destinations = map(parse_seeds, mix)
        tasks.mix(name, sources, destinations, output, weights=weights, **options, **drawn)
        return say(str(output))
    n, seed = n or 16, seed or 0
    with show_progress() as progress:
        if originals is not None:
            table = tasks.alter(name, originals, output, n=n, seed=seed, weights=weights, progress=progress,
                                columns=read_columns(column or ()), **options)  # fmt: skip
        else:
            table = tasks.generate(name, n, output, seed=seed, weights=weights, format=format or "png",
                                   progress=progress, **options, **drawn)  # fmt: skip
    say(f"{len(table)} faces in {output}, listed in {output / 'manifest.csv'}")
