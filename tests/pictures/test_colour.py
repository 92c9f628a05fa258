"""Colour profiles: wide ones are converted to sRGB; sRGB and damaged profiles change nothing."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from conftest import draw_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps
from profiles import D65_TO_XYZ, P3, P3_TO_XYZ, PRO_TO_XYZ, profile_of

from detector.pictures import colour
from detector.pictures.images import convert_picture, decode, decode_picture


def under(image: np.ndarray, to_xyz: np.ndarray, gamma: float = 2.2) -> np.ndarray:
    """The same colours, numbers of another profile."""
    srgb = image / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    wide = linear @ (np.linalg.inv(to_xyz) @ D65_TO_XYZ).T
    return np.asarray((255 * np.clip(wide, 0, 1) ** (1 / gamma)).round(), np.uint8)


def saved(image: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(("to_xyz", "gamma"), [(P3_TO_XYZ, 2.2), (PRO_TO_XYZ, 1.8)], ids=["P3", "ProPhoto"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_wide_profile_gives_the_colours_of_the_srgb_twin(to_xyz: np.ndarray, gamma: float, kind: str) -> None:
    image = np.stack([draw_picture(seed)[..., 0] // 2 + shade for seed, shade in ((1, 100), (2, 60), (3, 40))], -1)
    wide = under(image, to_xyz, gamma)
    assert np.abs(wide.astype(int) - image).max() > 10
    data = saved(wide, kind, icc_profile=profile_of(to_xyz, gamma))
    found = decode_picture(data)
    assert found.converted
    assert np.abs(found.image.astype(int) - image).max() <= 2
    assert np.array_equal(decode_picture(data, srgb=False).image, wide)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_every_format_that_carries_a_profile_is_converted(kind: str) -> None:
    found = decode_picture(saved(draw_picture(1), kind, icc_profile=P3, quality=95))
    assert found.converted
    plain = decode(saved(draw_picture(1), kind, quality=95))
    assert np.abs(found.image.astype(int) - plain).mean() > 1


def test_the_picture_that_is_converted_stays_as_it_is() -> None:
    opened = Pillow.open(io.BytesIO(saved(draw_picture(1), "PNG", icc_profile=P3)))
    before = np.array(opened)
    assert not np.array_equal(convert_picture(opened).image, before)
    assert np.array_equal(np.array(opened), before)


@pytest.mark.parametrize("profile", [SRGB, profile_of(D65_TO_XYZ)], ids=["sRGB", "about sRGB"])
def test_srgb_is_left_alone_to_the_bit(profile: bytes) -> None:
    image = draw_picture(1)
    found = decode_picture(saved(image, "PNG", icc_profile=profile))
    assert not found.converted
    assert np.array_equal(found.image, image)


def test_alpha_and_palettes_are_converted_too() -> None:
    flat = np.full((8, 8, 4), (200, 40, 40, 255), np.uint8)
    expected = decode(saved(flat[..., :3], "PNG", icc_profile=P3))[0, 0]
    assert expected.tolist() != [200, 40, 40]
    assert np.array_equal(decode(saved(flat, "PNG", icc_profile=P3))[0, 0], expected)
    buffer = io.BytesIO()
    Pillow.fromarray(flat[..., :3]).quantize(4).save(buffer, "PNG", icc_profile=P3)
    assert np.array_equal(decode(buffer.getvalue())[0, 0], expected)


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_grey_pictures_under_a_profile_of_colours_are_left_alone(mode: str) -> None:
    image = Pillow.new(mode, (8, 8), 77)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", icc_profile=P3)
    assert (decode(buffer.getvalue()) == 77).all()


@pytest.mark.parametrize(
    "profile", [b"", b"x" * 200, P3[:140], P3[:-40], P3[:16] + b"CMYK" + P3[20:], P3 + bytes(2**20)],
    ids=["empty", "nonsense", "no tags", "cut", "CMYK", "huge"],
)  # fmt: skip
def test_what_is_no_profile_of_primaries_changes_nothing(profile: bytes) -> None:
    assert colour.find_transform(profile) is None
    image = draw_picture(1)
    if profile:
        assert np.array_equal(decode(saved(image, "PNG", icc_profile=profile)), image)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(P3) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_broken_profile_never_loses_the_picture(changes: list[tuple[int, int]]) -> None:
    profile = bytearray(P3)
    for at, value in changes:
        profile[at] = value
    assert decode(saved(draw_picture(1, size=8), "PNG", icc_profile=bytes(profile))).shape == (8, 8, 3)


def test_tags_outside_a_profile_are_ignored() -> None:
    assert {b"desc", b"wtpt", b"rXYZ", b"gTRC"} <= set(colour.read_tags(P3))
    assert colour.read_tags(P3[:132]) == {}
    many = P3[:128] + struct.pack(">I", 2**31) + (b"abcd" + struct.pack(">II", 2**31, 99)) * 100
    assert colour.read_tags(many) == {}


def draw_colours(seed: int) -> np.ndarray:
    """A smooth picture whose channels are independent of each other."""
    planes = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return np.asarray(Pillow.fromarray(planes).resize((96, 96), Pillow.Resampling.BICUBIC))


@pytest.mark.parametrize("ends", [("#201005", "#f5e6c8"), ("#00081a", "#dfe8ff"), ("#102000", "#e0ffd0")])
@pytest.mark.parametrize("quality", [75, 95])
def test_a_face_in_one_tone_becomes_grey(ends: tuple[str, str], quality: int) -> None:
    buffer = io.BytesIO()
    ImageOps.colorize(Pillow.fromarray(draw_colours(0)).convert("L"), *ends).save(buffer, "JPEG", quality=quality)
    toned = np.asarray(Pillow.open(buffer))
    assert np.ptp(toned.astype(int), 2).mean() > 10
    grey = colour.remove_tone(toned)
    assert (np.ptp(grey, 2) == 0).all()
    assert np.array_equal(grey[..., 0], np.asarray(Pillow.fromarray(toned).convert("L")))


@pytest.mark.parametrize("seed", range(4))
def test_colours_and_grey_stay_to_the_bit(seed: int) -> None:
    face = draw_colours(seed)
    faded = np.uint8(0.5 * face + 0.5 * face.mean(2, keepdims=True))
    for picture in (face, faded, face[..., :1].repeat(3, 2), np.zeros_like(face), np.full_like(face, 255)):
        assert np.array_equal(colour.remove_tone(picture), picture)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 255))
def test_small_and_flat_faces_are_no_errors(height: int, width: int, value: int) -> None:
    flat = np.full((height, width, 3), (value, 0, 255 - value), np.uint8)
    assert colour.remove_tone(flat).shape == flat.shape
