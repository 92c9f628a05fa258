from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import draw_picture

from detector.evidence.checks import make_exhibit, residual
from detector.evidence.checks.residual import find_peaks, find_resampling, map_noise
from detector.pictures.images import decode, decode_picture, encode, resize
from detector.types import Exhibit, Finding, Image, Outcome


def check(image: Image) -> Finding:
    return residual.check(make_exhibit(encode(image), Path("x.png")))


def noisy(seed: int, sigma: float, size: int = 256) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    return (100 + 60 * x * y + rng.normal(0, sigma, (size, size))).astype(np.float32)


def test_a_reduced_picture_is_not_measured() -> None:
    data = encode(draw_picture(1, size=300), "JPEG")
    finding = residual.check(Exhibit(Path("x.jpg"), data, "0" * 64, decode_picture(data, max_pixels=150 * 150)))
    assert finding == Finding("residual", Outcome.NOT_APPLICABLE, "The picture was decoded at less than its size.")


@pytest.mark.parametrize("sigma", [1, 4, 10])
def test_noise_is_estimated(sigma: float) -> None:
    assert np.median(map_noise(noisy(0, sigma))) == pytest.approx(sigma, rel=0.1)


def test_a_region_with_other_noise_stands_out_in_the_map() -> None:
    luma = noisy(0, 2)
    luma[64:160, 64:160] = noisy(1, 8)[64:160, 64:160]
    image = np.repeat(np.clip(luma, 0, 255).astype(np.uint8)[..., None], 3, 2)
    found = check(image)
    grid = np.array(found.details["map"]["log2"])
    assert grid[3, 3] - grid[0, 0] == pytest.approx(2, abs=0.4)
    assert (
        found.details["noise_spread"]
        > check(np.repeat(noisy(0, 2).astype(np.uint8)[..., None], 3, 2)).details["noise_spread"]
    )


@pytest.mark.parametrize("scale", [1.25, 1.5, 1.7, 2.5])
@pytest.mark.parametrize("quality", [None, 90])
def test_enlarging_is_found_with_its_period(scale: float, quality: int | None) -> None:
    image = np.repeat(noisy(0, 6).astype(np.uint8)[..., None], 3, 2)
    large = resize(image, round(256 * scale), round(256 * scale))
    large = large if quality is None else decode(encode(large, "JPEG", quality=quality))
    strength, period = find_resampling(large.astype(np.float32).mean(2))
    assert strength > residual.RESAMPLED
    step = 1 / period  # the frequency is that of the pixel grid that was, folded at 1/2
    assert min(abs(step - f % 1) for f in (1 / scale, -1 / scale, 2 / scale, -2 / scale)) < 0.01


def test_a_picture_as_it_was_shows_no_resampling() -> None:
    assert max(find_resampling(noisy(seed, 6))[0] for seed in range(5)) < residual.RESAMPLED


def test_checkerboard_is_a_peak_of_period_two() -> None:
    assert find_peaks(noisy(0, 4))[0] < 1
    board = noisy(0, 4) + 3 * (np.indices((256, 256)).sum(0) % 2)
    assert find_peaks(board.astype(np.float32))[0] > residual.DOUBLED
    assert "period 2" in check(draw_picture(1, size=128, fake=True)).summary


def test_the_check_is_always_neutral() -> None:
    for fake in (False, True):
        assert check(draw_picture(1, size=128, fake=fake)).outcome == Outcome.NEUTRAL


def test_contrast_does_not_change_the_shape_of_the_spectrum() -> None:
    image = draw_picture(1, size=128)
    dark = (image // 2).astype(np.uint8)
    apart = np.abs(np.subtract(check(image).details["radial"], check(dark).details["radial"]))
    assert apart.max() < 0.5


@pytest.mark.parametrize("size", [20, 95])
def test_small_pictures_are_not_judged(size: int) -> None:
    assert check(draw_picture(1, size=size)).outcome == Outcome.NOT_APPLICABLE


def test_a_blank_picture_has_finite_numbers() -> None:
    found = check(np.full((128, 300, 3), 77, np.uint8)).details
    assert np.isfinite([found[k] for k in ("noise", "noise_spread", "peak_period_2_4", "resampling")]).all()
