"""Distances between a generator's faces and photographs in the features of a network: KID, precision and recall.

Source: Binkowski et al. 2018, arXiv:1801.01401 (KID); Kynkaanniemi et al. 2019, arXiv:1904.06991 (precision, recall).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def kid(real: Floats, fake: Floats, *, subsets: int = 50, size: int = 500, seed: int = 0) -> tuple[float, float]:
    """Return KID times 1000 and its standard error over subsets: the unbiased squared MMD, cubic kernel.

    Features are divided by the root mean square of those of the reals, so that the scale suits the kernel.
    """
    rng = np.random.default_rng(seed)
    unit = np.sqrt(np.square(real).mean())
    real, fake = real / unit, fake / unit
    size = min(size, len(real), len(fake))
    values = []
    for _ in range(subsets):
        x, y = (f[rng.choice(len(f), size, replace=False)] for f in (real, fake))
        xx, yy, xy = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        off = size * (size - 1)
        values.append((xx.sum() - np.trace(xx)) / off + (yy.sum() - np.trace(yy)) / off - 2 * xy.mean())
    return 1000 * float(np.mean(values)), 1000 * float(np.std(values) / np.sqrt(subsets))


def precision_recall(real: Floats, fake: Floats, *, k: int = 3) -> tuple[float, float]:
    """Return precision and recall.

    Precision is the share of fakes within the k-nearest-neighbour balls of the reals, and recall the share of reals
    within those of the fakes.
    """

    def covered(balls: Floats, points: Floats) -> float:
        radius = np.sqrt(np.partition(squared_distances(balls, balls), k, axis=1)[:, k])
        return float((np.sqrt(squared_distances(points, balls)) <= radius).any(1).mean())

    return covered(real, fake), covered(fake, real)


def squared_distances(a: Floats, b: Floats) -> Floats:
    """Return the squared distance (N, M) of each point of a (N, D) from each of b (M, D)."""
    return np.asarray(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0), np.float64)
