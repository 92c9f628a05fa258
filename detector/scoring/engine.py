"""How many pictures get scored: streamed in order, a batch at a time, every face of each.

Decoding runs in a few threads while the network works; whole pictures live only inside those threads, large ones one
at a time, and what waits is cropped and resized already. An unreadable picture becomes a row that says why.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from threading import RLock

import numpy as np
from PIL import Image as Pillow

from detector.errors import ImageError
from detector.files import from_text, sha256
from detector.pictures.caps import PLAIN_BYTES, is_plain
from detector.pictures.faces import MOST_FACES, Face, centre_square, find_faces, prepare
from detector.pictures.images import convert_picture, decode_picture
from detector.scoring.targets import Target
from detector.types import Decoded, Detector, Image, Locating, Opinion, Transform, rank_suspicion

BATCH = 32
THREADS = 2
_TURN = RLock()  # held by the one large or unusual picture that is in memory


@dataclass(frozen=True)
class Row:
    """What is said of a picture: one line of every scores table, the columns in this order."""

    path: str
    sha256: str = ""
    width: int | None = None  # pixels, upright
    height: int | None = None
    score: float | None = None  # calibrated log-odds at even prior; larger = more fake
    probability: float | None = None  # 1 / (1 + exp(-score))
    verdict: str = ""  # likely-real, likely-fake, inconclusive, not-applicable or error
    reason: str = ""
    faces: int | None = None  # located faces; None where none were looked for


@dataclass(frozen=True)
class FaceRow:
    """What is said of one face: one line of the table of faces, the columns in this order."""

    path: str
    sha256: str
    face: int  # 1 is the largest of its picture
    box: str  # left top right bottom, pixels
    score: float
    probability: float
    verdict: str
    reason: str = ""


@dataclass(frozen=True)
class FrameRow:
    """What is said of one face in one frame of a video: one line of the table of frames, the columns in this order."""

    path: str
    sha256: str
    time: float  # seconds from the first frame
    box: str  # as in FaceRow
    track: int  # the number of its face in the table of faces
    score: float
    reason: str
    track_score: float
    track_low: float | None  # 95 % interval of the track's score; None for fewer than five frames
    track_high: float | None
    verdict: str  # of the track


@dataclass(frozen=True)
class Judged:
    """What is said of a picture and of each of its faces, largest first; the most suspicious decides for the picture.

    faces: none where the picture cannot be read or no face was found in it; of a video, its tracks. frames: of a video.
    """

    row: Row
    faces: tuple[FaceRow, ...] = ()
    frames: tuple[FrameRow, ...] = ()


@dataclass(frozen=True)
class Opened:
    """A picture that awaits its scores: its row, its faces, and what the detector is given, RGB (size, size, 3) each.

    given: one picture a face; the middle of the picture if no face was found, nothing if it cannot be read.
    """

    row: Row
    faces: tuple[Face, ...] = ()
    given: tuple[Image, ...] = ()

    def decide(self, answers: Sequence[tuple[float, Opinion]], detector: Detector) -> Judged:
        """Return the rows of the picture and of its faces; answers: score and verdict of each picture in `given`."""
        return _decide(self, answers)


Opener = Callable[[Target, int, bool], Opened]  # as `open_target`


def untouched(face: Image, key: str) -> Image:
    """Return the face as it is."""
    return face


def score_pictures(
    targets: Iterable[Target],
    detector: Detector,
    *,
    transforms: Sequence[Transform] = (untouched,),
    batch: int = BATCH,
    threads: int = THREADS,
    opener: Opener | None = None,
) -> Iterator[list[Judged]]:
    """Yield, for each target in order, what is said of it under each transform of its faces.

    opener: opens a target in place of `open_target`.

    Raises ManifestError if a picture is not the one that its target names by hash.
    """
    opener = opener or open_target
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Opened]] = deque()
        coming = iter(targets)
        locates = isinstance(detector, Locating) and detector.locates
        while True:
            for target in islice(coming, 2 * batch - len(waiting)):
                opening = _pass_by if target.repeated else opener
                waiting.append(pool.submit(opening, target, detector.size, locates))
            if not waiting:
                return
            opened = [waiting.popleft().result() for _ in range(min(batch, len(waiting)))]
            answers = [judge_faces(opened, detector, transform, batch) for transform in transforms]
            yield from map(list, zip(*answers, strict=True))


def _pass_by(target: Target, size: int, locates: bool) -> Opened:
    """Return an empty answer, in place of which `repeats` puts the one of the first picture of these bytes."""
    return Opened(Row(target.path))


def open_target(target: Target, size: int, locates: bool) -> Opened:
    """Return a picture with its faces cut out: the target's crop, else all that are located, else its middle."""
    digest = target.sha256
    try:
        with ExitStack() as turn:
            if target.pixels is not None:
                turn.enter_context(_TURN)  # pictures of Pillow are not for several threads
                return _cut_faces(target, _convert(target.pixels), size, locates)
            if target.data is None and _is_large(target):
                turn.enter_context(_TURN)
            data = target.read()
            if not is_plain(data):
                turn.enter_context(_TURN)
            digest = sha256(data)
            target.check(digest)
            return _cut_faces(replace(target, sha256=digest), decode_picture(data), size, locates)
    except ImageError as error:
        return Opened(Row(target.path, digest, verdict="error", reason=f"{error.reason}: {error}"))


def _convert(pixels: Pillow.Image | Image) -> Decoded:
    """Return a picture that is in memory; ImageError if it cannot be judged."""
    if not isinstance(pixels, Pillow.Image):
        pixels = Pillow.fromarray(pixels)
    return convert_picture(pixels)


def _is_large(target: Target) -> bool:
    try:
        size = os.path.getsize(from_text(target.path)) if target.span is None else target.span.size
        return size > PLAIN_BYTES
    except (OSError, ValueError):  # `read` says why
        return False


def _cut_faces(target: Target, decoded: Decoded, size: int, locates: bool) -> Opened:
    """Return a decoded picture with its faces cut out; the boxes are in pixels of the file, however it was decoded."""
    image = decoded.image
    row = Row(target.path, target.sha256, decoded.width, decoded.height, reason=decoded.remark)
    if target.crop is None and locates:
        faces = find_faces(image)
        row = replace(row, faces=len(faces))
        if not faces:
            reason = "; ".join(filter(None, ("no face found", row.reason)))
            row = replace(row, verdict=Opinion.NOT_APPLICABLE.value, reason=reason)
            return Opened(row, (), (prepare(image, size),))
    else:
        box = centre_square(image) if target.crop is None else decoded.shrink(target.crop)
        faces = [Face(box, box)]
    faces = faces[:MOST_FACES]
    given = tuple(prepare(image, size, face.crop, face.turns) for face in faces)
    shown = tuple(face.in_file(decoded) for face in faces)
    return Opened(row, shown if target.crop is None else (Face(target.crop, target.crop),), given)


def judge_faces(opened: Sequence[Opened], detector: Detector, transform: Transform, batch: int) -> list[Judged]:
    """Return what is said of pictures once their faces are transformed; `batch` faces are scored at a time."""
    given = ((image, picture.row.sha256) for picture in opened for image in picture.given)
    scores: list[float] = []
    opinions: list[Opinion] = []
    while faces := [transform(image, key) for image, key in islice(given, batch)]:
        found = detector.score(np.stack(faces))
        scores += found.tolist()
        opinions += detector.judge(found)
    answers = iter(zip(scores, opinions, strict=True))
    return [picture.decide(list(islice(answers, len(picture.given))), detector) for picture in opened]


def _decide(picture: Opened, answers: Sequence[tuple[float, Opinion]]) -> Judged:
    """Return the rows of a picture and of its faces; answers: score and verdict of what the detector was given."""
    row = picture.row
    if not picture.faces:
        for score, _ in answers:  # a picture without a face: the score of its middle, although it is not judged
            row = replace(row, score=score, probability=to_probability(score))
        return Judged(row)
    faces = []
    for number, (face, (score, opinion)) in enumerate(zip(picture.faces, answers, strict=True), 1):
        verdict = Opinion.INCONCLUSIVE if face.reason else opinion
        box = " ".join(map(str, face.box))
        faces.append(
            FaceRow(row.path, row.sha256, number, box, score, to_probability(score), verdict.value, face.reason)
        )
    first = max(faces, key=lambda face: rank_suspicion(face.verdict, face.score, face.reason))
    reason = "; ".join(filter(None, (_name_face(first, row.faces or 1), first.reason, row.reason)))
    row = replace(row, score=first.score, probability=first.probability, verdict=first.verdict, reason=reason)
    return Judged(row, tuple(faces))


def to_probability(score: float) -> float:
    """Return the probability of a score at even prior odds."""
    return float(1 / (1 + np.exp(-score)))


def _name_face(face: FaceRow, count: int) -> str:
    """Return which face of several decided for the picture; empty if there is one alone."""
    if count == 1:
        return ""
    rest = f"; only the {MOST_FACES} largest were judged" if count > MOST_FACES else ""
    return f"face {face.face} of {count}, at {face.box}{rest}"
