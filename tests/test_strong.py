"""`benchmarks/train_strong.py --shipped` works on the networks that are shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import train_strong

from detector.detectors.cnn import Cnn
from detector.learning.state import load_weights
from detector.scoring.checkpoint import SHIPPED, read_card, read_tensors
from detector.scoring.runtime import Session


def test_the_shipped_networks_are_unpacked_and_joined_again_to_the_same_logits(tmp_path: Path) -> None:
    transformer = train_strong.unpack(SHIPPED / "strong", tmp_path / "transformer")
    both = train_strong.join(SHIPPED / "default", transformer, tmp_path / "both")
    assert read_card(both, "detector")["calibration"]  # `Cnn.load` needs one before it is calibrated anew
    net = Cnn(**read_card(SHIPPED / "strong", "detector")["arguments"])._build().eval()
    load_weights(net, read_tensors(both))
    faces = np.random.default_rng(0).integers(0, 256, (2, 448, 448, 3), np.uint8)
    with torch.no_grad():
        logits = net(torch.from_numpy(faces)).numpy()
    assert np.allclose(logits, Session(SHIPPED / "strong").logits(faces), atol=0.01)
    assert not np.allclose(logits, Session(SHIPPED / "default").logits(faces), atol=0.05)
