"""Write files in one step, lock and append to files, convert file names to text, hash bytes and open templates."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

try:
    import fcntl
except ImportError:  # Windows has no fcntl, so that files are not locked there
    fcntl = None  # type: ignore[assignment]

TEMPORARY = re.compile(  # names that `replacing` gives: process and thread stand before .tmp
    r"\.(?P<stem>.+)\.(?P<process>\d+)(-\d+)?\.tmp(?P<suffix>\..+)?", re.DOTALL
)
JOINERS = "\u200c\u200d"  # format characters that names of Persian files and emoji need
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # begin a formula


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block ends well, remove it otherwise.

    An OSError of the block that names no file, as that of a full disk, names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{os.getpid()}-{threading.get_native_id()}"  # two threads may write one path: the last one wins
    temporary = path.with_name(f".{path.stem}.{writer}.tmp{path.suffix}")  # writers need the suffix
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `path` that killed processes left. No other process may be writing it."""
    for other in path.parent.iterdir() if path.parent.is_dir() else ():
        found = TEMPORARY.fullmatch(other.name)
        if found and (found["stem"], found["suffix"] or "") == (path.stem, path.suffix):
            other.unlink(missing_ok=True)


def sweep(*folders: Path) -> None:
    """Remove the temporary files that processes left in these folders (not below them) when they were killed."""
    for folder in folders:
        for other in folder.iterdir() if os.name == "posix" and folder.is_dir() else ():
            if (found := TEMPORARY.fullmatch(other.name)) and not _is_running(int(found["process"])):
                other.unlink(missing_ok=True)


def check_output(path: Path | str) -> None:
    """Make the folder of `path`; raise OSError if no file can be written there, so that no work is done in vain."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder, and a file is to be written", str(path))
    check_folder(path.parent)


def check_folder(folder: Path | str) -> None:
    """Make a folder if it does not exist; raise OSError if it cannot be made or written into."""
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, "it is a file, and a folder is to be written", str(folder)) from None
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


def write_bytes(path: Path | str, data: bytes, *, durable: bool = False) -> None:
    """Write a file in one step. durable: return only when it is on the disk and survives a power failure."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)
        if durable:
            _sync(temporary)
    if durable:
        _sync(Path(path).parent)


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 file in one step; characters that UTF-8 cannot encode are escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"))


@contextmanager
def locking(path: Path, *, wait: bool = True) -> Iterator[FileIO]:
    """Yield a locked file for reading and appending, made if it does not exist; other processes wait for the lock.

    The lock is released when the block or the process ends, so that a killed process leaves nothing to remove.

    wait: False raises BlockingIOError if another process holds the lock. The owner of the file may remove it in the
    block.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "ab+", buffering=0) as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if not _is_at(file, path):  # the process that had the lock before has removed the file
                    continue
            yield file
            return


def append(file: FileIO, data: bytes) -> None:
    """Append to a locked file and return when the data is on the disk; a part written before a failure is cut off."""
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
    """Append whole lines to a file under its lock; a last line that a killed process left incomplete is ended first."""
    with locking(path) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        torn = file.read(1) not in (b"", b"\n")
        append(file, b"\n" * torn + lines)


def is_torn(line: str) -> bool:
    """Return whether a line is an incomplete JSON object, as a process that is killed while writing leaves it."""
    try:
        json.JSONDecoder().raw_decode(line)
    except (ValueError, RecursionError):
        return line.startswith("{")
    return False


def as_text(name: Path | str) -> str:
    r"""Return a file's name as text that every encoding can hold: bytes that are not text, and NUL, are escaped.

    >>> as_text(os.fsdecode(b"caf\xe9.jpg"))
    'caf\\xe9.jpg'
    """
    name = str(name)
    if name.isprintable():
        return name
    return "".join(_escape(c) if unicodedata.category(c) == "Cs" or c == "\0" else c for c in name)


def from_text(name: str) -> str:
    """Return the file name that `as_text` converted to this text; the text itself if no such file exists.

    Tables hold the text, because columns of pandas cannot hold bytes that are not text.
    """
    if "\\x" not in name or os.path.lexists(name):
        return name
    raw = re.sub(rb"\\x([89a-f][0-9a-f])", lambda found: bytes.fromhex(found[1].decode()), os.fsencode(name))
    return os.fsdecode(raw) if os.path.lexists(raw) else name


def as_cell(name: str) -> str:
    """Return a path as text for a table; ./ is put before one that a spreadsheet would run as a formula.

    >>> as_cell("=1+1.jpg")
    './=1+1.jpg'
    """
    return as_text(f"./{name}" if name.startswith(FORMULA) else name)


def printable(text: str, *, keep: str = JOINERS) -> str:
    r"""Return text that is safe to show: characters that steer a terminal or turn the direction of text are escaped.

    keep: characters that are never escaped.

    >>> printable("photo\u202egpj.exe")
    'photo\\u202egpj.exe'
    """
    if text.isprintable():
        return text
    hidden = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    return "".join(_escape(c) if unicodedata.category(c) in hidden and c not in keep else c for c in text)


def printable_in_html(value: object) -> object:
    """Return a value for a template: text as `printable`, with line breaks; markup (a subclass of str) unchanged."""
    return printable(value, keep=JOINERS + "\n") if type(value) is str else value


def open_templates(folder: Path, **filters: Callable[..., object]) -> jinja2.Environment:
    """Return the Jinja2 templates of a folder: values are escaped, and an unknown name is an error.

    filters: name -> further filter that the templates use.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, finalize=printable_in_html,
    )  # fmt: skip
    environment.filters |= filters
    return environment


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes, 64 hexadecimal digits, by which every part of the package identifies a picture."""
    return hashlib.sha256(data).hexdigest()


def home() -> Path:
    """Return the folder of the registry and of the local certificate: $DETECTOR_HOME, else ~/.detector."""
    return Path(os.environ.get("DETECTOR_HOME") or Path.home() / ".detector")


def _escape(character: str) -> str:
    """Return the Python escape of a character; of one that stands for a byte (PEP 383), the escape of the byte."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()


def _is_running(process: int) -> bool:
    """Return whether another process with this ID is running; if it is the ID of this process, the other one ended."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _is_at(file: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; return at once if the system cannot do that."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
