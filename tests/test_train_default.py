"""`benchmarks/train_default.py` joins the two networks that are shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import train_cnn
import train_default
import train_transformer

from detector.detectors.cnn import Cnn
from detector.learning.seeds import seeded
from detector.learning.state import state_to_numpy
from detector.scoring.checkpoint import SHIPPED, read_card, write_checkpoint


def test_the_joined_detector_averages_both_networks_by_their_factors(tmp_path: Path) -> None:
    """The first sees the middle of a face, the second all of it, without the last of its blocks."""
    runs: dict[str, tuple[Any, Path]] = {}
    for name, recipe in (("cnn", train_cnn.FIFTH), ("transformer", train_transformer.FIFTH)):
        arguments = {"backbone": "tf_efficientnet_lite0"} | recipe | {"pretrained": False}
        with seeded(0):
            net: Any = Cnn(**arguments)._build().eval()
            net.net.backbone.get_classifier().weight.data.normal_(0, 0.1)
        write_checkpoint(tmp_path / name, state_to_numpy(net), {"detector": "cnn", "arguments": arguments})
        runs[name] = net.net, tmp_path / name
    folder = train_default.join([folder for _, folder in runs.values()], train_default.DESIGN, tmp_path / "both")
    arguments = read_card(folder, "detector")["arguments"]
    assert {key: arguments[key] for key in ("backbone", "views", "depth", "second")} == {
        key: read_card(SHIPPED / "default", "detector")["arguments"][key]
        for key in ("backbone", "views", "depth", "second")
    }
    joined: Any = Cnn(**arguments).network(folder)
    faces = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 448, 448, 3), np.uint8))
    transformer = runs["transformer"][0]
    transformer.backbone.blocks = transformer.backbone.blocks[:11]
    with torch.no_grad():
        logits = [
            net.classify(view.part(faces)) for net, view in zip((runs["cnn"][0], transformer), joined.nets, strict=True)
        ]
        expected = sum(factor * own for factor, own in zip(train_default.DESIGN.factors, logits, strict=True)) / 2
        assert torch.allclose(joined(faces), expected, atol=1e-4)
    assert all(float(own.std()) > 0 for own in logits)
