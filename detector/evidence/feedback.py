"""Feedback on verified pictures: a store of answers beside the fingerprints, and its export as a manifest.

`feedback.jsonl` is only appended to; the picture of each line is kept in `feedback/`, named by its hash, so that the
manifest outlives the exhibit. Mistakes become the next regression set.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from detector.dataset.manifest import COLUMNS, assign_splits, read_crop, write_manifest
from detector.errors import DetectorError, ImageError, ManifestError
from detector.evidence.custody import RECORD, is_sealed, now
from detector.files import append_lines, home, is_torn, sha256, write_bytes
from detector.pictures.images import SUFFIXES, decode, read
from detector.types import Label

ANSWERS = ("real", "fake", "unsure")  # possible answers about a picture
LOG, KEPT = "feedback.jsonl", "feedback"


@dataclass(frozen=True)
class Feedback:
    """One answer about one picture. path: where it lay; kept: its copy in the store; crop: of the deciding face."""

    time: str
    sha256: str
    path: str
    kept: str
    label: str
    note: str
    report_sha256: str
    score: float | None = None
    crop: str = ""


def give_feedback(report: Path | str, label: str, *, note: str = "", store: Path | None = None) -> Feedback:
    """Append an answer about the exhibit of a report to the store, keep a copy of its bytes, and return the answer.

    report: a report.json that `detector verify` wrote, or its folder. label: one of ANSWERS. store: a folder; None is
    `files.home()`.

    Raises DetectorError if the file is no report or was changed, the exhibit is gone, changed or no picture, or the
    store cannot be written.
    """
    if label not in ANSWERS:
        raise DetectorError(f"a label is one of {', '.join(ANSWERS)}, not {label!r}")
    report, store = Path(report), store or home()
    report = report / RECORD if report.is_dir() else report
    data, found = _read_report(report)
    try:
        path = report.parent / str(found["exhibit"]["path"])  # an absolute path replaces the folder of the report
        expected = str(found["exhibit"]["sha256"])
    except (KeyError, TypeError):
        raise DetectorError(f"{report} names no exhibit; name a {RECORD} that `detector verify` wrote") from None
    try:
        if not path.is_file():
            raise DetectorError(f"the exhibit {path.name} is gone from where it was; put it back at {path}")
        picture = read(path)
        if sha256(picture) != expected:
            raise DetectorError(f"the exhibit {path.name} changed since the report; verify it again")
        decode(picture)
    except (ImageError, ValueError) as error:  # a name that no file can have raises ValueError
        raise DetectorError(f"the exhibit {path.name!r} teaches nothing: {error}") from None
    if not is_sealed(found):
        raise DetectorError(f"{report} was changed since it was written; see `detector verify --check`")
    ending = path.suffix.lower()
    answer = Feedback(
        time=now(), sha256=expected, path=str(path.resolve()),
        kept=f"{KEPT}/{expected}{ending if ending in SUFFIXES else ''}", label=label, note=note,
        report_sha256=sha256(data), **_face(found),
    )  # fmt: skip
    try:
        if not (store / answer.kept).is_file():
            write_bytes(store / answer.kept, picture)
        append_lines(store / LOG, json.dumps(asdict(answer), sort_keys=True).encode() + b"\n")
    except OSError as error:
        why = error.strerror or error
        raise DetectorError(f"{store} cannot be written ({why}); set DETECTOR_HOME to a folder of yours") from None
    return answer


def read_feedback(store: Path | None = None) -> list[Feedback]:
    """Return every answer in a store, oldest first; lines cut short by a killed process are left out.

    Raises ManifestError that names the first line that is not an answer.
    """
    path = (store or home()) / LOG
    if not path.is_file():
        return []
    answers = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            answers.append(Feedback(**json.loads(line)))
            if answers[-1].label not in ANSWERS:
                raise ValueError
        except (ValueError, TypeError):
            if is_torn(line.decode(errors="replace")):
                continue
            raise ManifestError(f"{path}, line {number}: not an answer; remove the line") from None
    return answers


def export_feedback(
    out: Path | str, *, store: Path | None = None, split: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Write the pictures with the answer real or fake as a manifest and return it; of each, the last answer counts.

    split: of all of them, "test" for a regression set say; None draws splits by `manifest.assign_splits`. The generator
    of a fake is "unknown"; `crop` is the face that the detector judged.

    Raises DetectorError if there is no such picture, ManifestError if a kept copy is gone.
    """
    store = store or home()
    last = {answer.sha256: answer for answer in read_feedback(store)}
    known = [answer for _, answer in sorted(last.items()) if answer.label != "unsure"]
    if not known:
        raise DetectorError(f"no picture in {store} was called real or fake; `detector feedback REPORT --label` does")
    rows = []
    for answer in known:
        picture, fake = (store / answer.kept).resolve(), answer.label == "fake"
        if not picture.is_file():
            raise ManifestError(f"{picture} is gone; restore it, or remove its lines from {store / LOG}")
        rows.append((str(picture), answer.sha256, int(Label.FAKE if fake else Label.REAL), "unknown" if fake else "",
                     "feedback", answer.sha256, split or "test", "unknown", answer.crop))  # fmt: skip
    table = pd.DataFrame(rows, columns=[*COLUMNS, "crop"])
    table = table if split else assign_splits(table, seed=seed)
    write_manifest(table, out)
    return table


def _read_report(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        data = path.read_bytes()
        found = json.loads(data)
    except OSError as error:
        raise DetectorError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DetectorError(f"{path} is not a report; name a {RECORD} that `detector verify` wrote")
    return data, found


def _face(report: dict[str, Any]) -> dict[str, Any]:
    """Return score and crop of the deciding face from the finding of the check `detector`, if it found a face."""
    try:
        face = next(f for f in report["findings"] if f["check"] == "detector")["details"]["faces"][0]
        score, crop = float(face["score"]), " ".join(str(int(x)) for x in face["crop"])
        read_crop(crop)
        return {"score": score, "crop": crop} if math.isfinite(score) else {}
    except (ManifestError, ArithmeticError, KeyError, IndexError, TypeError, ValueError, StopIteration):
        return {}
