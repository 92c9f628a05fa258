"""The command `generate`: drawn faces, altered photographs, projections, and sheets of styles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from detector.cli.options import SOME_UNREADABLE, Column, MaybeSeed, Weights, output_path, refuse
from detector.cli.rendering import parse_edits, parse_faces, print_table, say, show_progress

Truncation = Annotated[
    float | None, typer.Option(min=0, max=2, help="Truncation psi: 0 gives the average face, 1 full variety.")
]
Grid = Annotated[
    tuple[str, str] | None,
    typer.Option(
        metavar="SOURCES DESTINATIONS",
        help="Draw the style-mixing grid of seeds such as 1,2,5-8, photographs, or codes.safetensors of --project.",
    ),
]
Target = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        parser=output_path,
        metavar="PATH",
        help="Folder to write, or the PNG of --mix and --directions.",
    ),
]
Originals = Annotated[
    Path | None, typer.Option("--from", help="Alter the real pictures of a manifest (reconstruct, latent, swap).")
]
Edit = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DIRECTION=AMOUNT",
        help="Move the styles of every face, as in coarse-1=2; may be repeated. --directions shows what it changes.",
    ),
]
Signer = Annotated[
    Path | None, typer.Option("--sign-with", help="Sign with the key and certificates in this PEM file.")
]


def generate(
    name: Annotated[str, typer.Argument(help="Name of a generator; `detector list` shows all.")],
    photographs: Annotated[
        list[Path] | None, typer.Argument(help="Photographs, folders or manifests for --project.")
    ] = None,
    n: Annotated[int | None, typer.Option("-n", min=1, max=10_000_000, help="Number of faces; 16 by default.")] = None,
    seed: MaybeSeed = None,
    output: Target = Path("generated"),
    weights: Weights = None,
    truncation: Truncation = None,
    edit: Edit = None,
    mix: Grid = None,
    project: Annotated[bool, typer.Option("--project", help="Draw the faces of photographs again (style).")] = False,
    directions: Annotated[
        bool, typer.Option("--directions", help="Draw a sheet of what the directions of --edit change.")
    ] = False,
    size: Annotated[
        int | None, typer.Option(min=16, max=1024, help="Side in pixels, if the generator has several sizes.")
    ] = None,
    originals: Originals = None,
    column: Column = None,
    format: Annotated[Literal["png", "jpg", "webp"] | None, typer.Option(help="File format; png by default.")] = None,
    no_label: Annotated[
        bool, typer.Option("--no-label", help="Write reproducible files without labels, for training.")
    ] = False,
    signer: Signer = None,
) -> None:
    """Generate fake faces with their manifest, draw photographs again, or draw a style-mixing grid.

    Files are labelled as synthetic by XMP, by Content Credentials if c2pa-python is installed, and in ~/.detector.
    """
    _check(photographs, n=n, seed=seed, truncation=truncation, edit=edit, mix=mix, project=project, size=size,
           directions=directions, originals=originals, column=column, format=format)  # fmt: skip
    refuse("nothing is signed with --no-label", sign_with=signer if no_label else None)
    given = {"truncation": truncation, "size": size, "edit": parse_edits(edit) if edit else None}
    options: dict[str, Any] = {"weights": weights, "label": not no_label, "signer": signer}
    options |= {key: value for key, value in given.items() if value is not None}
    _run(name, photographs, output, n or 16, seed or 0, options, mix=mix, project=project, directions=directions,
         originals=originals, column=column, format=format)  # fmt: skip


def _check(photographs: list[Path] | None, **given: Any) -> None:
    """Raise DetectorError for an option that would have no effect."""
    from detector.errors import DetectorError

    def leave_out(reason: str, *names: str) -> None:
        refuse(reason, **{{"originals": "from"}.get(name, name): given[name] for name in names})

    if given["mix"] is not None:
        leave_out("a grid is a PNG of the seeds that --mix names, and of photographs",
                  "n", "seed", "originals", "format", "edit", "project", "directions")  # fmt: skip
    if given["project"]:
        leave_out("a projection is a PNG of each photograph, as large as the generator draws",
                  "n", "originals", "format", "size", "truncation", "directions", "column")  # fmt: skip
        if not photographs:
            raise DetectorError("name photographs after --project")
    elif photographs:
        raise DetectorError(f"{photographs[0]} is not used; draw photographs again with --project, or leave it out")
    if given["directions"]:
        leave_out("the sheet is a PNG of one face that --seed names", "n", "originals", "format", "edit")
    if given["originals"] is not None:
        leave_out("the generator decides it for altered pictures", "size", "format", "truncation", "edit")
    else:
        leave_out("it names a column of the manifest of --from", "column")


def _run(name: str, photographs: list[Path] | None, output: Path, n: int, seed: int, options: dict[str, Any],
         **given: Any) -> None:  # fmt: skip
    """Do what the command line asks for, and print what was written."""
    from detector import tasks
    from detector.dataset.foreign import read_columns

    print(tasks.describe_licence(name), end="", file=sys.stderr)
    if given["project"]:
        return _project(name, photographs or [], output, seed, options)
    if given["directions"]:
        output = _as_png(output, "directions.png")
        tasks.show_directions(name, output, seed=seed, **options)
        return say(str(output))
    with show_progress() as progress:
        if given["mix"] is not None:
            output = _as_png(output, "grid.png")
            sources, destinations = map(parse_faces, given["mix"])
            tasks.mix(name, sources, destinations, output, progress=progress, **options)
        elif given["originals"] is not None:
            table = tasks.alter(name, given["originals"], output, n=n, seed=seed, progress=progress,
                                columns=read_columns(given["column"] or ()), **options)  # fmt: skip
        else:
            table = tasks.generate(name, n, output, seed=seed, format=given["format"] or "png", progress=progress,
                                   **options)  # fmt: skip
    if given["mix"] is not None:
        return say(str(output))
    return say(f"{len(table)} faces in {output}, listed in {output / 'manifest.csv'}")


def _project(name: str, photographs: list[Path], output: Path, seed: int, options: dict[str, Any]) -> None:
    """Project photographs and print how far each projection is from its photograph; status 3 if one was left out."""
    from detector import tasks
    from detector.dataset.listing import LeftOut
    from detector.tasks.projecting import name_sheet

    left_out = LeftOut()
    with show_progress() as progress:
        table = tasks.project(name, photographs, output, seed=seed, left_out=left_out, progress=progress, **options)
    rows = zip(table.path, table.distance, table.psnr, strict=True)
    print_table(["projection", "distance", "PSNR, dB"],
                [[Path(path).name, f"{distance:.3f}", f"{psnr:.1f}"] for path, distance, psnr in rows])  # fmt: skip
    say(f"{len(table)} faces in {output}, listed in {output / 'manifest.csv'}; beside their photographs: "
        f"{output.parent / name_sheet(output).name}")  # fmt: skip
    for path, reason in left_out.pictures.items():
        say(f"left out: {path}: {reason}", err=True)
    if left_out:
        say(left_out.describe(), err=True)
        raise typer.Exit(SOME_UNREADABLE)


def _as_png(output: Path, name: str) -> Path:
    """Return the output if it names a PNG, or else a file of this name below it."""
    return output if output.suffix.lower() == ".png" else output / name
