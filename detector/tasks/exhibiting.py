"""The task `gallery`: a page that shows faces of every generator and measures them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from detector.dataset.embedded import unpack_faces
from detector.dataset.listing import LeftOut
from detector.dataset.manifest import assign_splits, read_crops
from detector.detectors import find_detector
from detector.errors import DetectorError, MissingExtra
from detector.evaluation import gallery
from detector.files import check_output, write_text
from detector.generators import GENERATORS, load_generator
from detector.pictures.faces import load_square
from detector.scoring.checkpoint import CARD, SHIPPED, read_card
from detector.scoring.targets import as_list
from detector.tasks.combining import cut_faces, read_photographs, spare
from detector.tasks.scoring import score
from detector.tasks.training import train
from detector.types import Licensed, Progress, Sampler, silent

LARGE = 256  # side of the faces of generators that have several sizes, pixels


def make_gallery(
    out: Path | str,
    *,
    photographs: str | Path | Sequence[str | Path] = (),
    n: int = 200,
    detector: Path | str | None = None,
    ageing: bool = True,
    seed: int = 0,
    left_out: LeftOut | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Return the measured values of every generator of faces, oldest first; write a page to `out`, and a JSON file.

    The generators are those whose weights are shipped, and `stylegan` if it is installed. The JSON file has the name of
    the page with the ending .json. `evaluation.gallery` defines the measured values.

    photographs: pictures, folders or manifests to compare with; an empty list takes the embedded photographs. n: number
    of faces of each generator, and largest number of photographs. detector: a folder of weights; None takes the shipped
    one. ageing: also train a small detector on each generator and test it on all of them. seed: seed of the faces and
    of the choice of photographs.

    Raises DetectorError if fewer than ten photographs have a face, ManifestError for a table that cannot be read,
    CheckpointError for weights that cannot be read, OSError if nothing can be written.
    """
    out = Path(out)
    check_output(out)
    weights = find_detector(detector)
    with tempfile.TemporaryDirectory() as place:
        inputs = as_list(photographs)
        table = read_photographs(inputs, left_out) if inputs else unpack_faces(Path(place) / "real", seed=seed)
        table = table.iloc[np.random.default_rng(seed).permutation(len(table))].head(spare(n))
        table = assign_splits(cut_faces(table, n, progress), seed=seed)
        if len(table) < 10:
            raise DetectorError(f"a face was found in {len(table)} photographs; name at least ten that have one")
        squares = [load_square(path, crop) for path, crop in zip(table.path, read_crops(table), strict=True)]
        entries = _draw_entries(len(squares), seed, gallery.are_grey(squares), progress)
        matched = {
            entry.name: gallery.write_matched(entry, table, squares, Path(place) / str(i))
            for i, entry in enumerate(entries)
        }
        described = []
        reals = gallery.embed(squares)
        for done, entry in enumerate(entries, 1):
            scores = score(matched[entry.name], detector=weights).score
            auc = gallery.measure_auc(matched[entry.name], scores)
            described.append(gallery.describe_entry(entry, gallery.measure_kid(entry, reals), auc, _licence(entry)))
            progress("measuring generators", done, len(entries))
        aged = _measure_ageing(matched, Path(place) / "weights", seed, progress) if ageing else []
    splits = table.split.value_counts()
    record = {"n": len(squares), "photographs": len(squares), "detector": weights.name, "rungs": described,
              "ageing": aged, "learned": 2 * int(splits.get("train", 0)),
              "tested": 2 * int(splits.get("test", 0))}  # fmt: skip
    write_text(out.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    write_text(out, gallery.make_page(record, {entry.name: gallery.draw_strip(entry.faces) for entry in entries}))
    return record


def list_entries() -> list[tuple[int, int, str, str, Path | None]]:
    """Return (year, side, name, generator, weights) of each generator in the gallery, oldest and smallest first."""
    found: list[tuple[int, int, str, str, Path | None]] = []
    for folder in sorted(path.parent for path in SHIPPED.glob(f"*/{CARD}")):
        card = read_card(folder)
        name = card.get("generator", "")
        if name and issubclass(GENERATORS.get(name), Sampler):
            year = int(GENERATORS.facts(name)["year"])
            found.append((year, int(card["arguments"].get("size", 0)), folder.name, name, folder))
    for name in GENERATORS:
        kind = GENERATORS.get(name)
        if isinstance(kind, Licensed) and issubclass(kind, Sampler):
            try:
                kind.notice()
            except MissingExtra:
                continue
            found.append((int(GENERATORS.facts(name)["year"]), LARGE, name, name, None))
    return sorted(found, key=lambda entry: entry[:3])


def _draw_entries(n: int, seed: int, grey: bool, progress: Progress) -> list[gallery.Entry]:
    """Return n faces of each generator. grey: make the faces grey, because the photographs are."""
    entries = []
    known = list_entries()
    for done, (year, _, name, generator, weights) in enumerate(known, 1):
        source: Any = load_generator(generator, weights)
        faces = source.sample(n, seed=seed, **({} if weights else {"size": LARGE}))
        faces = gallery.as_grey(faces) if grey else faces
        entries.append(gallery.Entry(name, generator, year, faces))
        progress("drawing faces", done, len(known))
    return entries


def _licence(entry: gallery.Entry) -> str:
    folder = SHIPPED / entry.name
    return str(read_card(folder).get("licence", "")) if (folder / CARD).is_file() else ""


def _measure_ageing(
    matched: dict[str, pd.DataFrame], folder: Path, seed: int, progress: Progress
) -> list[dict[str, Any]]:
    """Return a row for each generator on which a `spectrum` detector was trained, with its AUC on every generator."""
    rows = []
    for done, (learned, table) in enumerate(matched.items(), 1):
        train("detector", "spectrum", table, folder / learned, seed=seed, arguments={"size": gallery.SIDE})
        tested = []
        for other in matched.values():
            rows_of_test = other[other.split == "test"].reset_index(drop=True)
            auc = gallery.measure_auc(rows_of_test, score(rows_of_test, detector=folder / learned).score)
            described = gallery.describe_estimate(auc)
            tested.append({key: described[key] for key in ("value", "low", "high")})
        rows.append({"learned": learned, "tested": tested})
        progress("training small detectors", done, len(matched))
    return rows
