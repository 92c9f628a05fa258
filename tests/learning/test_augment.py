"""Training-time augmentation."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import draw_picture

from detector.learning import augment
from detector.learning.augment import add_border, make_augmentation, retouch, save, save_smaller, tighten


@pytest.mark.parametrize("size", [32, 64, 97])
def test_same_seed_same_picture_and_the_shape_is_kept(size: int) -> None:
    change = make_augmentation()
    image = draw_picture(0, size=size)
    first = [change(image, seed) for seed in range(40)]
    assert all(x.shape == image.shape and x.dtype == np.uint8 for x in first)
    assert all(np.array_equal(change(image, seed), x) for seed, x in enumerate(first))
    assert sum(not np.array_equal(x, image) for x in first) > 30


def test_each_augmentation_is_drawn_independently() -> None:
    """Mirroring and greying must not always be drawn together."""
    change = make_augmentation()
    image = np.zeros((48, 48, 3), np.uint8)
    image[:, 24:] = (200, 40, 90)
    seen = set()
    for seed in range(300):
        changed = change(image, seed).astype(int)
        mirrored = changed[:, :16].mean() > changed[:, 32:].mean()
        grey = np.ptp(changed[:, [8, 40]].mean((0, 1))) < 3
        seen.add((bool(mirrored), bool(grey)))
    assert len(seen) == 4


def test_a_codec_gets_the_colours_in_its_order() -> None:
    image = np.full((32, 32, 3), 128, np.uint8)
    image[..., 0] = np.random.default_rng(0).integers(60, 200, (32, 32))
    wrong, right = np.zeros(3), np.zeros(3)
    for seed in range(20):
        right += np.abs(save(image, np.random.default_rng(seed)).astype(int) - image).mean((0, 1))
        swapped = np.ascontiguousarray(image[:, :, ::-1])
        wrong += np.abs(save(swapped, np.random.default_rng(seed))[:, :, ::-1].astype(int) - image).mean((0, 1))
    assert right[0] < wrong[0]  # red weighs more than blue in brightness, which is kept best


def test_strength_zero_leaves_pictures_alone() -> None:
    change = make_augmentation(0)
    image = draw_picture(0)
    assert all(np.array_equal(change(image, seed), image) for seed in range(10))


def test_save_smaller_keeps_shape_and_mean_and_gives_blocks_of_another_size() -> None:
    image = draw_picture(3, size=128)
    saved = [save_smaller(image, np.random.default_rng(seed)) for seed in range(12)]
    assert all(x.shape == image.shape and x.dtype == np.uint8 for x in saved)
    assert all(abs(float(x.mean()) - float(image.mean())) < 6 for x in saved)
    assert len({x.tobytes() for x in saved}) == 12
    assert np.array_equal(saved[0], save_smaller(image, np.random.default_rng(0)))


def test_a_tighter_cut_keeps_the_shape_and_makes_the_middle_larger() -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    image[38:58, 38:58] = 255
    lit = [(tighten(image, np.random.default_rng(seed)) > 127).mean() for seed in range(40)]
    whole = (image > 127).mean()
    assert tighten(image, np.random.default_rng(0)).shape == image.shape
    assert min(lit) > 0.95 * whole
    assert max(lit) > 2 * whole
    assert max(lit) < 3 * whole  # 1 / 0.6 squared is 2.8


def test_a_retouched_face_keeps_its_middle_and_loses_detail_around_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    for seed in range(8):
        portrait = retouch(image, np.random.default_rng(seed)).astype(float)
        assert portrait.shape == image.shape
        assert np.abs(np.diff(portrait[:8, :8], axis=0)).mean() < np.abs(np.diff(portrait[44:52, 44:52], axis=0)).mean()
        assert abs(portrait.mean() - image.mean()) < 4


def test_pictures_differ_in_the_strength_of_their_augmentation() -> None:
    """A tenth of the pictures are at most mirrored, as many more are only cropped, and some are changed strongly."""
    change, image = make_augmentation(), draw_picture(1, size=64)
    apart = []
    for seed in range(200):
        changed = change(image, seed).astype(float)
        apart.append(min(np.abs(changed - image).mean(), np.abs(changed[:, ::-1] - image).mean()))
    assert 0.05 < np.mean(np.array(apart) == 0) < 0.2
    assert np.mean(np.array(apart) > 15) > 0.3


def test_a_border_has_one_colour_and_leaves_the_middle() -> None:
    picture = draw_picture(1, size=64)
    framed = [add_border(picture, np.random.default_rng(seed)) for seed in range(40)]
    for face in framed:
        np.testing.assert_array_equal(face[16:-16, 16:-16], picture[16:-16, 16:-16])
        changed = face[(face != picture).any(2)]
        assert len(np.unique(changed, axis=0)) <= 1
    assert sum((face != picture).any() for face in framed) > 30


def test_a_tenth_are_photographs_of_a_screen_and_a_tenth_are_smoothed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    for name in ("rephotograph", "smooth"):
        monkeypatch.setattr(augment, name, lambda image, severity, rng, name=name: (seen.append(name), image)[1])
    change, image = make_augmentation(), draw_picture(1, size=16)
    for seed in range(400):
        change(image, seed)
    assert all(20 < seen.count(name) < 60 for name in ("rephotograph", "smooth"))
