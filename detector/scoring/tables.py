"""Write scores as CSV, JSONL or Parquet files, which are never incomplete; an interrupted run is resumed.

During a run, the results of each picture are appended as one line of JSON to `.NAME.partial` beside the table. This
file also holds faces and the perturbations of suites. The tables are written from it at the end.
"""

from __future__ import annotations

import csv
import hashlib
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
from detector.scoring import parts
from detector.scoring.engine import BATCH, FaceRow, FrameRow, Opener, Row, score_pictures
from detector.scoring.engines import Engine
from detector.scoring.repeats import Answers, make_key, read_judged, score_once
from detector.scoring.targets import Target, list_targets
from detector.types import Detector, Progress, silent

WRITTEN = frozenset({".csv", ".jsonl", ".parquet", ""})  # endings of tables; "" means a folder of Parquet files
PART_ROWS = 100_000  # number of rows in each Parquet file of a folder
COLUMNS = tuple(field.name for field in fields(Row))
FACE_COLUMNS = tuple(field.name for field in fields(FaceRow))
FRAME_COLUMNS = tuple(field.name for field in fields(FrameRow))
CONDITION = ("perturbation", "severity")  # further columns of tables with several rows per picture
NUMBERS = {"width": "int64", "height": "int64", "faces": "int64", "face": "int64", "severity": "int64",
           "score": "float64", "probability": "float64"}  # fmt: skip


def score_to_file(
    targets: Sequence[Target],
    detector: Detector,
    out: Path,
    *,
    faces: Path | None = None,
    frames: Path | None = None,
    engine: Engine = score_pictures,
    opener: Opener | None = None,
    opening: str = "",
    conditions: Sequence[Condition] = (),
    fingerprint: str = "",
    shard: tuple[int, int] = (1, 1),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Counter[str]:
    """Score into a CSV, JSONL or Parquet file and return the number of rows with each verdict (including "error").

    A name without an ending is a folder, into which Parquet files of PART_ROWS rows are written. During the run,
    results are kept beside `out`. A killed run is resumed if the pictures, the conditions and the detector
    (`fingerprint`) are the same. The files are written at the end.

    faces: a second file, with one row per face. frames: a third file, JSONL, with one row for each face in a frame of a
    video. engine: a function from `engines.find_engine`; the files do not depend on it. opener: function that opens
    targets, as in `score_pictures`. opening: text that identifies the opener; a run is only resumed with the same one.
    conditions: perturbations of the faces; the tables then have a row for each of them, and the columns perturbation
    and severity. shard: (i, n) if the targets are the i-th of n parts, whose runs may write into one folder.

    Raises DetectorError for another file name ending or if another run is writing `out`, OSError if a file cannot be
    written.
    """
    for path in (out, faces):
        if path is not None and path.suffix.lower() not in WRITTEN:
            raise DetectorError(
                f"{path.name}: scores are written as .csv, .jsonl or .parquet; choose one of these endings, or none "
                "for a folder"
            )
        if path is not None:
            check_output(path) if path.suffix else parts.check_folder_of_parts(path, shard)
    if faces is not None and faces.resolve() == out.resolve():
        raise DetectorError(f"{out.name} is named as the table of pictures and of faces; name two files")
    if frames is not None:
        check_frames(frames, out, faces)
    name = f".{out.name}.partial" if out.suffix else f".{parts.name_part(shard)}.partial"
    partial_file = (out.parent if out.suffix else out) / name
    head = {
        "detector": fingerprint or detector.name, "targets": _digest_targets(targets),
        "columns": [*COLUMNS, *FACE_COLUMNS, *FRAME_COLUMNS], "opening": opening,
        "conditions": [asdict(c) for c in conditions],
    }  # fmt: skip
    try:
        with locking(partial_file, wait=False):
            _score_rest(targets, detector, partial_file, head, conditions, engine, opener, progress)
            if frames is not None:
                write_frames(frames, (row for _, _, several in _read_rows(partial_file) for row in several))
            verdicts = _write_tables(partial_file, len(targets), out, faces, CONDITION if conditions else (), shard)
            partial_file.unlink()
    except BlockingIOError:
        raise DetectorError(f"another run is writing {out}; wait for it, or name another file with -o") from None
    return verdicts


def _write_tables(
    partial_file: Path, pictures: int, out: Path, faces: Path | None, more: Sequence[str], shard: tuple[int, int]
) -> Counter[str]:
    """Write the tables from the partial file and count the verdicts; DetectorError if the file lacks a picture."""
    with open(partial_file, encoding="utf-8") as file:
        kept = sum(1 for _ in file) - 1
    if kept != pictures:
        raise DetectorError(f"{partial_file} has {kept:,} of {pictures:,} pictures; delete it, and run this again")
    if faces is not None:
        rows = (row for _, several, _ in _read_rows(partial_file) for row in several)
        _write_table(faces, (*FACE_COLUMNS, *more), rows, shard)
    verdicts: Counter[str] = Counter()

    def count() -> Iterator[dict[str, Any]]:
        for row, _, _ in _read_rows(partial_file):
            verdicts[row["verdict"]] += 1
            yield row

    _write_table(out, (*COLUMNS, *more), count(), shard)
    return verdicts


def _write_table(out: Path, columns: Sequence[str], rows: Iterator[dict[str, Any]], shard: tuple[int, int]) -> None:
    """Write a table as a file, or as the Parquet files of a folder."""
    if out.suffix:
        remove_leftovers(out)
        _write_rows(out, columns, rows)
    else:
        parts.write_parts(out, shard, rows, PART_ROWS, lambda path, part: _write_rows(path, columns, part))


def _score_rest(
    targets: Sequence[Target], detector: Detector, partial_file: Path, head: dict[str, Any],
    conditions: Sequence[Condition], engine: Engine, opener: Opener | None, progress: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Score the targets that an interrupted run did not reach, and append a line for each to the partial file."""
    answers = Answers()
    done = _count_kept(partial_file, head, targets, answers)
    conditions = conditions or [Condition()]
    score = partial(engine, detector=detector, transforms=conditions, opener=opener)
    with open(partial_file, "a" if done else "w", encoding="utf-8") as file:
        if not done:
            file.write(json.dumps(head) + "\n")
        found = score_once(islice(targets, done, None), score, answers)
        for i, (target, judged) in enumerate(zip(islice(targets, done, None), found, strict=True), done + 1):
            rows = [
                [asdict(answer.row), [asdict(face) for face in answer.faces],
                 [asdict(frame) for frame in answer.frames],
                 {"perturbation": condition.perturbation, "severity": condition.severity}]
                for answer, condition in zip(judged, conditions, strict=True)
            ]  # fmt: skip
            file.write(json.dumps({"stamp": _stamp(target), "answers": rows}) + "\n")
            if i % BATCH == 0:
                file.flush()
            progress(i, len(targets))


def _digest_targets(targets: Iterable[Target]) -> str:
    """Return a hash of all targets, in their order."""
    digest = hashlib.sha256()
    for target in targets:
        digest.update(json.dumps(_describe(target)).encode())
    return digest.hexdigest()


def _describe(target: Target) -> list[Any]:
    span = target.span and [target.span.start, target.span.size]
    return [target.path, target.crop, target.sha256, target.data and sha256(target.data), span]


def _stamp(target: Target) -> list[int]:
    try:
        status = os.stat(from_text(target.path) if target.span is None else target.span.file)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return []
    return [status.st_size, status.st_mtime_ns]


def _count_kept(partial_file: Path, head: dict[str, Any], targets: Iterable[Target], answers: Answers) -> int:
    """Return how many leading pictures of an interrupted run are unchanged, and cut the partial file after them.

    answers: gets the results of these pictures.
    """
    if not partial_file.is_file():
        return 0
    good, end, remaining = 0, 0, iter(targets)
    with open(partial_file, "rb") as file:
        for number, line in enumerate(file):
            try:
                entry = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                entry = None
            if number == 0:
                if entry != head:
                    return 0
            elif entry is None or (target := next(remaining, None)) is None or entry["stamp"] != _stamp(target):
                break
            else:
                _keep(entry["answers"], target, answers)
                good += 1
            end += len(line)
    os.truncate(partial_file, end)
    return good


def _keep(rows: list[list[Any]], target: Target, answers: Answers) -> None:
    """Store the results in a line of the partial file, for pictures with the same bytes."""
    if target.pixels is None and (key := make_key(rows[0][0]["sha256"], target)):
        answers.keep(key, [read_judged(row, faces, frames, target.path) for row, faces, frames, _ in rows])


def check_frames(frames: Path, *others: Path | None) -> None:
    """Raise DetectorError if the table of frames is not JSONL or is one of `others`; OSError if it is not writable."""
    if frames.suffix.lower() != ".jsonl":
        raise DetectorError(f"{frames.name}: frames are written as .jsonl; choose this ending")
    if frames.resolve() in [other.resolve() for other in others if other is not None]:
        raise DetectorError(f"{frames.name} is named as the table of frames and as another one; name two files")
    check_output(frames)


def write_frames(out: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write the table of frames as JSONL: one line for each face in a frame of a video."""
    remove_leftovers(out)
    _write_rows(out, FRAME_COLUMNS, rows)


def _read_rows(partial_file: Path) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]]:
    """Yield for every picture and condition the row of the picture, the rows of its faces, and those of its frames."""
    with open(partial_file, encoding="utf-8") as file:
        next(file)
        for line in file:
            for row, faces, frames, condition in json.loads(line)["answers"]:
                yield row | condition, [face | condition for face in faces], frames


def _write_rows(out: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write the columns of the rows in the format of the file name ending; memory holds one block of rows at a time."""
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
