"""The folder of a case: a folder for each report, the entries of the custody log about it, and the index."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detector.errors import DetectorError, ImageError
from detector.evidence import rendering
from detector.evidence.custody import INDEX, LOG, OPENING, RECORD, CustodyLog, Entry, read_key
from detector.evidence.integrity import SUMMARY, check_report
from detector.evidence.pdf import make_pdf
from detector.files import as_text, remove_leftovers, sha256, write_bytes
from detector.pictures.faces import prepare
from detector.pictures.images import encode
from detector.types import Image, Opinion

URGENT = {"declared-generated": 0, "likely-fake": 1, "inconclusive": 3, "not-applicable": 4, "error": 5,
          "likely-real": 6}  # fmt: skip
OTHERS = 2  # urgency of an exhibit for which checks other than the detector point to H1
SIDE = 96  # side of the picture of a face in the index, pixels
DIGITS = 16  # number of digits of an exhibit's hash in the name of its folder


def open_case(out: Path, key: Path | None = None) -> CustodyLog:
    """Return the custody log of a case, which may be a new one. key: Ed25519 (PEM), signs every entry.

    Raises DetectorError if the log was changed or is signed with another key, or if there are reports and no log.
    """
    log = CustodyLog(out / LOG, key=None if key is None else read_key(key))
    if not log.entries and any(path.with_name(RECORD).is_file() for path in out.glob("*/report.pdf")):
        raise DetectorError(f"{out} holds reports and no {LOG} that knows them; restore it, or name another folder")
    if any(SUMMARY not in entry["files"] for entry in log.entries if entry["event"] == "reported"):
        raise DetectorError(f"{out} was written by an earlier version; keep it, and name another folder")
    return log


def describe_settings(case: str, examiner: str, log: CustodyLog, **lists: Path | None) -> dict[str, str]:
    """Return the settings, besides detector and versions, that make a new examination of an exhibit necessary.

    lists: files that the checks compare with, or folders of PEM files, by the name of their option.

    Raises DetectorError if one of them cannot be read.
    """
    settings = {"case": case, "examiner": examiner, "sign": log.signer}
    for name, path in lists.items():
        try:
            files = [] if path is None else sorted(path.glob("*.pem")) if path.is_dir() else [path]
            settings[name] = " ".join(sha256(file.read_bytes()) for file in files)
        except OSError as error:
            raise DetectorError(f"{path} cannot be read: {error.strerror or error}; see --{name}") from None
    return settings


class Earlier(NamedTuple):
    """The result of an earlier run for an exhibit.

    entry: of the report that still holds, in the log. why: what else speaks against it, in words, "" if there is no
    report. changed: whether a report was changed since it was written.
    """

    entry: Entry | None
    why: str = ""
    changed: bool = False


def find_report(log: CustodyLog, source: Mapping[str, str], settings: Mapping[str, str]) -> Earlier:
    """Return the report that holds: made with the same settings, and neither it nor its log entry was changed.

    source: hash (`exhibit`) and `path` of an exhibit.
    """
    reports = [entry for entry in _about(log, source) if entry["event"] == "reported"]
    changed: list[str] = []
    for entry in reversed(reports):
        if entry["settings"] == settings:
            problems = check_report(log.path.parent, entry)
            if not problems:
                return Earlier(entry)
            changed += problems
    if changed:
        why = f"examined again, because the earlier report was changed ({changed[0]}); it was kept as it is"
        return Earlier(None, why, changed=True)
    if not reports:
        return Earlier(None)
    last = reports[-1]["settings"]
    differing = sorted(name for name in {*last, *settings} if last.get(name) != settings.get(name))
    folder = reports[-1]["folder"]
    why = f"examined again, with another {', '.join(differing)}; the earlier report was kept in {folder}"
    return Earlier(None, why)


def receive(log: CustodyLog, source: Mapping[str, str], why: str = "") -> None:
    """Log that an exhibit will be examined, unless an interrupted run logged it already. why: it is examined again."""
    with log.locked():
        about = _about(log, source)
        if not about:
            log.append("received", source)
        elif about[-1]["event"] not in OPENING:
            log.append("reopened", {**source, "why": why})


def file_report(
    log: CustodyLog, record: Mapping[str, Any], image: Image | None, settings: Mapping[str, str], why: str = ""
) -> Entry:
    """Write a sealed record and its renderings into a new folder of the case, and return their entry in the log.

    If another process filed the same examination meanwhile, its entry is returned and nothing is written.
    """
    source = {"exhibit": record["exhibit"]["sha256"], "path": record["exhibit"]["path"]}
    pictures = rendering.draw_pictures(record, image)
    files = {
        "report.html": rendering.make_page(record, pictures).encode(),
        "report.md": rendering.make_markdown(record).encode(),
        "report.pdf": make_pdf(record, pictures),
        RECORD: _format(record),
        SUMMARY: _format(summarise(record, image)),
    }
    with log.locked():
        meanwhile = find_report(log, source, settings).entry
        if meanwhile is not None:
            return meanwhile
        receive(log, source, why)
        base = name_folder(Path(source["path"]), source["exhibit"])
        names = (base if number == 1 else f"{base}-{number}" for number in range(1, len(log.folders) + 2))
        folder = log.path.parent / next(name for name in names if name.lower() not in log.folders)
        for name, data in files.items():
            remove_leftovers(folder / name)
            write_bytes(folder / name, data, durable=True)
        hashes = {name: sha256(data) for name, data in files.items()}
        return log.append("reported", {**source, "folder": folder.name, "files": hashes, "settings": settings})


def note_unreadable(log: CustodyLog, path: Path, error: ImageError) -> Entry:
    """Log a file that cannot be read, unless that is its last entry already, and return the entry."""
    facts = {"path": as_text(path), "statement": as_text(f"{error.reason}: {error}")}
    with log.locked():
        earlier = log.about.get(facts["path"], [])
        if earlier and earlier[-1]["statement"] == facts["statement"]:
            return earlier[-1]
        return log.append("unreadable", facts)


def name_folder(path: Path, digest: str) -> str:
    """Return the name of a report's folder: the harmless characters of the exhibit's name, and part of its hash."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', path.stem).strip('._')[:40] or 'exhibit'}-{digest[:DIGITS]}"


def summarise(record: Mapping[str, Any], image: Image | None) -> dict[str, Any]:
    """Return a record's row of the index: opinion, ratio, statement, error, and the face as a small JPEG in Base64.

    image: None if the exhibit cannot be decoded. The opinion is then `error`, unless the file declares a generator.
    """
    conclusion, opinion = record["conclusion"], record["conclusion"]["opinion"]
    others = [f["check"] for f in record["findings"] if f["outcome"] == "supports-fake" and f["check"] != "detector"]
    detector = next(f for f in record["findings"] if f["check"] == "detector")
    faces = detector["details"]["faces"]
    crop = rendering.locate_box(faces[0]["crop"], record, image) if faces and image is not None else None
    turns = faces[0].get("turns", 0) if faces else 0
    jpeg = b"" if image is None else encode(prepare(image, SIDE, crop, turns), "JPEG", quality=80)
    error = detector["summary"] if image is None else ""
    return {"opinion": "error" if error and opinion != Opinion.DECLARED else opinion, "error": error,
            "log10_lr": conclusion["log10_lr"], "others": others,
            "ratio": "" if conclusion["log10_lr"] is None else rendering.format_ratio(conclusion),
            "statement": conclusion["statement"], "jpeg": base64.b64encode(jpeg).decode()}  # fmt: skip


def read_row(log: CustodyLog, entry: Entry) -> dict[str, Any]:
    """Return the row of a report, or of a file that could not be read, by its entry in the log."""
    row = {"name": Path(entry["path"]).name, "path": entry["path"], "folder": entry.get("folder", ""), "ratio": ""}
    why = entry.get("statement", "")
    if entry["event"] != "unreadable":
        summary = _read(log.path.parent / row["folder"] / SUMMARY)
        if sha256(summary) == entry["files"][SUMMARY]:
            return {**row, "error": "", **json.loads(summary)}
        why = f"{SUMMARY} was changed since it was written; see `detector verify --check`"
    return row | {"opinion": "error", "error": why, "statement": why, "log10_lr": None, "others": [], "jpeg": ""}


def rank(row: Mapping[str, Any]) -> tuple[int, float]:
    """Return the sort key of a row: the most urgent rows come first."""
    return min(URGENT[row["opinion"]], OTHERS if row["others"] else 9), -(row["log10_lr"] or 0)


def tell_apart(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of the index in which two exhibits of one name have as many of their folders in it as differ.

    >>> [row["name"] for row in tell_apart([{"name": "p.jpg", "path": f"/x/{day}/p.jpg"} for day in ("mon", "tue")])]
    ['mon/p.jpg', 'tue/p.jpg']
    """
    alike: dict[str, set[str]] = {}
    for row in rows:
        alike.setdefault(row["name"], set()).add(row["path"])
    names: dict[str, str] = {}
    for paths in alike.values():
        ends = {path: Path(path).parts for path in paths}
        depth = next(n for n in range(1, 9999) if len({parts[-n:] for parts in ends.values()}) == len(paths))
        names |= {path: "/".join(parts[-depth:]).replace("//", "/") for path, parts in ends.items()}
    return [{**row, "name": names[row["path"]]} for row in rows]


def refresh_index(log: CustodyLog) -> None:
    """Write index.html of what is there so far, while further exhibits are examined; `file_index` ends the run.

    Nothing is logged, and nothing is written before the run adds to the log: the index that the log names then stays.
    """
    with log.locked():
        if (_last_change(log) or {"event": "indexed"})["event"] != "indexed":
            write_bytes(log.path.parent / INDEX, _make_index(log))


def file_index(log: CustodyLog) -> None:
    """Write index.html, which lists the whole case as the log has it, and its hash into the log.

    The hash of an index that was changed since is logged too, as `instead_of`.
    """
    if not log.entries:
        return
    with log.locked():
        out = log.path.parent
        remove_leftovers(out / INDEX)
        page = _make_index(log)
        hashes = {INDEX: sha256(page)}
        last = _last_change(log) or {"event": ""}
        known, there = last.get("files", {}) if last["event"] == "indexed" else {}, _read(out / INDEX)
        if there != page:
            write_bytes(out / INDEX, page, durable=True)
        if known and there and sha256(there) != known[INDEX]:
            log.append("indexed", {"files": hashes, "instead_of": sha256(there)})
        elif known != hashes:
            log.append("indexed", {"files": hashes})


def _make_index(log: CustodyLog) -> bytes:
    cases = sorted({entry["settings"]["case"] for entry in log.entries if entry["event"] == "reported"} - {""})
    title = ", ".join(["Evidence", *(f"case {case}" for case in cases)])
    return rendering.make_index(tell_apart(_list_rows(log)), title).encode()


def _last_change(log: CustodyLog) -> Entry | None:
    """Return the last entry that adds to what the index shows, or says that it was written."""
    return next((e for e in reversed(log.entries) if e["event"] in ("indexed", "reported", "unreadable")), None)


def _about(log: CustodyLog, source: Mapping[str, str]) -> list[Entry]:
    """Return the entries about an exhibit, found by its whole hash and its path."""
    return [entry for entry in log.about.get(source["exhibit"], []) if entry["path"] == source["path"]]


def _list_rows(log: CustodyLog) -> list[dict[str, Any]]:
    """Return the rows of the index, the most urgent first; a file that became readable later has no error row."""
    entries = log.entries
    received = {entry["path"] for entry in entries if entry["event"] in OPENING}
    last = {entry["path"]: entry for entry in entries if entry["event"] == "unreadable"}
    failed = [entry for path, entry in last.items() if path not in received]
    reported = [entry for entry in entries if entry["event"] == "reported"]
    return sorted((read_row(log, entry) for entry in [*failed, *reported]), key=rank)


def _format(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
