"""Measure the noise residual: noise by region, traces of resampling, and the radial spectrum.

Nothing here points either way. On the pictures at hand spectral peaks did not tell single fakes from photographs that
had been compressed and resized, and noise was never measured on fakes, so the numbers stand beside their range on
photographs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.evidence.checks import CHECKS
from detector.pictures.features import radial_spectrum
from detector.types import Exhibit, Finding, Image, Outcome

LIMITS = (
    "Depth of field, texture, noise reduction and compression change the noise from region to region in honest "
    "pictures; enlarging leaves the traces that generators leave. Only the middle 1024 x 1024 pixels are examined."
)
WINDOW = 1024  # side of the middle part that is examined, pixels
SMALLEST = 96  # smallest side of a picture that is examined, pixels
TILE = 64  # side of the tile of one spectrum, pixels
BLOCK = 32  # side of the block of one noise estimate, pixels
BINS = 16  # number of rings of the radial spectrum
RESAMPLED = 15.0  # strength of a trace of resampling; original photographs have about 5, enlarged ones 60 to 200
DOUBLED = 2.0  # log units of the peak of doubled pictures; 95 % of photographs are below 1, doubled ones at 2.1
MEASURED = ("noise", "noise_spread", "peak_period_2_4", "peak_period_8", "resampling", "radial")


@CHECKS.register("residual", limits=LIMITS, measured=MEASURED, reference="the ranges in reference.json")
def check(exhibit: Exhibit) -> Finding:
    """Return the noise and its map, spectral peaks, the trace of resampling and the radial spectrum; always neutral."""
    image = exhibit.image
    if image is None or exhibit.decoded is None:
        return Finding("residual", Outcome.NOT_APPLICABLE, f"It cannot be decoded ({exhibit.problem}).")
    if min(image.shape[:2]) < SMALLEST or exhibit.decoded.reduced:
        few = f"Fewer than {SMALLEST} pixels per side."
        why = "The picture was decoded at less than its size." if exhibit.decoded.reduced else few
        return Finding("residual", Outcome.NOT_APPLICABLE, why)
    top, left = (max(0, side - WINDOW) // 2 for side in image.shape[:2])
    window = image[top : top + WINDOW, left : left + WINDOW]
    luma = np.asarray(window.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))
    noise = map_noise(luma)
    middle = float(np.median(noise))
    deviations = np.log2((noise + 0.05) / (middle + 0.05))
    two_four, eight = find_peaks(luma)
    strength, period = find_resampling(luma)
    details: dict[str, Any] = {
        "noise": round(middle, 3),
        "noise_spread": round(float(np.subtract(*np.quantile(deviations, (0.9, 0.1)))), 3),
        "map": {"left_top": [left, top], "block": BLOCK, "log2": np.round(deviations, 1).tolist()},
        "peak_period_2_4": round(two_four, 2),
        "peak_period_8": round(eight, 2),
        "resampling": round(strength, 2),
        "resampling_period": round(period, 2),
        "radial": measure_radial(window),
    }
    said = [f"Noise of {middle:.1f} grey levels, {2 ** details['noise_spread']:.1f}-fold between regions"]
    if strength > RESAMPLED:
        said.append(f"resampled: neighbours agree every {period:.2f} pixels")
    if two_four > DOUBLED:
        said.append("a pattern of period 2 or 4, as doubling or transposed convolution leaves")
    return Finding("residual", Outcome.NEUTRAL, "; ".join(said) + ".", details)


def map_noise(luma: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the standard deviation of the noise in each BLOCK x BLOCK, in grey levels.

    Source: Immerkaer 1996, Fast noise variance estimation, eq. 1 (the mask); the median instead of the mean is ours.
    """
    rows = luma[:-2] - 2 * luma[1:-1] + luma[2:]
    mask = np.abs(rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:])
    height, width = (side // BLOCK * BLOCK for side in mask.shape)
    blocks = mask[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(0, 2, 1, 3)
    return np.asarray(np.median(blocks.reshape(*blocks.shape[:2], -1), axis=2) / 0.6745 / 6, np.float64)


def find_peaks(luma: NDArray[np.float32]) -> tuple[float, float]:
    """Return how far the residual's log spectrum rises above its surroundings at periods 2 and 4, and at 8.

    Source: Zhang, Karaman and Chang 2019, arXiv 1907.06515, section 3: what transposed convolution leaves.
    """
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    residual = np.clip(luma[1:-1, 1:-1] - around / 4, -12, 12)
    window = np.outer(np.hanning(TILE), np.hanning(TILE))
    tiles = np.lib.stride_tricks.sliding_window_view(residual, (TILE, TILE))[:: TILE // 2, :: TILE // 2]
    power = np.zeros((TILE, TILE))
    for row in tiles:
        power += (np.abs(np.fft.fft2((row - row.mean((1, 2), keepdims=True)) * window)) ** 2).sum(0)
    spectrum = np.log(power / (tiles.shape[0] * tiles.shape[1]) + 1e-3)
    shifted = [np.roll(spectrum, (i, j), (0, 1)) for i in range(-3, 4) for j in range(-3, 4)]
    rise = spectrum - np.median(shifted, axis=0)
    at = np.arange(TILE)
    fours, eights = (np.outer(at % step == 0, at % step == 0) for step in (TILE // 4, TILE // 8))
    eights &= ~fours
    fours[0, 0] = False
    return float(rise[fours].max()), float(rise[eights].max())


def find_resampling(luma: NDArray[np.float32]) -> tuple[float, float]:
    """Return the strongest periodicity of the second difference, over the median, and its period in pixels.

    Interpolation makes neighbours agree at regular distances. Multiples of 1/8, where JPEG has its own, are left out.

    Source: Gallagher 2005, Detection of linear and cubic interpolation in JPEG compressed images, eq. 9-11.
    """
    best = 0.0, 0.0
    for plane in (luma, luma.T):
        trace = np.abs(plane[:, :-2] - 2 * plane[:, 1:-1] + plane[:, 2:]).mean(axis=0, dtype=np.float64)
        trace = np.log(trace + 0.1)
        trace = (trace - np.convolve(trace, np.full(9, 1 / 9), "same")) * np.hanning(len(trace))
        spectrum = np.abs(np.fft.rfft(trace))
        frequency = np.fft.rfftfreq(len(trace))
        free = (np.abs(frequency * 8 - np.round(frequency * 8)) > 24 / len(trace)) & (frequency > 0.05)
        if not free.any():
            continue
        at = int(np.flatnonzero(free)[spectrum[free].argmax()])
        strength = float(spectrum[at] / (np.median(spectrum[free]) + 1e-3))
        best = max(best, (strength, float(1 / frequency[at])))
    return best


def measure_radial(window: Image) -> list[float]:
    """Return the log power in BINS rings from 0 to Nyquist, relative to their mean: the shape and not the contrast."""
    side = min(256, *window.shape[:2])
    top, left = (window.shape[0] - side) // 2, (window.shape[1] - side) // 2
    profile = radial_spectrum(window[None, top : top + side, left : left + side], BINS)[0].astype(np.float64)
    return [round(float(value), 2) for value in profile - profile.mean()]
