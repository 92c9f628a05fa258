"""Perturbations: what happens to pictures on their way to a detector, one function each, with five severities.

Every function takes a picture (H, W, 3) uint8 RGB, a severity from 1 (mild) to 5 (harsh) and a random generator, and
returns a picture of the same shape. A perturbation that changes the size resizes the picture back, so that the
detector's own resize stays the same and a curve over severities shows only the damage. Severity 3 of `jpeg` is quality
60, of `resize` half the size, and of `resize_jpeg` both; published figures use these three.

`perturb` derives the random numbers from the picture's hash and a seed. They do not depend on order, batch or label.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from detector.pictures.images import decode, encode
from detector.registry import Registry
from detector.types import Image, Perturbation

PERTURBATIONS: Registry[Perturbation] = Registry("perturbation", "detector.pictures.perturbations")

SEVERITIES = (1, 2, 3, 4, 5)
Kernel = Literal["nearest", "bilinear", "bicubic", "lanczos"]
KERNELS: dict[Kernel, Pillow.Resampling] = {
    "nearest": Pillow.Resampling.NEAREST,
    "bilinear": Pillow.Resampling.BILINEAR,
    "bicubic": Pillow.Resampling.BICUBIC,
    "lanczos": Pillow.Resampling.LANCZOS,
}
QUALITIES = (90, 75, 60, 45, 30)  # jpeg and webp, mild to harsh
SCALES = (0.8, 0.65, 0.5, 0.35, 0.25)  # new side, as a share of the old one, by severity


def perturb(image: Image, name: str, severity: int, *, seed: int, key: str) -> Image:
    """Return the picture after one perturbation; the same arguments give the same pixels.

    key: identifies the picture, for example its sha256. The random choices (direction, place, noise) depend on key,
    name and seed and are the same at every severity, so that a curve over severities shows the same change growing.
    Raises UnknownName for an unknown perturbation, ValueError for a severity outside 1..5.
    """
    function = PERTURBATIONS.get(name)
    if severity not in SEVERITIES:
        raise ValueError(f"a severity is 1, 2, 3, 4 or 5, not {severity}")
    digest = hashlib.sha256(f"{key} {name} {seed}".encode()).digest()
    return function(image, severity, np.random.default_rng(np.frombuffer(digest, np.uint32)))


@dataclass(frozen=True)
class Condition:
    """A perturbation of one severity, ready to be applied to faces (a `types.Transform`); severity 0 changes nothing.

    seed: for the random choices, together with the hash of the picture.
    """

    perturbation: str = "none"
    severity: int = 0
    seed: int = 0

    def __call__(self, face: Image, key: str) -> Image:
        """Return the face as `perturb` changes it; key: the hash of its picture."""
        return perturb(face, self.perturbation, self.severity, seed=self.seed, key=key) if self.severity else face


@PERTURBATIONS.register("jpeg", summary="one JPEG save at quality 90, 75, 60, 45, 30; 4:2:0")
def jpeg(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture after one JPEG save."""
    return _saved(image, "JPEG", QUALITIES[severity - 1])


@PERTURBATIONS.register("webp", summary="one lossy WebP save at quality 90, 75, 60, 45, 30")
def webp(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture after one WebP save."""
    return _saved(image, "WEBP", QUALITIES[severity - 1])


@PERTURBATIONS.register("resize", summary="down to 0.8, 0.65, 0.5, 0.35, 0.25 of the side and back, bicubic")
def resize(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture shrunk and enlarged again."""
    return _shrunk(image, SCALES[severity - 1], "bicubic")


@PERTURBATIONS.register("resize_nearest", summary="as resize, without a filter: aliased, as careless thumbnails are")
def resize_nearest(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture shrunk by leaving out pixels, and enlarged again."""
    return _shrunk(image, SCALES[severity - 1], "nearest")


@PERTURBATIONS.register("resize_bilinear", summary="as resize, by the bilinear filter: softer")
def resize_bilinear(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture shrunk and enlarged again."""
    return _shrunk(image, SCALES[severity - 1], "bilinear")


@PERTURBATIONS.register("resize_lanczos", summary="as resize, by the Lanczos filter: sharper")
def resize_lanczos(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture shrunk and enlarged again."""
    return _shrunk(image, SCALES[severity - 1], "lanczos")


@PERTURBATIONS.register("resize_jpeg", summary="resize, then jpeg, while small: at 3 half the size and quality 60")
def resize_jpeg(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture shrunk, saved as JPEG and enlarged again."""
    return _sent(image, SCALES[severity - 1], [QUALITIES[severity - 1]])


@PERTURBATIONS.register("messenger", summary="a messaging app: at most 1600 to 320 px per side, JPEG 80 to 40")
def messenger(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture as a messaging app delivers it: a maximum side, one strong JPEG, no metadata.

    Pictures already below that side lose 5 % of their side per severity, as a forwarded screenshot would.
    """
    side = (1600, 1280, 960, 640, 320)[severity - 1]
    return _sent(image, _scale(image, side, 1 - severity / 20), [(80, 70, 60, 50, 40)[severity - 1]])


@PERTURBATIONS.register(
    "social", summary="a social platform, posted again from severity 3 on: JPEG 85 to 50, one to three times"
)
def social(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture after one to three uploads: a maximum side, then a JPEG save of random quality for each."""
    side = (2048, 1440, 1080, 720, 480)[severity - 1]
    quality, uploads = (85, 77, 71, 63, 50)[severity - 1], (1, 1, 2, 2, 3)[severity - 1]
    qualities = [quality + int(rng.integers(0, 5)) for _ in range(uploads)]
    return _sent(image, _scale(image, side, 1 - severity / 25), qualities)


@PERTURBATIONS.register("screenshot", summary="shown at another size on a screen of another gamma, captured, saved")
def screenshot(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return a screenshot of the picture: resized to a size off the pixel grid, another gamma, JPEG 95 to 65."""
    step = severity / 5
    shown = _shrunk(image, 1 - 0.5 * step + 0.05 * step * rng.random(), "bilinear")
    tone = 1 + 0.25 * step * (1 if rng.random() < 0.5 else -1)
    gamma = np.clip(255 * (np.arange(256) / 255) ** tone + 0.5, 0, 255).astype(np.uint8)
    return _saved(gamma[shown], "JPEG", (95, 90, 85, 75, 65)[severity - 1])


@PERTURBATIONS.register(
    "rephotograph", summary="photographed from a screen: tilt, the screen's stripes, blur, light, noise, JPEG 95 to 70"
)
def rephotograph(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture as a camera sees it on a screen.

    The tilt is a perspective transform. A screen's red, green and blue stripes, sampled by the camera's pixels, leave a
    coarser pattern (moire). Then follow the blur of a lens, uneven light, noise and a JPEG save.
    Source: after Tancik, Mildenhall and Ng 2020, arXiv:1904.05343, sec. 3.2 (tilt, blur, light, noise, JPEG).
    """
    step, (height, width) = severity / 5, image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    shift = rng.uniform(-1, 1, (4, 2)) * (width, height) * 0.04 * step
    tilt = cv2.getPerspectiveTransform(corners, (corners + shift).astype(np.float32))
    seen = cv2.warpPerspective(image, tilt, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    down, across = np.mgrid[:height, :width].astype(np.float32)
    pitch, angle = rng.uniform(0.05, 0.25), rng.uniform(-0.3, 0.3)  # of the pattern: cycles in a pixel, radians
    phase = 2 * np.pi * pitch * (across * np.cos(angle) + down * np.sin(angle))
    stripes = 1 + 0.12 * step * np.cos(phase[..., None] + 2 * np.pi / 3 * np.arange(3))
    light = 1 + 0.2 * step * (across / max(width, 1) - 0.5)[..., None] * (1 if rng.random() < 0.5 else -1)
    blurred = cv2.GaussianBlur(seen.astype(np.float32) * stripes.astype(np.float32) * light, (0, 0), 0.3 + 0.9 * step)
    noisy = blurred + rng.normal(0, 4 * step, image.shape)
    return _saved(_rounded(noisy), "JPEG", (95, 90, 85, 78, 70)[severity - 1])


@PERTURBATIONS.register("crop", summary="5, 10, 15, 20, 25 % of each side cut away, somewhere, and enlarged again")
def crop(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return a part of the picture enlarged to its shape."""
    height, width = image.shape[:2]
    tall, wide = (max(1, round(side * (1 - 0.05 * severity))) for side in (height, width))
    top, left = round(rng.random() * (height - tall)), round(rng.random() * (width - wide))
    return _resized(image[top : top + tall, left : left + wide], width, height, "lanczos")


@PERTURBATIONS.register("blur", summary="Gaussian, standard deviation 0.5, 1, 1.5, 2, 3 pixels")
def blur(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture out of focus."""
    sigma = (0.5, 1.0, 1.5, 2.0, 3.0)[severity - 1]
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.uint8)


@PERTURBATIONS.register("noise", summary="Gaussian, standard deviation 2, 4, 8, 12, 20 grey levels, each channel apart")
def noise(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture with the noise of a photograph in dim light."""
    return _rounded(image + rng.normal(0, (2, 4, 8, 12, 20)[severity - 1], image.shape))


@PERTURBATIONS.register("brightness", summary="lighter or darker by 10, 20, 30, 40, 50 %")
def brightness(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture lighter or darker."""
    return _rounded(image * (1 + 0.1 * severity * (1 if rng.random() < 0.5 else -1)))


@PERTURBATIONS.register("contrast", summary="10, 20, 30, 40, 50 % less or more about the mean")
def contrast(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture with less or more contrast."""
    mean = image.mean()
    return _rounded((image - mean) * (1 + 0.1 * severity * (1 if rng.random() < 0.5 else -1)) + mean)


@PERTURBATIONS.register("grey", summary="20, 40, 60, 80, 100 % of the colour taken out")
def grey(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture with less colour; severity 5 leaves none."""
    light = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
    return _rounded(image + (light - image) * severity / 5)


@PERTURBATIONS.register("sharpen", summary="unsharp mask, radius 1.5 pixels, amount 0.3, 0.6, 1, 1.5, 2")
def sharpen(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture with sharper edges."""
    soft = cv2.GaussianBlur(image, (0, 0), 1.5, borderType=cv2.BORDER_REFLECT)
    return _rounded(image + (0.3, 0.6, 1.0, 1.5, 2.0)[severity - 1] * (image.astype(np.float64) - soft))


@PERTURBATIONS.register("smooth", summary="a beauty filter: bilateral, edges stay and pores go, mixed in 20 to 100 %")
def smooth(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture with its skin smoothed."""
    radius = max(1.0, min(image.shape[:2]) / 64)
    even = cv2.bilateralFilter(np.ascontiguousarray(image), 0, 20 + 8 * severity, radius, borderType=cv2.BORDER_REFLECT)
    return _rounded(image + (even.astype(np.float64) - image) * severity / 5)


@PERTURBATIONS.register("occlusion", summary="a grey or coloured rectangle over 4, 8, 12, 16, 20 % of the picture")
def occlusion(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Return the picture with a part covered."""
    height, width = image.shape[:2]
    shape = rng.uniform(0.5, 2)
    tall = min(height, max(1, round(height * math.sqrt(0.04 * severity * shape))))
    wide = min(width, max(1, round(width * math.sqrt(0.04 * severity / shape))))
    top, left = round(rng.random() * (height - tall)), round(rng.random() * (width - wide))
    covered = image.copy()
    covered[top : top + tall, left : left + wide] = rng.integers(0, 256, 3, np.uint8)
    return covered


def _saved(image: Image, format: str, quality: int) -> Image:
    return decode(encode(image, format, quality=quality))


def _resized(image: Image, width: int, height: int, kernel: Kernel) -> Image:
    return np.array(Pillow.fromarray(np.ascontiguousarray(image)).resize((width, height), KERNELS[kernel]))


def _shrunk(image: Image, scale: float, kernel: Kernel) -> Image:
    return _sent(image, scale, [], kernel)


def _scale(image: Image, side: int, otherwise: float) -> float:
    """Return the scale that reduces the longer side to `side`, or `otherwise` if that is a smaller scale."""
    return min(otherwise, side / float(max(image.shape)))


def _sent(image: Image, scale: float, qualities: list[int], kernel: Kernel = "bicubic") -> Image:
    """Return the picture shrunk, saved as JPEG once for each quality, and enlarged again."""
    height, width = image.shape[:2]
    small = _resized(image, max(1, round(width * scale)), max(1, round(height * scale)), kernel)
    for quality in qualities:
        small = _saved(small, "JPEG", quality)
    return _resized(small, width, height, kernel)


def _rounded(image: NDArray[np.floating[Any]]) -> Image:
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
