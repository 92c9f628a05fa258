"""The custody log of a case: what was received and reported, one JSON line each, chained by hashes, only appended to.

A case is one folder: `custody.jsonl`, `index.html`, and a folder for each report. Every entry names the hash of the
entry before it, so a changed, missing or inserted line shows. Who can write to the folder could still write the whole
log anew: a signature shows that (`--sign`), and a *head*, the hash of the last entry, kept elsewhere, shows a cut tail.

Events: `received` (an exhibit, before anything is done with it), `reopened` (it will be examined again with other
settings), `reported` (all files of a report), `unreadable` (a file that is no exhibit), `indexed` (the hash of
`index.html`), `recovered` (a line that an interrupted run tore was removed).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.errors import DetectorError, MissingExtra
from detector.files import append, is_torn, locking, sha256

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LOG, RECORD, INDEX = "custody.jsonl", "report.json", "index.html"
FIRST = "0" * 64  # value of `previous` in the first entry
OPENING = ("received", "reopened")  # events that begin an examination

Entry = dict[str, Any]


def now() -> str:
    """Return the time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def canonical(record: Mapping[str, Any]) -> bytes:
    """Return the canonical form of a record, which is hashed: sorted keys, no spaces, UTF-8, without `sha256`."""
    rest = {key: value for key, value in record.items() if key not in ("sha256", "signature", "public_key")}
    return json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with the hash of its canonical form in it."""
    return {**record, "sha256": sha256(canonical(record))}


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Return whether the hash in a record is that of its canonical form."""
    try:
        return bool(record.get("sha256") == sha256(canonical(record)))
    except (ValueError, RecursionError):  # NaN or lone surrogates, which `seal` refuses
        return False


class CustodyLog:
    """A log that is open for appending. Processes that write to one log wait for each other.

    entries: what the log holds; about: its entries by the hash of their exhibit, or by path where there is no hash;
    folders: names of the folders that hold a report, in lower case. All are brought up to date by `locked`.
    """

    def __init__(self, path: Path, *, key: Ed25519PrivateKey | None = None) -> None:
        """Read and check the log at `path`, if there is one. key: signs every entry that is appended.

        Raises DetectorError if the log was changed, or is signed with another key than `key`.
        """
        self.path, self.entries = path, list[Entry]()
        self.about, self.folders = dict[str, list[Entry]](), set[str]()
        self._key, self.signer = key, name_key(key)
        self._file: FileIO | None = None
        self._state: tuple[int, int] | None = None  # size and modification time at the last reading of the log
        self._end, self._hash = 0, hashlib.sha256()  # length and hash of the bytes that `entries` were read from
        if path.is_file():
            self._catch_up(path.read_bytes())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the log: no other process appends during the block, and `entries` are up to date. May be nested.

        Raises DetectorError if the log was changed, or cannot be read or written.
        """
        if self._file is not None:
            yield
            return
        try:
            with locking(self.path) as self._file:
                if self._state != self._stat():
                    self._file.seek(0)
                    self._catch_up(self._file.readall())
                yield
        except OSError as error:
            raise DetectorError(f"{error.filename or self.path} cannot be written: {error.strerror or error}") from None
        finally:
            self._file = None

    def append(self, event: str, facts: Mapping[str, Any]) -> Entry:
        """Append an entry, wait until it is on the disk, and return it. A failed write leaves the log as it was.

        Raises DetectorError if the log was changed before, or cannot be written.
        """
        with self.locked():
            assert self._file is not None  # tells mypy that locked() opened it
            size = self._file.seek(0, 2)
            if size > self._end:  # the log ends in an incomplete line, after which no entry may be written
                self._file.seek(self._end)
                torn = self._file.readall()
                self._file.truncate(self._end)
                self._write("recovered", {"torn": {"bytes": len(torn), "sha256": sha256(torn)}})
            return self._write(event, facts)

    def _write(self, event: str, facts: Mapping[str, Any]) -> Entry:
        assert self._file is not None
        entry = make_entry(event, facts, self.entries[-1] if self.entries else None, self._key)
        line = _format(entry) + b"\n"
        append(self._file, line)
        self._remember([entry], line)
        return entry

    def _catch_up(self, data: bytes) -> None:
        """Read the entries appended since the last reading; DetectorError if the log was changed in any other way."""
        problems = [] if hashlib.sha256(data[: self._end]).digest() == self._hash.digest() else ["earlier lines differ"]
        rest = data[self._end :]
        fresh = [] if problems else _parse(rest)
        problems = problems or check_chain(fresh, self.entries)
        if problems:
            raise DetectorError(f"{self.path} was changed ({problems[0]}); keep it, and write to another folder")
        self._remember(fresh, rest[: rest.rfind(b"\n") + 1])
        signer = find_signer(self.entries)
        if signer and signer != self.signer:
            how = "with another key" if self.signer else "and this run is not"
            raise DetectorError(f"{self.path} is signed, {how}; name its key with --sign, or write to another folder")

    def _remember(self, entries: Sequence[Entry], data: bytes) -> None:
        for entry in entries:
            self.about.setdefault(str(entry.get("exhibit") or entry.get("path")), []).append(entry)
            if entry["event"] == "reported":
                self.folders.add(str(entry.get("folder")).lower())
        self.entries += entries
        self._hash.update(data)
        self._end, self._state = self._end + len(data), self._stat()

    def _stat(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns


def read_log(log: Path) -> list[Entry]:
    """Return the entries of a log, {} for a line that is none; without a last line that was torn, see `read_torn`."""
    return _parse(log.read_bytes() if log.is_file() else b"")


def read_torn(log: Path) -> bytes:
    """Return what stands behind the last whole line: an entry that was not written to its end, else nothing."""
    data = log.read_bytes() if log.is_file() else b""
    return data[data.rfind(b"\n") + 1 :]


def make_entry(
    event: str, facts: Mapping[str, Any], last: Mapping[str, Any] | None, key: Ed25519PrivateKey | None = None
) -> Entry:
    """Return the sealed entry that follows the last one of a log; None begins a log.

    facts: what the entry says. key: signs it.
    """
    number, previous = (last["number"] + 1, last["sha256"]) if last else (0, FIRST)
    entry = seal({"number": number, "at": now(), "event": event, **facts, "previous": previous})
    if key is not None:
        entry["signature"] = base64.b64encode(key.sign(bytes.fromhex(entry["sha256"]))).decode()
        entry["public_key"] = name_key(key)
    return entry


def check_chain(entries: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """Return what is wrong with the entries of a log that follow `before`: one line each, nothing if they are whole.

    Once an entry is signed, all that follow have to be, with the same key. The entry of a report names the key of its
    run among the settings, which its hash covers.
    """
    previous, problems = before[-1]["sha256"] if before else FIRST, []
    signer = find_signer(before)
    for number, entry in enumerate(entries, len(before)):
        if not entry or entry.get("sha256") != sha256(canonical(entry)):
            problems.append(f"entry {number} of the log is not as it was written")
        elif entry.get("previous") != previous or entry.get("number") != number:
            problems.append(f"entry {number} of the log does not follow the one before it")
        elif "signature" not in entry and signer:
            problems.append(f"entry {number} of the log is not signed, and earlier ones are")
        elif "signature" in entry and signer not in ("", entry.get("public_key")):
            problems.append(f"entry {number} of the log is signed with another key than earlier ones")
        elif _named_key(entry) and ("signature" not in entry or _named_key(entry) != entry.get("public_key")):
            problems.append(f"entry {number} of the log names a key that it is not signed with")
        elif "signature" in entry and not _signed(entry):
            problems.append(f"the signature of entry {number} of the log does not fit")
        previous = str(entry.get("sha256", ""))
        signer = signer or find_signer([entry])
    return problems


def _named_key(entry: Mapping[str, Any]) -> str:
    settings = entry.get("settings")
    return str(settings.get("sign", "")) if isinstance(settings, dict) else ""


def find_signer(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the public key, Base64, of the first entry that is signed; "" if none is."""
    return next((str(entry.get("public_key", "?")) for entry in entries if "signature" in entry), "")


def name_key(key: Ed25519PrivateKey | None) -> str:
    """Return the public key that belongs to a key, as entries name it: Base64 of its 32 bytes; "" without a key."""
    return "" if key is None else base64.b64encode(key.public_key().public_bytes_raw()).decode()


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


def read_public_key(path: Path) -> str:
    """Return an Ed25519 public key from a PEM file, as Base64 of its 32 bytes, which is how entries name it.

    Raises DetectorError if it holds none, MissingExtra without the extra `evidence`.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise MissingExtra("checking a signature needs: pip install 'face-forgery-detector[evidence]'") from None
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise DetectorError(f"{path} holds no Ed25519 public key; write it with `openssl pkey -in KEY.pem -pubout`")
    return base64.b64encode(key.public_bytes_raw()).decode()


def _format(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _parse(data: bytes) -> list[Entry]:
    """Return the entries of whole lines, {} for each line that is not exactly as an entry is written.

    What stands behind the last whole line is left out if it is the beginning of an entry, and else counts as a line.
    """
    *lines, rest = data.split(b"\n")
    entries = [_parse_line(line) for line in lines]
    whole = rest == b"" or is_torn(rest.decode(errors="replace")) or _parse_line(rest) != {}
    return entries if whole else [*entries, {}]


def _parse_line(line: bytes) -> Entry:
    try:
        entry = json.loads(line)
        written = isinstance(entry, dict) and isinstance(entry.get("event"), str) and _format(entry) == line
    except (ValueError, RecursionError):
        return {}
    return entry if written else {}


def _signed(entry: Mapping[str, Any]) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise MissingExtra("checking a signature needs: pip install 'face-forgery-detector[evidence]'") from None
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(entry["public_key"]))
        key.verify(base64.b64decode(entry["signature"]), bytes.fromhex(entry["sha256"]))
    except (InvalidSignature, ValueError, KeyError, TypeError):
        return False
    return True
