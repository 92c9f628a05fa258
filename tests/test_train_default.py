"""`benchmarks/train_default.py` joins the two networks of `default`, and `train_strong.py` those of `strong`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import compression
import numpy as np
import pytest
import torch
import train_clip
import train_cnn
import train_default
import train_strong
import train_transformer
from conftest import make_manifest

from detector.detectors._nets import read_depths
from detector.detectors.cnn import Cnn
from detector.learning.seeds import seeded
from detector.learning.state import state_to_numpy
from detector.pictures.images import load, resize
from detector.pictures.perturbations import Condition
from detector.scoring.checkpoint import SHIPPED, read_card, read_tensors, write_checkpoint

DETECTORS = {  # the hyper-parameters of their networks, and how they are joined
    "default": ((train_cnn.FIFTH, train_transformer.FIFTH), train_default.DESIGN),
    "strong": ((train_cnn.FIFTH, train_clip.RECIPE), train_strong.DESIGN),
}


def join_untrained(recipes: tuple[dict[str, Any], ...], design: train_default.Design, out: Path) -> tuple[Path, Any]:
    """Join networks of these hyper-parameters, which have learned nothing; return (folder, networks)."""
    runs, nets = [], []
    for number, recipe in enumerate(recipes):
        arguments = {"backbone": "tf_efficientnet_lite0"} | recipe | {"pretrained": False}
        with seeded(number):
            net: Any = Cnn(**arguments)._build().eval()
            inner = getattr(net, "net", net)  # networks that see two sides of a face have it inside
            inner.backbone.get_classifier().weight.data.normal_(0, 0.1)
        runs.append(out / str(number))
        write_checkpoint(runs[-1], state_to_numpy(net), {"detector": "cnn", "arguments": arguments})
        nets.append(inner)
    return train_default.join(runs, design, out / "joined"), nets


@pytest.mark.parametrize(("recipes", "design"), DETECTORS.values())
def test_the_joined_detector_averages_all_networks_by_their_factors(
    recipes: tuple[dict[str, Any], ...], design: train_default.Design, tmp_path: Path
) -> None:
    """The first sees the middle of a face, the second all of it; a transformer is joined without its last blocks."""
    folder, nets = join_untrained(recipes, design, tmp_path)
    joined: Any = Cnn(**read_card(folder, "detector")["arguments"]).network(folder)
    faces = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 448, 448, 3), np.uint8))
    for net, blocks in zip(nets, read_depths(design.depth, len(nets)), strict=True):
        if len(blocks) == 1:
            net.backbone.blocks = net.backbone.blocks[: blocks[0]]
    with torch.no_grad():
        logits = [net.classify(view.part(faces)) for net, view in zip(nets, joined.nets, strict=True)]
        expected = sum(factor * own for factor, own in zip(design.factors, logits, strict=True)) / len(nets)
        assert torch.allclose(joined(faces), expected, atol=1e-4)
    assert all(float(own.std()) > 0 for own in logits)


@pytest.mark.parametrize("name", DETECTORS)
def test_the_joined_detector_has_the_networks_of_the_shipped_one(name: str, tmp_path: Path) -> None:
    folder, _ = join_untrained(*DETECTORS[name], tmp_path)
    arguments = read_card(folder, "detector")["arguments"]
    assert {key: arguments[key] for key in ("backbone", "views", "depth", "second")} == {
        key: read_card(SHIPPED / name, "detector")["arguments"][key] for key in ("backbone", "views", "depth", "second")
    }


def test_compression_moves_the_mean_logit_of_the_second_network_no_more(tmp_path: Path) -> None:
    """The convolutional network and the mean logit of the photographs as they are stay what they were."""
    recipes, design = DETECTORS["default"]
    folder, _ = join_untrained(recipes, design, tmp_path)
    arguments, before = read_card(folder, "detector")["arguments"], read_tensors(folder)
    learnt = make_manifest(tmp_path / "faces", n=16, size=64)
    photographs = learnt[(learnt.label == 0) & (learnt.split == "train")].sort_values("sha256")
    assert 2 <= len(photographs) <= compression.PHOTOGRAPHS
    plain = [load(path) for path in photographs.path]
    changes = [Condition(name, severity) for name, severity in compression.CHANGES]
    changed = [change(face, key) for face, key in zip(plain, photographs.sha256, strict=True) for change in changes]
    sets = [np.stack([resize(face, 448, 448) for face in faces]) for faces in (plain, changed)]

    def mean_logits(run: Path) -> list[float]:
        net: Any = Cnn(**arguments).network(run)
        with torch.no_grad():
            return [float(torch.cat([net.nets[1](torch.from_numpy(face[None])) for face in faces]).mean())
                    for faces in sets]  # fmt: skip

    changed_run = compression.ignore_compression(folder, learnt, tmp_path / "changed")
    first, second, after = mean_logits(folder), mean_logits(changed_run), read_tensors(changed_run)
    assert abs(first[1] - first[0]) > 0.01
    assert second == pytest.approx([first[0], first[0]], abs=1e-3)
    assert {name for name, value in before.items() if not np.array_equal(value, after[name])} == {
        "nets.1.net.backbone.head.weight", "nets.1.net.backbone.head.bias",
    }  # fmt: skip
