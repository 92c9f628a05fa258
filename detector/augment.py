"""Training-time augmentation, the same for both classes; the only module that imports albumentations.

A detector trained on clean pictures learns the last file format it saw. Each change stands for something that happens
to photographs on their way, and comes with a probability, so that clean pictures are seen too.
Source: Wang et al. 2020, arXiv:1912.11035, sec. 4 (blur and JPEG); Gragnaniello et al. 2021, arXiv:2104.02617, sec. 3.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

import cv2
import numpy as np

from detector.images import resize
from detector.types import Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would look for a newer version on the network
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import albumentations as A

KERNELS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)


def coarsen(image: Image, side: int, seed: int) -> Image:
    """Return a picture (H, W, 3) shrunk to `side` pixels by a kernel drawn from the seed, and enlarged again.

    So a photograph gets the resolution of a fake, which shall not be what tells them apart.
    """
    kernel = KERNELS[1:][seed % (len(KERNELS) - 1)]
    small = np.asarray(cv2.resize(image, (side, side), interpolation=kernel), np.uint8)
    return resize(small, image.shape[1], image.shape[0])


def save_smaller(image: Image, rng: np.random.Generator) -> Image:
    """Return a picture (H, W, 3) that was shrunk to 0.4-0.95, saved as JPEG or WebP, and enlarged again.

    So the blocks of a codec come in other sizes than its own, as in all that is saved first and resized after.
    """
    height, width = image.shape[:2]
    shrink, grow = rng.choice(KERNELS[1:], 2)
    share, codec = rng.uniform(0.4, 0.95), ".jpg" if rng.random() < 0.75 else ".webp"
    setting = cv2.IMWRITE_JPEG_QUALITY if codec == ".jpg" else cv2.IMWRITE_WEBP_QUALITY
    small = cv2.resize(image, (round(width * share), round(height * share)), interpolation=int(shrink))
    saved = cv2.imencode(codec, small, [setting, int(rng.integers(30, 96))])[1]
    back = np.asarray(cv2.imdecode(saved, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(cv2.resize(back, (width, height), interpolation=int(grow)), np.uint8)


def make_augmentation(strength: float = 1.0) -> Callable[[Image, int], Image]:
    """Return a function (picture, seed) -> picture of the same shape; the same seed gives the same picture.

    strength: scales every probability; 0 leaves pictures alone. Not for several threads at once: make one each.
    """
    p = 0.5 * strength
    kernels = [
        A.Downscale((0.4, 0.95), interpolation_pair={"downscale": k, "upscale": u}, p=1)
        for k, u in zip(KERNELS, (*KERNELS[1:], KERNELS[0]), strict=True)
    ]
    codecs = [A.ImageCompression(name, (30, 100), p=share) for name, share in (("jpeg", 0.75), ("webp", 0.25))]
    steps = A.Compose([
        A.HorizontalFlip(p=p),
        A.Affine(scale=(0.9, 1.15), translate_percent=(-0.05, 0.05), rotate=(-8, 8),
                 border_mode=cv2.BORDER_REFLECT, p=p),
        A.OneOf(kernels, p=p),
        A.GaussianBlur(blur_limit=0, sigma_limit=(0.2, 2.0), p=0.5 * p),
        A.UnsharpMask((3, 5), (0.0, 0.8), (0.2, 1.0), 0, p=0.6 * p),  # as cameras and studios do
        A.RandomBrightnessContrast(0.2, 0.2, p=p),
        A.RandomToneCurve(0.15, p=0.4 * p),
        A.HueSaturationValue(8, 20, 10, p=0.5 * p),
        A.ToGray(p=0.2 * p),
        A.GaussNoise(std_range=(0.005, 0.05), p=0.5 * p),
        A.OneOf(codecs, p=1.4 * p),
        A.CoarseDropout((1, 2), (0.1, 0.3), (0.1, 0.3), p=0.4 * p),
    ])  # fmt: skip

    def change(image: Image, seed: int) -> Image:
        rng = np.random.default_rng(seed)
        if rng.random() < 0.5 * p:
            image = save_smaller(image, rng)
        steps.set_random_seed(seed)
        return np.ascontiguousarray(steps(image=image)["image"])

    return change
