"""The method of 2020: a diffusion model, whose network removes noise step by step until a face is left.

Source: Ho, Jain, Abbeel 2020, arXiv:2006.11239 (training and ancestral sampling); Nichol, Dhariwal 2021,
arXiv:2102.09672, eq. 17 (the cosine schedule); Song, Meng, Ermon 2020, arXiv:2010.02502, eq. 12 and 16 (few steps,
`eta`); Salimans, Ho 2022, arXiv:2202.00512, sec. 4 (the network predicts v); Hang et al. 2023,
arXiv:2303.09556 (loss weights, so that no level of noise dominates).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detector.generators import GENERATORS
from detector.generators._trained import Trained
from detector.learning import devices, pixels
from detector.learning.run import Length, Run
from detector.learning.seeds import seeded, seeded_generator
from detector.learning.steps import Replay, optimizer_step, update_ema
from detector.types import Images, Progress, silent


@dataclass(frozen=True)
class Options(Length):
    """The options of one training run."""

    rate: float = 4e-4  # peak learning rate (AdamW)
    warmup: int = 20_000  # pictures during which the learning rate rises to its peak
    max_snr: float = 5.0  # signal-to-noise ratio at which the loss weight is clipped (gamma in arXiv:2303.09556)


class Residual(nn.Module):
    """Two convolutions beside a skip connection; an embedding of the time scales and shifts the second one's input."""

    def __init__(self, inputs: int, outputs: int, time_dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, inputs), nn.GroupNorm(8, outputs)
        self.conv1, self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.embed = nn.Linear(time_dim, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.embed(embedding)[:, :, None, None].chunk(2, 1)
        y = self.norm2(self.conv1(F.silu(self.norm1(x)))) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(y))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Self-attention between all positions of the picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.heads = nn.GroupNorm(8, channels), max(channels // 32, 1)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        q, k, v = (
            self.qkv(self.norm(x)).view(n, 3, self.heads, c // self.heads, height * width).transpose(3, 4).unbind(1)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, height, width)
        return x + self.out(y)  # type: ignore[no-any-return]


class Net(nn.Module):
    """Noisy pictures (N, 3, H, W) and their times (N,) in 0..1 -> v (N, 3, H, W): a U-shaped net."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * (i + 1) for i in range(levels)]
        self.width, time_dim = width, 4 * width
        self.time_embedding = nn.Sequential(
            nn.Linear(width, time_dim), nn.SiLU(), nn.Linear(time_dim, time_dim), nn.SiLU()
        )
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        before, kept = width, [width]
        for i, w in enumerate(widths):
            self.down.append(nn.ModuleList([Residual(before, w, time_dim), Residual(w, w, time_dim)]))
            kept += [w, w]
            before = w
            if i + 1 < levels:
                self.shrink.append(nn.Conv2d(w, w, 3, 2, 1))
                kept.append(w)
        self.middle = nn.ModuleList(
            [Residual(before, before, time_dim), Attention(before), Residual(before, before, time_dim)]
        )
        self.up, self.enlarge = nn.ModuleList(), nn.ModuleList()
        for i, w in reversed(list(enumerate(widths))):
            blocks = [Residual((before if j == 0 else w) + kept.pop(), w, time_dim) for j in range(3)]
            self.up.append(nn.ModuleList(blocks))
            before = w
            if i > 0:
                self.enlarge.append(nn.Conv2d(w, w, 3, padding=1))
        deep = {levels - 1, levels - 2}  # attention at the two coarsest resolutions
        self.attention_down = nn.ModuleDict({str(i): Attention(widths[i]) for i in sorted(deep) if i > 0})
        self.attention_up = nn.ModuleDict({str(i): Attention(widths[i]) for i in sorted(deep) if i > 0})
        self.last = nn.Sequential(nn.GroupNorm(8, before), nn.SiLU(), nn.Conv2d(before, 3, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        half = self.width // 2
        angles = 1000 * time[:, None] * torch.exp(torch.arange(half, device=x.device) * -math.log(1e4) / half)
        embedding = self.time_embedding(torch.cat([angles.sin(), angles.cos()], 1).to(x.dtype))
        x = self.first(x)
        kept = [x]
        for i, blocks in enumerate(self.down):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, embedding)
                kept.append(x)
            x = self.attention_down[str(i)](x) if str(i) in self.attention_down else x
            if i < len(self.shrink):
                x = self.shrink[i](x)
                kept.append(x)
        first, attention, second = self.middle
        x = second(attention(first(x, embedding)), embedding)
        for j, blocks in enumerate(self.up):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(torch.cat([x, kept.pop()], 1), embedding)
            level = str(len(self.up) - 1 - j)
            x = self.attention_up[level](x) if level in self.attention_up else x
            if j < len(self.enlarge):
                x = self.enlarge[j](F.interpolate(x, scale_factor=2, mode="nearest"))
        return self.last(x)  # type: ignore[no-any-return]


def signal(time: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares of picture and noise (alpha, sigma) at times 0 (clean) to 1; their squares add up to 1."""
    angle = (time * 0.996 + 0.002) * math.pi / 2  # keeps both shares above 0 at either end
    return angle.cos(), angle.sin()


@GENERATORS.register("diffusion", year=2020, options=Options(), summary="removes noise step by step: DDPM and DDIM")
class Diffusion(Trained[Net]):
    """A denoising diffusion model of faces.

    size: side of a face in pixels, a multiple of 2 ** (levels - 1). width: channels of the finest level, a multiple of
    32 (or 8, 16 or 24); level i has i + 1 times as many. levels: number of resolutions, each half the one before.
    steps: number of sampling steps; each runs the network once. eta: 0 samples as DDIM does, 1 as DDPM, with fresh
    noise at each step.
    """

    name = "diffusion"
    half = True

    def __init__(self, size: int = 64, *, width: int = 32, levels: int = 4, steps: int = 50, eta: float = 0.0) -> None:
        self.size, self.width, self.levels, self.steps, self.eta = size, width, levels, steps, eta

    def sample(self, n: int, *, seed: int, device: str = "cpu", batch: int = 1) -> Images:
        """Return n faces, RGB (n, size, size, 3); face i depends on the seed `seed` + i alone.

        device: where they are computed. batch: number of faces computed at a time. Other values than the defaults may
        change pixels slightly.
        """
        net, where = self._trained_net().eval().to(device), torch.device(device)
        seeds = range(seed, seed + n)
        drawn = [self._draw(net, list(seeds[i : i + batch]), where) for i in range(0, n, batch)]
        net.cpu()
        return pixels.to_pixels(torch.cat(drawn))

    @torch.no_grad()
    def _draw(self, net: nn.Module, seeds: list[int], where: torch.device) -> Tensor:
        sources = [seeded_generator(seed) for seed in seeds]

        def noise() -> Tensor:
            return torch.stack([torch.randn(3, self.size, self.size, generator=s) for s in sources]).to(where)

        x, times = noise(), torch.linspace(1, 0, self.steps + 1, device=where)
        for now, then in pairwise(times):
            (a, s), (b, t) = signal(now), signal(then)
            with devices.autocast(where) if where.type == "cuda" else torch.no_grad():
                v = net(x, now.expand(len(x))).float()
            clean, predicted = (a * x - s * v).clamp(-1, 1), s * x + a * v
            added = self.eta * (t / s) * (1 - (a / b) ** 2).clamp(min=0).sqrt()
            x = b * clean + (t**2 - added**2).clamp(min=0).sqrt() * predicted
            if self.eta:
                x = x + added * noise()
        shown: Tensor = clean.cpu()
        return shown

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
        """Learn the faces of a manifest's training split (label real) and return self; resumes what `folder` holds."""
        options = options or Options()
        where = devices.pick_device(device)
        devices.join_world(where)
        store = pixels.to_device(pixels.reals(manifest, self.size, folder, progress), where)
        with seeded(seed):
            net = self._build()
        net.to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(net).eval().requires_grad_(False)
        rate = torch.tensor(options.rate, device=where)
        optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.01, capturable=where.type == "cuda")
        parts: dict[str, Any] = {"net": net, "average": average, "optimiser": optimiser}
        run = Run(folder, options, seed, parts, ("loss",), device=where)
        optimiser.param_groups[0]["lr"] = rate  # a resumed run has loaded another object

        def step() -> None:
            x = pixels.draw(store, run.share, options.flip, run.rng).to(where, memory_format=torch.channels_last)
            loss = _loss(net, x, run.rng, options.max_snr)
            optimizer_step(optimiser, loss, net)
            update_ema(average, net, run.decay)
            run.note(loss)

        replay = Replay(step, where, run.rng)
        for number in run.steps_left(lambda: self._show(average, where), progress):
            rate.fill_(options.rate * min(1.0, (number + 1) * options.batch / options.warmup))
            replay()
        self.net = average.cpu()
        return self

    def _build(self) -> Net:
        return Net(self.width, self.levels)

    def _show(self, net: Net, where: torch.device) -> Images:
        shown = copy.copy(self)
        shown.net = copy.deepcopy(net)
        return shown.sample(64, seed=0, device=str(where), batch=64)


def _loss(net: Net, x: Tensor, rng: torch.Generator, max_snr: float) -> Tensor:
    """Return the weighted error in v of pictures (N, 3, H, W) with noise added at times spread evenly over 0..1.

    Source: Hang et al. 2023, arXiv:2303.09556, eq. 8 (min-SNR weights of an error in v).
    """
    noise = torch.randn(x.shape, generator=rng, device=x.device)
    time = (torch.arange(len(x), device=x.device) + torch.rand((), generator=rng, device=x.device)) / len(x)
    a, s = (value[:, None, None, None] for value in signal(time))
    with devices.autocast(x.device):
        v = net(a * x + s * noise, time)
    snr = (a / s) ** 2
    weight = snr.clamp(max=max_snr) / (snr + 1)
    return (weight * F.mse_loss(v.float(), a * noise - s * x, reduction="none")).mean()
