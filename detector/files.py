"""Files that are whole or absent, the hash that names a picture, and the folder of what an installation keeps."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a file in one step."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 file in one step."""
    write_bytes(path, text.encode())


def sha256(data: bytes) -> str:
    """Return the hash that identifies a picture everywhere: 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def home() -> Path:
    """Return the folder of the registry and of the local certificate: $DETECTOR_HOME, else ~/.detector."""
    return Path(os.environ.get("DETECTOR_HOME") or Path.home() / ".detector")
