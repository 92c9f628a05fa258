"""Check whether a case is as its custody log says: the log itself, the reports, the index and the exhibits.

Only the log of the case counts, never one that lies beside a report. What the log alone cannot show is said in its
docstring (`custody`): without a key the answer is "consistent", and a cut tail shows against a head kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detector.errors import DetectorError
from detector.evidence.custody import (
    FIRST,
    INDEX,
    LOG,
    OPENING,
    RECORD,
    Entry,
    check_chain,
    find_signer,
    is_sealed,
    read_log,
    read_public_key,
    read_torn,
)
from detector.files import from_text, printable

REPORT = frozenset({RECORD, "report.html", "report.md", "report.pdf"})  # files that every report consists of
SUMMARY = "summary.json"  # the report's row of the index, which reports of earlier versions lack
IGNORED = ("Thumbs.db", "desktop.ini")  # files that file managers leave; hidden files are ignored too
TAILS = 4  # largest number of last parts of an exhibit's path by which it is searched after a move


@dataclass
class CaseCheck:
    """The result of the check of a case.

    entries: of the log. key: the file of the public key that the log was compared with. problems: what was changed, or
    contradicts the log. missing: what could not be compared, such as an exhibit that is not here. notes: what is no
    fault, such as an unfinished run.
    """

    entries: Sequence[Entry]
    key: Path | None
    problems: list[str]
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """Return the answer as lines: what is wrong, what is missing, notes, and last the state in one sentence."""
        state = "changed" if self.problems else "consistent, as far as it is here" if self.missing else "consistent"
        signer = find_signer(self.entries)
        if not signer:
            who = "no entry is signed, so whoever can write here could have written all of it"
        elif self.key is None:
            who = f"signed with the key {signer}; give it as --key PUBLIC.pem to be sure whose it is"
        else:
            who = f"{'not ' * (read_public_key(self.key) != signer)}signed with the key of {self.key.name}"
        notes = [f"note: {note}" for note in self.notes]
        lines = [*self.problems, *self.missing, *notes, f"{state}: {count_entries(self.entries)}; {who}"]
        return "\n".join(printable(line) for line in lines)


def describe_log(case: Path) -> str:
    """Return the size and the head of a case's log, unchecked."""
    return count_entries(read_log(case / LOG))


def count_entries(entries: Sequence[Entry]) -> str:
    """Return the size of a log, and its head: the hash of the last entry, which shows a cut-off end if it is kept."""
    reports = [str(entry.get("exhibit")) for entry in entries if entry.get("event") == "reported"]
    head = entries[-1].get("sha256") if entries else FIRST
    return f"entries {len(entries)}, reports {len(reports)}, exhibits {len(set(reports))}, head {head}"


def check_case(
    target: Path, *, key: Path | None = None, head: str = "", exhibits: Path | None = None
) -> CaseCheck:  # fmt: skip
    """Check one report of a case, or all of them, with the log and the index.

    target: a report.json or its folder; or a case's folder or its custody.jsonl. key: public key (PEM) with which the
    log has to be signed. head: the hash of an entry, 64 hexadecimal digits, noted earlier. exhibits: a folder in which
    the exhibits lie now, or the one exhibit's file.

    Raises DetectorError if there is no such report, or no log.
    """
    case, name = _find_case(target)
    if exhibits is not None and not exhibits.exists():
        raise DetectorError(f"there is no {exhibits}; --exhibit names where the exhibits lie now")
    if exhibits is not None and not name and not exhibits.is_dir():
        raise DetectorError(
            f"{exhibits} is one file; name the folder of all exhibits, or --check the report of this one"
        )
    entries = read_log(case / LOG)
    reports = [entry for entry in entries if entry.get("event") == "reported"]
    found = CaseCheck(entries, key, check_chain(entries))
    if read_torn(case / LOG):
        found.notes.append("the last line of the log is torn: a run was interrupted while it wrote")
    _check_signer(found, entries)
    _check_head(found, entries, head)
    if name:
        about = [entry for entry in reports if entry.get("folder") == name]
        if len(about) != 1:
            found.problems.append(f"the log does not know {name}" if not about else f"the log names {name} twice")
    else:
        about = reports
        _check_folders(found, entries, case)
    for entry in about:
        found.problems += check_report(case, entry)
        _check_exhibit(found, entry, case, exhibits)
    unfinished = _check_index(found, entries, case)
    (found.notes if name else found.missing).extend(unfinished)
    return found


def check_report(case: Path, entry: Mapping[str, Any]) -> list[str]:
    """Return how a report differs from its entry in the log: its files, the hash in it, its exhibit; [] if it fits."""
    folder, files = str(entry.get("folder")), entry.get("files")
    if not _plain(folder) or not isinstance(files, dict) or not REPORT <= set(files) <= REPORT | {SUMMARY}:
        return [f"entry {entry.get('number')} of the log does not list the files of a report"]
    problems = []
    for name, digest in sorted(files.items()):
        now = _hash(case / folder / name)
        if now is None or now != digest:
            problems.append(f"{folder}/{name} is gone" if now is None else f"{folder}/{name} is not as it was written")
    for path in sorted((case / folder).glob("*")):
        if path.name not in files and path.name not in IGNORED and not path.name.startswith("."):
            problems.append(f"{folder}/{path.name} is not in the log")
    try:
        record = json.loads((case / folder / RECORD).read_bytes())
        if not is_sealed(record):
            problems.append(f"the hash in {folder}/{RECORD} does not fit it")
        if (record["exhibit"]["sha256"], record["exhibit"]["path"]) != (entry.get("exhibit"), entry.get("path")):
            problems.append(f"{folder}/{RECORD} is on another exhibit than the log says")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        problems.append(f"{folder}/{RECORD} is not a report")
    return problems


def _find_case(target: Path) -> tuple[Path, str]:
    """Return the folder of a case and the name of the one report that was meant, "" for all."""
    target = Path(os.path.abspath(target))
    if target.is_dir():
        target /= RECORD if (target / RECORD).is_file() else LOG
    if not target.is_file() or target.name not in (RECORD, LOG):
        raise DetectorError(f"{target} is not there; name a {RECORD} that `detector verify` wrote, or a case's folder")
    case = target.parent if target.name == LOG else target.parent.parent
    if not (case / LOG).is_file():
        raise DetectorError(f"there is no {LOG} in {case}; without the log of the case nothing can be checked")
    return case, "" if target.name == LOG else target.parent.name


def _check_signer(found: CaseCheck, entries: Sequence[Entry]) -> None:
    first = next((number for number, entry in enumerate(entries) if "signature" in entry), 0)
    if first:
        found.notes.append(f"the first {first} entries are not signed themselves; the signatures after them cover them")
    if found.key is None:
        return
    signer = find_signer(entries)
    if read_public_key(found.key) != signer:
        how = "signed with another key than that" if signer else "not signed, or no longer, with the key"
        found.problems.append(f"the log is {how} of {found.key.name}")


def _check_head(found: CaseCheck, entries: Sequence[Entry], head: str) -> None:
    head = head.strip().lower()
    if not head:
        return
    if not re.fullmatch("[0-9a-f]{64}", head):
        raise DetectorError("a head is the 64 hexadecimal digits that `detector verify` or --check printed last")
    known = [entry.get("sha256") for entry in entries]
    if head not in known:
        found.problems.append("the log does not hold the given head: its end was cut off, or it was written anew")
    elif later := len(known) - 1 - known.index(head):
        found.notes.append(f"the log holds the given head; {later} entries were added after it")


def _check_folders(found: CaseCheck, entries: Sequence[Entry], case: Path) -> None:
    """Search for folders that two entries name, reports that no entry names, and exhibits without a report."""
    named = Counter(str(entry.get("folder")) for entry in entries if entry.get("event") == "reported")
    found.problems += [f"the log names {name} twice" for name, times in named.items() if times > 1]
    waiting = [entry for entry in _last(entries).values() if entry.get("event") in OPENING]
    found.notes += [f"{entry.get('path')} was received and has no report yet" for entry in waiting]
    strange = sorted(path.parent.name for path in case.glob(f"*/{RECORD}") if path.parent.name not in named)
    if waiting:
        found.notes += [f"{name} is not in the log: a run was interrupted before it was done" for name in strange]
    else:
        found.problems += [f"{name} is not in the log" for name in strange]


def _last(entries: Iterable[Entry]) -> dict[tuple[Any, Any], Entry]:
    """Return the last entry about each exhibit, by hash and path."""
    return {(str(e.get("exhibit")), str(e.get("path"))): e for e in entries if e.get("event") in (*OPENING, "reported")}


def _check_index(found: CaseCheck, entries: Sequence[Entry], case: Path) -> list[str]:
    """Compare index.html with the log; if the log has newer reports (a run continues or was interrupted), note that."""
    last = next((e for e in reversed(entries) if e.get("event") in ("indexed", "reported", "unreadable")), {})
    if last.get("event") != "indexed":
        return [f"{INDEX} was not compared: a run goes on, or was interrupted; verify again to end it"]
    files = last.get("files")
    now = _hash(case / INDEX)
    if not isinstance(files, dict) or files.get(INDEX) != now or now is None:
        found.problems.append(f"{INDEX} is gone" if now is None else f"{INDEX} is not as it was written")
    return []


def _check_exhibit(found: CaseCheck, entry: Mapping[str, Any], case: Path, exhibits: Path | None) -> None:
    """Search an exhibit at its old path and beside the case, or in `exhibits`; compare its hash."""
    path, digest = Path(str(entry.get("path"))), entry.get("exhibit")
    roots = [case.parent, case] if exhibits is None else [exhibits]
    places = [root.joinpath(*path.parts[-n:]) for root in roots for n in range(1, min(TAILS + 1, len(path.parts)))]
    if exhibits is None:
        places.insert(0, case / str(entry.get("folder")) / path)  # an absolute path replaces the folder
    elif exhibits.is_file():
        places = [exhibits]
    hashes = {place: now for place in dict.fromkeys(places) if (now := _hash(place)) is not None}
    if digest in hashes.values():
        return
    if hashes:
        found.problems.append(f"{next(iter(hashes))} is not the exhibit that was examined: its hash differs")
    else:
        found.missing.append(f"{path.name} is not here, and was not compared; name its place with --exhibit")


def _plain(name: str) -> bool:
    """Return whether the name of a folder in a log is a plain name, not a path that leads out of the case."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def _hash(path: Path) -> str | None:
    """Return the hash of a regular file; None if there is none, or it cannot be read. path: as the log has it."""
    try:
        path = Path(from_text(str(path)))
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None
