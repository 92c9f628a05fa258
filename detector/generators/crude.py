"""The method of 2014: a small convolutional GAN that draws grey, blurred faces of 32 pixels per side.

Source: Goodfellow et al. 2014, arXiv:1406.2661 (the losses); Radford, Metz, Chintala 2015, arXiv:1511.06434 (the nets:
transposed convolutions, which leave checkerboard patterns, and batch normalisation).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Self

import pandas as pd
import torch
from torch import Tensor, nn

from detector.generators import GENERATORS, _adversarial
from detector.generators._trained import Trained
from detector.learning import devices, seeds
from detector.learning.pixels import reals, to_pixels
from detector.types import Images, Progress, silent

OPTIONS = _adversarial.Options(
    rate_g=1e-3, rate_d=1e-3, beta1=0.5, beta2=0.999, r1=0.05, half_life=1_000, augment=False
)  # fmt: skip


class Net(nn.Sequential):
    """z (N, z_dim) -> pictures (N, channels, size, size) in -1..1."""

    def __init__(self, z_dim: int, width: int, size: int, channels: int) -> None:
        last = width * size // 8  # channels at 4 x 4 pixels; each stage doubles the side and halves the channels
        stages = [nn.ConvTranspose2d(z_dim, last, 4, bias=False), nn.BatchNorm2d(last), nn.ReLU()]
        while last > width:
            stages += [nn.ConvTranspose2d(last, last // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(last // 2), nn.ReLU()]
            last //= 2
        super().__init__(
            nn.Unflatten(1, (z_dim, 1, 1)), *stages, nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()
        )
        self.z_dim = z_dim

    def make(self, n: int, rng: torch.Generator) -> Tensor:
        """Return n training pictures (N, channels, size, size)."""
        z = torch.randn(n, self.z_dim, generator=rng, device=rng.device)
        return self(z.to(next(self.parameters()).device))  # type: ignore[no-any-return]


class Discriminator(nn.Sequential):
    """Pictures (N, channels, size, size) -> logits (N,), larger = more real."""

    def __init__(self, width: int, size: int, channels: int) -> None:
        stages: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        while size > 8:
            stages += [nn.Conv2d(width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2)]
            width, size = 2 * width, size // 2
        super().__init__(*stages, nn.Conv2d(width, 1, 4), nn.Flatten(0))


@GENERATORS.register("crude", year=2014, options=OPTIONS, summary="a convolutional GAN: small, grey and blurred")
class Crude(Trained[Net]):
    """A small convolutional GAN.

    z_dim: length of the latent vector. width: channels of the last hidden layer. size: side in pixels, a power of two
    from 8. colour: RGB instead of grey.
    """

    name = "crude"

    def __init__(self, *, z_dim: int = 64, width: int = 32, size: int = 32, colour: bool = False) -> None:
        self.z_dim, self.width, self.size, self.colour = z_dim, width, size, colour

    @torch.no_grad()
    def sample(self, n: int, *, seed: int) -> Images:
        """Return n faces, RGB (n, size, size, 3); face i depends on the seed `seed` + i alone."""
        net = self._trained_net().eval()
        z = [torch.randn(1, self.z_dim, generator=seeds.seeded_generator(seed + i)) for i in range(n)]
        return to_pixels(torch.cat([net(x) for x in z]))

    def fit(
        self,
        manifest: pd.DataFrame,
        *,
        seed: int,
        folder: Path,
        options: _adversarial.Options = OPTIONS,
        device: str | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Learn the faces of a manifest's training split (label real) and return self; resumes what `folder` holds."""
        where = devices.pick_device(device)
        devices.join_world(where)
        pixels = reals(manifest, self.size, folder, progress)
        with seeds.seeded(seed):
            net = self._build()
            discriminator = Discriminator(self.width, self.size, 3 if self.colour else 1)
        gan = _adversarial.Gan(net, discriminator, Net.make, self._show)
        faces = pixels if self.colour else pixels.mean(3, keepdims=True).astype("uint8")
        self.net = gan.train(faces, options, folder=folder, seed=seed, device=where, progress=progress).cpu()
        return self

    def _build(self) -> Net:
        return Net(self.z_dim, self.width, self.size, 3 if self.colour else 1)

    def _show(self, net: Net) -> Images:
        shown = copy.copy(self)
        shown.net = net
        return shown.sample(64, seed=0)
