"""The whole pipeline on the embedded default, as a straight line: real faces, fakes of them, a detector, a report.

    photographs -> split by person -> crude and style learn the training people's faces -> fakes, split by seed
    -> every picture through the same crop, resize and JPEG -> cnn and spectrum learn -> test split -> report
    -> a page (index.html) that shows all of it, and first what the shipped generator draws

Each step writes its result to the folder and is skipped if the result is there, so that a run can be repeated to go on.
The fakes only serve to train a detector: they are not labelled, and nothing is written outside the folder.
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

SIZE = 64  # side of every picture the detectors see, pixels
QUALITY = 95  # JPEG quality at which photographs and fakes are saved
OPTIONS: dict[str, dict[str, float]] = {  # training options; pictures, not time: a busy machine gives the same result
    "crude": {"pictures": 20_000},
    "style": {"pictures": 9_600, "r1": 0.2, "half_life": 2000},
}
BEST = "style-128"  # the shipped generator whose faces are shown first
TRUNCATION = 0.6  # truncation psi of the shown faces; lower than by default, for fewer strange faces
SHOWN = 24  # faces of a sheet, in rows of COLUMNS
COLUMNS = 8
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

    real: any folder of photographs, instead of the embedded ones.

    Raises CheckpointError if the folder holds a run with another seed or other photographs.
    """
    settings = {"seed": seed, "real": str(real.resolve()) if real else None}
    record = folder / "quickstart.json"
    if record.is_file() and json.loads(record.read_text()) != settings:
        raise CheckpointError(f"{folder} holds a quickstart of another seed or folder; name a new one with -o")
    write_text(record, json.dumps(settings) + "\n")

    _show_shipped(folder / "shown", progress)
    photographs = _photographs(folder, real, seed, progress)
    for name in OPTIONS:
        _generator(name, photographs, folder / "weights" / name, seed, progress)
    grid = folder / "style-mixing.png"
    if not grid.is_file():
        tasks.mix("style", range(1, 4), range(11, 16), grid, weights=folder / "weights" / "style", label=False)
    table = _mixed(photographs, folder, seed, progress)

    for name, arguments in ARGUMENTS.items():
        where = folder / "weights" / ("default" if name == "cnn" else name)
        if not (where / CARD).is_file():
            tasks.train("detector", name, table, where, seed=seed, arguments=arguments, progress=progress)
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
        write_bytes(faces, encode(tile(generator.sample(SHOWN, seed=0, truncation=TRUNCATION), COLUMNS), "JPEG"))
    progress("showing shipped faces", 1, 2)
    if not mixing.is_file():
        tasks.mix("style", range(1, 4), range(11, 16), mixing, weights=weights, label=False)
    progress("showing shipped faces", 2, 2)


def _show_trained(folder: Path, table: pd.DataFrame) -> None:
    """Write a sheet of what each generator of this run drew, and one of photographs, from the test split."""
    for name in ("", *OPTIONS):
        rows = table[(table.split == "test") & (table.generator == name)].drop_duplicates("group").head(COLUMNS)
        faces = np.stack([resize(load(path), ENLARGED, ENLARGED) for path in rows.path])
        write_bytes(folder / f"{name or 'photographs'}.jpg", encode(tile(faces, COLUMNS), "JPEG"))


def _make_page(results: pd.DataFrame, scored: list[Row], table: pd.DataFrame) -> str:
    """Return index.html: what was drawn, learned and measured, and what the figures mean."""
    counts = table.groupby(["split", "label"]).size().to_dict()
    aucs = results[(results.metric == "auc") & (results.real == ALL)].to_dict("records")
    return open_templates(Path(__file__).parent).get_template("quickstart.html.jinja").render(
        aucs=aucs, scored=scored, counts=counts, people=table[table.label == Label.REAL].group.nunique(),
        names=["real", *OPTIONS], pictures=OPTIONS,
    )  # fmt: skip


def _photographs(folder: Path, real: Path | None, seed: int, progress: Progress) -> pd.DataFrame:
    """Return the manifest of the real pictures, split by person."""
    where = folder / "real" / "manifest.csv"
    if where.is_file():
        return read_manifest(where)
    if real is None:
        table = unpack_faces(folder / "real", seed=seed)
    else:
        table = index_folder(real, label=Label.REAL, seed=seed, progress=lambda i, n: progress("hashing", i, n))
    write_manifest(table, where)
    return table


def _generator(name: str, photographs: pd.DataFrame, where: Path, seed: int, progress: Progress) -> None:
    """Train a generator on the training people; `style` starts from shipped weights."""
    if (where / CARD).is_file():
        return
    shipped = SHIPPED / f"{name}-{SIZE}"
    start = shipped if (shipped / CARD).is_file() else None
    options: dict[str, Any] = generators.generator_options(name, OPTIONS[name], start)
    arguments = {"size": SIZE, "colours": 1 if _are_grey(photographs) else 3} if name == "style" else {}

    def show(what: str, done: int, total: int) -> None:
        progress(f"{name}: {what}", done, total)

    tasks.train("generator", name, photographs, where, seed=seed, arguments=arguments, progress=show, **options)


def _are_grey(photographs: pd.DataFrame) -> bool:
    """Return whether a sample of the photographs has no colour; fakes of them must then have none either."""
    some = [load(path) for path in photographs.path[:: max(len(photographs) // 8, 1)]]
    return all((image == image[:, :, :1]).all() for image in some)


def _mixed(photographs: pd.DataFrame, folder: Path, seed: int, progress: Progress) -> pd.DataFrame:
    """Return the mixed manifest: reals, and as many fakes of each generator, all cropped and saved in the same way."""
    where = folder / "manifest.csv"
    if where.is_file():
        return read_manifest(where)
    tables = [photographs]
    for i, name in enumerate(OPTIONS, 1):
        fakes = tasks.generate(name, len(photographs), folder / "fakes" / name, seed=100_000 * i,
                               weights=folder / "weights" / name, label=False, progress=progress)  # fmt: skip
        tables.append(assign_splits(fakes, seed=seed))
    table = reencode(merge(tables), folder / "pictures", size=SIZE, format="JPEG", quality=QUALITY, progress=progress)
    write_manifest(table, where)
    return table
