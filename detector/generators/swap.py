"""Fakes made from one real picture: a region is replaced by a changed copy of itself and blended back.

As in a face swap, only the seam and slight differences in colour, sharpness or position show the manipulation. No
landmarks are needed: the region is a warped ellipse around the middle of a face crop, or around a part of the face.
Source: Shiohara and Yamasaki 2022, arXiv:2204.08376, sec. 3.2 (self-blended images).
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from detector.generators import GENERATORS
from detector.pictures.images import resize
from detector.types import Image, Images

Pixels = NDArray[np.float64]

REGIONS = {  # name -> centre (x, y) and half axes (x, y) of the ellipse, as shares of the side of a face crop
    "face": (0.5, 0.55, 0.32, 0.4),
    "eyes": (0.5, 0.42, 0.3, 0.12),
    "mouth": (0.5, 0.74, 0.2, 0.12),
    "lower face": (0.5, 0.68, 0.28, 0.24),
}


@GENERATORS.register("swap", year=2022, summary="self-blended faces: a region replaced by a changed copy of itself")
class Swap:
    """Local manipulations of real faces, with their masks; needs no weights."""

    name = "swap"

    def alter(self, faces: Images, *, seed: int) -> Images:
        """Return each face (N, H, W, 3) with one region blended from a changed copy."""
        return self.alter_with_masks(faces, seed=seed)[0]

    def alter_with_masks(self, faces: Images, *, seed: int) -> tuple[Images, NDArray[np.float32]]:
        """Return the altered faces and their masks (N, H, W), from 0 (unchanged) to 1 (replaced)."""
        rng = np.random.default_rng(seed)
        pairs = [_blend(face, rng) for face in faces]
        return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


def _blend(face: Image, rng: np.random.Generator) -> tuple[Image, NDArray[np.float32]]:
    mask = _mask(face.shape[0], face.shape[1], rng) * rng.choice([0.5, 0.75, 1.0, 1.0, 1.0])
    changed, kept = (face, _change(face, rng)) if rng.random() < 0.5 else (_change(face, rng), face)
    out = mask[..., None] * changed + (1 - mask[..., None]) * kept
    return np.clip(np.rint(out), 0, 255).astype(np.uint8), mask.astype(np.float32)


def _mask(height: int, width: int, rng: np.random.Generator) -> Pixels:
    """Return a mask (H, W) from 0 to 1: a soft ellipse with a wavy edge over a random region."""
    x0, y0, a, b = REGIONS[rng.choice(list(REGIONS))]
    y, x = np.indices((height, width)) + 0.5
    x, y = (x / width - x0 - rng.uniform(-0.04, 0.04)) / a, (y / height - y0 - rng.uniform(-0.04, 0.04)) / b
    angle = np.arctan2(y, x)
    edge = np.ones((height, width))
    for k in (2, 3, 5):
        edge += rng.normal(0, 0.06) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    steep = 4 / rng.uniform(0.03, 0.25)
    return cast(Pixels, 1 / (1 + np.exp(np.clip((np.hypot(x, y) - edge) * steep, -50, 50))))


def _change(face: Image, rng: np.random.Generator) -> Pixels:
    """Return the face, slightly shifted and scaled, with other colours or another sharpness."""
    height, width = face.shape[:2]
    grown = rng.uniform(0.97, 1.05)
    big = resize(face, round(width * grown), round(height * grown))
    dy, dx = (round(v) for v in rng.uniform(-0.03, 0.03, 2) * height)
    dy, dx = dy + (big.shape[0] - height) // 2, dx + (big.shape[1] - width) // 2
    rows = np.clip(np.arange(height) + dy, 0, big.shape[0] - 1)
    columns = np.clip(np.arange(width) + dx, 0, big.shape[1] - 1)
    out = big[rows][:, columns].astype(np.float64)
    recoloured = rng.random() < 0.7
    if recoloured:
        out = (out - 128) * rng.uniform(0.85, 1.15) + 128 + rng.uniform(-15, 15) + rng.uniform(-10, 10, 3)
    if not recoloured or rng.random() < 0.3:
        share = rng.uniform(0.4, 0.8)
        small = resize(
            np.clip(out, 0, 255).astype(np.uint8), max(round(width * share), 1), max(round(height * share), 1)
        )
        out = resize(small, width, height).astype(np.float64)
    return cast(Pixels, out)
