"""Training pairs of a photograph and a fake, made so that only the face distinguishes the two.

A detector learns everything that distinguishes its two classes: the source of the photographs, their sharpness, their
codec. Therefore every training example is a pair whose members are resized, cropped and augmented alike, with the same
random numbers. A fake that was made from a photograph is paired with that photograph. Any other fake is paired with a
photograph whose source is drawn first, so that small sources count too, and both are reduced to the lower resolution of
the two. Three further steps remove differences between sources: fakes get a JPEG history like that of photographs,
and a fake that was made from a photograph gets the same one as that photograph; fakes often get the radial spectrum of
the photograph that they are paired with (and its colours, if it does not show the same face); and sharpness is varied
at random in both classes.
Source: Chen et al. 2025, arXiv:2505.14359 (aligned pairs); Wang et al. 2020, arXiv:1912.11035 (augmentation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd

from detector.learning.augment import KERNELS, make_augmentation
from detector.learning.squares import Squares
from detector.types import Image, Images, Label

QUALITIES = (75, 75, 75, 80, 85, 90, 93, 95)  # JPEG qualities, as often as they occur in published photographs
ALTERED_SHARE = 0.65  # share of the pairs whose fake was made from their photograph, if there are both kinds of fakes
FAKE_HISTORY = 0.85  # share of the fakes that are saved as JPEG first, as photographs were; altered photographs, too
PHOTOGRAPH_WEBP = 0.2  # share of the photographs in unrelated pairs that are saved as WebP first, as some fakes were
BLEND = 0.3  # share of the altered fakes that are blended with their photograph, with a weight of the fake of 0.5 to 1
SPECTRUM = 0.6  # share of the altered fakes that get the radial power spectrum of their photograph
LIKENESS = 0.85  # share of the unrelated fakes that get the colours and the radial spectrum of their photograph
SHARPNESS = 0.3  # share of the pictures, drawn for each picture by itself, that are slightly blurred or sharpened
COARSER = 0.75  # share of the pairs that are shrunk to the same random side first
COARSE_HISTORY = 0.4  # share of the shrunk pairs whose members are both saved as JPEG at that side
COARSE_QUALITIES = (50, 95)  # lowest and highest JPEG quality of those pairs
TIGHTER = 0.5  # share of the pairs that are cropped to 0.72-1 of the square
CENTRE = 0.6  # side of the middle part that contains the windows of the larger sizes, as a share of the face's side
SHRINK_KERNELS = KERNELS[1:]  # interpolations for shrinking: all but nearest-neighbour


@dataclass(frozen=True)
class Pair:
    """Rows of a photograph and of a fake, and whether the fake was made from that photograph."""

    real: int
    fake: int
    altered: bool


class _Sets:
    """Rows of a table by the value of a column, and these by the value of the next one.

    The probability of a set is proportional to the square root of its size.
    """

    def __init__(self, rows: pd.DataFrame, *columns: str) -> None:
        parts = [part for _, part in rows.groupby(columns[0])]
        self.sets = [_Sets(part, *columns[1:]) if columns[1:] else part.index.to_numpy() for part in parts]
        roots = np.sqrt([len(part) for part in parts])
        self.shares = roots / roots.sum()

    def __len__(self) -> int:
        return len(self.sets)

    def draw(self, rng: np.random.Generator) -> int:
        """Return a row: a set is drawn first, then a row of it."""
        chosen = self.sets[rng.choice(len(self.sets), p=self.shares)]
        return chosen.draw(rng) if isinstance(chosen, _Sets) else int(rng.choice(chosen))


class PairSampler:
    """Draws pairs from the training rows of a manifest.

    squares: the pictures. rows: the manifest, with `label`, `generator`, `dataset` and `group`. train: row numbers that
    may be drawn. sizes: sides to which a face is resized, pixels, smallest first; one is drawn for each pair.
    window: side of the window of a face that is returned, pixels, at the same position in both members; None takes the
    smallest size. In faces of a larger size, windows lie around the middle. augmentation: strength of the augmentation.

    Of fakes, the generator is drawn first, then the dataset, then the picture; of photographs, the dataset. The
    probability of a generator or a dataset is proportional to the square root of its number of pictures.
    """

    def __init__(
        self,
        squares: Squares,
        rows: pd.DataFrame,
        train: np.ndarray[Any, Any],
        *,
        sizes: tuple[int, ...],
        augmentation: float,
        window: int | None = None,
    ) -> None:
        self.squares, self.sizes, self.window = squares, sizes, window or sizes[0]
        self.augment = make_augmentation(augmentation)
        self.plain = augmentation == 0
        labels = rows.label.to_numpy()
        photographs, fakes = (rows.iloc[train[labels[train] == label]] for label in (Label.REAL, Label.FAKE))
        self._sources = _Sets(photographs, "dataset")
        originals = dict(zip(photographs.group, photographs.index, strict=True))
        self._original = {row: originals[group] for row, group in fakes.group.items() if group in originals}
        altered = fakes.index.isin(list(self._original))
        self._altered, self._others = (_Sets(fakes[rows], "generator", "dataset") for rows in (altered, ~altered))

    def batch(self, pairs: int, rng: np.random.Generator) -> tuple[Images, np.ndarray[Any, Any]]:
        """Return faces (2 x pairs, window, window, 3), the photographs first and then their fakes, and their labels."""
        both = [self.draw(self.choose(rng), rng) for _ in range(pairs)]
        faces = np.stack([real for real, _ in both] + [fake for _, fake in both])
        return faces, np.repeat(np.array([Label.REAL, Label.FAKE], np.float32), pairs)

    def choose(self, rng: np.random.Generator) -> Pair:
        """Return the next pair of rows."""
        share = ALTERED_SHARE if len(self._altered) and len(self._others) else float(len(self._altered) > 0)
        fake = (self._altered if rng.random() < share else self._others).draw(rng)
        if fake in self._original:
            return Pair(int(self._original[fake]), fake, True)
        return Pair(self._sources.draw(rng), fake, False)

    def draw(self, pair: Pair, rng: np.random.Generator) -> tuple[Image, Image]:
        """Return windows (window, window, 3) of the photograph and of the fake, processed and augmented alike."""
        real, fake = self.squares[pair.real], self.squares[pair.fake]
        if pair.altered:
            real = _resize(real, len(fake), cv2.INTER_LANCZOS4) if len(real) != len(fake) else real
        size = int(rng.choice(self.sizes))
        edge = 0 if size == self.sizes[0] else min(round(size * (1 - CENTRE) / 2), (size - self.window) // 2)
        corner = rng.integers(edge, size - edge - self.window + 1, 2)
        if self.plain:
            faces = (_resize(picture, size, cv2.INTER_AREA) for picture in (real, fake))
            real, fake = (self._window(face, corner) for face in faces)
            return real, fake
        if pair.altered and rng.random() < BLEND:
            fake = blend(fake, real, rng.uniform(0.5, 1.0))
        quality = int(rng.choice(QUALITIES))
        if rng.random() < FAKE_HISTORY:
            fake = _save(fake, quality)
            real = _save(real, quality) if pair.altered else real
        if not pair.altered and rng.random() < PHOTOGRAPH_WEBP:
            real = _save(real, int(rng.integers(80, 96)), ".webp")
        side = min(len(real), len(fake))
        if rng.random() < COARSER:
            top = max(side, size) + 1
            side = min(side, int(np.exp(rng.uniform(np.log(size / 2), np.log(top)))))
            kernel = int(rng.choice(SHRINK_KERNELS))
            real, fake = (_shrink(picture, side, kernel) for picture in (real, fake))
            if rng.random() < COARSE_HISTORY:
                quality = int(rng.integers(*COARSE_QUALITIES, endpoint=True))
                real, fake = (_save(picture, quality) for picture in (real, fake))
        share = rng.uniform(0.72, 1.0) if rng.random() < TIGHTER else 1.0
        position, kernel = rng.uniform(0.1, 0.9, 2), int(rng.choice(SHRINK_KERNELS))
        faces = (_resize(cut_window(picture, share, position), size, kernel) for picture in (real, fake))
        real, fake = (self._window(face, corner) for face in faces)
        if rng.random() < (SPECTRUM if pair.altered else LIKENESS):
            fake = match_spectrum(fake if pair.altered else match_colours(fake, real), real)
        real, fake = (vary_sharpness(picture, rng) if rng.random() < SHARPNESS else picture for picture in (real, fake))
        seed = int(rng.integers(2**31))
        return self.augment(real, seed), self.augment(fake, seed)

    def _window(self, face: Image, corner: np.ndarray[Any, Any]) -> Image:
        left, top = corner.tolist()
        return np.ascontiguousarray(face[top : top + self.window, left : left + self.window])


def blend(fake: Image, real: Image, share: float) -> Image:
    """Return a fake (H, W, 3) with weight `share`, blended with the photograph (H, W, 3) that it was made from."""
    return np.asarray(np.rint(share * fake + (1 - share) * real.astype(np.float32)), np.uint8)


def cut_window(picture: Image, share: float, position: np.ndarray[Any, Any]) -> Image:
    """Return a part of a square picture, with `share` of its sides.

    position: (left, top) of the part, from 0 (left or upper end) to 1 (right or lower end).
    """
    side = len(picture)
    part = round(side * share)
    left, top = (round((side - part) * p) for p in position)
    return picture[top : top + part, left : left + part]


def match_colours(picture: Image, model: Image) -> Image:
    """Return a picture (H, W, 3) whose colours get the mean and the standard deviation of those of another picture.

    Source: Reinhard et al. 2001, doi:10.1109/38.946629, without the change of colour space.
    """
    (mean, spread), (model_mean, model_spread) = ((x.mean((0, 1)), x.std((0, 1)) + 4) for x in (picture, model))
    return np.asarray(np.clip((picture - mean) * (model_spread / spread) + model_mean, 0, 255), np.uint8)


def match_spectrum(picture: Image, model: Image) -> Image:
    """Return a square picture (S, S, 3) with the radial power spectrum of another one; gains lie within 1/4 and 4.

    A copy of a photograph then is not softer than the photograph, and differs from it only in how details are drawn.
    """
    side = len(picture)
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    ring = np.minimum((radius * 64).astype(int), 40)
    spectrum, target = (np.fft.rfft2(x.astype(np.float32), axes=(0, 1)) for x in (picture, model))
    power, wanted = (np.bincount(ring.ravel(), (np.abs(x) ** 2).sum(2).ravel(), 41) for x in (spectrum, target))
    gain = np.sqrt((wanted + 1e-6) / (power + 1e-6)).clip(0.25, 4)
    gain[:2] = 1  # brightness and coarse shading are not changed
    matched = np.fft.irfft2(spectrum * gain[ring][..., None], s=(side, side), axes=(0, 1))
    return np.asarray(np.clip(matched, 0, 255), np.uint8)


def vary_sharpness(picture: Image, rng: np.random.Generator) -> Image:
    """Return a picture (H, W, 3) slightly blurred or slightly sharpened, each with probability 0.5."""
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.25, 0.9)), np.uint8)
    soft = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 1.5)).astype(np.float32)
    return np.asarray(np.clip(picture + rng.uniform(0.2, 1.2) * (picture - soft), 0, 255), np.uint8)


def _save(picture: Image, quality: int, ending: str = ".jpg") -> Image:
    setting = cv2.IMWRITE_WEBP_QUALITY if ending == ".webp" else cv2.IMWRITE_JPEG_QUALITY
    data = cv2.imencode(ending, np.ascontiguousarray(picture[:, :, ::-1]), [setting, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1]


def _shrink(picture: Image, side: int, kernel: int) -> Image:
    return _resize(picture, side, kernel) if len(picture) > side else picture


def _resize(picture: Image, side: int, kernel: int) -> Image:
    return np.ascontiguousarray(cv2.resize(picture, (side, side), interpolation=kernel))
