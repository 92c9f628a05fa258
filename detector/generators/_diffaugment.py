"""Differentiable augmentation of the discriminator's input, which delays overfitting where there are few pictures.

Source: Zhao et al. 2020, arXiv:2006.10738: colour, translation (1/8 of the side), cutout (1/2 of the side).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return pictures (N, C, H, W), each changed at random; gradients pass through."""
    return _cutout(_translate(_colour(x, rng), rng), rng)


def _uniform(x: Tensor, rng: torch.Generator) -> Tensor:
    return torch.rand(len(x), 1, 1, 1, generator=rng, device=rng.device).to(x.device, x.dtype)


def _colour(x: Tensor, rng: torch.Generator) -> Tensor:
    x = x + (_uniform(x, rng) - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (_uniform(x, rng) * 2) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (_uniform(x, rng) + 0.5) + mean


def _translate(x: Tensor, rng: torch.Generator) -> Tensor:
    n, colours, height, width = x.shape
    reach = max(height // 8, 1)
    shift = torch.randint(-reach, reach + 1, (2, n), generator=rng, device=rng.device).to(x.device)
    rows = torch.arange(height, device=x.device)[None] + shift[0, :, None] + reach
    columns = torch.arange(width, device=x.device)[None] + shift[1, :, None] + reach
    padded = F.pad(x, (reach, reach, reach, reach))
    # Two gathers are used, because one index over rows and columns has a gradient that a GPU sorts, which takes longer
    # than the networks.
    moved = padded.gather(2, rows[:, None, :, None].expand(n, colours, height, width + 2 * reach))
    return moved.gather(3, columns[:, None, None, :].expand(n, colours, height, width))


def _cutout(x: Tensor, rng: torch.Generator) -> Tensor:
    n, _, height, width = x.shape
    centre = torch.rand(2, n, generator=rng, device=rng.device).to(x.device)
    rows = (torch.arange(height, device=x.device)[None] - centre[0, :, None] * height).abs() < height / 4
    columns = (torch.arange(width, device=x.device)[None] - centre[1, :, None] * width).abs() < width / 4
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])
