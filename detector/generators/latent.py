"""Fakes made from real pictures: reconstructions by an autoencoder like those of latent diffusion models.

Text-to-image models generate a latent code, and the decoder of such an autoencoder computes every pixel from it. The
decoder therefore leaves the same traces in a reconstruction as in their pictures. Unlike the autoencoders of
`reconstruct`, this one reduces the side to an eighth, and it is trained with a discriminator and a distance between
ImageNet features in addition to the error in the pixels.
Source: Rombach et al. 2022, arXiv:2112.10752, sec. 3.1 and app. G (the autoencoder and its losses); Esser et al. 2021,
arXiv:2012.09841 (a discriminator of patches); Zhang et al. 2018, arXiv:1801.03924 (distance between features);
Rajan et al. 2025, arXiv:2410.11835 (a detector trained on reconstructions alone finds pictures of latent diffusion).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from detector.generators import GENERATORS
from detector.generators._trained import Trained
from detector.learning import devices, seeds, steps
from detector.learning.embedding import Distance
from detector.learning.pixels import draw, from_pixels, reals, to_device, to_pixels
from detector.learning.run import Length, Run
from detector.types import Images, Progress, silent

STRIDE = 8  # pixels per side of a block that one position of the latent code stands for


@dataclass(frozen=True)
class Options(Length):
    """The options of one training run."""

    rate: float = 1e-3  # learning rate of the autoencoder (Adam)
    rate_d: float = 5e-4  # learning rate of the discriminator (Adam)
    perceptual_weight: float = 0.5  # weight of the distance between ImageNet features
    adversarial_weight: float = 0.05  # weight of the adversarial loss
    adversarial_start: int = 40_000  # pictures shown before the adversarial loss is added


class Block(nn.Module):
    """Two convolutions beside a skip connection."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(8, outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1),
        )  # fmt: skip
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)  # type: ignore[no-any-return]


class Net(nn.Module):
    """Pictures (N, 3, H, W) in -1..1 -> their copies, through a code (N, code, H / 8, W / 8)."""

    def __init__(self, width: int, code: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 3 * width, 4 * width]
        encode: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
        for a, b in pairwise(widths):
            encode += [Block(a, a), nn.Conv2d(a, b, 3, 2, 1)]
        encode += [Block(widths[-1], widths[-1]), nn.Conv2d(widths[-1], code, 3, padding=1)]
        decode: list[nn.Module] = [nn.Conv2d(code, widths[-1], 3, padding=1), Block(widths[-1], widths[-1])]
        for a, b in pairwise(widths[::-1]):
            decode += [Block(a, a), nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(a, b, 3, padding=1)]
        decode += [Block(width, width), nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1)]
        self.encode, self.decode = nn.Sequential(*encode), nn.Sequential(*decode)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x).tanh())  # type: ignore[no-any-return]


class Discriminator(nn.Sequential):
    """Pictures (N, 3, H, W) -> logits (N, 1, H / 8, W / 8), one for each patch; larger = more real."""

    def __init__(self, width: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i in (1, 2):
            layers += [
                nn.Conv2d(i * width, (i + 1) * width, 4, 2, 1),
                nn.GroupNorm(8, (i + 1) * width),
                nn.LeakyReLU(0.2),
            ]
        super().__init__(*layers, nn.Conv2d(3 * width, 1, 3, 1, 1))


@GENERATORS.register(
    "latent", year=2022, options=Options(), summary="copies of real faces through the code of latent diffusion"
)
class Latent(Trained[Net]):
    """An autoencoder whose latent code has an eighth of the side and `code` channels.

    size: side of the pictures it is trained on, a multiple of 8; it copies pictures of any size. width: channels of the
    finest level, a multiple of 8. noise: standard deviation of the noise added to the code, whose values lie in -1..1.
    """

    name = "latent"
    half = True

    def __init__(self, *, size: int = 128, width: int = 32, code: int = 8, noise: float = 0.05) -> None:
        self.size, self.width, self.code, self.noise = size, width, code, noise

    @torch.no_grad()
    def alter(self, faces: Images, *, seed: int) -> Images:
        """Return the copy of each face (N, H, W, 3), with a little noise, fixed by the seed, added to its code."""
        net, rng = self._trained_net().eval(), np.random.default_rng(seed)
        height, width = faces.shape[1:3]
        x = from_pixels(faces)
        x = F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        code = net.encode(x).tanh()
        code += torch.from_numpy(rng.normal(0, self.noise, tuple(code.shape))).float()
        return to_pixels(net.decode(code)[:, :, :height, :width])

    def fit(
        self,
        manifest: pd.DataFrame,
        *,
        seed: int,
        folder: Path,
        options: Options | None = None,
        device: str | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Learn to copy the faces of a manifest's training split (label real); resumes what `folder` holds."""
        options = options or Options()
        where = devices.pick_device(device)
        devices.join_world(where)
        faces = reals(manifest, self.size, folder, progress)
        with seeds.seeded(seed):
            distance = Distance().to(where)
            net, discriminator = self._build(), Discriminator(self.width)
        training = _Training(net, discriminator, distance, to_device(faces, where), options, self.noise, where)
        names = ("pixel_loss", "perceptual_loss", "adversarial_loss", "discriminator_loss")
        run = training.run = Run(folder, options, seed, training.parts(), names, device=where)
        shown = from_pixels(faces[:32]).to(where)
        replay = steps.Replay(training.step, where, run.rng)
        for number in run.steps_left(lambda: _pairs(shown, training.average), progress):
            started = (number + 1) * options.batch > options.adversarial_start
            training.adversarial_weight.fill_(options.adversarial_weight if started else 0.0)
            replay()
        self.net = training.average.cpu()
        return self

    def _build(self) -> Net:
        return Net(self.width, self.code)


@dataclass
class _Training:
    """The state of one run: networks, optimisers and pictures."""

    net: Net
    discriminator: Discriminator
    distance: Distance
    pixels: NDArray[np.uint8] | Tensor
    options: Options
    noise: float
    device: torch.device
    run: Run = field(init=False)

    def __post_init__(self) -> None:
        for net in (self.net, self.discriminator):
            net.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.optimiser, self.optimiser_d = (
            torch.optim.Adam(net.parameters(), rate, (0.5, 0.9), capturable=self.device.type == "cuda")
            for net, rate in ((self.net, self.options.rate), (self.discriminator, self.options.rate_d))
        )
        self.adversarial_weight = torch.zeros((), device=self.device)

    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Return everything that a resumed run needs."""
        return {"net": self.net, "discriminator": self.discriminator, "average": self.average,
                "optimiser": self.optimiser, "optimiser_d": self.optimiser_d}  # fmt: skip

    def step(self) -> None:
        """Update the autoencoder, the discriminator and the average."""
        real = draw(self.pixels, self.run.share, self.options.flip, self.run.rng)
        real = real.to(self.device, memory_format=torch.channels_last)
        copied, pixel_loss, perceptual_loss, adversarial_loss = self._update_autoencoder(real)
        discriminator_loss = self._update_discriminator(real, copied)
        steps.update_ema(self.average, self.net, self.run.decay)
        self.run.note(pixel_loss, perceptual_loss, adversarial_loss, discriminator_loss)

    def _update_autoencoder(self, real: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take one step of the autoencoder and return (copies, pixel loss, perceptual loss, adversarial loss)."""
        self.discriminator.requires_grad_(False)
        with devices.autocast(self.device):
            code = self.net.encode(real).tanh()
            noise = self.noise * torch.randn(code.shape, generator=self.run.rng, device=self.device)
            copied = self.net.decode(code + noise)
            perceptual_loss = self.distance(copied, real).float()
            adversarial_loss = F.softplus(-self.discriminator(copied).float()).mean()
        pixel_loss = F.l1_loss(copied.float(), real)
        weighted = self.options.perceptual_weight * perceptual_loss + self.adversarial_weight * adversarial_loss
        steps.optimizer_step(self.optimiser, pixel_loss + weighted, self.net)
        self.discriminator.requires_grad_(True)
        return copied, pixel_loss, perceptual_loss, adversarial_loss

    def _update_discriminator(self, real: Tensor, copied: Tensor) -> Tensor:
        """Take one step of the discriminator and return its loss."""
        with devices.autocast(self.device):
            on_real, on_copy = self.discriminator(real).float(), self.discriminator(copied.detach()).float()
        loss = F.softplus(-on_real).mean() + F.softplus(on_copy).mean()
        steps.optimizer_step(self.optimiser_d, loss, self.discriminator)
        return loss


def _pairs(shown: Tensor, net: nn.Module) -> Images:
    """Return pictures and their copies, alternating."""
    with torch.no_grad():
        return to_pixels(torch.stack([shown, net(shown)], 1).flatten(0, 1))
