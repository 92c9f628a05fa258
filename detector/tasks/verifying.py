"""The task `verify`: an evidence report for each questioned picture."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.dataset.listing import LeftOut
from detector.detectors import find_best, load_detector
from detector.errors import ImageError
from detector.evidence.checks import read_exhibit
from detector.files import as_text
from detector.scoring.checkpoint import digest_checkpoint, read_card
from detector.scoring.targets import Target, as_list, expand
from detector.tasks.catalogue import describe_environment
from detector.types import Calibrated, Detector, Exhibit, Progress, silent

if TYPE_CHECKING:
    from detector.evidence.checks.duplicates import KnownPicture
    from detector.evidence.checks.provenance import TrustList
    from detector.evidence.custody import CustodyLog

REFRESHES = 20  # the index is rewritten after each exhibit, and from 40 on whenever 1/20 more are done


def verify(
    inputs: str | Path | Sequence[str | Path],
    out: Path | str,
    *,
    detector: Path | str | None = None,
    known: Path | None = None,
    trust: Path | None = None,
    case: str = "",
    examiner: str = "",
    key: Path | None = None,
    left_out: LeftOut | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Return one row for each picture, the most suspicious first, and write an evidence report of each below `out`.

    Rows: name, path, folder ("" if the file could not be read), opinion, log10_lr (base-10 logarithm of the likelihood
    ratio, or None), ratio (log10_lr with its interval as text, or ""), others (checks besides the detector that point
    to H1), statement, error (why the picture cannot be read or decoded, or ""), note (why an exhibit was examined
    again, or ""), changed (whether an earlier report was modified after it was written). A file that can be read and
    not decoded has a report about its bytes, and the opinion `error` unless it declares a generator. Below `out` are a
    folder for each report, the custody log and index.html. An exhibit is not examined again if it has an unmodified
    report with the same settings.

    inputs: paths of pictures, folders or manifests, one or several. detector: a folder of weights; None takes `strong`,
    the more accurate of the shipped ones. known: a table of known pictures. trust: trust lists for Content Credentials.
    case, examiner: name of the case and of the examiner in the report. key: an Ed25519 key (PEM) that signs the entries
    of the log. left_out: collects the files in folders that are not pictures.

    Raises DetectorError if there is no picture or no trust list, if a row of `known` has no hash, or if the log belongs
    to another case, CheckpointError for weights that cannot be read, OSError if nothing can be written below `out`.
    """
    from detector.evidence import folders, validation
    from detector.evidence.checks.duplicates import read_known
    from detector.evidence.checks.provenance import read_trust

    targets = expand([str(i) for i in as_list(inputs)], left_out=left_out)
    log = folders.open_case(Path(out), key)
    folder, loaded = load_detector(find_best() if detector is None else detector)
    card, weights = read_card(folder, "detector"), digest_checkpoint(folder)
    components = describe_environment() | {"weights": weights}
    settings = components | folders.describe_settings(case, examiner, log, known=known, trust=trust)
    trusted = read_trust(trust)  # what is wrong with it, or with `known`, is an error before anything is filed
    listed = read_known(known) if known else []
    named = {"--detector": detector, "--known": known, "--trust": trust, "--case": case, "--examiner": examiner}
    options = [argument for name, value in named.items() if value for argument in (name, str(value))]
    examine = partial(
        examine_exhibit, detector=loaded, card=card, known=listed, trust=trusted, weights=weights, case=case,
        examiner=examiner, backing=validation.read_backing(folder, card), components=components, options=options,
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    for done, target in enumerate(targets, 1):
        rows.append(_file_exhibit(target, log, settings, examine))
        if done % max(1, done // REFRESHES) == 0:
            folders.refresh_index(log)
        progress("verifying", done, len(targets))
    folders.file_index(log)
    rows = sorted(folders.tell_apart(rows), key=folders.rank)
    return [{"note": "", "changed": False, **{k: v for k, v in row.items() if k != "jpeg"}} for row in rows]


def _file_exhibit(
    target: Target, log: CustodyLog, settings: Mapping[str, str], examine: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """Return the row of one picture from its existing or new report, or with the reason why it cannot be read."""
    from detector.evidence import folders

    path = Path(target.path).resolve()
    try:
        exhibit = replace(read_exhibit(path), path=Path(as_text(path)), crop=target.crop)
    except ImageError as error:
        return folders.read_row(log, folders.note_unreadable(log, path, error))
    crop = {} if target.crop is None else {"crop": " ".join(map(str, target.crop))}
    chosen = {**settings, **crop}
    source = {"exhibit": exhibit.sha256, "path": str(exhibit.path)}
    entry, reason, changed = folders.find_report(log, source, chosen)
    if entry is None:
        folders.receive(log, source, reason)
        entry = folders.file_report(log, examine(exhibit, crop), exhibit.image, chosen, reason)
    return folders.read_row(log, entry) | {"note": reason, "changed": changed}


def examine_exhibit(
    exhibit: Exhibit, crop: Mapping[str, str], *, detector: Detector, card: Mapping[str, Any],
    known: Sequence[KnownPicture], trust: Sequence[TrustList], weights: str, components: Mapping[str, str],
    options: Sequence[str] = (), command: str = "", **recorded: Any,
) -> dict[str, Any]:  # fmt: skip
    """Return the sealed record of an exhibit.

    crop: the crop from a manifest. options: options of the command line, which are recorded. command: command that is
    recorded instead of `detector verify`. recorded: further arguments of `record.make_record`.
    """
    from detector.evidence import custody
    from detector.evidence.record import conclude, examine, make_record

    findings = examine(exhibit, detector, known=known, trust=trust, weights=weights,
                       false_alarms=card.get("false_alarms"))  # fmt: skip
    calibration = detector.calibration if isinstance(detector, Calibrated) else None
    conclusion = conclude(findings, calibration, card.get("domain"))
    command = command or shlex.join(["detector", "verify", str(exhibit.path), *options])
    made = {"at": custody.now(), "command": command}
    record = make_record(exhibit, findings, conclusion, made=made, components={**components, **crop}, **recorded)
    return custody.seal(record.model_dump(mode="json"))
