"""How many pictures get scored: streamed in order, a batch at a time, resumable after a kill.

Decoding runs in a few threads while the network works; whole pictures live only inside those threads, and what waits
is cropped and resized already. An unreadable picture becomes a row that says why.
"""

from __future__ import annotations

import csv
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from detector.dataset.manifest import find_pictures, read_crops, read_manifest
from detector.errors import DetectorError, ImageError
from detector.files import replacing, sha256
from detector.pictures.faces import Box, face_square, locate_faces, prepare, too_small
from detector.pictures.images import decode, read
from detector.types import Detector, Image, Opinion

BATCH = 32
THREADS = 2
TABLES = frozenset({".csv", ".parquet", ".jsonl"})


@dataclass(frozen=True)
class Target:
    """One picture to score: its path as the user named it, and the face box if a manifest gave one."""

    path: str
    crop: Box | None = None


@dataclass(frozen=True)
class Row:
    """One line of the answer; the columns of every scores table, in this order."""

    path: str
    sha256: str = ""
    width: int | None = None  # pixels, upright
    height: int | None = None
    score: float | None = None  # calibrated log-odds at even prior; larger = more fake
    probability: float | None = None  # 1 / (1 + exp(-score))
    verdict: str = ""  # likely-real, likely-fake, inconclusive, not-applicable or error
    reason: str = ""


COLUMNS = tuple(field.name for field in fields(Row))


def expand(inputs: Iterable[str], *, lines: Iterable[str] = ()) -> list[Target]:
    """Return what to score, in order: files as they are, folders and manifests opened, `-` replaced by `lines`."""
    targets: list[Target] = []
    for name in inputs:
        path = Path(name)
        if name == "-":
            targets += [Target(line) for raw in lines if (line := raw.rstrip("\r\n"))]
        elif path.is_dir():
            targets += [Target(str(p)) for p in find_pictures(path)]
        elif path.suffix.lower() in TABLES:
            targets += list_targets(read_manifest(path))
        else:
            targets.append(Target(name))
    return targets


def list_targets(manifest: pd.DataFrame) -> list[Target]:
    """Return what to score of a manifest, in its order."""
    return [Target(path, crop) for path, crop in zip(manifest.path, read_crops(manifest), strict=True)]


def score_pictures(
    targets: Iterable[Target], detector: Detector, *, batch: int = BATCH, threads: int = THREADS
) -> Iterator[Row]:
    """Yield one row a target, in order."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[tuple[Row, Image | None]]] = deque()
        coming, locates = iter(targets), getattr(detector, "locates", False)
        while True:
            for target in islice(coming, 2 * batch - len(waiting)):
                waiting.append(pool.submit(open_target, target, detector.size, locates))
            if not waiting:
                return
            yield from judge_faces([waiting.popleft().result() for _ in range(min(batch, len(waiting)))], detector)


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


def open_target(target: Target, size: int, locates: bool) -> tuple[Row, Image | None]:
    """Return the picture's row, with a verdict already if the detector has no say in it, and its face."""
    digest, verdict, reason, crop = "", "", "", target.crop
    try:
        data = read(target.path)
        digest = sha256(data)
        image = decode(data)
        height, width = image.shape[:2]
        if locates and crop is None:
            boxes = locate_faces(image)
            if not boxes:
                verdict, reason = Opinion.NOT_APPLICABLE.value, "no face found"
            else:
                crop, reason = face_square(boxes[0], image.shape), too_small(boxes[0])
                verdict = Opinion.INCONCLUSIVE.value if reason else ""
        row = Row(target.path, digest, width, height, verdict=verdict, reason=reason)
        return row, prepare(image, size, crop)
    except ImageError as error:
        return Row(target.path, digest, verdict="error", reason=f"{error.reason}: {error}"), None


def judge_faces(opened: list[tuple[Row, Image | None]], detector: Detector) -> Iterator[Row]:
    """Yield the rows of `open_target` with score, probability and verdict, all faces in one batch."""
    faces = [face for _, face in opened if face is not None]
    scores = detector.score(np.stack(faces)) if faces else np.zeros(0)
    answers = iter(zip(scores.tolist(), detector.judge(scores), strict=True))
    for row, face in opened:
        if face is None:
            yield row
            continue
        score, opinion = next(answers)
        probability = float(1 / (1 + np.exp(-score)))
        yield replace(row, score=score, probability=probability, verdict=row.verdict or opinion.value)


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
