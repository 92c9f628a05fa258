"""Fakes made from real pictures: copies through the narrow code of an autoencoder like that of latent diffusion.

Text-to-image models draw in such a code, and its decoder paints each pixel that they show: what it leaves in a copy, it
leaves in what they draw. Unlike the copiers of `reconstruct` it goes through an eighth of the side, and not pixels
alone but a discriminator and ImageNet features say what a good copy is.
Source: Rombach et al. 2022, arXiv:2112.10752, sec. 3.1 and app. G (the autoencoder and its losses); Esser et al. 2021,
arXiv:2012.09841 (patches judged by a discriminator); Zhang et al. 2018, arXiv:1801.03924 (distance between features);
Rajan et al. 2025, arXiv:2410.11835 (a detector learns latent diffusion from copies alone).
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detector.errors import CheckpointError
from detector.generators import GENERATORS
from detector.learning import backbones, devices, seeds, state, steps
from detector.learning.pixels import draw, reals, to_device, to_pixels
from detector.learning.run import Length, Run
from detector.scoring.checkpoint import read_card, read_tensors, write_checkpoint
from detector.types import Images, Progress, silent

STRIDE = 8  # pixels a side that one place of the code stands for


@dataclass(frozen=True)
class Options(Length):
    """One run."""

    rate: float = 1e-3  # Adam's step, autoencoder
    rate_d: float = 5e-4  # Adam's step, discriminator
    features: float = 0.5  # weight of the distance between ImageNet features, if they are installed
    game: float = 0.05  # weight of the discriminator's word
    calm: int = 40_000  # pictures before the discriminator is heard


class Block(nn.Module):
    """Two convolutions beside a skip."""

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


class Judge(nn.Sequential):
    """Pictures (N, 3, H, W) -> logits (N, 1, H / 8, W / 8), one a patch, larger = more real."""

    def __init__(self, width: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i in (1, 2):
            layers += [
                nn.Conv2d(i * width, (i + 1) * width, 4, 2, 1),
                nn.GroupNorm(8, (i + 1) * width),
                nn.LeakyReLU(0.2),
            ]
        super().__init__(*layers, nn.Conv2d(3 * width, 1, 3, 1, 1))


class Distance(nn.Module):
    """Pictures, pictures -> their distance in ImageNet features of three depths, each of unit length at a place."""

    def __init__(self) -> None:
        super().__init__()
        self.net = backbones.import_timm().create_model("tf_efficientnet_lite0", num_classes=0).eval()
        self.known = backbones.start_from_imagenet(self.net, "tf_efficientnet_lite0")
        self.requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        pairs = (self.net.forward_intermediates(x, indices=[0, 1, 2], intermediates_only=True) for x in (a, b))
        parts = [
            (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(1).mean() for x, y in zip(*pairs, strict=True)
        ]
        return torch.stack(parts).mean()


@GENERATORS.register(
    "latent", year=2022, options=Options(), summary="copies of real faces through the code of latent diffusion"
)
class Latent:
    """An autoencoder with an eighth of the side and `code` channels in the middle.

    size: side of the pictures it learns from, a multiple of 8; it copies any. width: channels of the finest level, a
    multiple of 8. noise: spread of what is added to the code, which lies in -1..1.
    """

    name = "latent"

    def __init__(self, *, size: int = 128, width: int = 32, code: int = 8, noise: float = 0.05) -> None:
        self.size, self.width, self.code, self.noise = size, width, code, noise
        self.net: Net | None = None

    @torch.no_grad()
    def alter(self, faces: Images, *, seed: int) -> Images:
        """Return the copy of each face (N, H, W, 3), a little noise on its code drawn from the seed."""
        if self.net is None:
            raise CheckpointError("this generator has no weights yet; fit it or load a checkpoint")
        net, rng = self.net.eval(), np.random.default_rng(seed)
        height, width = faces.shape[1:3]
        x = torch.tensor(faces).permute(0, 3, 1, 2).float() / 127.5 - 1
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
        store = to_device(faces, where)
        with seeds.seeded(seed):
            distance = Distance().to(where)
            net: nn.Module = self._build().to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            judge: nn.Module = Judge(self.width).to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(net).eval().requires_grad_(False)
        optimiser, other = (
            torch.optim.Adam(n.parameters(), rate, (0.5, 0.9), capturable=where.type == "cuda")
            for n, rate in ((net, options.rate), (judge, options.rate_d))
        )
        parts: dict[str, Any] = {"net": net, "judge": judge, "average": average, "optimiser": optimiser, "other": other}
        run = Run(folder, options, seed, parts, ("pixels", "features", "game", "judge"), device=where)
        shown = torch.from_numpy(faces[:32].copy()).to(where).permute(0, 3, 1, 2).float() / 127.5 - 1
        heard = torch.zeros((), device=where)  # weight of the discriminator's word

        def step() -> None:
            real = draw(store, run.share, options.flip, run.rng).to(where, memory_format=torch.channels_last)
            judge.requires_grad_(False)
            with devices.autocast(where):
                code = net.encode(real).tanh()  # type: ignore[operator]
                noise = self.noise * torch.randn(code.shape, generator=run.rng, device=where)
                copied = net.decode(code + noise)  # type: ignore[operator]
                apart = distance(copied, real).float() if distance.known else copied.new_zeros(())
                word = F.softplus(-judge(copied).float()).mean()
            pixels = F.l1_loss(copied.float(), real)
            steps.descend(optimiser, pixels + options.features * apart + heard * word, net)
            judge.requires_grad_(True)
            with devices.autocast(where):
                on_real, on_copy = judge(real).float(), judge(copied.detach()).float()
            verdict = F.softplus(-on_real).mean() + F.softplus(on_copy).mean()
            steps.descend(other, verdict, judge)
            steps.follow(average, net, run.decay)
            run.note(pixels, apart, word, verdict)

        replay = steps.Replay(step, where, run.rng)
        for number in run.steps_left(lambda: _pairs(shown, average), progress):
            heard.fill_(options.game if (number + 1) * options.batch > options.calm else 0.0)
            replay()
        self.net = average.cpu()  # type: ignore[assignment]
        return self

    def save(self, folder: Path, **facts: Any) -> None:
        """Write the averaged weights, in half precision, and the card."""
        if self.net is None:
            raise CheckpointError("this generator has no weights yet; fit it first")
        arguments = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        card = {"generator": self.name, "arguments": arguments, **facts}
        tensors = state.numbers(self.net, half=True)
        write_checkpoint(folder, tensors, card)
        state.fill(self.net, tensors)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the generator kept in a folder."""
        self = cls(**read_card(folder, "generator")["arguments"])
        self.net = self._build()
        state.fill(self.net, read_tensors(folder))
        return self

    def _build(self) -> Net:
        return Net(self.width, self.code)


def _pairs(shown: Tensor, net: nn.Module) -> Images:
    """Return pictures and their copies in turn."""
    with torch.no_grad():
        return to_pixels(torch.stack([shown, net(shown)], 1).flatten(0, 1))
