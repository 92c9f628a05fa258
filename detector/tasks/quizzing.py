"""The task `quiz`: a page on which people decide which faces are synthetic, and the report on their answers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from detector.dataset.listing import LeftOut
from detector.dataset.manifest import read_manifest
from detector.detectors import find_detector
from detector.errors import DetectorError, ManifestError
from detector.evaluation import observers, quiz
from detector.files import check_folder, sweep, write_text
from detector.scoring.targets import as_list
from detector.tasks.combining import combine, cut_faces, read_photographs, spare
from detector.tasks.making import generate
from detector.tasks.scoring import score
from detector.types import Progress, silent

PICTURES = "pictures.csv"  # name of the manifest of a quiz; the pictures are in the folder beside it


def make_quiz(
    photographs: str | Path | Sequence[str | Path],
    folder: Path | str,
    *,
    n: int = 20,
    generator: str = "style",
    weights: Path | str | None = None,
    feedback: bool = False,
    seed: int = 0,
    left_out: LeftOut | None = None,
    progress: Progress = silent,
) -> Path:
    """Return the path of a page, written to `folder`, with n photographs and n synthetic faces in random order.

    Both kinds are cropped to the face, resized and saved as JPEG in the same way. The pictures and their manifest,
    which `mark_quiz` reads, are beside the page. The page contains photographs of people, so it may only be shared if
    the photographs may.

    photographs: pictures, folders or manifests; one picture of each group, such as a person, is used, and of a manifest
    only real pictures. If fewer than n have a face, there are fewer pictures of both kinds. generator, weights: as in
    `generate`. feedback: whether the page shows after each answer if it was right. left_out: collects files that are
    not pictures.

    Raises DetectorError if no photograph or no synthetic picture has a face, UnknownName and CheckpointError as in
    `generate`, ManifestError for a table that cannot be read, OSError if nothing can be written.
    """
    folder = Path(folder)
    check_folder(folder)
    sweep(folder)
    rng = np.random.default_rng(seed)
    drawn = spare(n)
    reals = read_photographs(as_list(photographs), left_out)
    reals = reals.iloc[rng.permutation(len(reals))].drop_duplicates("group").head(2 * drawn)
    with tempfile.TemporaryDirectory() as place:
        fakes = generate(generator, drawn, place, seed=seed, weights=weights, label=False, progress=progress)
        chosen = [cut_faces(table, n, progress) for table in (reals, fakes)]
        count = min(map(len, chosen))
        if count == 0:
            empty = "photographs" if chosen[0].empty else "synthetic pictures"
            raise DetectorError(f"no face was found in the {empty}; name others")
        pictures, _ = combine([table.head(count) for table in chosen], folder / PICTURES, audited=False, seed=seed,
                              progress=progress)  # fmt: skip
    page = folder / "index.html"
    write_text(page, quiz.make_page(pictures, feedback=feedback, seed=int(rng.integers(2**31))))
    return page


def mark_quiz(
    answers: str | Path | Sequence[str | Path],
    folder: Path | str,
    *,
    detector: Path | str | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Return the results of people and of a detector in a quiz, a row for each; write report.html and report.json.

    Rows are those of `observers.Observer`: accuracy, AUC and d' with 95 % intervals. The detector is measured on the
    pictures that it can judge; report.json states how many it cannot. Both files are written to the folder of the quiz.

    answers: files that the page saved, one for each person. folder: folder of the quiz. detector: a folder of weights;
    None takes the shipped one.

    Raises ManifestError if the folder contains no quiz, ScoresError for answers of another quiz or with a value that
    the page does not offer, CheckpointError for weights that cannot be read, OSError if nothing can be written.
    """
    folder = Path(folder)
    if not (folder / PICTURES).is_file():
        raise ManifestError(f"{folder} holds no quiz; name the folder that `detector quiz` wrote")
    pictures = read_manifest(folder / PICTURES)
    weights = find_detector(detector)
    paths = [Path(path) for path in as_list(answers)]
    tables = [quiz.read_answers(path, pictures) for path in paths]
    by_person = dict(zip(_name_people(paths), tables, strict=True))
    found = [
        observers.measure_observer(name, table.label, table.answer, table.group, feedback=bool(table.feedback.any()))
        for name, table in by_person.items()
    ]
    scores = score(pictures, detector=weights, progress=progress).score.to_numpy()
    judged = pictures.assign(answer=scores)[~pd.isna(scores)]
    name = f"detector {weights.name}"
    found.append(observers.measure_observer(name, judged.label, judged.answer, judged.group))
    record = observers.make_record(found, weights.name, len(pictures) - len(judged))
    by_hash = judged.set_index("sha256").answer
    mistakes = [observers.describe_mistakes(person, table, by_hash, folder) for person, table in by_person.items()]
    write_text(folder / "report.json", json.dumps(record, indent=1) + "\n")
    drawing = observers.draw_observers({**by_person, name: judged})
    write_text(folder / "report.html", observers.make_report(record, drawing, mistakes))
    return list(record["observers"])


def _name_people(paths: Sequence[Path]) -> list[str]:
    """Return a name for each person: that of the file of answers, or a number for default names and equal names."""
    stems = [path.stem for path in paths]
    return [
        f"person {number}" if stem.startswith("answers") or stems.count(stem) > 1 else stem
        for number, stem in enumerate(stems, 1)
    ]
