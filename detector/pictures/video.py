"""Recognise videos and read frames at even distances in time; decoding happens in a process with limits (`frames`).

The extra `video` brings PyAV, which only that process imports. Only regular files are read. The first bytes of a file
decide its container format, and its name does not.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from detector.errors import DamagedImage, ImageTooLarge, UnreadableFile, UnsupportedFormat
from detector.files import from_text
from detector.pictures import sandbox
from detector.pictures.containers import sniff
from detector.types import Image

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
EXTRA = "install the extra `video`: pip install 'face-forgery-detector[video]'"
HEAD = 64  # number of first bytes from which the container format is recognised
MAX_BYTES = 8 * 2**30  # largest video file
MAX_FRAMES = 64  # largest number of frames that are sampled from one video
SECONDS = 10  # CPU seconds that a video may take, in addition to those of its frames
SECONDS_PER_FRAME = 6  # CPU seconds that each sampled frame may take
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
    """Return the container format of the first bytes, as FFmpeg names it: mov, matroska, avi; "" if it is no video."""
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return "mov" if head[4:8] in _QUICKTIME and not sniff(head) else ""


def find_container(path: str) -> str:
    """Return the container format of a regular file, as `sniff_video` does; "" for files that cannot be opened.

    path: the name itself, or the name as `files.as_text` writes it.
    """
    try:
        name = from_text(path)
        if not stat.S_ISREG(os.stat(name).st_mode):
            return ""
        with open(name, "rb") as file:
            return sniff_video(file.read(HEAD))
    except (OSError, ValueError):  # a NUL in the name raises ValueError
        return ""


def digest_video(path: str) -> tuple[str, list[int]]:
    """Return the SHA-256 of a file, read piece by piece, and its stamp: size, modification time and inode.

    Raises ImageTooLarge above MAX_BYTES, UnreadableFile if it cannot be opened, DamagedImage if it changes meanwhile.
    """
    try:
        with open(from_text(path), "rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size > MAX_BYTES:
                raise ImageTooLarge(f"{before.st_size:,} bytes; the cap for a video is {MAX_BYTES:,}")
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise UnreadableFile(error.strerror or str(error)) from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DamagedImage("the file changed while it was read")
    return digest, [after.st_size, after.st_mtime_ns, after.st_ino]


def read_frames(path: str, stamp: list[int], count: int) -> Iterator[Frame]:
    """Yield `count` frames at even distances in time; fewer if the video has fewer or decoding them costs too much.

    stamp: of the file that was hashed, from `digest_video`.

    Raises UnsupportedFormat (also without the extra), ImageTooLarge, DamagedImage, and TooCostly if a limit stops it.
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
