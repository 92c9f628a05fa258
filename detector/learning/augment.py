"""Training-time augmentation, the same for both classes; the only module that imports albumentations.

A detector that is trained on clean pictures learns their file format. Each augmentation imitates what happens to
photographs when they are published, and is applied with a probability, so that some pictures stay clean.
Source: Wang et al. 2020, arXiv:1912.11035, sec. 4 (blur and JPEG); Gragnaniello et al. 2021, arXiv:2104.02617, sec. 3.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable

import cv2
import numpy as np

from detector.pictures.perturbations import rephotograph, smooth
from detector.types import Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise the import contacts a server to find newer versions
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import albumentations as A

# Factors of all probabilities, each for a fifth of the pictures. A factor of 1 for all leaves too few pictures clean.
SEVERITIES = (0.0, 0.5, 1.0, 1.5, 2.0)
SCREEN, BEAUTY = 0.1, 0.1  # shares of the pictures photographed from a screen, and under a beauty filter, at strength 1
KERNELS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)


def save(image: Image, rng: np.random.Generator) -> Image:
    """Return a picture (H, W, 3) after JPEG (three times in four) or WebP compression of quality 30 to 100.

    Half of the qualities are above 82, because most files have such qualities.
    """
    jpeg, quality = rng.random() < 0.75, round(100 - 70 * rng.random() ** 2)
    codec, setting = (".jpg", cv2.IMWRITE_JPEG_QUALITY) if jpeg else (".webp", cv2.IMWRITE_WEBP_QUALITY)
    saved = cv2.imencode(codec, image[:, :, ::-1], [setting, quality])[1]
    return np.asarray(cv2.imdecode(saved, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1]


def save_smaller(image: Image, rng: np.random.Generator) -> Image:
    """Return a picture (H, W, 3) after it was shrunk to 0.4-0.95 of its sides, saved, and enlarged again.

    The blocks of the codec then have other sizes than usual, as in pictures that were resized after they were saved.
    """
    height, width = image.shape[:2]
    shrink, grow = (int(kernel) for kernel in rng.choice(KERNELS[1:], 2))
    share = rng.uniform(0.4, 0.95)
    small = np.asarray(cv2.resize(image, (round(width * share), round(height * share)), interpolation=shrink), np.uint8)
    back = np.ascontiguousarray(save(small, rng))
    return np.asarray(cv2.resize(back, (width, height), interpolation=grow), np.uint8)


def tighten(image: Image, rng: np.random.Generator) -> Image:
    """Return a part of a picture (H, W, 3), 0.6-1 of its sides and near its middle, enlarged to the former size.

    It imitates a face that was cropped more tightly before.
    """
    height, width = image.shape[:2]
    share = rng.uniform(0.6, 1.0)
    h, w = round(height * share), round(width * share)
    top, left = (round((n - m) / 2 * rng.uniform(0.4, 1.6)) for n, m in ((height, h), (width, w)))
    part = image[top : top + h, left : left + w]
    return np.asarray(cv2.resize(part, (width, height), interpolation=int(rng.choice(KERNELS[1:]))), np.uint8)


def retouch(image: Image, rng: np.random.Generator) -> Image:
    """Return a face (H, W, 3) with smoothed skin and blurred surroundings, as in portraits of studios and telephones.

    Otherwise a detector could learn that smooth skin or a blurred background means a fake.
    """
    height, width = image.shape[:2]
    skin = cv2.bilateralFilter(np.ascontiguousarray(image), 5, rng.uniform(5, 40), rng.uniform(1, 4))
    far = cv2.GaussianBlur(skin, (0, 0), rng.uniform(0.01, 0.06) * width)
    x, y = ((np.arange(n) + 0.5) / n - rng.uniform(0.45, 0.55) for n in (width, height))
    ring = np.hypot(x / rng.uniform(0.36, 0.5), y[:, None] / rng.uniform(0.46, 0.6))  # 1 at the edge of an oval
    away = np.clip((ring - 1) / rng.uniform(0.05, 0.3), 0, 1)[..., None]
    return np.asarray(np.rint(skin + away * (far.astype(np.float32) - skin)), np.uint8)


def add_border(image: Image, rng: np.random.Generator) -> Image:
    """Return a picture (H, W, 3) with strips of one colour along some of its edges, each up to a quarter of the side.

    A detector then also finds fakes in the plain surroundings of a profile picture or a screenshot.
    """
    height, width = image.shape[:2]
    strips = np.where(rng.random(4) < 0.6, rng.uniform(0, 0.25, 4), 0)
    top, bottom, left, right = np.rint(strips * [height, height, width, width]).astype(int)
    framed = np.empty_like(image)
    framed[:] = rng.choice([0, 128, 255]) if rng.random() < 0.6 else rng.integers(0, 256, 3)
    framed[top : height - bottom, left : width - right] = image[top : height - bottom, left : width - right]
    return framed


def make_augmentation(strength: float = 1.0) -> Callable[[Image, int], Image]:
    """Return a function (picture, seed) -> picture of the same shape; the same seed gives the same picture.

    For each picture one of SEVERITIES is drawn, and all probabilities are multiplied by it, except those of mirroring,
    of a tighter crop, of a screen and of a beauty filter. The function must not be shared by threads: make one for
    each.

    strength: a further factor of the probabilities; with 0, pictures stay unchanged.
    """
    shares = [min(0.5 * strength * severity, 1.0) for severity in SEVERITIES]
    kits = [(p, _make_steps(p)) for p in shares]

    def change(image: Image, seed: int) -> Image:
        rng = np.random.default_rng(seed)
        p, steps = kits[int(rng.integers(len(kits)))]
        if rng.random() < min(strength, 0.5):
            image = np.ascontiguousarray(image[:, ::-1])
        if rng.random() < SCREEN * strength:
            image = rephotograph(image, int(rng.integers(1, 5)), rng)
        elif rng.random() < BEAUTY * strength:
            image = smooth(image, int(rng.integers(1, 6)), rng)
        if rng.random() < 0.5 * p:
            image = retouch(image, rng)
        if rng.random() < min(strength, 0.5):
            image = tighten(image, rng)
        if rng.random() < 0.5 * p:
            image = save_smaller(image, rng)
        # All steps share a generator: `set_random_seed` would give each the same numbers, so that all would coincide.
        steps.set_random_state(rng, random.Random(int(rng.integers(2**31))))
        image = steps(image=np.ascontiguousarray(image))["image"]
        if rng.random() < 0.2 * p:
            image = add_border(image, rng)
        if rng.random() < 2 * p:
            image = save(image, rng)
        return np.ascontiguousarray(image)

    return change


def _make_steps(p: float) -> A.Compose:
    """Return the steps of albumentations, which are applied with the probability p or with a fraction of it."""
    kernels = [
        A.Downscale((0.4, 0.95), interpolation_pair={"downscale": k, "upscale": u}, p=1)
        for k, u in zip(KERNELS, (*KERNELS[1:], KERNELS[0]), strict=True)
    ]
    return A.Compose([
        A.Affine(scale=(0.9, 1.15), translate_percent=(-0.05, 0.05), rotate=(-8, 8),
                 border_mode=cv2.BORDER_REFLECT, p=p),
        A.OneOf(kernels, p=p),
        A.GaussianBlur(blur_limit=0, sigma_limit=(0.2, 2.0), p=0.5 * p),
        A.UnsharpMask((3, 5), (0.0, 0.8), (0.2, 1.0), 0, p=0.6 * p),  # sharpening, as by cameras and studios
        A.RandomBrightnessContrast(0.2, 0.2, p=p),
        A.RandomToneCurve(0.15, p=0.4 * p),
        A.HueSaturationValue(8, 20, 10, p=0.5 * p),
        A.OneOf([A.ToGray(p=1), A.ToSepia(p=1)], p=0.3 * p),
        A.GaussNoise(std_range=(0.005, 0.05), p=0.5 * p),
        A.CoarseDropout((1, 2), (0.1, 0.3), (0.1, 0.3), p=0.4 * p),
    ])  # fmt: skip
