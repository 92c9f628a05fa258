"""The commands `quiz`, in which people compare themselves with a detector, and `gallery`, a page on all generators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detector.cli.options import SOME_UNREADABLE, DetectorFolder, MaybeSeed, Out, OutFile, Seed, Weights, refuse
from detector.cli.rendering import print_table, say, show_progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def quiz(
    photographs: Annotated[
        list[Path] | None, typer.Argument(help="Photographs, folders or manifests; leave them out with --answers.")
    ] = None,
    output: Out = Path("quiz"),
    n: Annotated[
        int | None,
        typer.Option("-n", min=2, max=500, help="Number of photographs, and of synthetic faces; 20 by default."),
    ] = None,
    generator: Annotated[str | None, typer.Option(help="Generator of the synthetic faces; style by default.")] = None,
    weights: Weights = None,
    feedback: Annotated[bool, typer.Option("--feedback", help="Show after each answer whether it was right.")] = False,
    answers: Annotated[
        list[Path] | None,
        typer.Option(
            "--answers", help="Write the report on this file of answers, which the page saved; may be repeated."
        ),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            "--detector", help="Compare people with the trained detector in this folder instead of the shipped one."
        ),
    ] = None,
    seed: MaybeSeed = None,
) -> None:
    """Make a page that asks which faces are synthetic, or compare the answers with those of a detector.

    The page contains the photographs that you name: share it only if you may share them.
    """
    from detector import tasks
    from detector.dataset.listing import LeftOut
    from detector.errors import DetectorError

    if answers:
        refuse("the quiz exists already", n=n, generator=generator, weights=weights, feedback=feedback, seed=seed)
        if photographs:
            raise DetectorError("name photographs to make a quiz, or --answers to report on one, not both")
        with show_progress() as progress:
            observers = tasks.mark_quiz(answers, output, detector=detector, progress=progress)
        _print_observers(observers)
        return say(f"report: {output / 'report.html'}")
    refuse("it is only compared with --answers", detector=detector)
    if not photographs:
        raise DetectorError("name photographs to show beside the synthetic faces, or --answers to report on a quiz")
    left_out = LeftOut()
    with show_progress() as progress:
        page = tasks.make_quiz(photographs, output, n=n or 20, generator=generator or "style", weights=weights,
                               feedback=feedback, seed=seed or 0, left_out=left_out, progress=progress)  # fmt: skip
    say(f"open {page} in a browser; then: detector quiz --answers answers.csv -o {output}")
    if left_out:
        say(left_out.describe(), err=True)
        raise typer.Exit(SOME_UNREADABLE)


def _print_observers(observers: Sequence[Mapping[str, Any]]) -> None:
    """Print one line for each person and for the detector: accuracy, AUC and d' with 95 % intervals."""

    def show(value: float, ends: tuple[float, float] | None, form: str) -> str:
        return format(value, form) + (f" [{ends[0]:{form}}, {ends[1]:{form}}]" if ends else "")

    print_table(
        ["observer", "right", "AUC", "d'", "fakes found", "photographs called fake"],
        [[o["name"], show(o["accuracy"], o["accuracy_interval"], ".1%"), show(o["auc"], o["auc_interval"], ".2f"),
          show(o["d_prime"], o["d_prime_interval"], ".2f"), f"{o['found']} of {o['fakes']}",
          f"{o['accused']} of {o['reals']}"] for o in observers],
    )  # fmt: skip


def gallery(
    photographs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photographs, folders or manifests to compare with; by default the embedded photographs (grey)."
        ),
    ] = None,
    output: OutFile = Path("gallery.html"),
    n: Annotated[
        int,
        typer.Option(
            "-n", min=20, max=10_000, help="Number of faces of each generator, and largest number of photographs."
        ),
    ] = 200,
    detector: DetectorFolder = None,
    no_ageing: Annotated[
        bool, typer.Option("--no-ageing", help="Skip the table of detectors that were trained on one generator each.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Make a page with faces of every generator, oldest first, their KID to photographs and the detector's AUC."""
    from detector import tasks
    from detector.dataset.listing import LeftOut

    left_out = LeftOut()
    with show_progress() as progress:
        made = tasks.make_gallery(output, photographs=photographs or (), n=n, detector=detector,
                                  ageing=not no_ageing, seed=seed, left_out=left_out, progress=progress)  # fmt: skip
    rows = [
        [r["name"], str(r["year"]), str(r["size"]), "" if r["kid_x1000"] is None else f"{r['kid_x1000']:.0f}",
         f"{r['auc']['value']:.2f}", _interval(r["auc"])]
        for r in made["rungs"]
    ]  # fmt: skip
    print_table(["generator", "year", "pixels", "KID x 1000", "AUC", "95 % interval"], rows)
    say(f"gallery: {output}")
    if left_out:
        say(left_out.describe(), err=True)
        raise typer.Exit(SOME_UNREADABLE)


def _interval(row: Mapping[str, Any]) -> str:
    return "none: one group" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
