"""Folders of weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from detector import detectors, generators
from detector.errors import CheckpointError
from detector.scoring import checkpoint
from detector.scoring.checkpoint import (
    CARD,
    WEIGHTS,
    digest_checkpoint,
    find_checkpoint,
    read_card,
    read_tensors,
    write_checkpoint,
)

TENSORS = {"a": np.arange(6.0).reshape(2, 3).T, "scalar": np.float32(3)}


def test_tensors_come_back_with_their_shapes(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, TENSORS, {"detector": "x", "arguments": {}})
    again = read_tensors(tmp_path)
    assert np.array_equal(again["a"], TENSORS["a"])
    assert again["scalar"].shape == ()


@pytest.mark.parametrize(("file", "text"), [(WEIGHTS, b"torn"), (CARD, b"{"), (CARD, b"[]")])
def test_damage_is_a_clear_error(tmp_path: Path, file: str, text: bytes) -> None:
    write_checkpoint(tmp_path, TENSORS, {"detector": "x"})
    (tmp_path / file).write_bytes(text)
    look = read_tensors if file == WEIGHTS else lambda folder: read_card(folder, "detector")
    with pytest.raises(CheckpointError):
        look(tmp_path)


def test_another_kind_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, TENSORS, {"generator": "x"})
    with pytest.raises(CheckpointError, match="does not hold a detector"):
        read_card(tmp_path, "detector")


def test_the_digest_follows_every_file(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, TENSORS, {"detector": "x"})
    first = digest_checkpoint(tmp_path)
    write_checkpoint(tmp_path, TENSORS, {"detector": "x", "seed": 1})
    assert digest_checkpoint(tmp_path) != first


def test_shipped_weights_come_first_and_the_largest_of_a_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(checkpoint, "QUICKSTART", tmp_path / "quickstart")
    with pytest.raises(CheckpointError, match="run `detector quickstart` here"):
        find_checkpoint("generator", "style")
    for place in ("quickstart/weights/style", "shipped/style-64", "shipped/style-128"):
        write_checkpoint(tmp_path / place, TENSORS, {"generator": "style"})
        assert find_checkpoint("generator", "style") == tmp_path / place


@pytest.mark.parametrize("card", sorted((ROOT / "detector" / "weights").glob(f"*/{CARD}")), ids=lambda p: p.parent.name)
def test_what_is_shipped_loads_and_says_what_it_is(card: Path) -> None:
    facts = json.loads(card.read_text())
    assert {"seed", "recipe", "licence", "citation", "limits"} <= set(facts)
    assert sum(f.stat().st_size for f in card.parent.iterdir()) < 30 * 2**20
    if "generator" in facts:
        thing = generators.load_generator(facts["generator"], card.parent)
        if hasattr(thing, "sample"):
            assert len({image.tobytes() for image in thing.sample(4, seed=0)}) == 4
    else:
        _, detector = detectors.load_detector(card.parent)
        faces = np.random.default_rng(0).integers(0, 256, (2, detector.size, detector.size, 3), np.uint8)
        assert np.isfinite(detector.score(faces)).all()
