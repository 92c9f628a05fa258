"""Projection into W+: the styles of all layers with which a style-based generator draws a given face.

Source: Karras et al. 2020, arXiv:1912.04958, app. D (start at the mean of w, noise on the styles, ramp of the learning
rate); Abdal, Qin and Wonka 2019, arXiv:1904.03189 (W+, a style for each layer; distances of features and of pixels).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from detector.generators._style_nets import Net
from detector.learning.embedding import Distance
from detector.learning.pixels import from_pixels
from detector.types import Image

STEPS = 100  # number of steps of the optimiser
RATE = 0.2  # largest learning rate (Adam)
RAMP_UP, RAMP_DOWN = 0.05, 0.25  # shares of the steps in which the learning rate rises and falls
NOISE, NOISE_END = 0.05, 0.75  # noise on the styles, in spreads of w, and the share of the steps after which it is 0
PIXELS = 0.3  # weight of the mean squared difference of the pixels, which are in -1..1
NEAR = 0.05  # weight of the squared distance of the styles from the mean of w, in spreads of w


class Projection:
    """Finds the codes of faces for one generator."""

    def __init__(self, net: Net) -> None:
        self.net, self.distance = net, Distance()
        self.spread = float((net.draw_styles() - net.w_mean).square().sum(1).mean().sqrt())

    def find_code(
        self, face: Image, rng: torch.Generator, steps: int, tick: Callable[[int], None]
    ) -> NDArray[np.float32]:
        """Return the code (layers, w_dim) of a face (size, size, 3). tick: called with the number of steps done."""
        net, mean = self.net, self.net.w_mean
        target = from_pixels(face[None])
        goal = self.distance.features(target)
        styles = mean.repeat(1, net.synthesis.layers, 1).requires_grad_()
        optimiser = torch.optim.Adam([styles], RATE)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = RATE * ramp(step / steps)
            noise = NOISE * self.spread * max(0, 1 - step / steps / NOISE_END) ** 2
            drawn = net.synthesis(styles + noise * torch.randn(styles.shape, generator=rng))
            drawn = drawn.expand(-1, 3, -1, -1)
            away = (styles - mean).square().sum(2).mean() / self.spread**2
            loss = self.distance.between(self.distance.features(drawn), goal).sum()
            loss = loss + PIXELS * (drawn - target).square().mean() + NEAR * away
            (styles.grad,) = torch.autograd.grad(loss, styles)
            optimiser.step()
            tick(step + 1)
        return np.asarray(styles.detach()[0].numpy(), np.float32)


def ramp(share: float) -> float:
    """Return the learning rate after a share 0..1 of the steps, as a share of the largest one.

    >>> [round(ramp(share), 2) for share in (0, 0.025, 0.05, 0.5, 0.75, 0.875, 1)]
    [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0]
    """
    down = 0.5 - 0.5 * math.cos(math.pi * min(1, (1 - share) / RAMP_DOWN))
    return down * min(1, share / RAMP_UP)
