"""Types that all layers share: arrays, the label, protocols and frozen records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd  # imported for types only, because its import takes longer than decoding a picture

Image = NDArray[np.uint8]  # RGB, (H, W, 3)
Images = NDArray[np.uint8]  # RGB, (N, H, W, 3)
Code = NDArray[np.float32]  # styles of all layers of one face, (layers, w_dim)
Scores = NDArray[np.float64]  # log-odds of fake against real, (N,); larger is more fake, 0 is undecided


class Label(IntEnum):
    """The class of a picture; fake is the positive class everywhere."""

    REAL = 0
    FAKE = 1


class Generator(Protocol):
    """Makes fakes: it is a `Sampler`, an `Alterer`, or both, and a `Mixer` if it can mix styles."""

    name: str


@runtime_checkable
class Sampler(Protocol):
    """Draws new faces from random numbers."""

    def sample(self, n: int, *, seed: int) -> Images:
        """Return n pictures; the same seed gives the same bytes."""
        ...


@runtime_checkable
class Alterer(Protocol):
    """Makes fakes by altering photographs."""

    def alter(self, faces: Images, *, seed: int) -> Images:
        """Return each face altered; the same seed gives the same bytes."""
        ...


@runtime_checkable
class Mixer(Sampler, Protocol):
    """Mixes styles: draws the faces of some seeds with styles of the faces of other seeds."""

    def mix(self, sources: Sequence[int], destinations: Sequence[int], *, layers: str = "coarse") -> Images:
        """Return pictures (sources, destinations, H, W, 3); the styles of `layers` are those of the sources."""
        ...


@runtime_checkable
class Projector(Mixer, Protocol):
    """Finds the code of a photograph, and draws and mixes the faces of codes as it does those of seeds."""

    def project(self, faces: Images, *, seed: int, progress: Progress) -> NDArray[np.float32]:
        """Return a code (layers, w_dim) for each face (N, size, size, 3); the same seed gives the same codes."""
        ...

    def draw(self, faces: Sequence[int | Code], *, edit: Mapping[str, float] | None = None) -> Images:
        """Return the faces (N, size, size, 3) of seeds or codes. edit: direction -> how far styles are moved."""
        ...

    def list_directions(self, n: int) -> list[str]:
        """Return the names of the first n directions of each set of layers."""
        ...


@runtime_checkable
class Licensed(Protocol):
    """A generator whose weights come from another project."""

    licence: str

    @staticmethod
    def notice() -> str:
        """Return where the weights come from and what they may be used for; MissingExtra if they are not there."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Scores faces that were cropped and resized to `size` x `size` pixels."""

    name: str
    size: int

    def score(self, faces: Images) -> Scores:
        """Return the finite log-odds of each face; they do not depend on the rest of the batch."""
        ...

    def judge(self, scores: Scores) -> list[Opinion]:
        """Return the verdict of each score, by calibrated thresholds."""
        ...


@runtime_checkable
class Locating(Protocol):
    """A detector that says whether faces must be located for it; other detectors are given the centre square."""

    @property
    def locates(self) -> bool:
        """Whether faces are located first; a picture without a face is then not judged."""
        ...


@runtime_checkable
class Calibrated(Protocol):
    """A detector whose scores can be turned into likelihood ratios."""

    @property
    def calibration(self) -> Any:
        """A `statistics.calibration.Calibration`; None before training."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """A detector that can draw a map of a face which shows where its score comes from."""

    @property
    def explains(self) -> bool:
        """Whether its weights support maps."""
        ...

    def explain(self, faces: Images) -> NDArray[np.float64]:
        """Return a map of log-odds (N, h, w) for each face (N, size, size, 3); the mean of a map is the score."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """Something that can be trained, saved to a folder and loaded."""

    def fit(self, manifest: pd.DataFrame, *, seed: int, folder: Path) -> Self:
        """Train on the splits of the manifest, resume a run in `folder`, and return self."""
        ...

    def save(self, folder: Path, **facts: Any) -> None:
        """Write weights and card."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the object that `save` wrote."""
        ...


class TrainableDetector(Detector, Trainable, Protocol):
    """A detector in the registry."""


Progress = Callable[[str, int, int], None]  # is called with a description, the steps done, and the number of steps
Perturbation = Callable[[Image, int, np.random.Generator], Image]  # (picture, severity 1..5, rng) -> same shape
Transform = Callable[[Image, str], Image]  # (cut-out face, SHA-256 of its picture) -> face of the same shape


def silent(what: str, done: int, total: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class Decoded:
    """The pixels of one file and how they differ from what it holds.

    image: upright. width, height: of the upright picture in the file, larger than `image` if a large JPEG was decoded
    at half, a quarter or an eighth of its size. remark: which part of the file was decoded, empty for a single picture.
    converted: whether the colours were converted from the profile of the file to sRGB.
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
        """Size in the file divided by the size of `image`: 1, 2, 4 or 8."""
        sides, whole = self.image.shape[:2], (self.height, self.width)
        return next((d for d in (2, 4, 8) if self.reduced and sides == tuple(-(-side // d) for side in whole)), 1)

    def shrink(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Return a box (left, top, right, bottom) of the file in pixels of `image`; squares stay squares."""
        d, (height, width) = self.divisor, self.image.shape[:2]
        left, top, right, bottom = box
        across, down = -(-(right - left) // d), -(-(bottom - top) // d)
        x, y = (2 * left + d) // (2 * d), (2 * top + d) // (2 * d)
        x = min(x, width - across) if right <= self.width else x
        y = min(y, height - down) if bottom <= self.height else y
        return x, y, x + across, y + down

    def enlarge(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Return a box (left, top, right, bottom) of `image` in pixels of the file; `shrink` undoes it."""
        d, (height, width) = self.divisor, self.image.shape[:2]
        left, top, right, bottom = box
        return (left * d, top * d, self.width if right == width else right * d,
                self.height if bottom == height else bottom * d)  # fmt: skip


@dataclass(frozen=True)
class Exhibit:
    """One questioned picture: its bytes and, if they can be decoded, its pixels.

    crop: the part in question, (left, top, right, bottom) in pixels, if a manifest gives one. problem: why the bytes
    cannot be decoded, "" if they can.
    """

    path: Path
    bytes: bytes
    sha256: str
    decoded: Decoded | None
    crop: tuple[int, int, int, int] | None = None
    problem: str = ""

    @property
    def image(self) -> Image | None:
        """The pixels, RGB (H, W, 3); None if the bytes cannot be decoded."""
        return None if self.decoded is None else self.decoded.image


class Outcome(StrEnum):
    """Which proposition a finding supports."""

    SUPPORTS_REAL = "supports-real"
    SUPPORTS_FAKE = "supports-fake"
    NEUTRAL = "neutral"
    NOT_APPLICABLE = "not-applicable"

    @property
    def words(self) -> str:
        """The outcome in the words of a report. H1: made or altered by a generator; H2: a photograph."""
        return {"supports-fake": "points to H1", "supports-real": "points to H2"}.get(self, self.replace("-", " "))


@dataclass(frozen=True)
class Finding:
    """The result of one check as plain JSON, without a conclusion."""

    check: str
    outcome: Outcome
    summary: str
    details: Mapping[str, Any] = field(default_factory=dict)


Check = Callable[[Exhibit], Finding]


class Opinion(StrEnum):
    """The possible verdicts. DECLARED occurs only in reports: the file itself declares that it was generated."""

    DECLARED = "declared-generated"
    LIKELY_REAL = "likely-real"
    LIKELY_FAKE = "likely-fake"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not-applicable"


SUSPICION = (Opinion.NOT_APPLICABLE, Opinion.LIKELY_REAL, Opinion.INCONCLUSIVE, Opinion.LIKELY_FAKE)


def rank_suspicion(opinion: str, score: float, reason: str) -> tuple[int, float]:
    """Return the rank of a face among the faces of one picture; the first face with the greatest rank decides for it.

    Faces are ranked by verdict, then by score. A face that is not judged (it has a `reason`) ranks below all others.
    """
    return (-1, 0.0) if reason else (SUSPICION.index(Opinion(opinion)), score)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a score, with its bounded likelihood ratio."""

    opinion: Opinion
    log10_lr: float
    reasons: tuple[str, ...] = ()
