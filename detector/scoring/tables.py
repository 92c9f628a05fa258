"""Scores as a file, CSV, JSONL or Parquet: whole or absent, and resumable after a kill."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd

from detector.dataset.manifest import read_table
from detector.errors import DetectorError
from detector.files import replacing, sha256
from detector.scoring.engine import BATCH, Row, score_pictures
from detector.scoring.targets import TABLES, Target, list_targets
from detector.types import Detector, Progress, silent

COLUMNS = tuple(field.name for field in fields(Row))


def score_to_file(
    targets: Sequence[Target],
    detector: Detector,
    out: Path,
    *,
    fingerprint: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Score into a CSV, JSONL or Parquet file and return how many pictures could not be read.

    Rows are kept beside `out` while they come; a run that was killed goes on from there if the pictures, the detector
    (`fingerprint`) and its runtime are the same. `out` itself appears whole, at the end.
    """
    if out.suffix.lower() not in TABLES:
        raise DetectorError(f"{out.name}: scores are written as .csv, .jsonl or .parquet; choose one of these endings")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    names = sha256(json.dumps([asdict(t) for t in targets]).encode())
    head = {"detector": fingerprint or detector.name, "targets": names, "runtime": getattr(detector, "runtime", "")}
    done = _kept_rows(partial, head, targets)
    mode = "a" if done else "w"
    with open(partial, mode) as file:
        if not done:
            file.write(json.dumps(head) + "\n")
        for i, row in enumerate(score_pictures(targets[done:], detector), done + 1):
            file.write(json.dumps(asdict(row) | {"stamp": _stamp(row.path)}) + "\n")
            if i % BATCH == 0:
                file.flush()
            progress(i, len(targets))
    errors = _convert(partial, out)
    partial.unlink()
    return errors


def _stamp(path: str) -> list[int]:
    try:
        status = os.stat(path)
    except OSError:
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


def _convert(partial: Path, out: Path) -> int:
    """Turn the kept rows into the table the name asks for, a block at a time, and return the number of errors."""
    errors = 0

    def rows() -> Iterator[dict[str, object]]:
        nonlocal errors
        with open(partial) as file:
            next(file)
            for line in file:
                entry = json.loads(line)
                errors += entry["verdict"] == "error"
                yield {name: entry[name] for name in COLUMNS}

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
            with open(temporary, "w", newline="") as file:
                if out.suffix.lower() == ".jsonl":
                    file.writelines(json.dumps(row) + "\n" for row in rows())
                else:
                    table = csv.DictWriter(file, COLUMNS)
                    table.writeheader()
                    table.writerows(rows())
    return errors


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
