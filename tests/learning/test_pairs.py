"""Training pairs: which pictures they have, and which differences their members must not have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture

from detector.dataset.manifest import assign_splits
from detector.errors import ManifestError
from detector.files import sha256
from detector.learning.pairs import (
    ALTERED_SHARE,
    CENTRE,
    Pair,
    PairSampler,
    blend,
    cut_window,
    match_colours,
    match_spectrum,
    vary_sharpness,
)
from detector.learning.squares import Squares, load_squares
from detector.pictures.images import encode
from detector.types import Image

SIDES = [64] * 6 + [40] * 3 + [24] * 3
ROWS = pd.DataFrame({
    "label": [0] * 6 + [1] * 6,
    "generator": [""] * 6 + ["altered"] * 3 + ["drawn"] * 3,
    "dataset": ["small"] + ["large"] * 5 + ["made"] * 6,
    "group": [f"person-{i}" for i in range(6)] + [f"person-{i}" for i in range(3)] + [f"seed-{i}" for i in range(3)],
})  # fmt: skip


def make_squares(sides: list[int] = SIDES) -> Squares:
    """Noise; the number of the row is its mean in red."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (side, side, 3), np.uint8) for side in sides]
    for row, picture in enumerate(pictures):
        picture[..., 0] = 20 * row
    return Squares(np.concatenate([picture.ravel() for picture in pictures]), sides)


def make_sampler(augmentation: float = 0.0, size: int = 32) -> PairSampler:
    return PairSampler(make_squares(), ROWS, np.arange(12), sizes=(size,), augmentation=augmentation)


def detail(picture: Image) -> float:
    return float(np.abs(np.diff(picture[..., 1].astype(float), axis=1)).mean())


def test_the_first_half_of_a_batch_is_photographs() -> None:
    faces, labels = make_sampler().batch(5, np.random.default_rng(0))
    assert faces.shape == (10, 32, 32, 3)
    assert labels.tolist() == [0.0] * 5 + [1.0] * 5
    rows = np.rint(faces[..., 0].mean((1, 2)) / 20).astype(int)
    assert (rows[:5] < 6).all()
    assert (rows[5:] >= 6).all()


def test_an_altered_fake_is_paired_with_its_photograph() -> None:
    sampler, rng = make_sampler(), np.random.default_rng(0)
    pairs = [sampler.choose(rng) for _ in range(400)]
    altered = [pair for pair in pairs if pair.altered]
    assert all(pair.fake == pair.real + 6 for pair in altered)
    assert abs(len(altered) / 400 - ALTERED_SHARE) < 0.08


def test_a_small_source_of_photographs_is_drawn_more_often_than_its_share() -> None:
    sampler, rng = make_sampler(), np.random.default_rng(0)
    others = [pair.real for pair in (sampler.choose(rng) for _ in range(1000)) if not pair.altered]
    share = others.count(0) / len(others)
    assert 0.24 < share < 0.38  # 1 / (1 + sqrt 5) = 0.31; by number of pictures it would be 0.17


def test_a_generator_with_few_fakes_is_drawn_more_often_than_its_share() -> None:
    rows = ROWS.assign(generator=[""] * 6 + ["altered"] * 2 + ["rarely altered"] + ["drawn"] + ["drawn often"] * 2)
    sampler = PairSampler(make_squares(), rows, np.arange(12), sizes=(32,), augmentation=0)
    rng = np.random.default_rng(0)
    pairs = [sampler.choose(rng) for _ in range(4000)]
    for altered, rare in ((True, 8), (False, 9)):
        drawn = [pair.fake for pair in pairs if pair.altered == altered]
        assert abs(drawn.count(rare) / len(drawn) - 1 / (1 + 2**0.5)) < 0.04  # by number of fakes it would be 1/3


def test_copies_of_a_small_source_of_photographs_are_drawn_more_often_than_their_share() -> None:
    rows = ROWS.assign(generator=[""] * 6 + ["altered"] * 6, group=[f"person-{i}" for i in range(6)] * 2)
    rows["dataset"] = (["small"] + ["large"] * 5) * 2
    sampler = PairSampler(make_squares(), rows, np.arange(12), sizes=(32,), augmentation=0)
    rng = np.random.default_rng(0)
    drawn = [sampler.choose(rng).real for _ in range(1000)]
    assert abs(drawn.count(0) / len(drawn) - 1 / (1 + 5**0.5)) < 0.06  # by number of copies it would be 0.17


def test_both_members_of_a_pair_are_as_coarse_as_the_coarser_one() -> None:
    sampler = make_sampler(0.01, size=64)
    ratios = []
    for seed in range(60):
        real, fake = sampler.draw(Pair(3, 10, False), np.random.default_rng(seed))
        ratios.append(detail(real) / detail(fake))
    assert 0.7 < np.median(ratios) < 1.4
    alone = [detail(sampler.draw(Pair(3, 3, False), np.random.default_rng(seed))[0]) for seed in range(60)]
    coarse = [detail(sampler.draw(Pair(3, 10, False), np.random.default_rng(seed))[0]) for seed in range(60)]
    assert np.median(coarse) < np.median(alone)


def test_a_window_shows_the_same_place_of_both_members() -> None:
    """Of a fake that is its photograph, with no augmentation, every window is equal; windows differ in place."""
    pictures = [draw_picture(i % 6, size=64) for i in range(12)]
    squares = Squares(np.concatenate([picture.ravel() for picture in pictures]), [64] * 12)
    sampler = PairSampler(squares, ROWS, np.arange(12), sizes=(64,), window=24, augmentation=0)
    windows = [sampler.draw(Pair(1, 7, True), np.random.default_rng(seed)) for seed in range(5)]
    for real, fake in windows:
        assert real.shape == (24, 24, 3)
        np.testing.assert_array_equal(real, fake)
    assert len({real.tobytes() for real, _ in windows}) == 5


def test_windows_of_the_finer_scale_lie_around_the_middle() -> None:
    """A picture whose red grows to the right and whose green grows downwards tells where a window lies."""
    ramp = np.zeros((100, 100, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(100), np.arange(100)[:, None]
    squares = Squares(np.concatenate([ramp.ravel()] * 12), [100] * 12)
    for sizes, edge in (((100,), 0), ((20, 100), round(100 * (1 - CENTRE) / 2))):
        sampler = PairSampler(squares, ROWS, np.arange(12), sizes=sizes, window=20, augmentation=0)
        windows = [sampler.draw(Pair(1, 7, True), np.random.default_rng(seed))[0] for seed in range(300)]
        fine = np.stack([window for window in windows if np.ptp(window[..., 0]) < 30])
        assert (len(fine) == 300) == (len(sizes) == 1)
        assert edge <= fine[..., :2].min() < edge + 5
        assert 99 - edge - 5 < fine[..., :2].max() <= 99 - edge


def test_matched_colours_are_those_of_the_model() -> None:
    picture, model = draw_picture(1, size=48) // 2, draw_picture(2, size=48)
    matched = match_colours(picture, model)
    assert np.abs(matched.mean((0, 1)) - model.mean((0, 1))).max() < 4
    assert np.abs(matched.std((0, 1)) - model.std((0, 1))).max() < 6


def test_a_photograph_gets_the_size_of_the_fake_that_was_made_from_it() -> None:
    """Both where the fake is smaller and where it is larger; blending would fail otherwise."""
    for real, fake in ((20, 40), (40, 20)):
        sampler = PairSampler(make_squares([real] * 6 + [fake] * 6), ROWS, np.arange(12), sizes=(32,), augmentation=1.0)
        for seed in range(12):
            pair = sampler.draw(Pair(1, 7, True), np.random.default_rng(seed))
            assert [picture.shape for picture in pair] == [(32, 32, 3)] * 2


def test_the_same_seed_draws_the_same_pair() -> None:
    first, second = (make_sampler(1.0).batch(4, np.random.default_rng(3))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_fake_that_equals_its_photograph_gets_no_difference() -> None:
    """Sharpness and spectrum of two equal pictures do not differ by class, whatever the pair goes through."""
    squares = Squares(np.concatenate([draw_picture(i % 6, size=64).ravel() for i in range(12)]), [64] * 12)
    sampler = PairSampler(squares, ROWS, np.arange(12), sizes=(32,), augmentation=1.0)
    differences = []
    for seed in range(150):
        real, fake = sampler.draw(Pair(seed % 3, seed % 3 + 6, True), np.random.default_rng(seed))
        differences.append(detail(real) - detail(fake))
    assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(len(differences)) + 0.05


def test_a_fake_that_equals_its_photograph_has_the_same_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both members come out alike if sharpness is not varied and spectra are not matched, which rounds."""
    for share in ("SHARPNESS", "SPECTRUM"):
        monkeypatch.setattr(f"detector.learning.pairs.{share}", 0.0)
    squares = Squares(np.concatenate([draw_picture(i % 6, size=64).ravel() for i in range(12)]), [64] * 12)
    sampler = PairSampler(squares, ROWS, np.arange(12), sizes=(32,), augmentation=1.0)
    for seed in range(60):
        real, fake = sampler.draw(Pair(seed % 3, seed % 3 + 6, True), np.random.default_rng(seed))
        np.testing.assert_array_equal(real, fake)


def test_a_matched_spectrum_is_that_of_the_model() -> None:
    sharp = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    soft = vary_sharpness(draw_picture(1, size=64), np.random.default_rng(0))
    matched = match_spectrum(soft, sharp)
    assert detail(soft) < 0.5 * detail(matched)
    assert abs(float(matched.mean()) - float(soft.mean())) < 12


def test_a_blend_lies_between_and_a_window_lies_inside() -> None:
    real, fake = np.full((8, 8, 3), 10, np.uint8), np.full((8, 8, 3), 110, np.uint8)
    assert blend(fake, real, 0.75).tolist() == np.full((8, 8, 3), 85).tolist()
    picture = np.arange(100, dtype=np.uint8).reshape(10, 10, 1).repeat(3, 2)
    part = cut_window(picture, 0.5, np.array([1.0, 0.0]))
    np.testing.assert_array_equal(part, picture[:5, 5:])


def write_rows(folder: Path, sides: list[int]) -> pd.DataFrame:
    rows = []
    for number, side in enumerate(sides):
        path, data = folder / f"{number}.png", encode(draw_picture(number, size=side))
        path.write_bytes(data)
        rows.append((str(path), sha256(data), 0, "", "drawn", f"g{number}", "train", "ours"))
    columns = ["path", "sha256", "label", "generator", "dataset", "group", "split", "licence"]
    return assign_splits(pd.DataFrame(rows, columns=columns), seed=0)


def test_squares_keep_their_own_side_up_to_the_limit_and_are_decoded_once(tmp_path: Path) -> None:
    table = write_rows(tmp_path, [20, 48, 100])
    squares = load_squares(table, 64, tmp_path / "squares.bin")
    assert squares.sides.tolist() == [20, 48, 64]
    np.testing.assert_array_equal(squares[1], draw_picture(1, size=48))
    for path in table.path:
        Path(path).unlink()
    np.testing.assert_array_equal(load_squares(table, 64, tmp_path / "squares.bin")[0], draw_picture(0, size=20))
    with pytest.raises(ManifestError, match="restore the file"):
        load_squares(table, 32, tmp_path / "squares.bin")
