"""Projection into W+, directions of styles, and mixing of codes, with a small generator that was never trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from detector.errors import CheckpointError, DetectorError
from detector.generators import _projection
from detector.generators._directions import find_directions, parse_direction
from detector.generators._style_nets import Net
from detector.generators.style import Style
from detector.learning import backbones, seeds
from detector.learning.embedding import Distance, measure_distances

STEPS = 25


@pytest.fixture(scope="module")
def style() -> Style:
    thing = Style(32, width=16, w_dim=16, z_dim=16, depth=2)
    with seeds.seeded(0):
        thing.net = Net(32, 3, 16, 16, 2, 16)
    thing.net.w_mean.copy_(thing.net.draw_styles().mean(0))
    return thing


@pytest.fixture(scope="module")
def face(style: Style) -> np.ndarray:
    return style.sample(1, seed=3, truncation=1.0)


@pytest.fixture(scope="module")
def code(style: Style, face: np.ndarray) -> Any:
    return style.project(face, seed=0, steps=STEPS)


def test_a_drawn_face_is_found_again(style: Style, face: np.ndarray, code: Any) -> None:
    before = measure_distances(face, style.sample(1, seed=0, truncation=0))
    assert measure_distances(face, style.draw(list(code))) < 0.5 * before
    assert code.shape == (1, style.net.synthesis.layers, 16)
    assert code.dtype == np.float32


def test_a_code_depends_on_its_face_and_seed_alone(style: Style, face: np.ndarray, code: Any) -> None:
    other = style.sample(1, seed=4, truncation=1.0)
    both = style.project(np.concatenate([other, face]), seed=5, steps=3)
    assert np.array_equal(both[1], style.project(face, seed=6, steps=3)[0])
    assert not np.array_equal(both[1], style.project(face, seed=7, steps=3)[0])
    assert np.array_equal(style.project(face, seed=0, steps=STEPS), code)


def test_the_weights_stay_as_they_were(style: Style, face: np.ndarray) -> None:
    before = {name: tensor.clone() for name, tensor in style.net.state_dict().items()}
    style.project(face, seed=0, steps=2)
    assert all(torch.equal(before[name], tensor) for name, tensor in style.net.state_dict().items())
    assert all(parameter.grad is None for parameter in style.net.parameters())


def test_codes_stay_near_the_mean(style: Style, face: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    far = style.project(face, seed=0, steps=STEPS)
    monkeypatch.setattr(_projection, "NEAR", 10.0)
    near = style.project(face, seed=0, steps=STEPS)
    mean = style.net.w_mean.numpy()
    assert np.linalg.norm(near - mean) < 0.5 * np.linalg.norm(far - mean)


def test_progress_counts_the_steps_of_all_faces(style: Style, face: np.ndarray) -> None:
    seen: list[tuple[int, int]] = []
    style.project(face.repeat(2, 0), seed=0, steps=2, progress=lambda what, done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_shipped_features_are_those_of_imagenet() -> None:
    """The whole network of the extra `imagenet` has the same features at the three depths, but for the rounding."""
    net = backbones.import_timm().create_model("tf_efficientnet_lite0", num_classes=0).eval()
    if not backbones.start_from_imagenet(net, "tf_efficientnet_lite0"):
        pytest.skip("the extra imagenet is not installed")
    x = torch.randn(1, 3, 64, 64, generator=seeds.seeded_generator(0))
    whole = net.forward_intermediates(x, indices=[0, 1, 2], intermediates_only=True)
    for features, expected in zip(Distance().features(x), whole, strict=True):
        assert torch.allclose(features, torch.nn.functional.normalize(expected, dim=1), atol=0.01)


def test_a_distance_is_that_of_its_own_pair() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    apart = measure_distances(faces, np.roll(faces, 1, 0))
    assert measure_distances(faces, faces) == pytest.approx([0, 0, 0], abs=1e-6)
    assert (apart > 0.01).all()
    x = torch.tensor(faces).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert float(Distance()(x, x.roll(1, 0))) == pytest.approx(apart.mean(), rel=1e-4)


def test_codes_are_mixed_layer_by_layer(style: Style, code: Any) -> None:
    """A code and a seed in both roles: every cell is the destination with some rows of the source."""
    truncated = style._styles([8], 0.6)[0]
    for layers, rows in {"coarse": slice(0, 4), "middle": slice(4, 8)}.items():
        grid = style.mix([8, code[0]], [8, code[0]], layers=layers, truncation=0.6)
        for i, j in np.ndindex(2, 2):
            ends = [truncated, torch.from_numpy(code[0])]
            mixed = ends[j].clone()
            mixed[rows] = ends[i][rows]
            expected = style._paint(mixed[None], [[8, code[0]][j]])[0]
            assert np.array_equal(grid[i, j], expected)
    assert np.array_equal(style.mix([code[0]], [code[0]])[0, 0], style.draw(list(code))[0])


def test_a_code_is_not_truncated(style: Style, code: Any) -> None:
    assert np.array_equal(style.draw(list(code), truncation=0.1), style.draw(list(code), truncation=1.0))
    with pytest.raises(CheckpointError, match=r"the code of a face is \(4, 16\), and this generator's are \(8, 16\)"):
        style.draw([code[0, :4]])


def test_an_edit_moves_the_face_and_an_amount_of_zero_does_not(style: Style, code: Any) -> None:
    faces = [5, code[0]]
    plain = style.draw(faces)
    assert np.array_equal(style.draw(faces, edit={"coarse-1": 0.0, "middle-2": 0.0}), plain)
    moved = style.draw(faces, edit={"middle-1": 3.0})
    assert (moved != plain).any((1, 2, 3)).all()
    assert np.array_equal(
        style.sample(2, seed=5, edit={"coarse-1": 2.0})[0], style.draw([5], edit={"coarse-1": 2.0})[0]
    )


def test_an_edit_moves_the_styles_of_its_layers_by_standard_deviations(style: Style) -> None:
    styles = style._styles([5], 1.0)
    moved = style._edit(styles, {"middle-2": -1.5}) - styles
    components, spreads = find_directions(style.net.draw_styles())
    assert (moved[0, :4] == 0).all()
    assert torch.allclose(moved[0, 4:], (-1.5 * spreads[1] * components[1]).expand(4, -1), atol=1e-5)


def test_directions_are_those_along_which_styles_differ_most() -> None:
    rng = seeds.seeded_generator(0)
    axes = torch.linalg.qr(torch.randn(5, 5, generator=rng))[0]
    styles = 7 + torch.randn(20_000, 5, generator=rng) * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1]) @ axes.T
    components, spreads = find_directions(styles)
    assert torch.allclose(spreads, torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1]), rtol=0.03)
    assert torch.allclose((components @ axes).abs(), torch.eye(5), atol=0.05)
    assert (components.gather(1, components.abs().argmax(1, keepdim=True)) > 0).all()


@pytest.mark.parametrize(
    "name", ["", "coarse", "coarse-0", "coarse-17", "smile-1", "coarse-1 ", "Fine-1", "coarse-1.5"]
)
def test_an_unknown_direction_is_refused(style: Style, name: str) -> None:
    with pytest.raises(DetectorError, match="directions are coarse-1 to coarse-16"):
        style.sample(1, seed=0, edit={name: 1.0})
    assert parse_direction("fine-16", 16) == ("fine", 15)


def test_a_small_generator_has_no_fine_directions(style: Style) -> None:
    with pytest.raises(DetectorError, match="32 pixels has no fine layers"):
        style.sample(1, seed=0, edit={"fine-1": 1.0})
