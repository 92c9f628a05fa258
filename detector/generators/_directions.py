"""Directions of w along which drawn faces differ most, found without labels.

Source: Haerkoenen et al. 2020, arXiv:2004.02546, sec. 2.2 and 2.3 (GANSpace: principal components of w, applied to some
layers only).
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from detector.errors import DetectorError

LAYERS = ("coarse", "middle", "fine")  # sets of layers that a direction is applied to, as in style mixing


def find_directions(styles: Tensor) -> tuple[Tensor, Tensor]:
    """Return the principal components of styles (N, w_dim), as rows of unit length, and the spread along each (w_dim,).

    The component with the largest spread is first. The sign of each is chosen so that its largest entry is positive.
    """
    variances, columns = torch.linalg.eigh(torch.cov(styles.double().T))
    components = columns.T.flip(0)
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return (components * largest.sign()).float(), variances.flip(0).clamp_min(0).sqrt().float()


def parse_direction(name: str, count: int) -> tuple[str, int]:
    """Return the set of layers and the number from 0 of a direction such as coarse-1; DetectorError for others."""
    found = re.fullmatch(rf"({'|'.join(LAYERS)})-([1-9]\d{{0,5}})", name)
    if found is None or int(found[2]) > count:
        raise DetectorError(f"directions are coarse-1 to coarse-{count}, middle-1, fine-1 and so on, not {name!r}")
    return found[1], int(found[2]) - 1
