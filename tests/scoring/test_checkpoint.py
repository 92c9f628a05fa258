"""Checkpoints: folders with a card and weights."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import ROOT
from onnx import external_data_helper, helper, numpy_helper

from detector import detectors, generators
from detector.errors import CheckpointError
from detector.scoring import checkpoint
from detector.scoring.checkpoint import (
    CARD,
    COMPRESSED,
    MODEL,
    WEIGHTS,
    digest_checkpoint,
    find_checkpoint,
    read_card,
    read_model,
    read_tensors,
    write_checkpoint,
    write_model,
)
from detector.scoring.runtime import Session

LARGEST = {"strong": 50}  # megabytes that the folder of shipped weights may take, other folders 30
TENSORS = {"a": np.arange(6.0).reshape(2, 3).T, "scalar": np.float32(3)}


def test_tensors_come_back_with_their_shapes(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, TENSORS, {"detector": "x", "arguments": {}})
    again = read_tensors(tmp_path)
    assert np.array_equal(again["a"], TENSORS["a"])
    assert again["scalar"].shape == ()


@pytest.mark.parametrize(("file", "text"), [(WEIGHTS, b"torn"), (CARD, b"{"), (CARD, b"[]")])
def test_a_damaged_checkpoint_is_a_clear_error(tmp_path: Path, file: str, text: bytes) -> None:
    write_checkpoint(tmp_path, TENSORS, {"detector": "x"})
    (tmp_path / file).write_bytes(text)
    read_again = read_tensors if file == WEIGHTS else lambda folder: read_card(folder, "detector")
    with pytest.raises(CheckpointError):
        read_again(tmp_path)


def test_another_kind_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, TENSORS, {"generator": "x"})
    with pytest.raises(CheckpointError, match="does not hold a detector"):
        read_card(tmp_path, "detector")


def test_the_digest_covers_what_scores_depend_on_and_not_the_rest_of_the_card(tmp_path: Path) -> None:
    card = {"detector": "x", "arguments": {"size": 64}, "calibration": {"slope": 1.5}}
    write_checkpoint(tmp_path, TENSORS, card)
    first = digest_checkpoint(tmp_path)
    write_checkpoint(tmp_path, TENSORS, {"limits": ["Reworded."], "seed": 1, **card})
    assert digest_checkpoint(tmp_path) == first
    seen = {first}
    for change in ({"detector": "y"}, {"arguments": {"size": 65}}, {"calibration": {"slope": 1.6}}):
        write_checkpoint(tmp_path, TENSORS, card | change)
        seen.add(digest_checkpoint(tmp_path))
    write_checkpoint(tmp_path, TENSORS | {"scalar": np.float32(4)}, card)
    seen.add(digest_checkpoint(tmp_path))
    for value in (1.0, 2.0):
        (tmp_path / MODEL).write_bytes(make_model("graph", value).SerializeToString())
        seen.add(digest_checkpoint(tmp_path))
    assert len(seen) == 7


@pytest.mark.parametrize("place", ["graph", "attribute", "branch", "function", "sparse"])
def test_numbers_in_further_files_are_refused(tmp_path: Path, place: str) -> None:
    """Otherwise other weights could be put there under the same digest."""
    write_checkpoint(tmp_path, TENSORS, {"detector": "x"})
    model = make_model(place)
    (tmp_path / MODEL).write_bytes(model.SerializeToString())
    assert read_model(tmp_path) == model.SerializeToString()
    digest_checkpoint(tmp_path)
    (tmp_path / MODEL).write_bytes(make_model(place, outside=True).SerializeToString())
    for refuses in (read_model, digest_checkpoint, Session):
        with pytest.raises(CheckpointError, match="further files"):
            refuses(tmp_path)


@pytest.mark.parametrize("data", [b"\x3a\xff", b"\x3b", b"\x3a\x02\x08\xff"], ids=["length", "group", "number"])
def test_a_damaged_network_is_a_clear_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / MODEL).write_bytes(data)
    with pytest.raises(CheckpointError, match="no ONNX file"):
        read_model(tmp_path)


def test_a_compressed_network_is_expanded_and_counts_for_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "COMPRESSED_ABOVE", 10)
    write_checkpoint(tmp_path, TENSORS, {"detector": "x"})
    seen = {digest_checkpoint(tmp_path)}
    for value in (1.0, 2.0):
        data = make_model("graph", value).SerializeToString()
        write_model(tmp_path, data)
        assert read_model(tmp_path) == gzip.decompress((tmp_path / COMPRESSED).read_bytes()) == data
        seen.add(digest_checkpoint(tmp_path))
    assert len(seen) == 3
    assert not (tmp_path / MODEL).exists()


@pytest.mark.parametrize("damage", ["text", "torn", "flipped", "large"])
def test_a_damaged_compressed_network_is_a_clear_error(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "COMPRESSED_ABOVE", 10)
    data = make_model("graph").SerializeToString()
    write_model(tmp_path, data)
    kept = (tmp_path / COMPRESSED).read_bytes()
    if damage == "large":
        monkeypatch.setattr(checkpoint, "MAX_MODEL", len(data) - 1)
    else:
        flipped = kept[:-5] + bytes([kept[-5] ^ 1]) + kept[-4:]  # in the sum that gzip checks
        changed = {"text": b"This is no network.", "torn": kept[:-9], "flipped": flipped}
        (tmp_path / COMPRESSED).write_bytes(changed[damage])
    for refuses in (read_model, Session):
        with pytest.raises(CheckpointError, match=COMPRESSED) as caught:
            refuses(tmp_path)
        assert len(str(caught.value).splitlines()) == 1


def make_model(place: str, value: float = 1.0, *, outside: bool = False) -> onnx.ModelProto:
    """Return a network of one constant that stands in some place of the file, or points to another file."""
    tensor = numpy_helper.from_array(np.array([value], np.float32), "constant")
    if outside:
        external_data_helper.set_external_data(tensor, "weights.bin")
        tensor.ClearField("raw_data")
    graph = helper.make_graph([], "graph", [], [])
    model = helper.make_model(graph)
    constant = helper.make_node("Constant", [], ["constant"], value=tensor)
    if place == "graph":
        model.graph.initializer.append(tensor)
    elif place == "attribute":
        model.graph.node.append(constant)
    elif place == "branch":
        branch = helper.make_graph([constant], "branch", [], [])
        model.graph.node.append(helper.make_node("If", ["which"], ["x"], then_branch=branch, else_branch=branch))
    elif place == "function":
        model.functions.append(helper.make_function("own", "f", [], ["constant"], [constant], []))
    else:
        indices = numpy_helper.from_array(np.array([0], np.int64), "indices")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [1]))
    return model


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


def test_a_name_means_shipped_weights_unless_a_folder_here_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "shipped" / "shapes", TENSORS, {"detector": "cnn"})
    assert detectors.find_detector("shapes") == tmp_path / "shipped" / "shapes"
    assert detectors.find_detector("./absent") == Path("absent")
    assert detectors.find_detector("absent") == Path("absent")
    assert detectors.find_detector("other/shapes") == Path("other/shapes")
    write_checkpoint(tmp_path / "shapes", TENSORS, {"detector": "cnn"})
    assert detectors.find_detector("shapes") == Path("shapes")


def test_the_best_detector_is_the_shipped_one_also_beside_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strong").mkdir()
    assert detectors.find_best() == checkpoint.SHIPPED / "strong"
    for module in (checkpoint, detectors):
        monkeypatch.setattr(module, "SHIPPED", tmp_path / "shipped")
    write_checkpoint(tmp_path / "shipped" / "default", TENSORS, {"detector": "cnn"})
    assert detectors.find_best() == tmp_path / "shipped" / "default"


@pytest.mark.parametrize("card", sorted((ROOT / "detector" / "weights").glob(f"*/{CARD}")), ids=lambda p: p.parent.name)
def test_shipped_weights_can_be_loaded_and_have_complete_cards(card: Path) -> None:
    facts = json.loads(card.read_text())
    assert {"seed", "recipe", "licence", "citation", "limits"} <= set(facts)
    assert sum(f.stat().st_size for f in card.parent.iterdir()) < LARGEST.get(card.parent.name, 30) * 1e6
    if "generator" in facts:
        thing = generators.load_generator(facts["generator"], card.parent)
        if hasattr(thing, "sample"):
            assert len({image.tobytes() for image in thing.sample(4, seed=0)}) == 4
    else:
        _, detector = detectors.load_detector(card.parent)
        faces = np.random.default_rng(0).integers(0, 256, (2, detector.size, detector.size, 3), np.uint8)
        assert np.isfinite(detector.score(faces)).all()
