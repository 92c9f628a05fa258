"""Score equal files once: a picture with the bytes of an earlier one, under any name, gets the same results.

Pictures are hashed before an engine gets them. The results are kept in a temporary database on the disk, so that memory
does not grow with the number of pictures.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from detector.errors import ImageError
from detector.files import from_text, sha256
from detector.pictures.images import MAX_BYTES
from detector.pictures.video import digest_video
from detector.scoring.engine import FaceRow, FrameRow, Judged, Row
from detector.scoring.targets import Target
from detector.scoring.video import is_video

THREADS = 2  # number of threads that read and hash files
AHEAD = 64  # number of pictures that are hashed ahead of the engine

Score = Callable[[Iterable[Target]], Iterator[list[Judged]]]  # an engine with all its arguments but the targets


class Answers:
    """The results of pictures, by a key of their hash and the crop that a manifest gives (`make_key`)."""

    def __init__(self) -> None:
        self._base = sqlite3.connect("")  # an unnamed temporary file
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID")

    def claim(self, key: str) -> bool:
        """Record a key, and return whether it is new."""
        return self._base.execute("INSERT OR IGNORE INTO answers VALUES (?, '')", (key,)).rowcount == 1

    def keep(self, key: str, judged: list[Judged]) -> None:
        """Store the results of a key, one for each transform."""
        text = json.dumps([asdict(answer) for answer in judged])
        self._base.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, text))

    def recall(self, key: str, path: str) -> list[Judged]:
        """Return the stored results of a key for the picture with this path."""
        (text,) = self._base.execute("SELECT text FROM answers WHERE key = ?", (key,)).fetchone()
        return [read_judged(parts["row"], parts["faces"], parts["frames"], path) for parts in json.loads(text)]


def read_judged(row: dict[str, Any], faces: list[dict[str, Any]], frames: list[dict[str, Any]], path: str) -> Judged:
    """Return the result whose rows were stored as dicts, for the picture with this path."""
    return Judged(
        Row(**row | {"path": path}),
        tuple(FaceRow(**face | {"path": path}) for face in faces),
        tuple(FrameRow(**frame | {"path": path}) for frame in frames),
    )


def score_once(targets: Iterable[Target], score: Score, answers: Answers) -> Iterator[list[Judged]]:
    """Yield the results of `score` for each target, in order; targets with equal bytes and crop share them."""
    pending: deque[tuple[Target, str, str]] = deque()

    def mark() -> Iterator[Target]:
        for target, digest in _hash_ahead(targets):
            key = make_key(digest, target)
            marked = replace(target, repeated=bool(key) and not answers.claim(key))
            pending.append((marked, digest, key))
            yield marked

    for judged in score(mark()):
        target, digest, key = pending.popleft()
        if target.repeated:
            target.check(digest)
            judged = answers.recall(key, target.path)
        elif key:
            answers.keep(key, judged)
        if key and judged[0].row.sha256 != digest:  # the file changed after it was hashed
            (judged,) = score([replace(target, repeated=False)])
        yield judged


def make_key(digest: str, target: Target) -> str:
    """Return the key under which the results of a picture are stored; empty if the picture has no hash."""
    return f"{digest} {target.crop or ''}" if digest else ""


def _hash_ahead(targets: Iterable[Target]) -> Iterator[tuple[Target, str]]:
    """Yield each target with the SHA-256 of its bytes, which is empty if they cannot be read."""
    remaining = iter(targets)
    waiting: deque[tuple[Target, Future[str]]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        while True:
            for target in islice(remaining, AHEAD - len(waiting)):
                waiting.append((target, pool.submit(_hash, target)))
            if not waiting:
                return
            target, digest = waiting.popleft()
            yield target, digest.result()


def _hash(target: Target) -> str:
    if target.pixels is not None:
        return ""
    try:
        if target.data is not None or target.span is not None:
            return sha256(target.read())
        status = os.stat(from_text(target.path))
        if not stat.S_ISREG(status.st_mode) or (status.st_size > MAX_BYTES and not is_video(target)):
            return ""
        return digest_video(target.path)[0]  # reads any file in pieces
    except (ImageError, OSError, ValueError):  # the engine reports the reason; ValueError: a NUL in the name
        return ""
