"""Score many pictures: streamed, in input order, in batches, every face of each picture.

A few threads decode while the network runs. Only these threads hold whole pictures, and only one of them a large
picture; pictures that wait for the network are already cropped and resized. A picture that cannot be read becomes a
row that says why.
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

BATCH = 32  # number of faces that the detector scores at a time
THREADS = 2  # number of threads that decode pictures
_TURN = RLock()  # held while a large or unusual picture is decoded, so that only one is in memory


@dataclass(frozen=True)
class Row:
    """The result of a picture: one row of every table of scores, with the columns in this order."""

    path: str
    sha256: str = ""
    width: int | None = None  # pixels, of the upright picture
    height: int | None = None
    score: float | None = None  # calibrated log-odds at equal prior odds; larger is more fake
    probability: float | None = None  # 1 / (1 + exp(-score))
    verdict: str = ""  # likely-real, likely-fake, inconclusive, not-applicable or error
    reason: str = ""
    faces: int | None = None  # number of located faces; None if no search was made


@dataclass(frozen=True)
class FaceRow:
    """The result of one face: one row of the table of faces, with the columns in this order."""

    path: str
    sha256: str
    face: int  # number of the face, 1 for the largest in the picture
    box: str  # left, top, right and bottom edge, pixels
    score: float
    probability: float
    verdict: str
    reason: str = ""


@dataclass(frozen=True)
class FrameRow:
    """The result of one face in one frame of a video: one row of the table of frames, columns in this order."""

    path: str
    sha256: str
    time: float  # seconds from the first frame
    box: str  # left, top, right and bottom edge, pixels
    track: int  # number of the track in the table of faces
    score: float
    reason: str
    track_score: float
    track_low: float | None  # 95 % interval of the track's score; None for fewer than five frames
    track_high: float | None
    verdict: str  # verdict of the track


@dataclass(frozen=True)
class Judged:
    """The results of a picture and of its faces, largest first; the most suspicious face decides for the picture.

    faces: empty if the picture cannot be read or has no face; for a video, its tracks. frames: only for a video.
    """

    row: Row
    faces: tuple[FaceRow, ...] = ()
    frames: tuple[FrameRow, ...] = ()


@dataclass(frozen=True)
class Opened:
    """A picture that waits for its scores: its row, its faces, and the crops to score, RGB (size, size, 3) each.

    crops: one crop per face; the centre square if no face was found, empty if the picture cannot be read.
    """

    row: Row
    faces: tuple[Face, ...] = ()
    crops: tuple[Image, ...] = ()

    def decide(self, answers: Sequence[tuple[float, Opinion]], detector: Detector) -> Judged:
        """Return the rows of the picture and of its faces; answers: score and verdict of each crop."""
        return _decide(self, answers)


Opener = Callable[[Target, int, bool], Opened]  # a function such as `open_target`


def untouched(face: Image, key: str) -> Image:
    """Return the face unchanged."""
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
    """Yield the results of each target in order: one for each transform of its faces.

    opener: function that is called instead of `open_target`.

    Raises ManifestError if a file does not have the hash that its target names.
    """
    opener = opener or open_target
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Opened]] = deque()
        remaining = iter(targets)
        locates = isinstance(detector, Locating) and detector.locates
        while True:
            for target in islice(remaining, 2 * batch - len(waiting)):
                opening = _skip if target.repeated else opener
                waiting.append(pool.submit(opening, target, detector.size, locates))
            if not waiting:
                return
            opened = [waiting.popleft().result() for _ in range(min(batch, len(waiting)))]
            answers = [judge_faces(opened, detector, transform, batch) for transform in transforms]
            yield from map(list, zip(*answers, strict=True))


def _skip(target: Target, size: int, locates: bool) -> Opened:
    """Return an empty result; `repeats` replaces it by that of the first picture with the same bytes."""
    return Opened(Row(target.path))


def open_target(target: Target, size: int, locates: bool) -> Opened:
    """Return a picture with its faces cut out: the crop of the target, or all located faces, or the centre square."""
    digest = target.sha256
    try:
        with ExitStack() as turn:
            if target.pixels is not None:
                turn.enter_context(_TURN)  # a Pillow picture must not be used by several threads at a time
                return cut_faces(target, _convert(target.pixels), size, locates)
            if target.data is None and _is_large(target):
                turn.enter_context(_TURN)
            data = target.read()
            if not is_plain(data):
                turn.enter_context(_TURN)
            digest = sha256(data)
            target.check(digest)
            return cut_faces(replace(target, sha256=digest), decode_picture(data), size, locates)
    except ImageError as error:
        return Opened(Row(target.path, digest, verdict="error", reason=f"{error.reason}: {error}"))


def _convert(pixels: Pillow.Image | Image) -> Decoded:
    """Return a picture in memory as `decode_picture` does; ImageError if it cannot be judged."""
    if not isinstance(pixels, Pillow.Image):
        pixels = Pillow.fromarray(pixels)
    return convert_picture(pixels)


def _is_large(target: Target) -> bool:
    try:
        size = os.path.getsize(from_text(target.path)) if target.span is None else target.span.size
        return size > PLAIN_BYTES
    except (OSError, ValueError):  # `read` raises an error that says why
        return False


def cut_faces(target: Target, decoded: Decoded, size: int, locates: bool) -> Opened:
    """Return a decoded picture with its faces cut out; boxes are in pixels of the file, also if it was reduced."""
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
    crops = tuple(prepare(image, size, face.crop, face.turns) for face in faces)
    shown = tuple(face.in_file(decoded) for face in faces)
    return Opened(row, shown if target.crop is None else (Face(target.crop, target.crop),), crops)


def judge_faces(opened: Sequence[Opened], detector: Detector, transform: Transform, batch: int) -> list[Judged]:
    """Return the results of pictures whose faces are transformed first; `batch` faces are scored at a time."""
    crops = ((image, picture.row.sha256) for picture in opened for image in picture.crops)
    scores: list[float] = []
    opinions: list[Opinion] = []
    while faces := [transform(image, key) for image, key in islice(crops, batch)]:
        found = detector.score(np.stack(faces))
        scores += found.tolist()
        opinions += detector.judge(found)
    answers = iter(zip(scores, opinions, strict=True))
    return [picture.decide(list(islice(answers, len(picture.crops))), detector) for picture in opened]


def _decide(picture: Opened, answers: Sequence[tuple[float, Opinion]]) -> Judged:
    """Return the rows of a picture and of its faces; answers: score and verdict of each crop."""
    row = picture.row
    if not picture.faces:
        for score, _ in answers:  # without a face, the row has the score of the centre square but no verdict on it
            row = replace(row, score=score, probability=to_probability(score))
        return Judged(row)
    faces = []
    for number, (face, (score, opinion)) in enumerate(zip(picture.faces, answers, strict=True), 1):
        verdict = Opinion.INCONCLUSIVE if face.reason else opinion
        box = " ".join(map(str, face.box))
        faces.append(
            FaceRow(row.path, row.sha256, number, box, score, to_probability(score), verdict.value, face.reason)
        )
    first = find_deciding(faces)
    reason = "; ".join(filter(None, (_name_face(first, row.faces or 1), first.reason, row.reason)))
    row = replace(row, score=first.score, probability=first.probability, verdict=first.verdict, reason=reason)
    return Judged(row, tuple(faces))


def find_deciding(rows: Iterable[FaceRow]) -> FaceRow:
    """Return the row of the most suspicious face or track, the one that decides for its picture or video."""
    return max(rows, key=lambda row: rank_suspicion(row.verdict, row.score, row.reason))


def to_probability(score: float) -> float:
    """Return the probability of a score at equal prior odds."""
    return float(1 / (1 + np.exp(-score)))


def _name_face(face: FaceRow, count: int) -> str:
    """Return which of several faces decided for the picture; empty if there is only one."""
    if count == 1:
        return ""
    rest = f"; only the {MOST_FACES} largest were judged" if count > MOST_FACES else ""
    return f"face {face.face} of {count}, at {face.box}{rest}"
