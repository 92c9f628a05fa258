"""The style-based generator: modulation, truncation, style mixing, growing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from detector.errors import UnknownName
from detector.generators._style_nets import Discriminator, Net, Styled, widths
from detector.generators.style import Style, layer_range
from detector.learning import seeds, state
from detector.learning.pixels import to_pixels

SMALL = {"size": 64, "width": 16, "w_dim": 16, "z_dim": 16, "depth": 2}


@pytest.fixture(scope="module")
def style() -> Style:
    thing = Style(**SMALL)
    with seeds.seeded(0):
        thing.net = Net(64, 3, 16, 16, 2, 16)
        thing.net.w_mean.copy_(torch.randn(16))  # training moves it away from 0
    for layer in [*thing.net.synthesis.first, *thing.net.synthesis.second]:
        torch.nn.init.constant_(layer.noise_strength, 0.5)
    return thing


def test_scaled_activations_equal_modulated_weights() -> None:
    """Scaling activations gives the result of the paper's grouped convolution (1912.04958, eq. 1-3)."""
    with seeds.seeded(1):
        layer = Styled(5, 7, 4)
    x, w = (
        torch.randn(3, 5, 8, 8, generator=seeds.seeded_generator(0)),
        torch.randn(3, 4, generator=seeds.seeded_generator(1)),
    )
    modulated = (layer.weight * layer.scale)[None] * layer.style(w)[:, None, :, None, None]
    modulated = modulated * (modulated.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    direct = F.conv2d(x.reshape(1, 15, 8, 8), modulated.reshape(21, 5, 3, 3), padding=1, groups=3).reshape(3, 7, 8, 8)
    expected = F.leaky_relu(direct * 2**0.5, 0.2)
    assert torch.allclose(layer(x, w, None), expected, atol=1e-5)


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_sizes(size: int) -> None:
    net = Net(size, 3, 8, 8, 1, 8)
    made = net.make(2, seeds.seeded_generator(0))
    assert made.shape == (2, 3, size, size)
    assert Discriminator(size, 3, widths(size, 8))(made).shape == (2,)


def test_truncation_zero_is_the_average_face(style: Style) -> None:
    torch.nn.init.zeros_(style.net.synthesis.first[0].noise_strength)
    faces = style.sample(3, seed=0, truncation=0)
    wide = style.sample(3, seed=0, truncation=1)
    assert np.abs(faces[0].astype(int) - faces[1]).mean() < np.abs(wide[0].astype(int) - wide[1]).mean()


def test_mixing_with_oneself_changes_nothing(style: Style) -> None:
    for layers in ("coarse", "middle", "fine"):
        grid = style.mix([3], [3], layers=layers)
        assert np.array_equal(grid[0, 0], style.sample(1, seed=3)[0])


def test_mixing_takes_the_named_layers_only(style: Style) -> None:
    grids = {layers: style.mix([1, 2], [5, 6, 7], layers=layers) for layers in ("coarse", "middle", "fine")}
    plain = style.sample(3, seed=5)
    for grid in grids.values():
        assert grid.shape == (2, 3, 64, 64, 3)
        assert not np.array_equal(grid[0], plain)
    assert not np.array_equal(grids["coarse"], grids["fine"])


@torch.no_grad()
def test_a_mixed_face_is_the_destination_with_some_rows_of_the_source(style: Style) -> None:
    """Every cell of the grid by the definitions alone: truncated styles, rows of the source, noise of the destination.

    Source: Karras et al., 2019, arXiv:1812.04948, section 3.1 (mixing) and appendix B (truncation).
    """
    psi, net, sources, destinations = 0.6, style.net, [1, 2], [5, 6, 7]

    def styles(seed: int) -> torch.Tensor:
        w = net.mapping(torch.randn(16, generator=seeds.seeded_generator(seed))[None])
        return (net.w_mean + psi * (w - net.w_mean))[:, None].repeat(1, net.synthesis.layers, 1)

    for layers, rows in {"coarse": slice(0, 4), "middle": slice(4, 8), "fine": slice(8, 10)}.items():
        grid = style.mix(sources, destinations, layers=layers, truncation=psi)
        for i, j in np.ndindex(2, 3):
            w = styles(destinations[j])
            w[:, rows] = styles(sources[i])[:, rows]
            expected = to_pixels(net.synthesis(w, seeds.seeded_generator(destinations[j], 1)))[0]
            assert np.abs(grid[i, j].astype(int) - expected).max() <= 1  # a batch of another size rounds otherwise


def test_layers_are_shared_out_completely() -> None:
    for layers in (8, 10, 12):
        rows = [row for name in ("coarse", "middle", "fine") for row in layer_range(name, layers)]
        assert rows == list(range(layers))
    with pytest.raises(UnknownName, match="coarse"):
        layer_range("course", 10)


def test_a_smaller_generator_starts_a_larger_one(tmp_path: Path) -> None:
    with seeds.seeded(0):
        small, large = Net(32, 3, 16, 16, 2, 16), Net(64, 3, 16, 16, 2, 16)
    fitted = state.borrow_weights(large, state.state_to_numpy(small))
    assert fitted == len(small.state_dict())
    assert torch.equal(large.synthesis.constant, small.synthesis.constant)
