"""The losses of generator and discriminator. Logits are larger for real; every loss is a mean over the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Net = Callable[[Tensor], Tensor]  # pictures (N, C, H, W) -> logits (N,)


def gradient_penalty(net: Net, pictures: Tensor) -> Tensor:
    """Return the mean squared norm of the logit's gradient at these pictures, R1 at reals and R2 at fakes.

    Source: Mescheder, Geiger, Nowozin 2018, arXiv:1801.04406, eq. 9.
    """
    pictures = pictures.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(net(pictures).float().sum(), pictures, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()


def logistic_d(real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's logistic loss. Source: Goodfellow et al. 2014, arXiv:1406.2661, eq. 1."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def logistic_g(real: Tensor, fake: Tensor) -> Tensor:
    """Return the generator's non-saturating loss. Source: arXiv:1406.2661, sec. 3."""
    return F.softplus(-fake).mean()


def relativistic_d(real: Tensor, fake: Tensor) -> Tensor:
    """Return the loss of a discriminator that compares each real with one fake.

    Source: Jolicoeur-Martineau 2018, arXiv:1807.00734; with R1 and R2, Huang et al. 2024 (R3GAN), arXiv:2501.05441.
    """
    return F.softplus(fake - real).mean()


def relativistic_g(real: Tensor, fake: Tensor) -> Tensor:
    """Return the loss of the generator whose fakes `relativistic_d` compares with reals."""
    return F.softplus(real - fake).mean()


LOSSES = {"logistic": (logistic_d, logistic_g), "relativistic": (relativistic_d, relativistic_g)}
