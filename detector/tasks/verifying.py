"""Verify: a folder of evidence for each questioned picture."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from detector.detectors import load_detector
from detector.errors import ImageError
from detector.evidence.checks import read_exhibit
from detector.scoring.checkpoint import digest_checkpoint, read_card
from detector.scoring.targets import expand
from detector.tasks.catalogue import describe_environment
from detector.types import Calibrated, Progress, silent


def verify(
    inputs: Sequence[str | Path],
    out: Path | str,
    *,
    detector: Path | str | None = None,
    known: Path | None = None,
    trust: Path | None = None,
    case: str = "",
    examiner: str = "",
    key: Path | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Write a folder of evidence for each picture, the custody log and index.html; return one row each, by priority.

    Rows: name, folder ("" if the file could not be read), opinion, log10_lr, others (checks beside the detector that
    point to H1), statement. An exhibit that has its report from the same weights keeps it.

    known: a list of known pictures. trust: trust lists for Content Credentials. key: Ed25519, signs the log's entries.
    """
    from detector.evidence import custody, folders, validation
    from detector.evidence.record import conclude, examine, make_record

    out = Path(out)
    folder, thing = load_detector(detector)
    card, weights = read_card(folder, "detector"), digest_checkpoint(folder)
    backing = validation.read_backing(folder, card)
    components = describe_environment() | {"weights": weights}
    log = custody.CustodyLog(out / custody.LOG, key=None if key is None else custody.read_key(key))
    given = {"--detector": detector, "--known": known, "--trust": trust, "--case": case, "--examiner": examiner}
    options = [word for name, value in given.items() if value for word in (name, str(value))]
    targets = expand([str(i) for i in inputs])
    rows: list[dict[str, Any]] = []
    for done, target in enumerate(targets, 1):
        try:
            exhibit = read_exhibit(Path(target.path).resolve())
            name = os.fsencode(exhibit.path).decode("utf-8", "backslashreplace")  # names that are no text
            exhibit = replace(exhibit, path=Path(name), crop=target.crop)
        except ImageError as error:
            rows.append({"name": target.path, "folder": "", "opinion": "error", "log10_lr": None, "others": [],
                         "statement": f"{error.reason}: {error}", "jpeg": b""})  # fmt: skip
            progress("verifying", done, len(targets))
            continue
        home = out / custody.name_folder(exhibit.path, exhibit.sha256)
        made_of = components | ({} if target.crop is None else {"crop": " ".join(map(str, target.crop))})
        record = folders.find_record(home, components=made_of, case=case, examiner=examiner)
        if record is None:
            findings = examine(
                exhibit, thing, known=known, trust=trust, weights=weights, false_alarms=card.get("false_alarms")
            )
            conclusion = conclude(findings, thing.calibration if isinstance(thing, Calibrated) else None)
            evidence = make_record(
                exhibit, findings, conclusion, backing=backing, components=made_of, case=case, examiner=examiner,
                made={"at": custody.now(), "command": shlex.join(["detector", "verify", str(exhibit.path), *options])},
            )  # fmt: skip
            record = custody.seal(evidence.model_dump(mode="json"))
            folders.file_record(home, record, exhibit.image, log)
        rows.append(folders.summarise(record, home, exhibit.image))
        progress("verifying", done, len(targets))
    rows.sort(key=folders.rank)
    folders.file_index(out, rows, case)
    return [{k: v for k, v in row.items() if k != "jpeg"} for row in rows]
