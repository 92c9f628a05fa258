"""Judge and examine many pictures with a detector that is loaded once; no file is written.

A judgement takes about as long as a score and decides by the same rules; an examination makes the record of a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from detector.detectors import find_detector, load_detector
from detector.errors import ImageError, ImageTooLarge, ProcessKilled, UnsupportedFormat
from detector.evidence import validation
from detector.evidence.folders import SIDE
from detector.evidence.record import read_declaration
from detector.files import sha256
from detector.pictures.fingerprints import perceptual_hash
from detector.pictures.images import decode_picture, encode, is_blank, read
from detector.pictures.video import HEAD, sniff_video
from detector.scoring.checkpoint import digest_checkpoint, read_card
from detector.scoring.engine import Judged, Opened, Row, cut_faces, find_deciding, score_pictures
from detector.scoring.targets import Target
from detector.scoring.video import OpenedVideo, is_video, open_any
from detector.tasks.catalogue import describe_environment
from detector.tasks.verifying import examine_exhibit
from detector.types import Decoded, Detector, Exhibit, Image, Opinion

SMALLEST = 16  # smallest side of a picture that gets a perceptual hash, pixels
HASHED = 256  # smaller side of the sample of pixels that is hashed: of a whole picture it takes five times the time


@dataclass(frozen=True)
class Judgement(Judged):
    """The rows of `score` for a picture, what its file declares, and what a list of pictures shows of it.

    declared: as `record.read_declaration`. phash: as `hash_picture`. thumbnail: JPEG of the deciding face, or of the
    middle of a picture without one. The last three are empty if the picture cannot be read; the first two of a video.
    """

    declared: str = ""
    phash: str = ""
    thumbnail: bytes = b""

    @property
    def opinion(self) -> str:
        """The verdict of the row, unless the file declares that it was generated; error if it cannot be read."""
        return Opinion.DECLARED.value if self.declared else self.row.verdict


@dataclass(frozen=True)
class Examiner:
    """A loaded detector with its model card, the versions of its components, and its validation results."""

    detector: Detector
    card: Mapping[str, Any]
    components: dict[str, str]
    backing: dict[str, Any]

    def judge(self, targets: Iterable[Target], *, max_bytes: int, max_pixels: int) -> Iterator[Judgement]:
        """Yield the judgement of each picture or video, in order; one over a cap has the verdict "error".

        Raises ProcessKilled if another program ended the process that decoded one of them.
        """
        opener = partial(_open, max_bytes=max_bytes, max_pixels=max_pixels)
        for (judged,) in score_pictures(targets, self.detector, opener=opener, threads=1):
            yield judged if isinstance(judged, Judgement) else Judgement(judged.row)

    def examine(self, data: bytes, name: str, *, max_pixels: int) -> tuple[dict[str, Any], Image]:
        """Return the sealed record of a picture, and its pixels, RGB (H, W, 3). name: name of the uploaded file.

        Raises ImageError if the bytes do not decode, are a video, or the picture has more than `max_pixels`.
        """
        if sniff_video(data[:HEAD]):
            raise UnsupportedFormat("reports are made of pictures only, and this is a video")
        decoded = _decode(data, max_pixels)
        exhibit = Exhibit(Path(name), data, sha256(data), decoded)
        record = examine_exhibit(
            exhibit, {}, detector=self.detector, card=self.card, known=(), trust=(),
            weights=self.components["weights"], backing=self.backing, components=self.components, case="",
            examiner="", command="detector serve",
        )  # fmt: skip
        return record, decoded.image


def load_examiner(folder: Path | str | None = None) -> Examiner:
    """Return an examiner with the detector in a folder of weights, on one thread; None takes the shipped one."""
    found, detector = load_detector(folder, threads=1)
    card = read_card(found, "detector")
    return Examiner(detector, card, describe_settings(folder), validation.read_backing(found, card))


def describe_settings(folder: Path | str | None = None) -> dict[str, str]:
    """Return what a record depends on besides the picture: versions, and the digest of the weights.

    The weights are not loaded for it.
    """
    return describe_environment() | {"weights": digest_checkpoint(find_detector(folder))}


def hash_picture(image: Image) -> str:
    """Return the perceptual hash (256 bits) of every n-th pixel of a picture; empty if it is small or blank.

    The hashes of such pictures are all alike. The others differ in some bits from those of whole pictures, and are
    compared with one another.
    """
    if min(image.shape[:2]) < SMALLEST:
        return ""
    step = max(1, min(image.shape[:2]) // HASHED)
    sample = image[::step].take(range(0, image.shape[1], step), axis=1)  # a quarter of the time of [::step, ::step]
    return "" if is_blank(sample[::4, ::4]) else perceptual_hash(sample, 16)


@dataclass(frozen=True)
class _Upload(Opened):
    """A picture that waits for its scores, with what its judgement has besides them."""

    declared: str = ""
    phash: str = ""

    def decide(self, answers: Sequence[tuple[float, Opinion]], detector: Detector) -> Judgement:
        """Return the judgement."""
        judged = super().decide(answers, detector)
        thumbnail = _reduce(self.crops[find_deciding(judged.faces).face - 1 if judged.faces else 0])
        return Judgement(judged.row, judged.faces, (), self.declared, self.phash, thumbnail)


@dataclass(frozen=True)
class _Clip(OpenedVideo):
    """A video that waits for its scores."""

    def decide(self, answers: Sequence[tuple[float, Opinion]], detector: Detector) -> Judgement:
        """Return the judgement, with the most suspicious frame of the track that decides."""
        judged = super().decide(answers, detector)
        first = find_deciding(judged.faces)
        frames = [i for i, track in enumerate(self.tracks) if track == first.face]
        worst = max(frames, key=lambda i: answers[i][0])
        return Judgement(judged.row, judged.faces, thumbnail=_reduce(self.crops[worst]))


def _open(target: Target, size: int, locates: bool, *, max_bytes: int, max_pixels: int) -> Opened:
    """Return a picture with its faces cut out, or a video with those of its frames, as `score` opens them."""
    if is_video(target):
        video = open_any(target, size, locates)
        return _Clip(**_fields(video)) if isinstance(video, OpenedVideo) else video
    try:
        data = read(target.path, max_bytes=max_bytes)
        decoded = _decode(data, max_pixels)
        opened = cut_faces(replace(target, sha256=sha256(data)), decoded, size, locates)
    except ProcessKilled:  # the picture need not be the reason
        raise
    except ImageError as error:
        return Opened(Row(target.path, target.sha256, verdict="error", reason=f"{error.reason}: {error}"))
    return _Upload(**_fields(opened), declared=read_declaration(data), phash=hash_picture(decoded.image))


def _fields(opened: Opened) -> dict[str, Any]:
    return {field.name: getattr(opened, field.name) for field in fields(opened)}


def _reduce(crop: Image) -> bytes:
    """Return a face as a thumbnail, averaged over whole blocks first, which takes half the time."""
    small = Pillow.fromarray(crop).resize((SIDE, SIDE), Pillow.Resampling.BOX, reducing_gap=1.0)
    return encode(np.asarray(small), "JPEG", quality=80)


def _decode(data: bytes, max_pixels: int) -> Decoded:
    decoded = decode_picture(data)
    if decoded.width * decoded.height > max_pixels:
        raise ImageTooLarge(f"{decoded.width} x {decoded.height} pixels; the cap is {max_pixels / 1e6:g} megapixels")
    return decoded
