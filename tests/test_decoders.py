"""Autoencoders and their altered decoders, which are reproducible, unlike the original, and of several kinds."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autoencoders import CPU, LATENT_CHANNELS, NORMALISED, Autoencoder, decoder, encoder
from decoders import CHANGED, alter_decoder, scatter_weights

from detector.learning.seeds import seeded
from detector.types import Images


@functools.cache
def make_autoencoders() -> dict[str, Autoencoder]:
    """Return two autoencoders with random weights."""
    with seeded(0):
        return {
            name: Autoencoder(encoder(LATENT_CHANNELS[name]).eval(), decoder(LATENT_CHANNELS[name]).eval(), CPU)
            for name in ("taesd", "taef1")
        }


def copy(seed: int, pictures: Images, *, scattered: bool = True) -> tuple[str, Images]:
    """Return the name of the altered decoder of a seed, and its copies of pictures."""
    rng = np.random.default_rng(seed)
    name, net = alter_decoder(make_autoencoders(), rng)
    if scattered:
        scatter_weights(net.decode, rng)  # type: ignore[arg-type]
    return name, net.reconstruct(pictures, 0.0, rng)


def test_an_altered_decoder_is_the_same_for_a_seed_and_another_for_another() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    (name, first), (again, second) = copy(3, pictures), copy(3, pictures)
    assert name == again
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, copy(4, pictures)[1])


def test_decoders_are_altered_in_every_way_with_and_without_noise() -> None:
    names = {alter_decoder(make_autoencoders(), np.random.default_rng(seed))[0] for seed in range(60)}
    assert names == {f"altered-{way}{noise}" for way in CHANGED for noise in ("", "-noise")}


def test_only_scattered_weights_change_a_decoder_that_enlarges_as_its_autoencoder_does() -> None:
    """Otherwise its copies would have the traces of the autoencoder, which training has already."""
    autoencoders = make_autoencoders()
    drawn = ((rng, *alter_decoder(autoencoders, rng)) for rng in map(np.random.default_rng, range(99)))
    rng, _, net = next(each for each in drawn if each[1] == "altered-nearest")
    decode: Any = net.decode
    source = autoencoders[decode.kind.code].decode
    code = torch.from_numpy(rng.standard_normal((1, LATENT_CHANNELS[decode.kind.code], 4, 4), np.float32))
    with torch.no_grad():
        assert torch.allclose(decode(code), source(code), atol=1e-5)
        scatter_weights(decode, rng)
        assert not torch.allclose(decode(code), source(code), atol=1e-3)


def test_an_autoencoder_with_group_normalisation_is_read_from_its_own_files(tmp_path: Path) -> None:
    """A tensor of the files in the wrong layer would give other codes or other pictures."""
    channels = LATENT_CHANNELS[NORMALISED]
    with seeded(5):
        nets = {"encoder": encoder(channels, normalised=True), "decoder": decoder(channels, normalised=True)}
    for name, net in nets.items():
        torch.save(net.state_dict(), tmp_path / f"{NORMALISED}_{name}.pth")
    found = Autoencoder.read(tmp_path, NORMALISED)
    x = torch.from_numpy(np.random.default_rng(0).random((1, 3, 32, 32), np.float32))
    with torch.no_grad():
        code = nets["encoder"](x)
        assert torch.allclose(found.encode(x), code, atol=1e-5)
        assert torch.allclose(found.decode(code), nets["decoder"](code), atol=1e-5)
