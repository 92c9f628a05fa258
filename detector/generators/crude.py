"""The 2014 rung: a small convolutional GAN of grey faces, 32 pixels a side, and it looks like it.

Source: Goodfellow et al. 2014, arXiv:1406.2661 (the game); Radford, Metz, Chintala 2015, arXiv:1511.06434 (the nets:
transposed convolutions, batch normalisation, and their checkerboards).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import pandas as pd
import torch
from torch import Tensor, nn

from detector import learning
from detector.checkpoint import read_card, read_tensors, write_checkpoint
from detector.errors import CheckpointError
from detector.generators import GENERATORS, _adversarial
from detector.types import Images, Progress, silent

OPTIONS = _adversarial.Options(
    rate_g=1e-3, rate_d=1e-3, beta1=0.5, beta2=0.999, r1=0.05, half_life=1_000, augment=False
)  # fmt: skip


class Net(nn.Sequential):
    """z (N, z_dim) -> grey pictures (N, 1, 32, 32) in -1..1."""

    def __init__(self, z_dim: int, width: int) -> None:
        super().__init__(
            nn.Unflatten(1, (z_dim, 1, 1)),
            nn.ConvTranspose2d(z_dim, 4 * width, 4, bias=False), nn.BatchNorm2d(4 * width), nn.ReLU(),
            nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip
        self.z_dim = z_dim

    def make(self, n: int, rng: torch.Generator) -> Tensor:
        """Return n training pictures (N, 1, 32, 32)."""
        z = torch.randn(n, self.z_dim, generator=rng, device=rng.device)
        return self(z.to(next(self.parameters()).device))  # type: ignore[no-any-return]


class Discriminator(nn.Sequential):
    """Pictures (N, 1, 32, 32) -> logits (N,), larger = more real."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 4), nn.Flatten(0),
        )  # fmt: skip


@GENERATORS.register("crude", year=2014, options=OPTIONS, summary="the first rung: small, grey and blurred")
class Crude:
    """A small convolutional GAN.

    z_dim: length of the latent vector. width: channels of the last hidden layer.
    """

    name = "crude"
    size = 32

    def __init__(self, *, z_dim: int = 64, width: int = 32) -> None:
        self.z_dim, self.width = z_dim, width
        self.net: Net | None = None

    @torch.no_grad()
    def sample(self, n: int, *, seed: int) -> Images:
        """Return n grey faces, RGB (n, 32, 32, 3); face i is that of seed + i, whatever n is."""
        if self.net is None:
            raise CheckpointError("this generator has no weights yet; fit it or load a checkpoint")
        z = [torch.randn(1, self.z_dim, generator=learning.source(seed + i)) for i in range(n)]
        return _adversarial.to_pixels(torch.cat([self.net.eval()(x) for x in z]))

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
        where = learning.pick_device(device)
        learning.join_world(where)
        pixels = _adversarial.reals(manifest, self.size, folder, progress)
        with learning.seeded(seed):
            net, critic = Net(self.z_dim, self.width), Discriminator(self.width)
        game = _adversarial.Game(net, critic, Net.make, self._show)
        grey = pixels.mean(3, keepdims=True).astype("uint8")
        self.net = _adversarial.play(
            game, grey, options, folder=folder, seed=seed, device=where, progress=progress
        ).cpu()  # type: ignore[assignment]
        return self

    def save(self, folder: Path, **facts: Any) -> None:
        """Write the averaged weights and the card."""
        if self.net is None:
            raise CheckpointError("this generator has no weights yet; fit it first")
        arguments = {"z_dim": self.z_dim, "width": self.width}
        card = {"generator": self.name, "arguments": arguments, **facts}
        write_checkpoint(folder, learning.numbers(self.net), card)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the generator kept in a folder."""
        self = cls(**read_card(folder, "generator")["arguments"])
        self.net = Net(self.z_dim, self.width)
        learning.fill(self.net, read_tensors(folder))
        return self

    def _show(self, net: nn.Module) -> Images:
        shown = Crude(z_dim=self.z_dim, width=self.width)
        shown.net = net  # type: ignore[assignment]
        return shown.sample(64, seed=0)
