"""What the pixels tell of how a picture was processed: earlier JPEG saves, resampling, coarse colour, noise, values.

All are measured in a window of the picture at its own resolution, which begins at a multiple of eight pixels so that
JPEG's grid lies alike in every picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.pictures.features import block_dct, residual_statistics
from detector.pictures.jpeg import ZIGZAG, luma_steps
from detector.types import Image

Vector = NDArray[np.float64]

QUALITIES = (30, 40, 50, 60, 70, 75, 80, 85, 90, 95)  # IJG qualities of earlier saves that are looked for
MODES = ZIGZAG[1:15]  # coefficients of a block that are looked at: the coarsest have steps that survive
NEARBY = (0.83, 1.17)  # factors of the steps of a quality, for comparison
BINS = 48  # bins of the spectrum in which interpolation shows as a peak
SMALL = 1e-3  # added to ratios, grey levels


def measure_history(window: Image) -> tuple[dict[str, float], dict[str, Vector]]:
    """Return named traits and vectors of a window (H, W, 3) of at least 16 pixels per side."""
    pixels = window.astype(np.float32)
    light = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    noise = residual_statistics(window[None])[0]
    return count_values(window), {
        "earlier jpeg save": np.concatenate([measure_grids(light), find_steps(window)]),
        "resampling": find_periods(light),
        "colour detail": measure_colour_detail(pixels, light),
        "noise": np.asarray(noise),
    }


def measure_grids(light: NDArray[np.float32]) -> Vector:
    """Return (16,): log steps across the columns, then rows, of each offset 0..7 of an 8-pixel grid, over the mean.

    A grid that another save has left behind stands out at its offset.
    """
    found = []
    for steps in (np.abs(np.diff(light, axis=1)).mean(0), np.abs(np.diff(light, axis=0)).mean(1)):
        mean = [steps[offset::8].mean() + SMALL for offset in range(8)]
        found.append(np.log(np.array(mean) / np.mean(mean)))
    return np.concatenate(found).astype(np.float64)


def find_steps(window: Image) -> Vector:
    """Return for each of QUALITIES how much closer DCT coefficients are to multiples of its steps than of others.

    Coefficients that were rounded to multiples of a large step stay near them after a finer save. Others, NEARBY times
    as large, show what a picture has without any earlier save.
    Source: Popescu and Farid 2004, Statistical tools for digital forensics, section 4 (double quantisation).
    """
    coefficients = block_dct(window[None])[0][:, MODES]
    found = np.zeros(len(QUALITIES))
    for k, quality in enumerate(QUALITIES):
        steps = luma_steps(quality)[MODES]
        counted = (np.abs(coefficients) > steps / 2) & (steps >= 3)
        if counted.any():
            turns = 2 * np.pi * (coefficients / steps)[counted]
            found[k] = np.cos(turns).mean() - np.mean([np.cos(turns * factor).mean() for factor in NEARBY])
    return found


def find_periods(light: NDArray[np.float32]) -> Vector:
    """Return (BINS,): the log spectrum of the second derivative's size over columns and rows, over its median.

    Interpolated pixels follow from their neighbours at a fixed period, where the derivative is small: a peak at it.
    Source: Gallagher 2005, doi:10.1109/CRV.2005.33 (detection of linear interpolation in JPEG images).
    """
    total = np.zeros(BINS)
    for picture in (light, light.T):
        size = np.abs(2 * picture[:, 1:-1] - picture[:, :-2] - picture[:, 2:]).mean(0)
        power = np.abs(np.fft.rfft((size - size.mean()) * np.hanning(len(size)))) + SMALL
        spread = np.interp(np.linspace(2, len(power) - 1, 4 * BINS), np.arange(len(power)), power)
        total += np.log(spread.reshape(BINS, 4).max(1) / np.median(power)) / 2
    return total


def measure_colour_detail(pixels: NDArray[np.float32], light: NDArray[np.float32]) -> Vector:
    """Return (11,): how fine the colour is against the brightness, and whether the channels lie on one another.

    Colour that was stored at half the resolution changes less from pixel to pixel, and differently at even ones.
    """
    found = []
    for channel in (0, 2):
        colour = pixels[..., channel] - light
        for plane in (colour, colour.T):
            steps = np.abs(np.diff(plane, axis=1)).mean(0)
            wide = np.abs(plane[:, 2:] - plane[:, :-2]).mean()
            found += [np.log((steps[::2].mean() + SMALL) / (steps[1::2].mean() + SMALL))]
            found += [np.log((steps.mean() + SMALL) / (wide + SMALL))]
    red, green = (np.diff(pixels[..., channel], axis=1) for channel in (0, 1))
    scale = red.std() * green.std() + SMALL
    width = red.shape[1]
    found += [float((red[:, 1 + k : width - 1 + k] * green[:, 1:-1]).mean() / scale) for k in (-1, 0, 1)]
    return np.array(found)


def count_values(window: Image) -> dict[str, float]:
    """Return what the values of pixels show: rounding, gaps and peaks in the histogram, few colours."""
    counts = np.bincount(window.ravel(), minlength=256).astype(np.float64)
    darkest, lightest = np.searchsorted(np.cumsum(counts), np.array([0.01, 0.99]) * counts.sum())
    middle = counts[darkest : lightest + 1]
    codes = window.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    rough = np.abs(np.diff(middle, 2)).sum() / max(middle.sum(), 1) if len(middle) > 2 else 0.0
    return {
        "even_values": float(counts[::2].sum() / counts.sum()),
        "missing_values": float((middle == 0).mean()),
        "uneven_histogram": float(rough),
        "distinct_colours": float(len(np.unique(codes)) / codes.size),
        "repeated_pixels": float((codes[:, 1:] == codes[:, :-1]).mean()) if codes.shape[1] > 1 else 0.0,
        "black_values": float(counts[0] / counts.sum()),
        "white_values": float(counts[255] / counts.sum()),
    }
