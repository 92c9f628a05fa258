"""The task `score`: a table with one row per picture for Python, and rows or counts for the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from detector.dataset.foreign import read_table
from detector.dataset.listing import LeftOut
from detector.detectors import load_detector, load_for_worker
from detector.errors import DetectorError, MissingExtra
from detector.pictures import video
from detector.scoring.checkpoint import digest_checkpoint
from detector.scoring.engine import Row
from detector.scoring.engines import find_engine
from detector.scoring.repeats import Answers, score_once
from detector.scoring.tables import COLUMNS, check_frames, score_to_file, write_frames
from detector.scoring.targets import Picture, Target, expand, list_pictures, take_shard
from detector.scoring.video import is_video, opening
from detector.types import Progress, silent

NO_FILE = "standard input"  # value of `path` for a picture that is read from standard input


def score(
    pictures: Picture | Iterable[Picture] | pd.DataFrame,
    *,
    detector: Path | str | None = None,
    out: Path | str | None = None,
    faces: Path | str | None = None,
    frames: int | None = None,
    frames_out: Path | str | None = None,
    engine: str = "threads",
    workers: int | None = None,
    columns: Mapping[str, str] | None = None,
    left_out: LeftOut | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return a table with one row for each picture, in input order.

    pictures: one picture or a list of them, each the path of a file, a Pillow picture, or an array (H, W, 3) of RGB
    pixels, uint8. The path of a folder stands for every picture below it ("." for those below the working folder), the
    path of a table (.csv, .jsonl, .parquet) for the pictures in its column `path`, and the path of a .tar for the
    pictures in it. A manifest that `index` or `generate` returned is accepted too.

    Columns: path ("picture 1" for the first, if it is in memory), sha256 (of the file), width, height (pixels), score
    (log-odds of fake against real at equal priors, natural logarithm), probability (0 to 1), verdict (likely-real,
    likely-fake, inconclusive, not-applicable or error), reason and faces (number of located faces). Every face is
    judged, and the most suspicious one decides for its picture. The row of a picture that cannot be read has no score,
    the verdict "error" and the reason.

    detector: a folder of weights; None takes the shipped ones. out: a .csv, .jsonl or .parquet file to which the table
    is also written, or a folder (a name without an ending) for Parquet files; an interrupted run is resumed. faces: a
    second such file or folder, with a row for each face. frames: number of frames of a video that are scored, 16 by
    default (`scoring.video`); frames_out: a .jsonl file with a row for each face in a frame. engine: "threads" (of this
    process), "process" (worker processes) or "ray" (an extra; actors on a cluster); all give the same results. workers:
    number of processes or actors; None takes one for each core. columns: our name of a column -> its name in tables of
    paths. left_out: collects the files in folders that are not pictures. progress: called with a description, the
    pictures done, and the number of pictures.

    Raises DetectorError for an empty name, an empty list, an array of another shape or type, or a folder without any
    picture; ManifestError for a table that cannot be read; CheckpointError for weights that cannot be read;
    MissingExtra if the engine or the video reader is not installed; OSError if `out` cannot be written.
    """
    targets = list_pictures(pictures, columns=columns, left_out=left_out, videos=video.can_decode())
    if out is not None and any(target.pixels is not None for target in targets):
        raise DetectorError("pictures in memory have no name that a file could keep; leave out `out`, or give paths")
    answer = _score(targets, detector, out, faces, frames, frames_out, engine, workers, (1, 1), progress)
    if isinstance(answer, Counter):
        return read_table(out or "") if Path(out or "").suffix else pd.read_parquet(out or "")
    return pd.DataFrame([asdict(row) for row in answer], columns=list(COLUMNS)).astype({"faces": "Int64"})


def score_inputs(
    inputs: Sequence[str | Path],
    *,
    detector: Path | str | None = None,
    out: Path | str | None = None,
    faces: Path | str | None = None,
    frames: int | None = None,
    frames_out: Path | str | None = None,
    engine: str = "threads",
    workers: int | None = None,
    shard: tuple[int, int] = (1, 1),
    lines: Iterable[str] = (),
    picture: bytes | None = None,
    columns: Mapping[str, str] | None = None,
    left_out: LeftOut | None = None,
    progress: Progress = silent,
) -> list[Row] | Counter[str]:
    """Return the rows of the inputs of a command line, in order; with `out`, write them and return verdict counts.

    lines: the paths that `-` stands for. picture: the bytes of a picture that is not a file; it is scored after the
    others. shard: (i, n) scores only the i-th of n parts of the pictures, counted from 1. The other arguments, and the
    errors, are those of `score`.
    """
    targets: Sequence[Target] = []
    if inputs or picture is None:
        targets = expand([str(i) for i in inputs], lines=lines, columns=columns, left_out=left_out,
                         videos=video.can_decode(), archives=True)  # fmt: skip
    if picture is not None:
        targets = [*targets, Target(NO_FILE, data=picture)]
    return _score(take_shard(targets, *shard), detector, out, faces, frames, frames_out, engine, workers,
                  shard, progress)  # fmt: skip


def _score(
    targets: Sequence[Target], detector: Path | str | None, out: Path | str | None,
    faces: Path | str | None, frames: int | None, frames_out: Path | str | None, engine: str, workers: int | None,
    shard: tuple[int, int], progress: Progress,
) -> list[Row] | Counter[str]:  # fmt: skip
    if faces is not None and out is None:
        raise DetectorError("the faces are written together with the table of pictures; name that table too, with -o")
    if frames is not None or frames_out is not None:
        if frames is not None and not 1 <= frames <= video.MAX_FRAMES:
            raise DetectorError(f"--frames is a number from 1 to {video.MAX_FRAMES}")
        _require_video(targets, "--frames" if frames is not None else "--frames-out")
    if frames_out is not None:
        check_frames(Path(frames_out))
    if workers is not None and engine == "threads":
        raise DetectorError("leave out --workers: the engine threads has none")
    folder, loaded = load_detector(detector)
    run = find_engine(engine, partial(load_for_worker, folder.resolve()), workers)
    opener = opening(frames)
    if out is None:
        rows: list[Row] = []
        frame_rows: list[dict[str, Any]] = []
        for (judged,) in score_once(targets, partial(run, detector=loaded, opener=opener), Answers()):
            rows.append(judged.row)
            frame_rows += map(asdict, judged.frames if frames_out is not None else ())
            progress("scoring", len(rows), len(targets))
        if frames_out is not None:
            write_frames(Path(frames_out), frame_rows)
        return rows
    return score_to_file(
        targets, loaded, Path(out), faces=None if faces is None else Path(faces),
        frames=None if frames_out is None else Path(frames_out), engine=run, opener=opener, opening=f"{frames or ''}",
        fingerprint=digest_checkpoint(folder), shard=shard, progress=partial(progress, "scoring"),
    )  # fmt: skip


def _require_video(targets: Sequence[Target], option: str) -> None:
    """Raise MissingExtra if videos cannot be decoded, DetectorError if no target is a video."""
    if not video.can_decode():
        raise MissingExtra(f"{option} is for videos; {video.EXTRA}")
    if not any(is_video(target) for target in targets):
        raise DetectorError(f"leave out {option}: there is no video among the inputs")
