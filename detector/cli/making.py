"""The commands `index` and `mix`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from detector.cli.options import SERIOUS, SOME_UNREADABLE, Column, OutFile, Seed, refuse
from detector.cli.rendering import any_serious, print_findings, print_table, say, show_progress

if TYPE_CHECKING:
    import pandas as pd


def index(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures, or data set in the layout that --layout names.")],
    output: OutFile = Path("manifest.csv"),
    label: Annotated[
        Literal["real", "fake"] | None,
        typer.Option(help="Label for every picture; without it the label is read from real/ and fake/<generator>/."),
    ] = None,
    generator: Annotated[str, typer.Option(help="Name of the generator of the fakes, where no folder names it.")] = "",
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
    phash: Annotated[
        bool, typer.Option("--phash", help="Add perceptual hashes, by which verify --known finds near copies.")
    ] = False,
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
                            dataset=dataset, group_by=group or "file", licence=licence, layout=layout, phash=phash,
                            seed=seed, left_out=left_out, progress=progress)  # fmt: skip
    _print_counts(table)
    n = left_out.copies
    copies = f", without {n:,} cop{'y' if n == 1 else 'ies'} of the same bytes" if n else ""
    say(f"{len(table)} pictures in {output}{copies}")
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
    output: OutFile = Path("mixed.csv"),
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
