"""How many pictures get scored: streamed in order, a batch at a time.

Decoding runs in a few threads while the network works; whole pictures live only inside those threads, and what waits
is cropped and resized already. An unreadable picture becomes a row that says why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from detector.errors import ImageError
from detector.files import sha256
from detector.pictures.faces import face_square, locate_faces, prepare, too_small
from detector.pictures.images import decode, read
from detector.scoring.targets import Target
from detector.types import Detector, Image, Opinion

BATCH = 32
THREADS = 2


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
        data = read(target.path) if target.data is None else target.data
        digest = sha256(data)
        image = decode(data)
        height, width = image.shape[:2]
        if locates and crop is None:
            boxes = locate_faces(image)
            if not boxes:
                verdict, reason = Opinion.NOT_APPLICABLE.value, "no face found"
            else:
                crop, reason = face_square(boxes[0], image.shape), too_small(boxes[0])
                verdict = Opinion.INCONCLUSIVE.value if reason else ""
        row = Row(target.path, digest, width, height, verdict=verdict, reason=reason)
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
