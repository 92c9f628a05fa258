"""Features: vectors of pictures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn

from detector.pictures.features import (
    block_dct,
    blockiness,
    dct_statistics,
    noise_residual,
    radial_spectrum,
    residual_statistics,
)
from detector.pictures.images import decode, encode
from detector.types import Images

VECTORS = {
    "spectrum": lambda images: radial_spectrum(images, 16),
    "residual": residual_statistics,
    "dct": dct_statistics,
    "blockiness": blockiness,
}
EVERY = pytest.mark.parametrize("name", VECTORS)


def noise(n: int, height: int, width: int, *, spread: float = 20, seed: int = 0) -> Images:
    grey = np.random.default_rng(seed).normal(128, spread, (n, height, width, 1)).repeat(3, 3)
    return np.clip(grey, 0, 255).astype(np.uint8)


@EVERY
@pytest.mark.parametrize("shape", [(2, 2), (8, 8), (9, 31), (64, 48)])
def test_finite_at_any_size_flat_or_not(name: str, shape: tuple[int, int]) -> None:
    for images in (noise(3, *shape), np.zeros((3, *shape, 3), np.uint8), np.full((3, *shape, 3), 255, np.uint8)):
        vectors = VECTORS[name](images)
        assert vectors.shape[0] == 3
        assert np.isfinite(vectors).all()


@EVERY
def test_a_picture_does_not_depend_on_its_batch(name: str) -> None:
    images = noise(5, 40, 33)
    together = VECTORS[name](images)
    alone = np.concatenate([VECTORS[name](images[i : i + 1]) for i in (4, 3, 2, 1, 0)])[::-1]
    np.testing.assert_array_equal(together, alone)


@EVERY
def test_no_pictures_give_no_vectors(name: str) -> None:
    assert len(VECTORS[name](np.empty((0, 16, 16, 3), np.uint8))) == 0


@pytest.mark.parametrize("size", [32, 64, 129])
def test_white_noise_has_a_flat_spectrum_at_its_variance(size: int) -> None:
    spectrum = np.exp(radial_spectrum(noise(80, size, size, spread=20), 8)).mean(0)
    np.testing.assert_allclose(spectrum[1:], 400, rtol=0.08)  # the first bin lost the mean


@pytest.mark.parametrize(("period", "expected"), [(4, 16), (8, 8), (3, 21)])
def test_a_wave_lands_in_its_bin(period: int, expected: int) -> None:
    wave = 128 + 60 * np.cos(2 * np.pi * np.arange(96) / period)
    for picture in (np.tile(wave, (96, 1)), np.tile(wave, (96, 1)).T):
        image = picture[None, :, :, None].repeat(3, 3).astype(np.uint8)
        assert radial_spectrum(image, 32)[0].argmax() == pytest.approx(expected, abs=1)


def test_the_spectrum_agrees_with_a_plain_computation() -> None:
    """The plain computation loops over all frequencies, without using the symmetry."""
    images, bins = noise(1, 15, 20), 6
    grey = images[0] @ np.array([0.299, 0.587, 0.114])
    window = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in grey.shape))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2 / (window**2).sum()
    held: list[list[float]] = [[] for _ in range(bins)]
    for (i, j), p in np.ndenumerate(power):
        radius = np.hypot(np.fft.fftfreq(15)[i], np.fft.fftfreq(20)[j])
        if radius < 0.5:
            held[int(radius * 2 * bins)].append(p)
    np.testing.assert_allclose(radial_spectrum(images, bins)[0], [np.log(np.mean(h) + 1e-3) for h in held], atol=1e-9)


def test_doubling_leaves_less_power_near_nyquist() -> None:
    doubled = noise(8, 32, 32).repeat(2, 1).repeat(2, 2)
    assert (radial_spectrum(doubled, 8)[:, -1] < radial_spectrum(noise(8, 64, 64), 8)[:, -1] - 1).all()


def test_the_residual_keeps_noise_and_drops_ramps() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 2, (64, 1))[None, :, :, None].repeat(3, 3)
    assert np.abs(noise_residual(ramp)).max() < 1e-4
    assert noise_residual(noise(1, 64, 64)).std() > 15


def test_residual_statistics_know_white_from_blurred_noise() -> None:
    white = noise(4, 64, 64)
    blurred = (white.astype(int) + np.roll(white, 1, 1) + np.roll(white, 1, 2) + np.roll(white, (1, 1), (1, 2))) // 4
    rough, soft = residual_statistics(white), residual_statistics(blurred.astype(np.uint8))
    assert (rough[:, 0] > soft[:, 0]).all()
    assert (soft[:, 2:4] > rough[:, 2:4] + 0.2).all()


def test_block_dct_agrees_with_scipy() -> None:
    images = noise(2, 17, 24)
    blocks = block_dct(images)
    assert blocks.shape == (2, 6, 64)
    grey = images[1] @ np.array([0.299, 0.587, 0.114]) - 128
    np.testing.assert_allclose(blocks[1, 4], dctn(grey[8:16, 8:16], norm="ortho").ravel(), atol=1e-9)


def test_jpeg_leaves_its_grid() -> None:
    plain = noise(6, 64, 64, spread=30)
    saved = np.stack([decode(encode(image, "JPEG", quality=20)) for image in plain])
    assert (blockiness(saved).argmax(1) == 0).all()
    assert (blockiness(saved[:, 3:, 3:]).argmax(1) == 5).all()
    assert (dct_statistics(saved)[:, -8:].mean(1) < dct_statistics(plain)[:, -8:].mean(1) - 1).all()
