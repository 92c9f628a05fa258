"""Adversarial examples: pictures changed by a few grey levels so that a network judges them wrongly.

Source: Goodfellow et al. 2015, arXiv:1412.6572 (one step along the sign of the gradient); Madry et al. 2018,
arXiv:1706.06083 (projected gradient descent); Carlini and Farid 2020, arXiv:2004.00622 (on detectors of generated
faces).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from detector.types import Images

BLOCK = 16  # number of faces that are attacked together
STEP = 2.5  # length of all steps together, as a multiple of the radius (Madry et al.)


def attack(net: nn.Module, faces: Images, labels: ArrayLike, *, radius: int, steps: int = 10) -> Images:
    """Return the faces, each value changed by at most `radius` grey levels, so that the network's loss is large.

    net: maps faces (N, H, W, 3) of 0..255 to logits (N,); it is set to evaluation mode. labels: (N,), 0 real, 1 fake.
    radius: 1 or more. steps: number of gradients that are computed for each face; one is the fast gradient sign method.
    The changed faces are whole grey levels, as in a file without compression.
    """
    if radius < 1:
        raise ValueError(f"the radius of an attack is a number of grey levels, 1 or more, not {radius}")
    device, targets = next(net.parameters()).device, torch.tensor(np.asarray(labels, np.float32))
    net.eval()
    changed = np.empty_like(faces)
    for i in range(0, len(faces), BLOCK):
        block = torch.from_numpy(np.array(faces[i : i + BLOCK])).to(device)
        moved = raise_loss(net, block, targets[i : i + BLOCK].to(device), radius=radius, steps=steps)
        changed[i : i + BLOCK] = moved.round().to(torch.uint8).cpu().numpy()
    return changed


def raise_loss(net: nn.Module, faces: Tensor, targets: Tensor, *, radius: float, steps: int) -> Tensor:
    """Return faces (N, H, W, 3) as floats within `radius` of the given ones, moved along the sign of the gradient.

    targets: (N,), what the cross-entropy compares the logits with. No gradient of a weight is kept.
    """
    centre = faces.float()
    moved = centre
    for _ in range(steps):
        moved = moved.detach().requires_grad_(True)
        loss = F.binary_cross_entropy_with_logits(net(moved).float(), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = moved + STEP * radius / steps * gradient.sign()
        moved = torch.minimum(torch.maximum(moved, centre - radius), centre + radius).clamp(0, 255)
    return moved.detach()
