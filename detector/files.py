"""Files that are whole or absent, files that are only appended to, hashes, and the folder of what is kept."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block ends well, remove it otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")  # keeps the suffix: writers look at it
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed processes left of `path`; only where no other process writes it now."""
    name = re.compile(rf"\.{re.escape(path.stem)}\.\d+\.tmp{re.escape(path.suffix)}")  # as `replacing` names them
    for other in path.parent.iterdir() if path.parent.is_dir() else ():
        if name.fullmatch(other.name):
            other.unlink(missing_ok=True)


def write_bytes(path: Path | str, data: bytes, *, durable: bool = False) -> None:
    """Write a file in one step. durable: return when it is on the disk, where it outlives a power failure."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)
        if durable:
            _sync(temporary)
    if durable:
        _sync(Path(path).parent)


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 file in one step."""
    write_bytes(path, text.encode())


@contextmanager
def locking(path: Path) -> Iterator[FileIO]:
    """Yield a file for reading and appending, made if need be; other processes that lock it wait until the block ends.

    The lock goes with the process: nothing is left to remove after a kill.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+", buffering=0) as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def append(file: FileIO, data: bytes) -> None:
    """Append to a locked file, and return when the data is on the disk; what a failure wrote of it is cut off again."""
    end = file.seek(0, os.SEEK_END)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) or 0 :]
        os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            file.truncate(end)
        raise


def append_lines(path: Path, lines: bytes) -> None:
    """Append whole lines to a file under its lock; a last line that a killed process tore is ended first."""
    with locking(path) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        torn = file.read(1) not in (b"", b"\n")
        append(file, b"\n" * torn + lines)


def is_torn(line: str) -> bool:
    """Return whether a line is the beginning of a JSON object, as a process leaves it that is killed at writing."""
    try:
        json.JSONDecoder().raw_decode(line)
    except (ValueError, RecursionError):
        return line.startswith("{")
    return False


def sha256(data: bytes) -> str:
    """Return the hash that identifies a picture everywhere: 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def home() -> Path:
    """Return the folder of the registry and of the local certificate: $DETECTOR_HOME, else ~/.detector."""
    return Path(os.environ.get("DETECTOR_HOME") or Path.home() / ".detector")


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; where a system cannot, return at once."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
