"""Write scores as CSV, JSONL or Parquet files, which appear whole; an interrupted run is resumed.

During a run, the results of each picture are appended as one line of JSON to `.NAME.partial` beside the table. This
file also holds faces and the perturbations of suites. The tables are written from it at the end.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from detector.dataset.foreign import read_table
from detector.errors import DetectorError
from detector.files import as_cell, check_output, from_text, locking, remove_leftovers, replacing, sha256
from detector.pictures.perturbations import Condition
from detector.scoring.engine import BATCH, FaceRow, FrameRow, Opener, Row, score_pictures
from detector.scoring.targets import Target, list_targets
from detector.types import Detector, Progress, silent

WRITTEN = frozenset({".csv", ".jsonl", ".parquet"})  # endings of tables that are written
COLUMNS = tuple(field.name for field in fields(Row))
FACE_COLUMNS = tuple(field.name for field in fields(FaceRow))
FRAME_COLUMNS = tuple(field.name for field in fields(FrameRow))
CONDITION = ("perturbation", "severity")  # columns that distinguish the rows of a picture if it has several
NUMBERS = {"width": "int64", "height": "int64", "faces": "int64", "face": "int64", "severity": "int64",
           "score": "float64", "probability": "float64"}  # fmt: skip


def score_to_file(
    targets: Sequence[Target],
    detector: Detector,
    out: Path,
    *,
    faces: Path | None = None,
    frames: Path | None = None,
    opener: Opener | None = None,
    opening: str = "",
    conditions: Sequence[Condition] = (),
    fingerprint: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Counter[str]:
    """Score into a CSV, JSONL or Parquet file and return the number of rows with each verdict (including "error").

    faces: a second file with one row per face. frames: a third file, JSONL, with one row for each face in a frame of a
    video. opener: opens targets, as in `score_pictures`; opening: describes the opener, so that a run is resumed only
    with the same one. conditions: perturbations of the faces; the tables then have a row for each of them, and the
    columns perturbation and severity.

    Results are kept beside `out` during the run. A run that was killed is resumed if the pictures, the conditions, the
    detector (`fingerprint`) and its runtime are the same. The files appear whole, at the end.

    Raises DetectorError for another file name ending or if another run is writing `out`, OSError if a file cannot be
    written.
    """
    for path in (out, faces):
        if path is not None and path.suffix.lower() not in WRITTEN:
            raise DetectorError(
                f"{path.name}: scores are written as .csv, .jsonl or .parquet; choose one of these endings"
            )
        if path is not None:
            check_output(path)
    if faces is not None and faces.resolve() == out.resolve():
        raise DetectorError(f"{out.name} is named for the pictures and for their faces; name two files")
    if frames is not None:
        check_frames(frames, out, faces)
    partial = out.with_name(f".{out.name}.partial")
    head = {
        "detector": fingerprint or detector.name, "runtime": getattr(detector, "runtime", ""),
        "targets": sha256(json.dumps([_describe(t) for t in targets]).encode()),
        "columns": [*COLUMNS, *FACE_COLUMNS, *FRAME_COLUMNS], "opening": opening,
        "conditions": [asdict(c) for c in conditions],
    }  # fmt: skip
    try:
        with locking(partial, wait=False):
            _score_rest(targets, detector, partial, head, conditions, opener, progress)
            if frames is not None:
                write_frames(frames, (row for _, _, several in _read_rows(partial) for row in several))
            verdicts = _write_tables(partial, len(targets), out, faces, CONDITION if conditions else ())
            partial.unlink()
    except BlockingIOError:
        raise DetectorError(f"another run is writing {out}; wait for it, or name another file with -o") from None
    return verdicts


def _write_tables(partial: Path, pictures: int, out: Path, faces: Path | None, more: Sequence[str]) -> Counter[str]:
    """Write the tables from the partial file and count the verdicts; DetectorError if a picture is missing in it."""
    with open(partial, encoding="utf-8") as file:
        kept = sum(1 for _ in file) - 1
    if kept != pictures:
        raise DetectorError(f"{partial} holds {kept:,} of {pictures:,} pictures; delete it, and run this again")
    remove_leftovers(out)
    if faces is not None:
        remove_leftovers(faces)
        _write_rows(faces, (*FACE_COLUMNS, *more), (row for _, several, _ in _read_rows(partial) for row in several))
    verdicts: Counter[str] = Counter()

    def count() -> Iterator[dict[str, Any]]:
        for row, _, _ in _read_rows(partial):
            verdicts[row["verdict"]] += 1
            yield row

    _write_rows(out, (*COLUMNS, *more), count())
    return verdicts


def _score_rest(
    targets: Sequence[Target], detector: Detector, partial: Path, head: dict[str, Any],
    conditions: Sequence[Condition], opener: Opener | None, progress: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Append a line for each target that an interrupted run did not reach."""
    done = _kept_lines(partial, head, targets)
    conditions = conditions or [Condition()]
    with open(partial, "a" if done else "w", encoding="utf-8") as file:
        if not done:
            file.write(json.dumps(head) + "\n")
        answered = score_pictures(targets[done:], detector, transforms=conditions, opener=opener)
        for i, judged in enumerate(answered, done + 1):
            answers = [
                [asdict(answer.row), [asdict(face) for face in answer.faces],
                 [asdict(frame) for frame in answer.frames],
                 {"perturbation": condition.perturbation, "severity": condition.severity}]
                for answer, condition in zip(judged, conditions, strict=True)
            ]  # fmt: skip
            file.write(json.dumps({"stamp": _stamp(targets[i - 1].path), "answers": answers}) + "\n")
            if i % BATCH == 0:
                file.flush()
            progress(i, len(targets))


def _describe(target: Target) -> list[Any]:
    return [target.path, target.crop, target.sha256, target.data and sha256(target.data)]


def _stamp(path: str) -> list[int]:
    try:
        status = os.stat(from_text(path))
    except (OSError, ValueError):  # a NUL in the name raises ValueError
        return []
    return [status.st_size, status.st_mtime_ns]


def _kept_lines(partial: Path, head: dict[str, Any], targets: Sequence[Target]) -> int:
    """Return how many first pictures of an interrupted run are still valid, and cut the file after them."""
    if not partial.is_file():
        return 0
    good, end = 0, 0
    with open(partial, "rb") as file:
        for number, line in enumerate(file):
            try:
                entry = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                entry = None
            if number == 0:
                if entry != head:
                    return 0
            elif entry is None or good == len(targets) or entry["stamp"] != _stamp(targets[good].path):
                break
            else:
                good += 1
            end += len(line)
    os.truncate(partial, end)
    return good


def check_frames(frames: Path, *others: Path | None) -> None:
    """Raise DetectorError if the table of frames is no JSONL or one of `others`; OSError if it cannot be written."""
    if frames.suffix.lower() != ".jsonl":
        raise DetectorError(f"{frames.name}: frames are written as .jsonl; choose this ending")
    if frames.resolve() in [other.resolve() for other in others if other is not None]:
        raise DetectorError(f"{frames.name} is named for the frames and for another table; name two files")
    check_output(frames)


def write_frames(out: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write the table of frames as JSONL: one line for each face in a frame of a video."""
    remove_leftovers(out)
    _write_rows(out, FRAME_COLUMNS, rows)


def _read_rows(partial: Path) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]]:
    """Yield the row of each picture, the rows of its faces and of its frames, for every condition."""
    with open(partial, encoding="utf-8") as file:
        next(file)
        for line in file:
            for row, faces, frames, condition in json.loads(line)["answers"]:
                yield row | condition, [face | condition for face in faces], frames


def _write_rows(out: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write these columns of the rows in the format of the file name ending, a block at a time."""
    chosen = ({name: row[name] for name in columns} | {"path": as_cell(row["path"])} for row in rows)
    with replacing(out) as temporary:
        if out.suffix.lower() == ".parquet":
            import pyarrow
            from pyarrow import parquet

            schema = pyarrow.schema([(name, NUMBERS.get(name, "string")) for name in columns])
            with parquet.ParquetWriter(temporary, schema) as writer:
                while block := list(islice(chosen, 10_000)):
                    writer.write_table(pyarrow.Table.from_pylist(block, schema))
        else:
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                if out.suffix.lower() == ".jsonl":
                    file.writelines(json.dumps(row) + "\n" for row in chosen)
                else:
                    table = csv.DictWriter(file, columns)
                    table.writeheader()
                    table.writerows(chosen)


def score_manifest(
    table: pd.DataFrame,
    detector: Detector,
    name: str,
    out: Path,
    *,
    conditions: Sequence[Condition] = (),
    fingerprint: str = "",
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return the scores of a manifest's pictures, one row per picture and condition, for `joining.join_scores`.

    Raises ManifestError if the file of a picture does not have the hash in the manifest.
    """
    score_to_file(list_targets(table, checked=True), detector, out, conditions=conditions, fingerprint=fingerprint,
                  progress=partial(progress, f"scoring with {name}"))  # fmt: skip
    return read_table(out).assign(detector=name)
