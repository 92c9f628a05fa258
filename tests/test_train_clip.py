"""`benchmarks/train_clip.py` fits the last layer of a network whose blocks stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import train_clip
from conftest import make_manifest

from detector.detectors.cnn import Cnn
from detector.files import write_bytes
from detector.learning.seeds import seeded
from detector.pictures.images import encode, load
from detector.scoring.checkpoint import read_tensors
from detector.statistics.metrics import METRICS


def test_the_last_layer_tells_fakes_by_what_the_blocks_compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = (
        train_clip.RECIPE | {"backbone": "vit_tiny_patch16_224", "depth": "1,2", "size": 32} | {"augmentation": 0.0}
    )
    monkeypatch.setattr(train_clip, "RECIPE", recipe)
    monkeypatch.setattr(train_clip, "VIEWS", (((32,), 32, 2), ((32, 48), 32, 2)))
    with seeded(0):
        net: Any = Cnn(**recipe)._build().eval()
    before = {name: weight.clone() for name, weight in net.state_dict().items() if "head" not in name}
    table = make_manifest(tmp_path / "faces", n=60, size=48)
    for path in table.path[table.label == 1]:
        picture = load(path)
        picture[::8] = 255  # stripes, which no photograph has
        write_bytes(Path(path), encode(picture, "PNG"))
    train_clip.fit_last_layer(net, table, tmp_path)
    with torch.no_grad():
        logits = net(torch.from_numpy(Cnn(**recipe)._faces(table))).numpy()
    assert METRICS.get("auc")(table.label.to_numpy(), logits) > 0.9
    assert all(torch.equal(weight, net.state_dict()[name]) for name, weight in before.items())


def test_a_layer_that_was_fitted_before_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = train_clip.RECIPE | {"depth": "1,2"}
    monkeypatch.setattr(train_clip, "begin", lambda _: Cnn(**arguments)._build())
    folder = train_clip.train(pd.DataFrame(), tmp_path / "absent.onnx", tmp_path / "clip", train_clip.LAYER)
    found, layer = read_tensors(folder), read_tensors(train_clip.LAYER)
    assert np.ptp(layer["weight"]) > 0
    assert all(np.array_equal(found[f"backbone.head.{name}"], value) for name, value in layer.items())
