"""Measure traces of processing in the pixels: earlier JPEG saves, resampling, coarse colour, noise, values.

All traits except the tone curve are measured in a window of the picture at its own resolution. The window begins at a
multiple of eight pixels, so that the JPEG grid has the same position in every picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.pictures.features import block_dct, residual_statistics
from detector.pictures.jpeg import ZIGZAG, luma_steps
from detector.types import Image

Vector = NDArray[np.float64]

QUALITIES = (30, 40, 50, 60, 70, 75, 80, 85, 90, 95)  # IJG qualities of earlier saves that are tested
MODES = ZIGZAG[1:15]  # coefficients of a block that are used: the steps of the coarsest survive later saves
NEARBY = (0.83, 1.17)  # factors that give other steps, with which those of a quality are compared
EVEN = 0.2  # share of the blocks, those with the least detail, in which noise is measured
LEAST_EVEN = 8  # smallest number of these blocks
NEIGHBOURS = 2  # number of values on either side with which a value of the histogram is compared
MOST_PIXELS = 2**20  # largest number of pixels in a histogram; rows of larger pictures are left out
BINS = 48  # number of bins of the spectrum in which interpolation gives a peak
SMALL = 1e-3  # added to both sides of ratios, grey levels


def measure_history(window: Image) -> tuple[dict[str, float], dict[str, Vector]]:
    """Return named traits and vectors of a window (H, W, 3) of at least 16 pixels per side."""
    pixels = window.astype(np.float32)
    light = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    blocks = block_dct(window[None])[0]
    noise = np.concatenate([residual_statistics(window[None])[0], measure_even_blocks(blocks)])
    return count_values(window), {
        "earlier jpeg save": np.concatenate([measure_grids(light), find_steps(blocks)]),
        "resampling": find_periods(light),
        "colour detail": measure_colour_detail(pixels, light),
        "noise": noise,
    }


def measure_grids(light: NDArray[np.float32]) -> Vector:
    """Return (16,): for columns, then rows, the log of the mean step at each offset of an 8-pixel grid, over the mean.

    A grid that an earlier save left behind has larger steps at its offset.
    """
    found = []
    for steps in (np.abs(np.diff(light, axis=1)).mean(0), np.abs(np.diff(light, axis=0)).mean(1)):
        mean = [steps[offset::8].mean() + SMALL for offset in range(8)]
        found.append(np.log(np.array(mean) / np.mean(mean)))
    return np.concatenate(found).astype(np.float64)


def find_steps(blocks: Vector) -> Vector:
    """Return for each of QUALITIES how much closer DCT coefficients are to multiples of its steps than of others.

    Coefficients that were rounded to multiples of a large step stay near them after a finer save. Steps that are NEARBY
    times as large give the value of a picture without an earlier save. blocks: (B, 64), from `block_dct`.

    Source: Popescu and Farid 2004, Statistical tools for digital forensics, section 4 (double quantisation).
    """
    coefficients = blocks[:, MODES].astype(np.float32)  # float32 takes half the time and is exact enough
    size = np.abs(coefficients)
    found = np.zeros(len(QUALITIES))
    for k, quality in enumerate(QUALITIES):
        steps = luma_steps(quality)[MODES].astype(np.float32)
        counted = (size > steps / 2) & (steps >= 3)
        if counted.any():
            turns = np.float32(2 * np.pi) * (coefficients / steps)[counted]
            found[k] = np.cos(turns).mean() - np.mean([np.cos(turns * np.float32(f)).mean() for f in NEARBY])
    return found


def measure_even_blocks(blocks: Vector) -> Vector:
    """Return (14,): the log mean size of the DCT coefficients of each diagonal, in the blocks with the least detail.

    These blocks show noise and filters, but hardly the content of the picture. blocks: (B, 64), from `block_dct`.
    """
    count = max(LEAST_EVEN, int(EVEN * len(blocks)))
    even = blocks[np.argsort((blocks[:, 1:] ** 2).sum(1), kind="stable")[:count]]
    size = np.log(np.abs(even).mean(0) + 0.05)
    diagonal = np.add.outer(np.arange(8), np.arange(8)).ravel()
    return np.asarray((np.bincount(diagonal, size) / np.bincount(diagonal))[1:])


def find_periods(light: NDArray[np.float32]) -> Vector:
    """Return (BINS,): the log spectrum of the size of the second derivative along columns and rows, over its median.

    Interpolated pixels recur with a fixed period, and their second derivative is small, which gives a peak.
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
    """Return (11,): the detail of the colour relative to the brightness, and the alignment of the channels.

    Colour that was stored at half the resolution changes less from pixel to pixel, and differently at even pixels.
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


def measure_tones(image: Image) -> Vector:
    """Return (256,): how much more frequent each value is in a picture (H, W, 3) than the neighbouring values.

    Differences are in standard deviations of the count. A curve that is applied to 8-bit values (gamma, contrast,
    white balance) leaves gaps and peaks, which the rounding of a JPEG does not fill completely; the same curve leaves
    the same ones in all pictures. Source: Stamm and Liu 2010, doi:10.1109/TIFS.2010.2053202.
    """
    rows = image[:: max(1, image.shape[0] * image.shape[1] // MOST_PIXELS)]
    counts = np.bincount(rows.ravel(), minlength=256).astype(np.float64)
    width = 2 * NEIGHBOURS + 1
    mean = np.convolve(np.pad(counts, NEIGHBOURS, mode="reflect"), np.full(width, 1 / width), "valid")
    return np.asarray((counts - mean) / np.sqrt(mean + 1))


def count_values(window: Image) -> dict[str, float]:
    """Return traits of the pixel values: rounding, gaps and peaks in the histogram, number of colours.

    darkest, lightest: the extreme values that all channels reach; stretched contrast moves them to 0 and 255.
    """
    channels = [np.bincount(window[..., k].ravel(), minlength=256) for k in range(3)]
    ends = [np.flatnonzero(channel)[[0, -1]] for channel in channels]
    counts = np.sum(channels, 0).astype(np.float64)
    darkest, lightest = np.searchsorted(np.cumsum(counts), np.array([0.01, 0.99]) * counts.sum())
    middle = counts[darkest : lightest + 1]
    codes = window.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    distinct = 1 + np.count_nonzero(np.diff(np.sort(codes, axis=None)))  # five times faster than np.unique
    rough = np.abs(np.diff(middle, 2)).sum() / max(middle.sum(), 1) if len(middle) > 2 else 0.0
    return {
        "even_values": float(counts[::2].sum() / counts.sum()),
        "missing_values": float((middle == 0).mean()),
        "uneven_histogram": float(rough),
        "distinct_colours": float(distinct / codes.size),
        "repeated_pixels": float((codes[:, 1:] == codes[:, :-1]).mean()) if codes.shape[1] > 1 else 0.0,
        "black_values": float(counts[0] / counts.sum()),
        "white_values": float(counts[255] / counts.sum()),
        "darkest": float(max(low for low, _ in ends)),
        "lightest": float(min(high for _, high in ends)),
    }
