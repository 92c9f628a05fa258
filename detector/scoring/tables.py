"""Scores as a file, CSV, JSONL or Parquet: whole or absent, and resumable after a kill."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd

from detector.dataset.foreign import read_table
from detector.errors import DetectorError
from detector.files import as_cell, check_output, from_text, locking, remove_leftovers, replacing, sha256
from detector.scoring.engine import BATCH, Row, score_pictures
from detector.scoring.targets import Target, list_targets
from detector.types import Detector, Progress, silent

WRITTEN = frozenset({".csv", ".jsonl", ".parquet"})  # endings of tables that are written
COLUMNS = tuple(field.name for field in fields(Row))


def score_to_file(
    targets: Sequence[Target],
    detector: Detector,
    out: Path,
    *,
    fingerprint: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Counter[str]:
    """Score into a CSV, JSONL or Parquet file and return how many pictures got each verdict ("error" among them).

    Rows are kept beside `out` while they come; a run that was killed goes on from there if the pictures, the detector
    (`fingerprint`) and its runtime are the same. `out` itself appears whole, at the end.

    Raises DetectorError if the ending is none of these or another run is writing the file, OSError if it cannot be
    written.
    """
    if out.suffix.lower() not in WRITTEN:
        raise DetectorError(f"{out.name}: scores are written as .csv, .jsonl or .parquet; choose one of these endings")
    check_output(out)
    partial = out.with_name(f".{out.name}.partial")
    try:
        with locking(partial, wait=False):
            remove_leftovers(out)
            _score_on(partial, targets, detector, fingerprint, progress)
            verdicts = _convert(partial, out, len(targets))
            partial.unlink()
    except BlockingIOError:
        raise DetectorError(f"another run is writing {out}; wait for it, or name another file with -o") from None
    return verdicts


def _score_on(
    partial: Path, targets: Sequence[Target], detector: Detector, fingerprint: str, progress: Callable[[int, int], None]
) -> None:
    """Add the rows that are missing to a file of rows, which only this process writes."""
    names = sha256(json.dumps([[t.path, t.crop, t.data and sha256(t.data)] for t in targets]).encode())
    head = {"detector": fingerprint or detector.name, "targets": names, "runtime": getattr(detector, "runtime", "")}
    done = _kept_rows(partial, head, targets)
    with open(partial, "a" if done else "w", encoding="utf-8") as file:
        if not done:
            file.write(json.dumps(head) + "\n")
        for i, row in enumerate(score_pictures(targets[done:], detector), done + 1):
            file.write(json.dumps(asdict(row) | {"stamp": _stamp(row.path)}) + "\n")
            if i % BATCH == 0:
                file.flush()
            progress(i, len(targets))


def _stamp(path: str) -> list[int]:
    try:
        status = os.stat(from_text(path))
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return []
    return [status.st_size, status.st_mtime_ns]


def _kept_rows(partial: Path, head: dict[str, str], targets: Sequence[Target]) -> int:
    """Return how many leading rows of an interrupted run still hold, and cut the file after them."""
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


def _convert(partial: Path, out: Path, expected: int) -> Counter[str]:
    """Turn the kept rows into the table the name asks for, a block at a time, and count their verdicts."""
    verdicts: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, object]]:
        with open(partial, encoding="utf-8") as file:
            next(file)
            for line in file:
                entry = json.loads(line)
                verdicts[entry["verdict"]] += 1
                yield {name: entry[name] for name in COLUMNS} | {"path": as_cell(entry["path"])}

    with replacing(out) as temporary:
        if out.suffix.lower() == ".parquet":
            import pyarrow
            from pyarrow import parquet

            kinds = {"width": pyarrow.int64(), "height": pyarrow.int64(), "score": pyarrow.float64(),
                     "probability": pyarrow.float64()}  # fmt: skip
            schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in COLUMNS])
            stream = rows()
            with parquet.ParquetWriter(temporary, schema) as writer:
                while block := list(islice(stream, 10_000)):
                    writer.write_table(pyarrow.Table.from_pylist(block, schema))
        else:
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                if out.suffix.lower() == ".jsonl":
                    file.writelines(json.dumps(row) + "\n" for row in rows())
                else:
                    table = csv.DictWriter(file, COLUMNS)
                    table.writeheader()
                    table.writerows(rows())
        if verdicts.total() != expected:
            raise DetectorError(f"{out} has {verdicts.total():,} rows for {expected:,} pictures; run it again")
    return verdicts


def score_manifest(
    table: pd.DataFrame,
    detector: Detector,
    name: str,
    out: Path,
    *,
    fingerprint: str = "",
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return the scores of a manifest's pictures, one row each, with the columns `measuring.evaluate` reads."""
    score_to_file(list_targets(table), detector, out, fingerprint=fingerprint,
                  progress=partial(progress, f"scoring with {name}"))  # fmt: skip
    return read_table(out).assign(detector=name)
