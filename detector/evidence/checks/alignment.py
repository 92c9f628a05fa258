"""Compare where the face lies in the picture with where generators of the StyleGAN family put it.

StyleGAN 1, 2 and 3 learned faces from FFHQ, whose photographs were turned, scaled and cut by the eyes and the mouth of
each face. Therefore every picture that they draw has its face in nearly the same place, which the frames that people
choose for photographs hardly ever have. The check sees that as long as the picture is not cut anew; resizing and
compression do not matter to it, and neither does anything that a detector looks at.
Source: Karras, Laine and Aila 2019, arXiv:1812.04948, appendix A, and Karras et al. 2018, arXiv:1710.10196, appendix C
(the frame around a face); Yang, Singh and Menczer 2024, arXiv:2401.02627 (profile pictures told by where the eyes are).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detector.evidence.checks import CHECKS
from detector.pictures.faces import locate_landmarks
from detector.types import Exhibit, Finding, Outcome

LIMITS = (
    "Any picture whose face was aligned in this way has the face there: the photographs of the data sets FFHQ and "
    "CelebA-HQ, what people cut by the same program, and fakes of every generator that learned from such pictures. "
    "A generated picture that was cut anew or put into a page is not recognised, and text-to-image models do not align "
    "faces. A photograph can have its face there by chance."
)
SMALLEST = 64  # smallest side of a picture that is examined, pixels
SQUARE = 0.01  # largest difference of the sides of a square picture, as a share of them
# Median and standard deviation of `measure_frame` on 400 faces of `stylegan`, and the distance of 95 % of them;
# benchmarks/alignment.py prints them.
USUAL = (0.5006, 0.492, 0.0282, 0.0362)
SPREAD = (0.0076, 0.0076, 0.0526, 0.0414)
MAX_DISTANCE = 1.65


@CHECKS.register(
    "alignment", limits=LIMITS, reference={"usual": list(USUAL), "spread": list(SPREAD), "distance": MAX_DISTANCE}
)
def check(exhibit: Exhibit) -> Finding:
    """Return how far the face lies from where StyleGAN puts it; points to fake if no farther than its own faces."""
    image = exhibit.image
    if image is None:
        return Finding("alignment", Outcome.NOT_APPLICABLE, f"It cannot be decoded ({exhibit.problem}).")
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST:
        return Finding("alignment", Outcome.NOT_APPLICABLE, f"Fewer than {SMALLEST} pixels per side.")
    if abs(height - width) > SQUARE * max(height, width):
        return Finding("alignment", Outcome.NEUTRAL, "The picture is not square; these generators draw squares.")
    landmarks = locate_landmarks(image)
    if landmarks is None:
        return Finding("alignment", Outcome.NOT_APPLICABLE, "No upright face was found.")
    frame = measure_frame(landmarks / width)
    distance = measure_distance(frame)
    details = {"frame": [round(value, 4) for value in frame], "distance": round(distance, 2), "limit": MAX_DISTANCE}
    if distance > MAX_DISTANCE:
        summary = f"The face is not where StyleGAN puts it ({distance:.1f} times the usual spread from there)."
        return Finding("alignment", Outcome.NEUTRAL, summary, details)
    summary = (
        "The face is turned, scaled and placed as in pictures by StyleGAN, and in photographs that were cut by the "
        f"same program ({distance:.1f} times the usual spread from there)."
    )
    return Finding("alignment", Outcome.SUPPORTS_FAKE, summary, details)


def measure_frame(landmarks: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return the frame that the alignment of FFHQ cuts around a face: its centre (x, y), log of its side, and angle.

    landmarks: eyes, tip of the nose and corners of the mouth (5, 2), in any unit of length. The angle is in radians.
    """
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    across, down = landmarks[1] - landmarks[0], mouth - eyes
    axis = across + np.array([down[1], -down[0]])  # the mean of both directions
    side = 2 * max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down))
    x, y = eyes + 0.1 * down
    return float(x), float(y), float(np.log(side + 1e-9)), float(np.arctan2(axis[1], axis[0]))


def measure_distance(frame: ArrayLike, usual: ArrayLike = USUAL, spread: ArrayLike = SPREAD) -> float:
    """Return the root mean square of the differences of a frame (4,) from the usual one, in units of their spreads."""
    return float(np.sqrt(np.mean(((np.asarray(frame) - np.asarray(usual)) / np.asarray(spread)) ** 2)))
