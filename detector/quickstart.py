"""The whole pipeline on the embedded photographs: photographs, generators, fakes, detectors, report.

    photographs -> split by person -> train crude and style on the training people -> fakes, split by seed
    -> crop, resize and save every picture alike -> train cnn and spectrum -> measure on the test split -> report
    -> a page (index.html) that shows all results, beginning with faces of the shipped generator

Each step writes its result to the folder and is skipped if the result exists, so that repeating a command resumes its
run. The fakes are only used to train and test detectors: they are not labelled, and nothing is written outside the
folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from detector import generators, tasks
from detector.dataset.embedded import unpack_faces
from detector.dataset.manifest import assign_splits, index_folder, merge, read_manifest, write_manifest
from detector.dataset.reencoding import reencode
from detector.errors import CheckpointError
from detector.evaluation.measuring import ALL
from detector.files import open_templates, write_bytes, write_text
from detector.generators import load_generator
from detector.pictures.images import encode, load, resize, tile
from detector.scoring.checkpoint import CARD, SHIPPED
from detector.scoring.engine import Row
from detector.types import Label, Progress

SIZE = 64  # side of every picture that detectors are trained and tested on, pixels
QUALITY = 95  # JPEG quality at which photographs and fakes are saved
OPTIONS: dict[str, dict[str, float]] = {  # training options; a number of pictures, not a time, so that runs are equal
    "crude": {"pictures": 20_000},
    "style": {"pictures": 9_600, "r1": 0.2, "half_life": 2000},
}
BEST = "style-128"  # the shipped generator whose faces are shown first
TRUNCATION = 0.6  # truncation psi of the shown faces; lower than the default, so that fewer faces are distorted
SHOWN = range(34, 58)  # seeds of the faces on the first sheet, all that follow one another
GRID = (33, 34, 42), (14, 40, 37, 68, 21, 7)  # seeds of the sources and destinations of the shown grid, chosen by eye
COLUMNS = 8  # number of faces in a row of a sheet
PICTURES = "pictures"  # folder of the pictures, cut and saved alike, below that of the run
ENLARGED = 128  # side of a face on a sheet, pixels
ARGUMENTS = {"cnn": {"size": SIZE, "epochs": 6, "patience": 2}, "spectrum": {"size": SIZE}}  # constructor arguments


@dataclass(frozen=True)
class Made:
    """The outcome of a run: the measured results, three scored pictures, and the files to open."""

    results: pd.DataFrame
    scored: list[Row]
    paths: dict[str, Path]


def run(
    folder: Path, *, real: Path | None = None, seed: int = 0, command: str = "detector quickstart", progress: Progress
) -> Made:
    """Run every step below `folder` and return the outcome.

    real: a folder of photographs; None takes the embedded ones. command: command line that the report records.

    Raises CheckpointError if the folder holds a run with another seed or other photographs.
    """
    settings = {"seed": seed, "real": str(real.resolve()) if real else None}
    record = folder / "quickstart.json"
    if record.is_file() and json.loads(record.read_text()) != settings:
        raise CheckpointError(f"{folder} has a run with another seed or other photographs; name a new folder with -o")
    write_text(record, json.dumps(settings) + "\n")

    _show_shipped(folder / "shown", progress)
    photographs = _list_photographs(folder, real, seed, progress)
    for name in OPTIONS:
        _train_generator(name, photographs, folder / "weights" / name, seed, progress)
    grid = folder / "style-mixing.png"
    if not grid.is_file():
        tasks.mix("style", range(1, 4), range(11, 16), grid, weights=folder / "weights" / "style", label=False)
    table = _combine(photographs, folder, seed, progress)

    for name, arguments in ARGUMENTS.items():
        weights = folder / "weights" / ("default" if name == "cnn" else name)
        if not (weights / CARD).is_file():
            tasks.train("detector", name, table, weights, seed=seed, arguments=arguments, progress=progress)
    report, test = folder / "report", table[table.split == "test"]
    results = tasks.evaluate(
        folder / "manifest.csv",
        detectors=[folder / "weights" / "default", folder / "weights" / "spectrum"],
        out=report, seed=seed, command=command, progress=progress,
        faces={name or "real": test[test.generator == name].path.tolist()[:16] for name in ("", *OPTIONS)},
    )  # fmt: skip
    shown = [test[test.generator == name].path.iloc[0] for name in ("", *OPTIONS)]
    scored = tasks.score_inputs(shown, detector=folder / "weights" / "default")
    assert isinstance(scored, list)
    page = folder / "index.html"
    _show_trained(folder / "shown", table)
    write_text(page, _make_page(results, scored, table))
    paths = {
        "page": page,
        "report": report / "report.html",
        "style-mixing grid": grid,
        "manifest": folder / "manifest.csv",
        "detector": folder / "weights" / "default",
    }
    return Made(results, scored, paths)


def _show_shipped(folder: Path, progress: Progress) -> None:
    """Draw a sheet of faces and a style-mixing grid with the shipped generator."""
    weights, faces, mixing = SHIPPED / BEST, folder / "faces.jpg", folder / "style-mixing.png"
    progress("showing shipped faces", 0, 2)
    if not faces.is_file():
        generator: Any = load_generator("style", weights)
        write_bytes(faces, encode(tile(generator.draw(SHOWN, truncation=TRUNCATION), COLUMNS), "JPEG"))
    progress("showing shipped faces", 1, 2)
    if not mixing.is_file():
        tasks.mix("style", *GRID, mixing, weights=weights, label=False, truncation=TRUNCATION)
    progress("showing shipped faces", 2, 2)


def _show_trained(folder: Path, table: pd.DataFrame) -> None:
    """Write a sheet of faces of each generator of this run, and one of photographs, all from the test split."""
    for name in ("", *OPTIONS):
        rows = table[(table.split == "test") & (table.generator == name)].drop_duplicates("group").head(COLUMNS)
        faces = np.stack([resize(load(path), ENLARGED, ENLARGED) for path in rows.path])
        write_bytes(folder / f"{name or 'photographs'}.jpg", encode(tile(faces, COLUMNS), "JPEG"))


def _make_page(results: pd.DataFrame, scored: list[Row], table: pd.DataFrame) -> str:
    """Return index.html, which shows the faces, the training and the results, and explains the figures."""
    counts = table.groupby(["split", "label"]).size().to_dict()
    aucs = results[(results.metric == "auc") & (results.real == ALL)].to_dict("records")
    names = ("photograph", *(f"fake by {name}" for name in OPTIONS))
    examples = [(name, f"{PICTURES}/{Path(row.path).name}", row) for name, row in zip(names, scored, strict=True)]
    return open_templates(Path(__file__).parent).get_template("quickstart.html.jinja").render(
        aucs=aucs, examples=examples, counts=counts, people=table[table.label == Label.REAL].group.nunique(),
        pictures=OPTIONS, shown=SHOWN,
    )  # fmt: skip


def _list_photographs(folder: Path, real: Path | None, seed: int, progress: Progress) -> pd.DataFrame:
    """Return the manifest of the photographs, split by person."""
    path = folder / "real" / "manifest.csv"
    if path.is_file():
        return read_manifest(path)
    if real is None:
        table = unpack_faces(folder / "real", seed=seed)
    else:
        table = index_folder(real, label=Label.REAL, seed=seed, progress=lambda i, n: progress("hashing", i, n))
    write_manifest(table, path)
    return table


def _train_generator(name: str, photographs: pd.DataFrame, weights: Path, seed: int, progress: Progress) -> None:
    """Train a generator on the people of the training split; `style` starts from shipped weights."""
    if (weights / CARD).is_file():
        return
    shipped = SHIPPED / f"{name}-{SIZE}"
    start = shipped if (shipped / CARD).is_file() else None
    options: dict[str, Any] = generators.generator_options(name, OPTIONS[name], start)
    arguments = {"size": SIZE, "colours": 1 if _are_grey(photographs) else 3} if name == "style" else {}

    def show(what: str, done: int, total: int) -> None:
        progress(f"{name}: {what}", done, total)

    tasks.train("generator", name, photographs, weights, seed=seed, arguments=arguments, progress=show, **options)


def _are_grey(photographs: pd.DataFrame) -> bool:
    """Return whether a sample of the photographs is grey; the fakes must then be grey too."""
    sample = [load(path) for path in photographs.path[:: max(len(photographs) // 8, 1)]]
    return all((image == image[:, :, :1]).all() for image in sample)


def _combine(photographs: pd.DataFrame, folder: Path, seed: int, progress: Progress) -> pd.DataFrame:
    """Return the manifest of photographs and as many fakes of each generator, all cropped and saved in the same way."""
    path = folder / "manifest.csv"
    if path.is_file():
        return read_manifest(path)
    tables = [photographs]
    for i, name in enumerate(OPTIONS, 1):
        fakes = tasks.generate(name, len(photographs), folder / "fakes" / name, seed=100_000 * i,
                               weights=folder / "weights" / name, label=False, progress=progress)  # fmt: skip
        tables.append(assign_splits(fakes, seed=seed))
    table = reencode(merge(tables), folder / PICTURES, size=SIZE, format="JPEG", quality=QUALITY, progress=progress)
    write_manifest(table, path)
    return table
