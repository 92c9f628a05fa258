"""Near twins: copies and mirror images, and not everybody before the same background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from clean_sets import SHARED, draw_flag_portraits, draw_grounds
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.dataset.manifest import read_crops
from detector.dataset.twins import NEAR, find_pairs, hash_both, near_pairs
from detector.pictures.faces import load_square
from detector.pictures.images import decode, encode, resize
from detector.types import Image


def hash_all(images: list[Image]) -> tuple[np.ndarray, np.ndarray]:
    both = [hash_both(image) for image in images]
    return np.stack([one for one, _ in both]), np.stack([other for _, other in both])


def copies(image: Image) -> list[Image]:
    side = image.shape[0]
    return [
        decode(encode(image, "JPEG", quality=40)),
        resize(image, side * 2 // 3, side * 2 // 3),
        (image * 0.85).astype(np.uint8),
        np.ascontiguousarray(image[:, ::-1]),
        decode(encode(resize(image[:, ::-1], side // 2, side // 2), "JPEG", quality=60)),
    ]


def test_copies_and_mirror_images_are_twins_and_others_are_not() -> None:
    originals = list(draw_grounds(6, seed=0))
    images = originals + [copy for image in originals for copy in copies(image)]
    pairs = {tuple(pair) for pair in find_pairs(*hash_all(images)).tolist()}
    assert {(i, 6 + 5 * i + k) for i in range(6) for k in range(5)} <= pairs
    owner = np.r_[np.arange(6), np.repeat(np.arange(6), 5)]
    assert all(owner[a] == owner[b] for a, b in pairs)


def test_different_people_before_one_background_are_no_twins(tmp_path: Path) -> None:
    """Forty people of one collection, each in one place before the very same striped ground, in the same light."""
    images = draw_flag_portraits(tmp_path)
    hashes, mirrored = hash_all(images)
    assert find_pairs(hashes, mirrored).size == 0
    words = np.concatenate([hashes, mirrored]).view(np.uint16)
    apart = np.bitwise_count(words[:, None] ^ words[None]).sum(2)[: len(images)]
    apart[np.arange(40), np.arange(40)] = apart[np.arange(40), np.arange(40) + 40] = 256
    assert apart.min() > NEAR + 10
    copied = [*images[:2], decode(encode(images[0], "JPEG", quality=40))]
    assert [tuple(pair) for pair in find_pairs(*hash_all(copied))] == [(0, 2)]


def test_the_hash_of_the_mirror_image_is_that_of_the_mirrored_picture() -> None:
    for image in draw_grounds(8, seed=5):
        (_, mirrored), (other, _) = hash_both(image), hash_both(np.ascontiguousarray(image[:, ::-1]))
        assert np.bitwise_count(mirrored ^ other).sum() <= 2


def test_official_portraits_of_different_people_are_no_twins() -> None:
    """Official portraits of two sources; one portrait is there under two names."""
    if not (SHARED / "faces/manifest.csv").is_file():
        pytest.skip("the shared photographs are not here")
    table = pd.read_csv(SHARED / "faces/manifest.csv", keep_default_na=False)
    table = table[table.dataset.str.contains("civil-service-256")].head(150).reset_index(drop=True)
    squares = [
        load_square(SHARED / "faces" / path, box) for path, box in zip(table.path, read_crops(table), strict=True)
    ]
    names = [tuple(table.group[pair]) for pair in find_pairs(*hash_all(squares))]
    assert all("dewine" in one and "dewine" in other for one, other in names)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 60))
def test_near_pairs_are_those_a_plain_loop_finds(seed: int, n: int) -> None:
    """Up to 15 bits, where finding every pair is certain."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 256, (n, 32), np.uint8)
    for i in range(1, n, 2):  # a relative of the one before, 0..29 bits away
        flip = np.zeros(256, np.uint8)
        flip[rng.permutation(256)[: rng.integers(0, 30)]] = 1
        hashes[i] = hashes[i - 1] ^ np.packbits(flip)
    hashes[rng.random(n) < 0.1] = 0
    plain = [(i, j) for i in range(n) for j in range(i + 1, n)
             if hashes[i].any() and hashes[j].any() and np.unpackbits(hashes[i] ^ hashes[j]).sum() <= 15]  # fmt: skip
    assert [tuple(pair) for pair in near_pairs(hashes, 15)] == plain


def test_near_pairs_miss_few_at_the_limit_they_are_used_at() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (2000, 32), np.uint8)
    flips = np.zeros((2000, 256), np.uint8)
    flips[np.arange(2000)[:, None], rng.permuted(np.tile(np.arange(256), (2000, 1)), axis=1)[:, :20]] = 1
    pairs = near_pairs(np.concatenate([one, one ^ np.packbits(flips, axis=1)]))
    assert 1980 <= len(pairs) <= 2000
    assert (pairs[:, 1] - pairs[:, 0] == 2000).all()
