"""Model-independent PyTorch helpers: devices, seeds, steps, state, pixels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_manifest
from torch import nn

from detector.errors import CheckpointError, ManifestError
from detector.learning import backbones, seeds, state
from detector.learning.pixels import load_pictures
from detector.learning.steps import Replay, update_ema


def small_net(seed: int = 0) -> nn.Module:
    with seeds.seeded(seed):
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def train_a_little(net: nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        x = torch.randn(8, 3, generator=seeds.seeded_generator(5, step))
        optimiser.zero_grad()
        net(x).square().mean().backward()
        optimiser.step()


def test_timm_imports_beside_any_build_of_torch() -> None:
    timm = backbones.import_timm()
    net = timm.create_model("resnet10t", num_classes=1)
    assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 1)


def test_random_numbers_are_fixed_by_their_keys_and_differ() -> None:
    draws = {
        keys: torch.rand(1, generator=seeds.seeded_generator(*keys)).item()
        for keys in [(0,), (1,), (0, 1), (1, 0), (0, 0)]
    }
    assert len(set(draws.values())) == len(draws)
    assert torch.rand(1, generator=seeds.seeded_generator(0, 1)).item() == draws[(0, 1)]


def test_initial_weights_leave_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = small_net(1)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(first[0].weight, small_net(1)[0].weight)
    assert not torch.equal(first[0].weight, small_net(2)[0].weight)


def test_a_resumed_run_ends_as_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = small_net()
    train_a_little(whole, torch.optim.Adam(whole.parameters(), 0.01), range(10))
    first = small_net()
    optimiser = torch.optim.Adam(first.parameters(), 0.01)
    train_a_little(first, optimiser, range(4))
    state.save_state(tmp_path / "s.safetensors", {"net": first, "opt": optimiser}, {"step": 4})
    second = small_net(9)
    optimiser = torch.optim.Adam(second.parameters(), 0.01)
    facts = state.load_state(tmp_path / "s.safetensors", {"net": second, "opt": optimiser})
    train_a_little(second, optimiser, range(facts["step"], 10))
    for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_state_of_another_net_is_refused(tmp_path: Path) -> None:
    state.save_state(tmp_path / "s.safetensors", {"net": small_net()}, {})
    with pytest.raises(CheckpointError, match="does not continue this run"):
        state.load_state(tmp_path / "s.safetensors", {"net": nn.Linear(2, 2)})
    (tmp_path / "s.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="delete it to start afresh"):
        state.load_state(tmp_path / "s.safetensors", {"net": small_net()})


def test_update_ema_moves_weights_and_statistics() -> None:
    average, net = small_net(0), small_net(1)
    before = average[0].weight.clone()
    net(torch.randn(8, 3, generator=seeds.seeded_generator(0)) + 5)
    update_ema(average, net, 0.75)
    assert torch.allclose(average[0].weight, 0.75 * before + 0.25 * net[0].weight)
    assert torch.allclose(average[1].running_mean, 0.25 * net[1].running_mean)


def test_a_checkpoint_must_be_complete() -> None:
    tensors = state.state_to_numpy(small_net(1))
    net = small_net(2)
    state.load_weights(net, tensors)
    assert np.array_equal(net[0].weight.detach().numpy(), tensors["0.weight"])
    del tensors["2.bias"]
    with pytest.raises(CheckpointError, match="lacks 1 of the network's"):
        state.load_weights(net, tensors)


def test_pictures_are_cached_and_read_again_when_the_table_changes(tmp_path: Path) -> None:
    table = make_manifest(tmp_path / "in", n=3)
    cache = tmp_path / "out" / "pictures.npy"
    seen: list[int] = []
    pixels = load_pictures(table, 16, cache, progress=lambda what, i, n: seen.append(i))
    assert pixels.shape == (6, 16, 16, 3)
    load_pictures(table, 16, cache, progress=lambda what, i, n: seen.append(i))
    assert seen == [1, 2, 3, 4, 5, 6]
    fewer = load_pictures(table.iloc[1:], 16, cache)
    assert np.array_equal(fewer, pixels[1:])


def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    table = make_manifest(tmp_path, n=2)
    Path(table.path[1]).write_bytes(b"gone")
    with pytest.raises(ManifestError, match=r"0001\.png: not a picture"):
        load_pictures(table, 16, tmp_path / "cache.npy")


def test_the_loader_reads_pixels_only(tmp_path: Path) -> None:
    """A label in a picture's metadata or name cannot reach training: the arrays are the same without it."""
    from PIL import Image, PngImagePlugin

    table = make_manifest(tmp_path, n=2)
    plain = np.array(load_pictures(table, 16, tmp_path / "a.npy"))
    note = PngImagePlugin.PngInfo()
    note.add_text("parameters", "fake, made by a generator")
    for i, path in enumerate(table.path):
        Image.open(path).save(tmp_path / f"renamed-fake-{i}.png", pnginfo=note)
    renamed = table.assign(path=[str(tmp_path / f"renamed-fake-{i}.png") for i in range(len(table))])
    assert np.array_equal(load_pictures(renamed, 16, tmp_path / "b.npy"), plain)


SCRIPT = """
import sys, torch
from torch import nn
from detector.learning import devices
rank, size = devices.join_world(torch.device("cpu"))
net = nn.Linear(2, 1, bias=False)
net.weight.data.fill_(1.0)
net(torch.full((1, 2), float(rank + 1))).sum().backward()
devices.average_gradients(net)
assert size == 2 and net.weight.grad.tolist() == [[1.5, 1.5]], net.weight.grad
"""


def test_two_processes_average_their_gradients(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(tmp_path / "script.py"),
    ]
    done = subprocess.run(
        words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_on_a_cpu_a_step_is_called_each_time() -> None:
    calls: list[int] = []
    replay = Replay(lambda: calls.append(1), torch.device("cpu"), seeds.seeded_generator(0))
    for _ in range(5):
        replay()
    assert len(calls) == 5
    assert replay.graph is None
