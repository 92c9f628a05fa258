"""Score a video: locate faces in sampled frames, link them into tracks, and score each track with an interval.

Frames are sampled at even distances in time. Faces of neighbouring frames that overlap, or else are nearest to each
other, belong to one track. Faces are not recognised: after a cut to another person at the same place, the track
continues. The score of a track is the mean log-odds of its frames, so that no single frame decides. The most suspicious
track decides for the video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from detector.errors import ImageError
from detector.pictures.faces import Box, Face, centre_square, find_faces, measure_overlap, prepare
from detector.pictures.video import digest_video, find_container, read_frames
from detector.scoring import engine
from detector.scoring.engine import FaceRow, FrameRow, Judged, Opened, Opener, Row, find_deciding, to_probability
from detector.scoring.targets import Target
from detector.statistics.autocorrelation import mean_interval
from detector.types import Detector, Image, Opinion

FRAMES = 16  # default number of frames sampled from a video
MOST_CROPS = 256  # largest number of faces judged in one video; each frame has an equal share, for its largest faces
MAX_GAP = 2  # number of consecutive frames in which a track may have no face
REACH = 1.0  # largest distance between the centres of two boxes of one face without overlap, in mean sides
MAX_RATIO = 2.0  # largest ratio of the sides of two boxes of one face


@dataclass(frozen=True)
class OpenedVideo(Opened):
    """A video that waits for its scores: the faces that were found in all its frames.

    times: time of the frame of each face, seconds. tracks: number of the track of each face, from 1. sampled: number of
    frames that were searched.
    """

    times: tuple[float, ...] = ()
    tracks: tuple[int, ...] = ()
    sampled: int = 0

    def decide(self, answers: Sequence[tuple[float, Opinion]], detector: Detector) -> Judged:
        """Return the row of the video, a row for each track and one for each face of a frame."""
        if not self.faces:
            return Judged(self.row)
        rows, frames, texts = [], [], []
        for number in range(1, max(self.tracks) + 1):
            track, track_frames, text = self._judge_track(number, answers, detector)
            rows.append(track)
            frames += track_frames
            texts.append(text)
        first = find_deciding(rows)
        which = f"track {first.face} of {len(rows)}" if len(rows) > 1 else ""
        reason = "; ".join(filter(None, (which, first.reason or texts[first.face - 1], self.row.reason)))
        row = replace(self.row, score=first.score, probability=first.probability, verdict=first.verdict, reason=reason,
                      faces=None if self.row.faces is None else len(rows))  # fmt: skip
        return Judged(row, tuple(rows), tuple(sorted(frames, key=lambda frame: (frame.time, frame.track))))

    def _judge_track(
        self, number: int, answers: Sequence[tuple[float, Opinion]], detector: Detector
    ) -> tuple[FaceRow, list[FrameRow], str]:
        """Return the row of a track, the rows of its faces, and a text: frames, interval, the most suspicious frame."""
        members = [i for i, track in enumerate(self.tracks) if track == number]
        judged = [i for i in members if not self.faces[i].reason] or members
        scores = [answers[i][0] for i in judged]
        score = float(np.mean(scores))
        low, high = mean_interval(scores) or (None, None)
        worst = max(judged, key=lambda i: answers[i][0])
        reason = self.faces[worst].reason
        verdict = Opinion.INCONCLUSIVE if reason else detector.judge(np.array([score]))[0]
        path, digest = self.row.path, self.row.sha256
        row = FaceRow(path, digest, number, _write_box(self.faces[worst].box), score, to_probability(score),
                      verdict.value, reason)  # fmt: skip
        frames = [
            FrameRow(path, digest, round(self.times[i], 3), _write_box(self.faces[i].box), number, answers[i][0],
                     self.faces[i].reason, score, low, high, verdict.value)
            for i in members
        ]  # fmt: skip
        interval = "too few for an interval" if low is None else f"95 % interval {low:+.2f} to {high:+.2f}"
        return row, frames, (f"{len(scores)} of {self.sampled} frames, {interval}; most suspicious at "
                             f"{self.times[worst]:.1f} s, at {row.box}")  # fmt: skip


def is_video(target: Target) -> bool:
    """Return whether a target is a video file; a file for which a manifest gives a crop is treated as a picture."""
    no_file = target.data is not None or target.pixels is not None or target.span is not None
    return not no_file and target.crop is None and bool(find_container(target.path))


def open_any(target: Target, size: int, locates: bool, *, frames: int = FRAMES) -> Opened:
    """Return a video with the faces of its frames cut out, or any other target as `engine.open_target` does."""
    if not is_video(target):
        return engine.open_target(target, size, locates)
    digest = target.sha256
    try:
        digest, stamp = digest_video(target.path)
        target.check(digest)
        sampling = _Sampling(size, locates, max(MOST_CROPS // frames, 1))
        for frame in read_frames(target.path, stamp, frames):
            sampling.add(frame.time, frame.image)
    except ImageError as error:
        return Opened(Row(target.path, digest, verdict="error", reason=f"{error.reason}: {error}"))
    return sampling.finish(Row(target.path, digest), frames)


def opening(frames: int | None) -> Opener:
    """Return a function that opens pictures, and samples that number of frames of a video; None means FRAMES."""
    return partial(open_any, frames=frames or FRAMES)


class _Sampling:
    """Collects the faces in the frames of one video."""

    def __init__(self, size: int, locates: bool, most: int) -> None:
        self.size, self.locates, self.most = size, locates, most
        self.shape: tuple[int, ...] = (0, 0)
        self.sampled, self.cut_off = 0, False
        self.times: list[float] = []
        self.boxes: list[list[Box]] = []
        self.faces: list[Face] = []
        self.crops: list[Image] = []

    def add(self, time: float, image: Image) -> None:
        """Cut the faces out of the next frame and keep them."""
        middle = centre_square(image)
        faces = find_faces(image) if self.locates else [Face(middle, middle)]
        self.cut_off |= len(faces) > self.most
        faces = faces[: self.most]
        self.shape, self.sampled = self.shape if self.sampled else image.shape, self.sampled + 1
        self.boxes.append([face.box for face in faces])
        for face in faces:
            self.times.append(time)
            self.faces.append(face)
            self.crops.append(prepare(image, self.size, face.crop, face.turns))

    def finish(self, row: Row, wanted: int) -> Opened:
        """Return the video with its tracks."""
        remarks = [f"only {self.sampled} of {wanted} frames could be sampled"] if self.sampled < wanted else []
        remarks += [f"only the {self.most} largest faces of a frame were judged"] if self.cut_off else []
        row = replace(row, width=self.shape[1], height=self.shape[0], faces=0 if self.locates else None)
        if not self.faces:
            reason = "; ".join([f"no face found in {self.sampled} frames", *remarks])
            return Opened(replace(row, verdict=Opinion.NOT_APPLICABLE.value, reason=reason))
        tracks = tuple(link_boxes(self.boxes))
        return OpenedVideo(replace(row, reason="; ".join(remarks)), tuple(self.faces), tuple(self.crops),
                           tuple(self.times), tracks, self.sampled)  # fmt: skip


def link_boxes(frames: Sequence[Sequence[Box]]) -> list[int]:
    """Return the number of the track of every box, frame by frame; track 1 has most frames, and the earlier one of two.

    A box joins the track whose last box it overlaps most, or else the track whose last box has the nearest centre
    within REACH. Each track takes one box per frame and may miss MAX_GAP frames. Every other box begins a track.

    Source: after Bochinski, Eiselein and Sikora 2017, doi:10.1109/AVSS.2017.8078516, with the nearest centre added for
    frames that lie far apart.
    """
    last: dict[int, tuple[int, Box]] = {}  # track -> number of its last frame, and its box there
    found: list[int] = []
    for now, boxes in enumerate(frames):
        pairs = []
        for number, (before, old) in last.items():
            if now - before <= MAX_GAP + 1:
                pairs += [(*rank, number, i) for i, box in enumerate(boxes) if (rank := _rank_link(old, box))]
        linked: dict[int, int] = {}  # number of a box in this frame -> its track
        for _, _, number, i in sorted(pairs):
            if number not in linked.values() and i not in linked:
                linked[i] = number
        for i, box in enumerate(boxes):
            number = linked.get(i, len(last) + 1)
            last[number] = now, box
            found.append(number)
    sizes = {number: found.count(number) for number in last}
    names = {number: i for i, number in enumerate(sorted(last, key=lambda n: (-sizes[n], n)), 1)}
    return [names[number] for number in found]


def _rank_link(old: Box, new: Box) -> tuple[float, float] | None:
    """Return a key that is smallest for the best link of two boxes; None if they cannot be the same face."""
    sides = [max(box[2] - box[0], box[3] - box[1], 1) for box in (old, new)]
    if max(sides) > MAX_RATIO * min(sides):
        return None
    overlap = measure_overlap(old, new)
    apart = np.hypot(old[0] + old[2] - new[0] - new[2], old[1] + old[3] - new[1] - new[3]) / sum(sides)
    return (-overlap, float(apart)) if overlap > 0 or apart <= REACH else None


def _write_box(box: Box) -> str:
    return " ".join(map(str, box))
