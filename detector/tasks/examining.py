"""Examine many pictures with a detector that is loaded once; no file is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.detectors import find_detector, load_detector
from detector.errors import ImageTooLarge
from detector.evidence import validation
from detector.files import sha256
from detector.pictures.images import decode_picture
from detector.scoring.checkpoint import digest_checkpoint, read_card
from detector.tasks.catalogue import describe_environment
from detector.tasks.verifying import examine_exhibit
from detector.types import Detector, Exhibit, Image


@dataclass(frozen=True)
class Examiner:
    """A loaded detector with its model card, the versions of its components, and its validation results."""

    detector: Detector
    card: Mapping[str, Any]
    components: dict[str, str]
    backing: dict[str, Any]

    def examine(self, data: bytes, name: str, *, max_pixels: int) -> tuple[dict[str, Any], Image]:
        """Return the sealed record of a picture, and its pixels, RGB (H, W, 3). name: name of the uploaded file.

        Raises ImageError if the bytes do not decode or the picture has more than `max_pixels`.
        """
        decoded = decode_picture(data)
        if decoded.width * decoded.height > max_pixels:
            raise ImageTooLarge(
                f"{decoded.width} x {decoded.height} pixels; the cap is {max_pixels / 1e6:g} megapixels"
            )
        exhibit = Exhibit(Path(name), data, sha256(data), decoded)
        record = examine_exhibit(
            exhibit, {}, detector=self.detector, card=self.card, known=None, trust=None,
            weights=self.components["weights"], backing=self.backing, components=self.components, case="",
            examiner="", command="detector serve",
        )  # fmt: skip
        return record, decoded.image


def load_examiner(folder: Path | str | None = None) -> Examiner:
    """Return an examiner with the detector in a folder of weights; None takes the shipped one."""
    found, detector = load_detector(folder)
    card = read_card(found, "detector")
    return Examiner(detector, card, describe_settings(folder), validation.read_backing(found, card))


def describe_settings(folder: Path | str | None = None) -> dict[str, str]:
    """Return what a record depends on besides the picture: versions, and the digest of the weights.

    The weights are not loaded for it.
    """
    return describe_environment() | {"weights": digest_checkpoint(find_detector(folder))}
