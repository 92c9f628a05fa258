"""How many pictures get scored: streamed in order, a batch at a time.

Decoding runs in a few threads while the network works; whole pictures live only inside those threads, large ones one
at a time, and what waits is cropped and resized already. An unreadable picture becomes a row that says why.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from threading import RLock

import numpy as np

from detector.errors import ImageError
from detector.files import sha256
from detector.pictures.caps import PLAIN_BYTES, is_plain
from detector.pictures.faces import face_square, locate_faces, prepare, too_small
from detector.pictures.images import decode_picture, read
from detector.scoring.targets import Target
from detector.types import Detector, Image, Opinion

BATCH = 32
THREADS = 2
_TURN = RLock()  # held by the one large or unusual picture that is in memory


@dataclass(frozen=True)
class Row:
    """One line of the answer; the columns of every scores table, in this order."""

    path: str
    sha256: str = ""
    width: int | None = None  # pixels, upright
    height: int | None = None
    score: float | None = None  # calibrated log-odds at even prior; larger = more fake
    probability: float | None = None  # 1 / (1 + exp(-score))
    verdict: str = ""  # likely-real, likely-fake, inconclusive, not-applicable or error
    reason: str = ""


def score_pictures(
    targets: Iterable[Target], detector: Detector, *, batch: int = BATCH, threads: int = THREADS
) -> Iterator[Row]:
    """Yield one row a target, in order."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[tuple[Row, Image | None]]] = deque()
        coming, locates = iter(targets), getattr(detector, "locates", False)
        while True:
            for target in islice(coming, 2 * batch - len(waiting)):
                waiting.append(pool.submit(open_target, target, detector.size, locates))
            if not waiting:
                return
            yield from judge_faces([waiting.popleft().result() for _ in range(min(batch, len(waiting)))], detector)


def open_target(target: Target, size: int, locates: bool) -> tuple[Row, Image | None]:
    """Return the picture's row, with a verdict already if the detector has no say in it, and its face."""
    digest, verdict, reason, crop = "", "", "", target.crop
    try:
        with ExitStack() as turn:
            if os.path.isfile(target.path) and os.path.getsize(target.path) > PLAIN_BYTES:
                turn.enter_context(_TURN)
            data = read(target.path)
            if not is_plain(data):
                turn.enter_context(_TURN)
            digest = sha256(data)
            decoded = decode_picture(data)
            image = decoded.image
            if crop is not None:
                crop = decoded.shrink(crop)
            elif locates:
                boxes = locate_faces(image)
                if not boxes:
                    verdict, reason = Opinion.NOT_APPLICABLE.value, "no face found"
                else:
                    crop, reason = face_square(boxes[0], image.shape), too_small(boxes[0])
                    verdict = Opinion.INCONCLUSIVE.value if reason else ""
            reason = "; ".join(filter(None, (reason, decoded.remark)))
            row = Row(target.path, digest, decoded.width, decoded.height, verdict=verdict, reason=reason)
            return row, prepare(image, size, crop)
    except ImageError as error:
        return Row(target.path, digest, verdict="error", reason=f"{error.reason}: {error}"), None


def judge_faces(opened: list[tuple[Row, Image | None]], detector: Detector) -> Iterator[Row]:
    """Yield the rows of `open_target` with score, probability and verdict, all faces in one batch."""
    faces = [face for _, face in opened if face is not None]
    scores = detector.score(np.stack(faces)) if faces else np.zeros(0)
    answers = iter(zip(scores.tolist(), detector.judge(scores), strict=True))
    for row, face in opened:
        if face is None:
            yield row
            continue
        score, opinion = next(answers)
        probability = float(1 / (1 + np.exp(-score)))
        yield replace(row, score=score, probability=probability, verdict=row.verdict or opinion.value)
