"""Reconstructions of photographs through tiny latent autoencoders: four of the development data, and `taef2`.

Every latent diffusion model computes its pixels with the decoder of an autoencoder. The reconstruction of a photograph
by such an autoencoder has the traces of the decoder, and otherwise does not differ from the photograph.
Source: Bohan 2023, TAESD (MIT); Ricker et al. 2024, arXiv:2401.17879; Rajan et al. 2025, arXiv:2410.11835.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from detector.types import Images

NAMES = ("taesd", "taesdxl", "taesd3", "taef1")  # Stable Diffusion 1 and 2, SDXL, Stable Diffusion 3, FLUX.1
NORMALISED = "taef2"  # that of FLUX.2, whose blocks at the lowest resolution have a branch with group normalisation
LATENT_CHANNELS = {"taesd": 4, "taesdxl": 4, "taesd3": 16, "taef1": 16, NORMALISED: 32}
WIDTH = 64  # number of channels of every convolution except the first and the last
STRIDE = 8  # pixels per side of a block that one position of the latent code stands for
CPU = torch.device("cpu")


class Block(nn.Module):
    """Three convolutions beside a skip connection.

    normalised: whether a branch with group normalisation, over the whole picture, is added before them.
    """

    def __init__(self, normalised: bool = False) -> None:
        super().__init__()
        conv = [nn.Conv2d(WIDTH, WIDTH, 3, 1, 1) for _ in range(3)]
        self.body = nn.Sequential(conv[0], nn.ReLU(), conv[1], nn.ReLU(), conv[2])
        self.branch: nn.Sequential | None = None
        if normalised:  # nothing is built otherwise, so that the random numbers of other decoders stay as they are
            outer = nn.Conv2d(WIDTH, 4 * WIDTH, 1, bias=False), nn.Conv2d(4 * WIDTH, WIDTH, 1, bias=False)
            self.branch = nn.Sequential(outer[0], nn.GroupNorm(4, 4 * WIDTH), nn.ReLU(), outer[1])

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.branch is None else x + self.branch(x)
        return torch.relu(self.body(x) + x)


class Clamp(nn.Module):
    """Soft limits of the latent code at -3 and 3."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


def encoder(channels: int, *, normalised: bool = False) -> nn.Sequential:
    """Return an encoder of pictures (N, 3, H, W) in 0..1 to latent codes (N, channels, H / 8, W / 8)."""
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, 1, 1), Block()]
    for level in range(3):
        blocks = [Block(normalised and level == 2) for _ in range(3)]
        layers += [nn.Conv2d(WIDTH, WIDTH, 3, 2, 1, bias=False), *blocks]
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, channels, 3, 1, 1))


def decoder(channels: int, *, normalised: bool = False) -> nn.Sequential:
    """Return a decoder of latent codes (N, channels, H, W) to pictures (N, 3, 8 H, 8 W) in 0..1."""
    layers: list[nn.Module] = [Clamp(), nn.Conv2d(channels, WIDTH, 3, 1, 1), nn.ReLU()]
    for level in range(3):
        blocks = [Block(normalised and level == 0) for _ in range(3)]
        layers += [*blocks, nn.Upsample(scale_factor=2), nn.Conv2d(WIDTH, WIDTH, 3, 1, 1, bias=False)]
    return nn.Sequential(*layers, Block(), nn.Conv2d(WIDTH, 3, 3, 1, 1))


class Autoencoder:
    """An encoder and a decoder on one device."""

    def __init__(self, encode: nn.Module, decode: nn.Module, device: torch.device) -> None:
        self.encode, self.decode, self.device = encode.to(device), decode.to(device), device

    @classmethod
    def read(cls, folder: Path, name: str, device: torch.device = CPU) -> Autoencoder:
        """Return an autoencoder of LATENT_CHANNELS, from a folder with its encoder and its decoder.

        The files are `NAME_encoder.safetensors` and so on; those of NORMALISED have the ending `.pth`.
        """
        channels, normalised = LATENT_CHANNELS[name], name == NORMALISED
        ending = ".pth" if normalised else ".safetensors"
        return cls(
            _filled(encoder(channels, normalised=normalised), folder / f"{name}_encoder{ending}"),
            _filled(decoder(channels, normalised=normalised), folder / f"{name}_decoder{ending}"),
            device,
        )

    @torch.no_grad()
    def reconstruct(self, pictures: Images, noise: float, rng: np.random.Generator) -> Images:
        """Return the reconstructions of pictures (N, H, W, 3) whose sides are multiples of 8.

        noise: standard deviation of the noise that is added to the code, in standard deviations of the code.
        """
        x = to_input(pictures, self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            code = self.encode(x).float()
            spread = noise * code.std((1, 2, 3), keepdim=True)
            code += spread * torch.from_numpy(rng.standard_normal(code.shape, np.float32)).to(self.device)
            y = self.decode(code).float()
        return (y.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy() * 255).round().astype(np.uint8)


def to_input(pictures: Images, device: torch.device) -> Tensor:
    """Return pictures (N, H, W, 3) as a tensor (N, 3, H, W) in 0..1."""
    x = torch.from_numpy(np.array(pictures)).to(device).permute(0, 3, 1, 2).float() / 255
    return x.contiguous(memory_format=torch.channels_last)


def _filled(net: nn.Sequential, path: Path) -> nn.Sequential:
    """Load weights into a network; the tensors of the file are numbered in the order of layers, with gaps.

    A file of safetensors sorts them by name; a `.pth` file has them in the order of layers.
    """
    if path.suffix == ".pth":
        tensors = torch.load(path, weights_only=True, map_location="cpu")
        names = list(tensors)
    else:
        tensors = load_file(path)
        names = sorted(tensors, key=lambda name: ([int(n) for n in re.findall(r"\d+", name)], name.endswith("bias")))
    net.load_state_dict({key: tensors[name].float() for key, name in zip(net.state_dict(), names, strict=True)})
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
