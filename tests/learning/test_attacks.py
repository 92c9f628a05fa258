"""Attacks on a network: how far they move a picture, and that they raise the loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detector.learning.attacks import attack, raise_loss


class Brightness(nn.Module):
    """A linear network: the logit is a weighted sum of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.linspace(-1, 1, 8 * 8 * 3).reshape(8, 8, 3)
        self.weights = nn.Parameter(weights / 1000)

    def forward(self, faces: Tensor) -> Tensor:
        return (faces.float() * self.weights).sum((1, 2, 3))


@pytest.fixture
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(20, 236, (20, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("radius", [1, 4])
@pytest.mark.parametrize("steps", [1, 5])
def test_a_linear_network_is_attacked_as_far_as_the_radius_allows(faces: np.ndarray, radius: int, steps: int) -> None:
    net, labels = Brightness(), np.arange(20) % 2
    expected = faces + radius * np.sign(net.weights.detach().numpy()) * np.where(labels, -1, 1)[:, None, None, None]
    assert np.array_equal(attack(net, faces, labels, radius=radius, steps=steps), expected)


def test_values_stay_in_the_range_of_pixels_and_within_the_radius() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0))
    faces = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    moved = raise_loss(net, torch.from_numpy(faces), torch.ones(3), radius=6, steps=7)
    assert moved.min() >= 0
    assert moved.max() <= 255
    assert (moved - torch.from_numpy(faces)).abs().max() <= 6
    assert net(moved).sum() < net(torch.from_numpy(faces).float()).sum()
    assert all(weights.grad is None for weights in net.parameters())


def test_the_same_faces_give_the_same_attack_and_are_not_changed_in_place(faces: np.ndarray) -> None:
    before = faces.copy()
    first = attack(Brightness(), faces, np.ones(20), radius=2)
    assert np.array_equal(faces, before)
    assert np.array_equal(first[7:8], attack(Brightness(), faces[7:8], [1], radius=2))


def test_a_radius_below_one_level_is_an_error(faces: np.ndarray) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        attack(Brightness(), faces, np.ones(20), radius=0)
