"""The training loop of every adversarial generator: two nets, one loss, resumable at any step.

The nets come from the generator's own file, the loss from `_losses`; this file only alternates them. Written beside
the run: `options.json`, `losses.csv`, `samples/*.png` on the way, `resume.safetensors` (both nets, the average, both
optimisers). Under torchrun each process takes its share of the batch and the gradients are averaged.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detector import learning
from detector.errors import CheckpointError, ManifestError
from detector.files import write_bytes, write_text
from detector.generators._diffaugment import augment
from detector.generators._losses import LOSSES, gradient_penalty
from detector.images import encode, tile
from detector.types import Images, Label, Progress, silent


@dataclass(frozen=True)
class Options:
    """One run. Counts of pictures are of reals shown to the discriminator, over all processes."""

    pictures: int = 400_000  # length of the run
    batch: int = 32  # pictures a step
    rate_g: float = 2e-3  # Adam's step, generator
    rate_d: float = 2e-3  # Adam's step, discriminator
    beta1: float = 0.0  # Adam's first moment; 0 as in StyleGAN
    beta2: float = 0.99  # Adam's second moment
    loss: str = "logistic"  # a name in _losses.LOSSES
    r1: float = 0.5  # weight of the gradient penalty at reals (gamma / 2)
    r2: float = 0.0  # weight of the gradient penalty at fakes
    penalty_every: int = 8  # steps between penalties ("lazy", weight scaled up to match)
    half_life: int = 5_000  # pictures after which the weight average has forgotten half
    flip: bool = True  # mirror half of the reals
    augment: bool = True  # DiffAugment
    seconds: float = math.inf  # stop after this much time, whatever `pictures` says
    snapshot: int = 20_000  # pictures between sample grids and resume states


@dataclass
class Game:
    """The two nets of a generator: `make` turns a seeded source into pictures (N, C, H, W), about -1..1."""

    generator: nn.Module
    discriminator: nn.Module
    make: Callable[[Any, int, torch.Generator], Tensor]
    show: Callable[[nn.Module], Images]  # a fixed set of samples, for the grids


def play(
    game: Game,
    pixels: NDArray[np.uint8],
    options: Options,
    *,
    folder: Path,
    seed: int,
    device: torch.device,
    progress: Progress = silent,
) -> nn.Module:
    """Train on pictures (N, H, W, C) and return the averaged generator."""
    rank, world = learning.join_world(device)
    for net in (game.generator, game.discriminator):
        net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    g, d = game.generator, game.discriminator
    average: nn.Module = copy.deepcopy(g).eval().requires_grad_(False)
    opt_g = torch.optim.Adam(g.parameters(), options.rate_g, (options.beta1, options.beta2), eps=1e-8)
    opt_d = torch.optim.Adam(d.parameters(), options.rate_d, (options.beta1, options.beta2), eps=1e-8)
    parts: dict[str, nn.Module | torch.optim.Optimizer] = {
        "g": g,
        "d": d,
        "average": average,
        "opt_g": opt_g,
        "opt_d": opt_d,
    }
    resume = folder / "resume.safetensors"
    recipe = {k: v for k, v in asdict(options).items() if k not in ("pictures", "seconds", "snapshot")} | {"seed": seed}
    step, spent = 0, 0.0
    if resume.is_file():
        facts = learning.load_state(resume, parts)
        if facts["recipe"] != recipe:
            raise CheckpointError(f"{resume} was begun with other options; delete it, or name another folder")
        step, spent = facts["step"], facts["seconds"]
    elif rank == 0:
        write_text(folder / "options.json", json.dumps(asdict(options) | {"seed": seed}, indent=2, default=str) + "\n")
        write_text(folder / "losses.csv", "pictures,seconds,loss_d,loss_g,penalty,logit_real,logit_fake\n")

    loss_d, loss_g = LOSSES[options.loss]
    share, started = options.batch // world, time.monotonic() - spent
    steps, every = math.ceil(options.pictures / options.batch), max(options.snapshot // options.batch, 1)
    tally = torch.zeros(5)

    def keep() -> None:
        if rank == 0:
            with open(folder / "losses.csv", "a") as file:
                row = [step * options.batch, round(time.monotonic() - started), *(tally / max(counted, 1)).tolist()]
                file.write(",".join(f"{v:.5g}" if isinstance(v, float) else str(v) for v in row) + "\n")
            write_bytes(
                folder / "samples" / f"{step * options.batch:08d}.png", encode(tile(game.show(average), 8, gap=0))
            )
            learning.save_state(resume, parts, {"step": step, "seconds": time.monotonic() - started, "recipe": recipe})

    counted = 0
    while step < steps and time.monotonic() - started < options.seconds:
        rng = learning.source(seed, step, rank)
        real = draw(pixels, share, options.flip, rng).to(device, memory_format=torch.channels_last)
        change = (lambda x, r=rng: augment(x, r)) if options.augment else (lambda x: x)
        with learning.autocast(device):
            with torch.no_grad():
                fake = game.make(g, share, rng)
            on_real, on_fake = d(change(real)), d(change(fake))
            loss = loss_d(on_real.float(), on_fake.float())
        penalty = torch.zeros(())
        if (options.r1 or options.r2) and step % options.penalty_every == 0:
            with learning.autocast(device):
                penalty = options.r1 * gradient_penalty(d, change(real)) if options.r1 else penalty
                penalty = penalty + options.r2 * gradient_penalty(d, change(fake)) if options.r2 else penalty
            loss = loss + options.penalty_every * penalty
        _descend(opt_d, d, loss)

        d.requires_grad_(False)
        with learning.autocast(device):
            on_made = d(change(game.make(g, share, rng)))
            lossg = loss_g(
                d(change(real)).float() if options.loss == "relativistic" else on_real.detach(), on_made.float()
            )
        _descend(opt_g, g, lossg)
        d.requires_grad_(True)

        step += 1
        learning.follow(average, g, 0.5 ** (options.batch / min(options.half_life, max(step * options.batch / 20, 1))))
        tally += torch.tensor([loss.item(), lossg.item(), penalty.item(), on_real.mean().item(), on_fake.mean().item()])
        counted += 1
        progress("training", min(step * options.batch, options.pictures), options.pictures)
        if step % every == 0:
            keep()
            tally.zero_()
            counted = 0
    if step % every:
        keep()
    return average


def reals(manifest: pd.DataFrame, size: int, folder: Path, progress: Progress) -> NDArray[np.uint8]:
    """Return the pictures (N, size, size, 3) a generator may learn from: real, and of the training split."""
    rows = manifest[(manifest.label == Label.REAL) & (manifest.split == "train")]
    if rows.empty:
        raise ManifestError("the manifest has no real picture in its training split; a generator learns from those")
    return learning.load_pictures(rows, size, folder / "pictures.npy", progress=progress)


def to_pixels(x: Tensor) -> Images:
    """Return pictures (N, C, H, W) of about -1..1 as RGB uint8 (N, H, W, 3); one channel becomes grey."""
    x = ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    return x.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()


def draw(pixels: NDArray[np.uint8], n: int, flip: bool, rng: torch.Generator) -> Tensor:
    """Return n pictures (n, C, H, W) in -1..1 drawn from pixels (N, H, W, C), half of them mirrored if `flip`."""
    rows = torch.randint(len(pixels), (n,), generator=rng).numpy()
    x = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).float() / 127.5 - 1
    if flip:
        x = torch.where(torch.rand(n, 1, 1, 1, generator=rng) < 0.5, x.flip(3), x)
    return x


def _descend(optimiser: torch.optim.Optimizer, net: nn.Module, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    learning.average_gradients(net)
    optimiser.step()
