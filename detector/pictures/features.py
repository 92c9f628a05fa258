"""Feature vectors of pictures: power spectrum, noise residual, and statistics of 8 x 8 DCT blocks.

Every vector depends on the pixels of its own picture only, not on the rest of the batch.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from detector.types import Images

Vectors = NDArray[np.float64]

FLOOR = 1e-3  # added before a logarithm, so that it is finite for a flat picture; rounding to 8 bits has power 1/12
MODES = 64  # number of coefficients of an 8 x 8 DCT


def radial_spectrum(images: Images, bins: int) -> Vectors:
    """Return the log power (N, bins) at each spatial frequency from 0 to Nyquist, averaged over directions.

    images: (N, H, W, 3), H and W at least 2. The mean is subtracted and a Hann window applied. The power is per pixel,
    so that white noise of variance v gives log v at every frequency and every size. In a small picture, a bin may hold
    no frequency; its value is interpolated between its neighbours.

    Source: Durall, Keuper, Keuper 2020, arXiv:2003.01826, section 3.1 (azimuthal average of the power spectrum).
    """
    grey = _grey(images)
    _, height, width = grey.shape
    window = np.outer(_hann(height), _hann(width))
    rows = np.fft.fftfreq(height)[:, None]
    columns = np.fft.rfftfreq(width)[None, :]
    which = np.minimum((np.hypot(rows, columns) * 2 * bins).astype(np.intp), bins).ravel()  # bin `bins` is discarded
    twice = np.full(columns.shape, 2.0)  # the half of the plane that rfft leaves out
    twice[:, columns[0] == 0] = 1
    if width % 2 == 0:
        twice[:, -1] = 1
    weight = np.broadcast_to(twice, (height, columns.size)).ravel()
    count = np.bincount(which, weight, minlength=bins + 1)[:bins]
    filled = np.flatnonzero(count)
    spectra = np.empty((len(grey), bins))
    for i, picture in enumerate(grey):
        power = np.abs(np.fft.rfft2((picture - picture.mean()) * window)).ravel() ** 2 * weight
        mean = np.bincount(which, power, minlength=bins + 1)[filled] / count[filled] / (window**2).sum()
        spectra[i] = np.interp(np.arange(bins), filled, np.log(mean + FLOOR))
    return spectra


def noise_residual(images: Images) -> Vectors:
    """Return the brightness minus its 3 x 3 median, (N, H, W), in grey levels: noise, edges, traces of generators."""
    grey = _grey(images).astype(np.float32)
    soft = np.empty_like(grey)
    for i, picture in enumerate(grey):
        soft[i] = cv2.medianBlur(picture, 3)
    return (grey - soft).astype(np.float64)


def residual_statistics(images: Images) -> Vectors:
    """Return (N, 8) numbers of the noise residual.

    Log of its standard deviation, its kurtosis, its correlation with itself one pixel right, down and diagonally and
    two pixels right and down, and the log ratio of its spread in the channel differences to that in the brightness.
    """
    residual = noise_residual(images)
    spread = residual.std((1, 2)) + FLOOR
    unit = (residual - residual.mean((1, 2), keepdims=True)) / spread[:, None, None]
    shifts = [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0)]
    height, width = residual.shape[1:]
    near = [(unit[:, : height - y, : width - x] * unit[:, y:, x:]).sum((1, 2)) / (height * width) for y, x in shifts]
    colour = images[..., [0, 2]].astype(np.float32) - images[..., [1]]
    rough = (colour[:, :, 1:] - colour[:, :, :-1]).std((1, 2, 3)) + FLOOR
    return np.column_stack([np.log(spread), ((unit * unit) ** 2).mean((1, 2)), *near, np.log(rough / spread)])


def block_dct(images: Images) -> Vectors:
    """Return the DCT coefficients of the brightness of every whole 8 x 8 block, (N, blocks, 64), in row-major order.

    The grid starts at the upper left corner, as in JPEG. The transform is an orthonormal DCT-II of grey levels - 128.
    """
    grey = _grey(images) - 128
    n, height, width = grey.shape
    down, across = height // 8, width // 8
    blocks = grey[:, : down * 8, : across * 8].reshape(n, down, 8, across, 8).transpose(0, 1, 3, 2, 4)
    k = np.arange(8)
    basis = np.cos(np.pi * (2 * k[None, :] + 1) * k[:, None] / 16) / 2
    basis[0] /= np.sqrt(2)
    return (basis @ blocks @ basis.T).reshape(n, down * across, MODES)


def dct_statistics(images: Images) -> Vectors:
    """Return (N, 63): the log mean magnitude of each AC coefficient of the 8 x 8 DCT; zeros for less than 8 pixels.

    The mean magnitude is the scale of the Laplace distribution that natural pictures follow. Generators and
    recompression change it.

    Source: Frank et al. 2020, arXiv:2003.08685, section 3 (DCT artefacts); Lam and Goodman 2000 (Laplace model).
    """
    blocks = block_dct(images)
    if blocks.shape[1] == 0:
        return np.zeros((len(images), MODES - 1))
    return np.asarray(np.log(np.abs(blocks[:, :, 1:]).mean(1) + FLOOR))


def blockiness(images: Images) -> Vectors:
    """Return (N, 8): log ratios of pixel differences across an 8-pixel grid at offset 0..7 to differences everywhere.

    Without a JPEG grid all are near 0. Element 0 is larger if the picture was saved as JPEG and not cropped since, and
    another element if it was cropped.
    """
    grey = _grey(images)
    totals = []
    for steps in (np.abs(np.diff(grey, axis=2)).mean(1), np.abs(np.diff(grey, axis=1)).mean(2)):  # (N, W-1), (N, H-1)
        overall = steps.mean(1) + FLOOR
        at = [steps[:, (7 + k) % 8 :: 8] for k in range(8)]
        totals.append(
            np.log(np.column_stack([(a.mean(1) if a.size else overall) + FLOOR for a in at]) / overall[:, None])
        )
    return np.asarray((totals[0] + totals[1]) / 2)


def _grey(images: Images) -> Vectors:
    return np.asarray(images.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))


def _hann(n: int) -> Vectors:
    """Return a periodic Hann window without zeros at the ends, so that the edge of a small picture counts."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n))
