"""The check of where the face lies points to a fake exactly if a picture is cut as StyleGAN's training data were."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.dataset.embedded import unpack_faces
from detector.evidence.checks import alignment, make_exhibit
from detector.evidence.checks.alignment import MAX_DISTANCE, USUAL, measure_distance, measure_frame
from detector.generators import load_generator
from detector.pictures.faces import locate_landmarks
from detector.pictures.images import encode
from detector.types import Finding, Image, Outcome

FACE = np.array([[35.0, 45], [65, 45], [50, 62], [38, 78], [62, 78]])  # landmarks of a face on a canvas of 100 pixels


def check(image: Image) -> Finding:
    return alignment.check(make_exhibit(encode(image), Path("x.png")))


@cache
def face() -> Image:
    """Return a face of our own generator in the middle of a larger canvas, so that it can be cut in every way."""
    drawn = load_generator("style").sample(1, seed=3, truncation=0.5)[0]
    large = cv2.resize(drawn, (256, 256), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.copyMakeBorder(large, 128, 128, 128, 128, cv2.BORDER_REFLECT_101), np.uint8)


def cut_like_stylegan(image: Image, *, moved: float = 0.0, larger: float = 1.0, turned: float = 0.0) -> Image:
    """Return the square of 256 pixels in which the face lies as StyleGAN would put it, or not quite.

    moved: to the right, as a share of the side. larger: factor on the side. turned: degrees.
    """
    for _ in range(3):  # landmarks of the square are found a little elsewhere than those of the canvas
        landmarks = locate_landmarks(image)
        assert landmarks is not None
        height = image.shape[0]
        x, y, log_side, angle = measure_frame(landmarks / height)
        side = np.exp(log_side - USUAL[2]) * height
        change = np.rad2deg(angle - USUAL[3])
        turn = cv2.getRotationMatrix2D((x * height, y * height), change, 256 / side)
        turn[:, 2] += 256 * np.array(USUAL[:2]) - (x * height, y * height)
        image = cv2.warpAffine(image, turn, (256, 256), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    turn = cv2.getRotationMatrix2D((128, 128), turned, 1 / larger)
    turn[0, 2] += 256 * moved
    return np.asarray(cv2.warpAffine(image, turn, (256, 256), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def test_a_face_cut_by_eyes_and_mouth_points_to_a_fake_at_every_size_and_quality() -> None:
    aligned = cut_like_stylegan(face())
    found = check(aligned)
    assert found.outcome == Outcome.SUPPORTS_FAKE
    assert found.details["distance"] <= MAX_DISTANCE
    small = cv2.resize(aligned, (120, 120), interpolation=cv2.INTER_AREA)
    assert alignment.check(make_exhibit(encode(small, "JPEG", quality=60), Path("x.jpg"))).outcome == found.outcome


@pytest.mark.parametrize("change", [{"moved": 0.08}, {"larger": 1.35}, {"turned": 14.0}])
def test_another_frame_points_nowhere(change: dict[str, float]) -> None:
    found = check(cut_like_stylegan(face(), **change))
    assert found.outcome == Outcome.NEUTRAL
    assert found.details["distance"] > MAX_DISTANCE


def test_oblong_small_and_faceless_pictures_point_nowhere() -> None:
    aligned = cut_like_stylegan(face())
    assert check(aligned[:, 10:]).outcome == Outcome.NEUTRAL
    assert check(cv2.resize(aligned, (40, 40))).outcome == Outcome.NOT_APPLICABLE
    assert check(np.full_like(aligned, 128)).summary == "No upright face was found."


def test_photographs_of_a_studio_point_nowhere(tmp_path: Path) -> None:
    """They are oblong; their squares around the middle are cut by nobody's eyes."""
    for path in unpack_faces(tmp_path, seed=0).path[::40]:
        image = cv2.imread(path)
        assert image is not None
        square = np.ascontiguousarray(cv2.resize(image[10:102], (184, 184)))
        assert alignment.check(make_exhibit(encode(square), Path("x.png"))).outcome != Outcome.SUPPORTS_FAKE


@given(
    scale=st.floats(0.2, 5), angle=st.floats(-0.6, 0.6), x=st.floats(-50, 50), y=st.floats(-50, 50),
)  # fmt: skip
def test_the_frame_moves_turns_and_grows_with_the_face(scale: float, angle: float, x: float, y: float) -> None:
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    before = measure_frame(FACE)
    after = measure_frame(scale * FACE @ rotation.T + (x, y))
    np.testing.assert_allclose(after[:2], scale * rotation @ before[:2] + (x, y), atol=1e-6)
    assert after[2] == pytest.approx(before[2] + np.log(scale), abs=1e-6)
    assert after[3] == pytest.approx(before[3] + angle, abs=1e-6)


def test_the_usual_frame_has_no_distance() -> None:
    assert measure_distance(USUAL) == 0
