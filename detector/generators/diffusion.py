"""The rung of 2020: a face emerges from noise, which a network takes away a little at a time.

Source: Ho, Jain, Abbeel 2020, arXiv:2006.11239 (training and ancestral sampling); Nichol, Dhariwal 2021,
arXiv:2102.09672, eq. 17 (the cosine schedule); Song, Meng, Ermon 2020, arXiv:2010.02502, eq. 12 and 16 (few steps,
`eta`); Salimans, Ho 2022, arXiv:2202.00512, sec. 4 (the network tells v); Hang et al. 2023, arXiv:2303.09556 (no level
of noise may dominate the loss).
"""

from __future__ import annotations

import copy
import inspect
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detector.errors import CheckpointError
from detector.generators import GENERATORS
from detector.learning import devices, pixels, state
from detector.learning.run import Length, Run
from detector.learning.seeds import seeded, source
from detector.learning.steps import Replay, descend, follow
from detector.scoring.checkpoint import read_card, read_tensors, write_checkpoint
from detector.types import Images, Progress, silent


@dataclass(frozen=True)
class Options(Length):
    """One run."""

    rate: float = 4e-4  # AdamW's peak step
    warm: int = 20_000  # pictures until it is reached
    emphasis: float = 5.0  # largest signal-to-noise ratio that counts in the loss


class Residual(nn.Module):
    """Two convolutions beside a skip, the second told how noisy the picture is."""

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, inputs), nn.GroupNorm(8, outputs)
        self.conv1, self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.tell = nn.Linear(told, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, noisy: Tensor) -> Tensor:
        scale, shift = self.tell(noisy)[:, :, None, None].chunk(2, 1)
        y = self.norm2(self.conv1(F.silu(self.norm1(x)))) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(y))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Every place looks at every other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.heads = nn.GroupNorm(8, channels), max(channels // 32, 1)
        self.look, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        q, k, v = (
            self.look(self.norm(x)).view(n, 3, self.heads, c // self.heads, height * width).transpose(3, 4).unbind(1)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, height, width)
        return x + self.out(y)  # type: ignore[no-any-return]


class Net(nn.Module):
    """Noisy pictures (N, 3, H, W) and their times (N,) in 0..1 -> v (N, 3, H, W): a U-shaped net."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * (i + 1) for i in range(levels)]
        told = 4 * width
        self.width, self.tell = (
            width,
            nn.Sequential(nn.Linear(width, told), nn.SiLU(), nn.Linear(told, told), nn.SiLU()),
        )
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        before, kept = width, [width]
        for i, w in enumerate(widths):
            self.down.append(nn.ModuleList([Residual(before, w, told), Residual(w, w, told)]))
            kept += [w, w]
            before = w
            if i + 1 < levels:
                self.shrink.append(nn.Conv2d(w, w, 3, 2, 1))
                kept.append(w)
        self.middle = nn.ModuleList([Residual(before, before, told), Attention(before), Residual(before, before, told)])
        self.up, self.enlarge = nn.ModuleList(), nn.ModuleList()
        for i, w in reversed(list(enumerate(widths))):
            blocks = [Residual((before if j == 0 else w) + kept.pop(), w, told) for j in range(3)]
            self.up.append(nn.ModuleList(blocks))
            before = w
            if i > 0:
                self.enlarge.append(nn.Conv2d(w, w, 3, padding=1))
        deep = {levels - 1, levels - 2}  # on the two coarsest sides, places look at each other
        self.look_down = nn.ModuleDict({str(i): Attention(widths[i]) for i in sorted(deep) if i > 0})
        self.look_up = nn.ModuleDict({str(i): Attention(widths[i]) for i in sorted(deep) if i > 0})
        self.last = nn.Sequential(nn.GroupNorm(8, before), nn.SiLU(), nn.Conv2d(before, 3, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        half = self.width // 2
        angles = 1000 * time[:, None] * torch.exp(torch.arange(half, device=x.device) * -math.log(1e4) / half)
        noisy = self.tell(torch.cat([angles.sin(), angles.cos()], 1).to(x.dtype))
        x = self.first(x)
        kept = [x]
        for i, blocks in enumerate(self.down):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, noisy)
                kept.append(x)
            x = self.look_down[str(i)](x) if str(i) in self.look_down else x
            if i < len(self.shrink):
                x = self.shrink[i](x)
                kept.append(x)
        first, attention, second = self.middle
        x = second(attention(first(x, noisy)), noisy)
        for j, blocks in enumerate(self.up):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(torch.cat([x, kept.pop()], 1), noisy)
            place = str(len(self.up) - 1 - j)
            x = self.look_up[place](x) if place in self.look_up else x
            if j < len(self.enlarge):
                x = self.enlarge[j](F.interpolate(x, scale_factor=2, mode="nearest"))
        return self.last(x)  # type: ignore[no-any-return]


def signal(time: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares of picture and noise (alpha, sigma) at times 0 (clean) to 1; their squares add up to 1."""
    angle = (time * 0.996 + 0.002) * math.pi / 2  # never quite clean, never quite noise
    return angle.cos(), angle.sin()


@GENERATORS.register("diffusion", year=2020, options=Options(), summary="takes noise away step by step: DDPM and DDIM")
class Diffusion:
    """A denoising diffusion model of faces.

    size: side in pixels, a multiple of 2 ** (levels - 1). width: channels of the finest level, a multiple of 32 (or 8,
    16 or 24); level i has i + 1 times as many. levels: sides, each half the one before. steps: of sampling, each one
    run of the net.
    eta: 0 draws as DDIM does, 1 as DDPM, with fresh noise at each step.
    """

    name = "diffusion"

    def __init__(self, size: int = 64, *, width: int = 32, levels: int = 4, steps: int = 50, eta: float = 0.0) -> None:
        self.size, self.width, self.levels, self.steps, self.eta = size, width, levels, steps, eta
        self.net: Net | None = None

    def sample(self, n: int, *, seed: int, device: str = "cpu", batch: int = 1) -> Images:
        """Return n faces, RGB (n, size, size, 3); face i is that of seed + i, whatever n is.

        device, batch: where, and how many at a time; anything but the default may change a pixel by a little.
        """
        if self.net is None:
            raise CheckpointError("this generator has no weights yet; fit it or load a checkpoint")
        net, where = self.net.eval().to(device), torch.device(device)
        seeds = range(seed, seed + n)
        drawn = [self._draw(net, list(seeds[i : i + batch]), where) for i in range(0, n, batch)]
        self.net.cpu()
        return pixels.to_pixels(torch.cat(drawn))

    @torch.no_grad()
    def _draw(self, net: nn.Module, seeds: list[int], where: torch.device) -> Tensor:
        sources = [source(seed) for seed in seeds]

        def noise() -> Tensor:
            return torch.stack([torch.randn(3, self.size, self.size, generator=s) for s in sources]).to(where)

        x, times = noise(), torch.linspace(1, 0, self.steps + 1, device=where)
        for now, then in pairwise(times):
            (a, s), (b, t) = signal(now), signal(then)
            with devices.autocast(where) if where.type == "cuda" else torch.no_grad():
                v = net(x, now.expand(len(x))).float()
            clean, dirt = (a * x - s * v).clamp(-1, 1), s * x + a * v
            fresh = self.eta * (t / s) * (1 - (a / b) ** 2).clamp(min=0).sqrt()
            x = b * clean + (t**2 - fresh**2).clamp(min=0).sqrt() * dirt
            if self.eta:
                x = x + fresh * noise()
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
            net: nn.Module = self._build().to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(net).eval().requires_grad_(False)
        rate = torch.tensor(options.rate, device=where)
        optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.01, capturable=where.type == "cuda")
        parts: dict[str, Any] = {"net": net, "average": average, "optimiser": optimiser}
        run = Run(folder, options, seed, parts, ("loss",), device=where)
        optimiser.param_groups[0]["lr"] = rate  # also where the run goes on

        def step() -> None:
            x = pixels.draw(store, run.share, options.flip, run.rng).to(where, memory_format=torch.channels_last)
            noise = torch.randn(x.shape, generator=run.rng, device=where)
            time = (torch.arange(len(x), device=where) + torch.rand((), generator=run.rng, device=where)) / len(x)
            a, s = (value[:, None, None, None] for value in signal(time))
            with devices.autocast(where):
                v = net(a * x + s * noise, time)
            weight = ((a / s) ** 2).clamp(max=options.emphasis) / ((a / s) ** 2 + 1)  # of an error in v
            loss = (weight * F.mse_loss(v.float(), a * noise - s * x, reduction="none")).mean()
            descend(optimiser, loss, net)
            follow(average, net, run.decay)
            run.note(loss)

        replay = Replay(step, where, run.rng)
        for number in run.steps_left(lambda: self._show(average, where), progress):
            rate.fill_(options.rate * min(1.0, (number + 1) * options.batch / options.warm))
            replay()
        self.net = average.cpu()  # type: ignore[assignment]
        return self

    def save(self, folder: Path, **facts: Any) -> None:
        """Write the averaged weights, in half precision, and the card."""
        if self.net is None:
            raise CheckpointError("this generator has no weights yet; fit it first")
        arguments = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        tensors = state.numbers(self.net, half=True)
        write_checkpoint(folder, tensors, {"generator": self.name, "arguments": arguments, **facts})
        state.fill(self.net, tensors)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the generator kept in a folder."""
        self = cls(**read_card(folder, "generator")["arguments"])
        self.net = self._build()
        state.fill(self.net, read_tensors(folder))
        return self

    def _build(self) -> Net:
        return Net(self.width, self.levels)

    def _show(self, net: nn.Module, where: torch.device) -> Images:
        shown = copy.copy(self)
        shown.net = copy.deepcopy(net)  # type: ignore[assignment]
        return shown.sample(64, seed=0, device=str(where), batch=64)
