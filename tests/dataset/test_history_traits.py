"""Traces of processing: each trait moves where it should, and stays where nothing was done."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from clean_sets import draw_grounds
from PIL import Image as Pillow
from PIL import ImageFilter, ImageOps
from planting import add

from detector.dataset.history_traits import count_values, find_steps, measure_even_blocks, measure_tones
from detector.pictures.features import block_dct
from detector.pictures.images import decode, encode
from detector.types import Image


def save(image: Image, quality: int = 90) -> Image:
    return decode(encode(image, "JPEG", quality=quality))


def soften(image: Image, radius: float = 1.5) -> Image:
    return np.asarray(Pillow.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


@pytest.mark.parametrize("curve", [lambda v: 255 * (v / 255) ** 1.05, lambda v: 1.04 * v - 4])
def test_a_curve_leaves_gaps_that_a_jpeg_does_not_fill(curve: Callable[[np.ndarray], np.ndarray]) -> None:
    table = np.clip(np.rint(curve(np.arange(256.0))), 0, 255).astype(np.uint8)
    gaps = np.setdiff1d(np.arange(60, 220), table)  # values of many pixels that no pixel has any more
    images = [soften(image, 4) for image in draw_grounds(12, seed=0, side=384)]
    before, after = (np.mean([measure_tones(save(image)) for image in some], 0)
                     for some in (images, [table[image] for image in images]))  # fmt: skip
    assert before[gaps].mean() > -0.4
    assert after[gaps].mean() < -0.8


def test_the_tones_of_a_large_picture_are_those_of_every_second_row() -> None:
    picture = np.tile(next(draw_grounds(1, seed=1, side=512)), (9, 1, 1))
    assert (measure_tones(picture) == measure_tones(picture[::2])).all()
    assert measure_tones(np.full((16, 16, 3), 7, np.uint8))[7] > 10


def test_darkest_and_lightest_are_reached_by_every_channel() -> None:
    plain = np.clip(next(draw_grounds(1, seed=2)) // 2 + 40, 0, 255).astype(np.uint8)
    stretched = np.asarray(ImageOps.autocontrast(Pillow.fromarray(plain)))
    before, after = count_values(plain), count_values(save(stretched, 95))
    assert before["darkest"] >= 40
    assert before["lightest"] < 200
    assert after["darkest"] < 20
    assert after["lightest"] > 235
    one = plain.copy()
    one[..., 0] = stretched[..., 0]
    assert count_values(one)["darkest"] == plain[..., 1:].min((0, 1)).max()


def test_distinct_colours_are_counted() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[0, :5, 1] = np.arange(5)
    assert count_values(image)["distinct_colours"] == 5 / 256


def test_even_blocks_show_noise_and_filters_and_not_the_picture() -> None:
    soft = [soften(image) for image in draw_grounds(6, seed=3, side=192)]
    noise = np.random.default_rng(0)
    noisy = [add(image, noise.normal(0, 1.5, image.shape)) for image in soft]
    plain, rough = (
        np.array([measure_even_blocks(block_dct(image[None])[0]) for image in images]) for images in (soft, noisy)
    )
    assert plain.shape == (6, 14)
    assert (rough[:, 7:].mean(1) > plain[:, 7:].mean(1) + 1).all()
    assert np.abs(plain[:, 7:] - plain[:, 7:].mean(0)).max() < 0.5  # six different pictures


def test_steps_of_an_earlier_save_stand_out_at_its_quality() -> None:
    image = next(draw_grounds(1, seed=4, side=192))
    once, twice = (find_steps(block_dct(save(x)[None])[0]) for x in (image, save(image, 50)))
    assert int(np.argmax(twice[:6])) == 2  # QUALITIES[2] is 50
    assert twice[2] > once[2] + 0.3
