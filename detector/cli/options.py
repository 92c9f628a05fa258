"""Options that several commands share, exit statuses, the help page of a group, and the refusal of useless options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

SERIOUS, BAD_INPUT, SOME_UNREADABLE = 1, 2, 3  # exit statuses; 1 means a serious finding and nothing else
INTERNAL, INTERRUPTED, BROKEN_PIPE = 70, 130, 141  # exit statuses of a bug, of Ctrl-C, and of a closed output pipe
MAX_SEED = 2**32 - 1  # the largest seed that numpy, torch and scikit-learn all accept


def output_path(text: str | Path) -> Path:
    """Return the path of an output; BadParameter for an empty one, which would mean the working folder, and for -.

    Other programs mean standard output by -.
    """
    if str(text) in ("", "-"):
        raise typer.BadParameter(f"{str(text)!r} is no file or folder; name one, or leave the option out")
    return Path(text)


DetectorFolder = Annotated[
    Path | None,
    typer.Option(
        "--detector",
        help="Use the trained detector in this folder, or the shipped one of this name, such as strong: more accurate "
        "and slower.",
    ),
]
DetectorFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--detector",
        help="Folder of a trained detector to measure, or the name of a shipped one, such as strong; may be repeated.",
    ),
]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Use the trained generator in this folder instead of the shipped one.")
]
Out = Annotated[Path, typer.Option("-o", "--output", parser=output_path, metavar="PATH", help="Folder to write.")]
OutFile = Annotated[Path, typer.Option("-o", "--output", parser=output_path, metavar="PATH", help="File to write.")]
MaybeOut = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        parser=output_path,
        metavar="PATH",
        help="Write a .csv, .jsonl or .parquet file or a folder, instead of printing a table.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="The same seed gives the same result.")]
MaybeSeed = Annotated[
    int | None, typer.Option("--seed", min=0, max=MAX_SEED, help="The same seed gives the same result; 0 by default.")
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME=COLUMN",
        help="Read NAME from this column of a table, as in path=filename; may be repeated.",
    ),
]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set any hyper-parameter, such as batch=16; may be repeated. KEY=? lists them.",
    ),
]

Log = Annotated[
    Literal["tensorboard"] | None,
    typer.Option("--log", help="Also write the figures of the run for TensorBoard (an extra), below the output."),
]


class Group(TyperGroup):
    """A group of commands whose help page has the whole first sentence of each; Click cuts it after one line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        rows = [(name, self.commands[name].get_short_help_str(limit=500)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def refuse(reason: str, **options: object) -> None:
    """Raise DetectorError for the first option that is set although it would have no effect.

    reason: why it would have none. options: name on the command line, with _ for -, and value; None, False, [] and ""
    mean that it is not set.
    """
    from detector.errors import DetectorError

    for name, value in options.items():
        if value is not None and value is not False and value != [] and value != "":
            raise DetectorError(f"leave out --{name.strip('_').replace('_', '-')}: {reason}")
