"""A folder of evidence that cannot be changed unnoticed: sealed records, and a log in which each entry names the last.

`custody.jsonl` is only ever appended to. Each entry carries the hash of the one before and its own, so a changed or
missing line shows; who could rewrite the whole log is stopped by a signature alone, which an entry may carry.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.errors import DetectorError, MissingExtra
from detector.files import sha256

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LOG, RECORD = "custody.jsonl", "report.json"
FIRST = "0" * 64  # what the first entry names as the one before


def now() -> str:
    """Return the time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def canonical(record: Mapping[str, Any]) -> bytes:
    """Return the one form of a record that is hashed: sorted keys, no spaces, UTF-8, without `sha256`."""
    rest = {key: value for key, value in record.items() if key not in ("sha256", "signature", "public_key")}
    return json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with the hash of its canonical form in it."""
    return {**record, "sha256": sha256(canonical(record))}


def name_folder(path: Path, digest: str) -> str:
    """Return the name of an exhibit's folder: what is harmless of its file's name, and the start of its hash."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', path.stem).strip('._')[:40] or 'exhibit'}-{digest[:8]}"


class CustodyLog:
    """A log that is open for appending; it is checked whole when it is opened, and whenever somebody else wrote to it.

    path: of the log. key: signs every entry.
    """

    def __init__(self, path: Path, *, key: Ed25519PrivateKey | None = None) -> None:
        self.path, self.key = path, key
        self._left: tuple[int, int] | None = None  # size and time of change, as this left it
        self._number, self._last = 0, FIRST

    def append(self, event: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Append an entry and return it.

        Raises DetectorError if the log was changed before: nothing is added to a broken chain.
        """
        self._catch_up()
        entry = seal({"number": self._number, "at": now(), "event": event, **facts, "previous": self._last})
        if self.key is not None:
            signature = self.key.sign(bytes.fromhex(entry["sha256"]))
            public = self.key.public_key().public_bytes_raw()
            entry["signature"] = base64.b64encode(signature).decode()
            entry["public_key"] = base64.b64encode(public).decode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(json.dumps(entry, sort_keys=True, ensure_ascii=False).encode() + b"\n")
        self._left = self._state()
        self._number, self._last = self._number + 1, entry["sha256"]
        return entry

    def _catch_up(self) -> None:
        if self._left is not None and self._left == self._state():
            return
        entries = read_log(self.path)
        problems = check_chain(entries)
        if problems:
            raise DetectorError(f"{self.path} was changed ({problems[0]}); keep it, and write to another folder")
        self._number, self._last = len(entries), entries[-1]["sha256"] if entries else FIRST

    def _state(self) -> tuple[int, int] | None:
        if not self.path.is_file():
            return None
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns


def read_log(log: Path) -> list[dict[str, Any]]:
    """Return the entries of a log, {} for a line that is none; nothing if there is no log."""
    if not log.is_file():
        return []
    *lines, rest = log.read_bytes().split(b"\n")
    entries = []
    for line in [*lines, rest] if rest else lines:  # a whole log ends with a line's end
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {}
        written = isinstance(entry, dict) and json.dumps(entry, sort_keys=True, ensure_ascii=False).encode() == line
        entries.append(entry if written and line is not rest else {})
    return entries


def check_chain(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is wrong with a log: one line each, nothing if it is whole."""
    previous, problems = FIRST, []
    for number, entry in enumerate(entries):
        if not entry or entry.get("sha256") != sha256(canonical(entry)):
            problems.append(f"entry {number} of the log is not as it was written")
        elif entry.get("previous") != previous or entry.get("number") != number:
            problems.append(f"entry {number} of the log does not follow the one before it")
        elif "signature" in entry and not _signed(entry):
            problems.append(f"the signature of entry {number} of the log does not fit")
        previous = str(entry.get("sha256", ""))
    return problems


def check_case(record: Path) -> list[str]:
    """Return what was changed since a report was written, in report, renderings, log or exhibit; nothing if naught.

    record: the path of a report.json, or its folder. The log is looked for beside it and one folder up.

    Raises DetectorError if there is no such report, or no log.
    """
    record = record / RECORD if record.is_dir() else record
    if not record.is_file():
        raise DetectorError(f"{record} is not there; name a {RECORD} that `detector verify` wrote")
    log = next((path for path in (record.parent / LOG, record.parent.parent / LOG) if path.is_file()), None)
    if log is None:
        raise DetectorError(f"there is no {LOG} beside {record} or above it; without it nothing can be checked")
    data, entries = record.read_bytes(), read_log(log)
    problems = check_chain(entries)
    try:
        found = json.loads(data)
        if found["sha256"] != sha256(canonical(found)):
            problems.append("the report's own hash does not fit it")
        source = Path(found["exhibit"]["path"])
        exhibit, expected = source if source.is_absolute() else record.parent / source, found["exhibit"]["sha256"]
    except (ValueError, KeyError, TypeError):
        return [*problems, "the report is not one"]
    if not exhibit.is_file():
        problems.append(f"the exhibit {exhibit.name} is gone from where it was")
    elif sha256(exhibit.read_bytes()) != expected:
        problems.append(f"the exhibit {exhibit.name} is not the one that was looked at")
    about = [e for e in entries if e.get("event") == "reported" and e.get("folder") == record.parent.name]
    if not about:
        return [*problems, "the log does not know this report"]
    for name, digest in about[-1]["files"].items():
        path = record.parent / name
        if not path.is_file() or sha256(path.read_bytes()) != digest:
            problems.append(f"{name} is not as it was written" if path.is_file() else f"{name} is gone")
    return problems


def read_key(path: Path) -> Ed25519PrivateKey:
    """Return an Ed25519 key from an unencrypted PEM file.

    Raises DetectorError if it holds none, MissingExtra without the extra `evidence`.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise MissingExtra("signing needs: pip install 'face-forgery-detector[evidence]'") from None
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise DetectorError(f"{path} holds no Ed25519 key; make one with `openssl genpkey -algorithm ed25519`")
    return key


def _signed(entry: Mapping[str, Any]) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise MissingExtra("checking a signature needs: pip install 'face-forgery-detector[evidence]'") from None
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(entry["public_key"]))
        key.verify(base64.b64decode(entry["signature"]), bytes.fromhex(entry["sha256"]))
    except (InvalidSignature, ValueError, KeyError):
        return False
    return True
