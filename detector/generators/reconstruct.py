"""Fakes made from real pictures: reconstructions by small autoencoders that differ in how they upsample.

A reconstruction differs from its original only in the traces of the network's last stage. A detector that is trained on
such pairs therefore cannot learn content, framing or format. The five ways of upsampling are those of common decoders.
Source: Frank et al. 2020, arXiv:2003.08685 (upsampling leaves traces); Zhang, Karaman, Chang 2019, arXiv:1907.06515
(autoencoders that imitate a GAN's traces); Chen et al. 2025, arXiv:2505.14359 (aligned pairs remove bias).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detector.generators import GENERATORS
from detector.generators._trained import Trained
from detector.learning import devices, journal, seeds, steps
from detector.learning.pixels import draw, from_pixels, reals, to_pixels
from detector.types import Images, Progress, silent

KINDS = ("nearest", "transposed", "shuffle", "bilinear", "haar")


class Enlarge(nn.Module):
    """Features (N, inputs, H, W) -> (N, outputs, 2H, 2W), upsampled in the way that `kind` names, one of KINDS."""

    def __init__(self, kind: str, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "transposed":
            self.conv: nn.Module = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
        else:
            self.conv = nn.Conv2d(inputs, outputs * (4 if kind in ("shuffle", "haar") else 1), 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind in ("nearest", "bilinear"):
            x = F.interpolate(x, scale_factor=2, mode=self.kind)
        x = self.conv(x)
        if self.kind == "haar":  # inverse Haar transform: a mean and three differences become 2 x 2 pixels
            a, b, c, d = x.chunk(4, 1)
            x = torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], 2).flatten(1, 2) / 2
        return F.pixel_shuffle(x, 2) if self.kind in ("shuffle", "haar") else x


class Copier(nn.Module):
    """Pictures (N, 3, H, W) in -1..1 -> their copies, through a bottleneck of half the side and `code` channels."""

    def __init__(self, kind: str, width: int, code: int) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1), nn.SiLU(),
            nn.Conv2d(width, code, 3, 1, 1),
        )  # fmt: skip
        self.decode = nn.Sequential(
            nn.Conv2d(code, width, 3, 1, 1), nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1), nn.SiLU(),
            Enlarge(kind, width, width), nn.SiLU(), nn.Conv2d(width, 3, 3, 1, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        copy: Tensor = self.decode(self.encode(x))
        return copy


@GENERATORS.register("reconstruct", year=2019, summary="copies of real faces by five small autoencoders: aligned pairs")
class Reconstruct(Trained[nn.ModuleDict]):
    """Five autoencoders that differ in how they upsample.

    size: side of the pictures they are trained on; they copy pictures of any even size. width: channels of the first
    layer. code: channels of the bottleneck. seconds: training time of each autoencoder.
    """

    name = "reconstruct"

    def __init__(self, *, size: int = 64, width: int = 24, code: int = 6, seconds: float = 60) -> None:
        self.size, self.width, self.code, self.seconds = size, width, code, seconds

    @torch.no_grad()
    def alter(self, faces: Images, *, seed: int) -> Images:
        """Return the copy of each face (N, H, W, 3); the seed and the number of the face choose the autoencoder."""
        nets = self._trained_net().eval()
        x = from_pixels(faces)
        chosen = np.random.default_rng(seed).integers(len(KINDS), size=len(faces))
        copies = [nets[KINDS[k]](x[i : i + 1]) for i, k in enumerate(chosen)]
        return to_pixels(torch.cat(copies))

    def fit(
        self,
        manifest: pd.DataFrame,
        *,
        seed: int,
        folder: Path,
        device: str | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Learn to copy the faces of a manifest's training split (label real) and return self."""
        where = devices.pick_device(device)
        devices.join_world(where)
        pixels = reals(manifest, self.size, folder, progress)
        with seeds.seeded(seed):
            self.net = self._build()
        for number, kind in enumerate(KINDS):
            net: nn.Module = self.net[kind].to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            optimiser = torch.optim.Adam(net.parameters(), 4e-3)
            started, step = time.monotonic(), 0
            while (spent := devices.take_from_leader(time.monotonic() - started, where)) < self.seconds:
                for group in optimiser.param_groups:
                    group["lr"] = 4e-3 * (1 - 0.95 * spent / self.seconds)
                real = draw(pixels, 16, True, seeds.seeded_generator(seed, number, step)).to(where)
                with devices.autocast(where):
                    copy = net(real)
                loss = F.l1_loss(copy.float(), real)
                steps.optimizer_step(optimiser, loss, net)
                step += 1
                progress(f"learning to copy ({kind})", round(spent), round(self.seconds))
            if step:
                journal.note(f"{kind}: loss {loss.item():.4g} after {step:,} steps", step=step,
                             values={f"loss/{kind}": loss.item()})  # fmt: skip
            net.cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return self

    def _build(self) -> nn.ModuleDict:
        return nn.ModuleDict({kind: Copier(kind, self.width, self.code) for kind in KINDS})
