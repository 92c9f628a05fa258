"""Videos: which files are one, and frames of them that lie evenly in time, decoded in the process with limits.

The extra `video` brings PyAV, which only that process imports (`frames`). Only regular files are read; the format of
the container is told by their first bytes, never by their names.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from detector.errors import DamagedImage, ImageTooLarge, UnsupportedFormat
from detector.files import from_text
from detector.pictures import sandbox
from detector.pictures.containers import sniff
from detector.types import Image

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
EXTRA = "install the extra `video`: pip install 'face-forgery-detector[video]'"
HEAD = 64  # bytes that tell a container
MAX_BYTES = 8 * 2**30
MAX_FRAMES = 64  # that are sampled of one video
SECONDS = 10  # of CPU time a video may take, and as many for each frame as follows
SECONDS_PER_FRAME = 6
_QUICKTIME = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


@dataclass(frozen=True)
class Frame:
    """One frame of a video, upright. time: seconds from the first frame. duration: of the video."""

    time: float
    image: Image
    duration: float


def can_decode() -> bool:
    """Return whether the extra `video` is installed."""
    return find_spec("av") is not None


def sniff_video(head: bytes) -> str:
    """Return the container that the first bytes declare, as FFmpeg names it: mov, matroska, avi; "" if it is none."""
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return "mov" if head[4:8] in _QUICKTIME and not sniff(head) else ""


def find_container(path: str) -> str:
    """Return the container of a regular file, as `sniff_video`; "" of any other and of what cannot be opened.

    path: as it is, or as `files.as_text` writes it.
    """
    try:
        name = from_text(path)
        if not stat.S_ISREG(os.stat(name).st_mode):
            return ""
        with open(name, "rb") as file:
            return sniff_video(file.read(HEAD))
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return ""


def digest_video(path: str) -> tuple[str, list[int]]:
    """Return the SHA-256 of a file, which is read piece by piece, and its stamp: size, time of change, number.

    Raises ImageTooLarge above MAX_BYTES, DamagedImage if the file cannot be read or changes meanwhile.
    """
    try:
        with open(from_text(path), "rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size > MAX_BYTES:
                raise ImageTooLarge(f"{before.st_size:,} bytes; the cap for a video is {MAX_BYTES:,}")
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise DamagedImage(f"cannot be read: {error.strerror or error}") from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DamagedImage("the file changed while it was read")
    return digest, [after.st_size, after.st_mtime_ns, after.st_ino]


def read_frames(path: str, stamp: list[int], count: int) -> Iterator[Frame]:
    """Yield `count` frames of a video that lie evenly in time; fewer where it has fewer, or where decoding costs much.

    stamp: of the file that was hashed, as `digest_video` returns it.

    Raises UnsupportedFormat (without the extra, too), ImageTooLarge, DamagedImage, and TooCostly if a limit stops it.
    """
    if not can_decode():
        raise UnsupportedFormat(f"it is a video; {EXTRA}")
    name = os.path.abspath(from_text(path))
    items = sandbox.stream(
        "detector.pictures.frames:sample", b"", seconds=SECONDS + SECONDS_PER_FRAME * count,
        path=name, stamp=stamp, kind=find_container(path), count=count,
    )  # fmt: skip
    duration = next(items)["duration"]
    for head in items:
        rows = np.frombuffer(next(items), np.uint8).reshape(head["height"], head["width"], 3)
        yield Frame(head["time"], np.ascontiguousarray(np.rot90(rows, head["turns"])), duration)
