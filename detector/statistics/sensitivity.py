"""The sensitivity d' of an observer and the criterion c (a preference for one answer), from signal detection theory.

Source: Green and Swets, 1966, Signal Detection Theory and Psychophysics; Macmillan and Creelman, 2005, Detection
Theory, sections 1.2, 2.1 and 13.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtri


@dataclass(frozen=True)
class Sensitivity:
    """d' with its interval, and the criterion c.

    value: d'; 0 is chance, and without a preference 1 gives 69 % and 2 gives 84 % right answers. criterion: 0 without a
    preference; positive if the observer prefers the answer "real".
    """

    value: float
    low: float
    high: float
    criterion: float


def measure_sensitivity(found: int, fakes: int, accused: int, reals: int, *, level: float = 0.95) -> Sensitivity:
    """Return d' = z(H) - z(F) of the share H of fakes that were found and the share F of real pictures called fake.

    Half an answer is added to each count and one to each number of pictures, so that shares of 0 and 1 have a d' too.
    Source: Hautus, 1995, doi:10.3758/BF03203619; the interval: Gourevitch and Galanter, 1967, doi:10.1007/BF02289402.

    found: number of `fakes` that were called fake. accused: number of `reals` that were called fake.

    Raises ValueError if a class has no picture.
    """
    if min(fakes, reals) < 1:
        raise ValueError("d' needs pictures of both classes")
    shares = [(k + 0.5) / (n + 1) for k, n in ((found, fakes), (accused, reals))]
    z_found, z_accused = map(float, ndtri(shares))
    variance = sum(
        share * (1 - share) / (n * _density(z) ** 2)
        for share, n, z in zip(shares, (fakes, reals), (z_found, z_accused), strict=True)
    )
    reach = float(ndtri((1 + level) / 2)) * math.sqrt(variance)
    value = z_found - z_accused
    return Sensitivity(value, value - reach, value + reach, -(z_found + z_accused) / 2)


def _density(z: float) -> float:
    """Return the density of the standard normal distribution."""
    return math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
