"""The words of the house as types: arrays, the label, protocols and frozen records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd  # takes longer to import than a picture to decode

Image = NDArray[np.uint8]  # RGB, (H, W, 3)
Images = NDArray[np.uint8]  # RGB, (N, H, W, 3)
Scores = NDArray[np.float64]  # log-odds fake:real, (N,); larger = more fake, 0 = undecided


class Label(IntEnum):
    """What a picture is; the fake is the positive class, everywhere."""

    REAL = 0
    FAKE = 1


class Generator(Protocol):
    """Makes fakes: it is a `Sampler`, an `Alterer`, or both, and a `Mixer` if it can mix styles."""

    name: str


@runtime_checkable
class Sampler(Protocol):
    """Draws faces from nothing."""

    def sample(self, n: int, *, seed: int) -> Images:
        """Return n pictures; the same seed gives the same bytes."""
        ...


@runtime_checkable
class Alterer(Protocol):
    """Makes fakes of photographs."""

    def alter(self, faces: Images, *, seed: int) -> Images:
        """Return each face changed; the same seed gives the same bytes."""
        ...


@runtime_checkable
class Mixer(Sampler, Protocol):
    """Draws the faces of some seeds in styles of the faces of others."""

    def mix(self, sources: Sequence[int], destinations: Sequence[int], *, layers: str = "coarse") -> Images:
        """Return pictures (sources, destinations, H, W, 3); `layers` come from the sources."""
        ...


@runtime_checkable
class Licensed(Protocol):
    """A generator whose weights come from others."""

    licence: str

    @staticmethod
    def notice() -> str:
        """Return where the weights come from and what they may be used for; MissingExtra if they are not there."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Scores faces that were cropped and resized to `size` pixels a side."""

    name: str
    size: int

    def score(self, faces: Images) -> Scores:
        """Return one finite log-odds a face, whatever the batch or its order."""
        ...

    def judge(self, scores: Scores) -> list[Opinion]:
        """Return the scores in words, by thresholds chosen on photographs (never a bare 0.5)."""
        ...


@runtime_checkable
class Locating(Protocol):
    """A detector that says whether the faces of a picture are to be cut out for it; others are given its middle."""

    @property
    def locates(self) -> bool:
        """Whether faces are located first; a picture without one is then not judged."""
        ...


@runtime_checkable
class Calibrated(Protocol):
    """A detector whose log-odds have likelihood ratios."""

    @property
    def calibration(self) -> Any:
        """A `statistics.calibration.Calibration`; None before training."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """A detector that can say which places of a face its score comes from."""

    @property
    def explains(self) -> bool:
        """Whether these weights can."""
        ...

    def explain(self, faces: Images) -> NDArray[np.float64]:
        """Return log-odds (N, h, w) of the places of each face (N, size, size, 3); their mean is its score."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """What `fit` makes can be kept as a folder and read back."""

    def fit(self, manifest: pd.DataFrame, *, seed: int, folder: Path) -> Self:
        """Learn from the manifest's splits, resuming what `folder` holds, and return self."""
        ...

    def save(self, folder: Path, **facts: Any) -> None:
        """Write weights and card."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return what `save` kept."""
        ...


class TrainableDetector(Detector, Trainable, Protocol):
    """A detector as the registry holds it."""


Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all
Perturbation = Callable[[Image, int, np.random.Generator], Image]  # severity 1..5; keeps the shape
Transform = Callable[[Image, str], Image]  # a cut-out face, SHA-256 of its picture; keeps the shape


def silent(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Decoded:
    """The pixels of one file and how they differ from what it holds.

    image: upright. width, height: of the upright picture in the file, larger than `image` if a large JPEG was decoded
    at half, a quarter or an eighth of its size. remark: what of the file was not looked at, empty for a single picture.
    converted: whether its colours were converted from the file's profile to sRGB.
    """

    image: Image
    width: int
    height: int
    remark: str = ""
    converted: bool = False

    @property
    def reduced(self) -> bool:
        """Whether the picture was decoded at less than its size."""
        return self.image.shape[:2] != (self.height, self.width)

    @property
    def divisor(self) -> int:
        """How many pixels of the file, along a side, make one of `image`: 1, 2, 4 or 8."""
        sides, whole = self.image.shape[:2], (self.height, self.width)
        return next((d for d in (2, 4, 8) if self.reduced and sides == tuple(-(-side // d) for side in whole)), 1)

    def shrink(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Return a box (left, top, right, bottom) in pixels of the file in pixels of `image`; squares stay squares."""
        d, (height, width) = self.divisor, self.image.shape[:2]
        left, top, right, bottom = box
        across, down = -(-(right - left) // d), -(-(bottom - top) // d)
        x, y = (2 * left + d) // (2 * d), (2 * top + d) // (2 * d)
        x = min(x, width - across) if right <= self.width else x
        y = min(y, height - down) if bottom <= self.height else y
        return x, y, x + across, y + down

    def enlarge(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Return a box (left, top, right, bottom) in pixels of `image` in pixels of the file; `shrink` undoes it."""
        d, (height, width) = self.divisor, self.image.shape[:2]
        left, top, right, bottom = box
        return (left * d, top * d, self.width if right == width else right * d,
                self.height if bottom == height else bottom * d)  # fmt: skip


@dataclass(frozen=True)
class Exhibit:
    """One questioned picture: its untouched bytes and, where they decode, its pixels.

    crop: the part in question, (left, top, right, bottom) in pixels, where a manifest named one.
    """

    path: Path
    bytes: bytes
    sha256: str
    decoded: Decoded | None
    crop: tuple[int, int, int, int] | None = None

    @property
    def image(self) -> Image | None:
        """The pixels, RGB (H, W, 3); None where the bytes do not decode."""
        return None if self.decoded is None else self.decoded.image


class Outcome(StrEnum):
    """Which way one finding points."""

    SUPPORTS_REAL = "supports-real"
    SUPPORTS_FAKE = "supports-fake"
    NEUTRAL = "neutral"
    NOT_APPLICABLE = "not-applicable"

    @property
    def words(self) -> str:
        """The outcome as a report says it: H1 made or altered by a generator, H2 a photograph."""
        return {"supports-fake": "points to H1", "supports-real": "points to H2"}.get(self, self.replace("-", " "))


@dataclass(frozen=True)
class Finding:
    """What one check saw: plain JSON, no conclusion."""

    check: str
    outcome: Outcome
    summary: str
    details: Mapping[str, Any] = field(default_factory=dict)


Check = Callable[[Exhibit], Finding]


class Opinion(StrEnum):
    """The words that a score may be given; DECLARED is for reports alone: the file itself says it was generated."""

    DECLARED = "declared-generated"
    LIKELY_REAL = "likely-real"
    LIKELY_FAKE = "likely-fake"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not-applicable"


SUSPICION = (Opinion.NOT_APPLICABLE, Opinion.LIKELY_REAL, Opinion.INCONCLUSIVE, Opinion.LIKELY_FAKE)


def rank_suspicion(opinion: str, score: float, reason: str) -> tuple[int, float]:
    """Return what the faces of one picture are ranked by; the first of those with the greatest rank decides for it.

    By verdict, then by score. A face that is not judged, for whatever `reason`, comes after all that are.
    """
    return (-1, 0.0) if reason else (SUSPICION.index(Opinion(opinion)), score)


@dataclass(frozen=True)
class Verdict:
    """A score in words, with the bounded likelihood ratio behind it."""

    opinion: Opinion
    log10_lr: float
    reasons: tuple[str, ...] = ()
