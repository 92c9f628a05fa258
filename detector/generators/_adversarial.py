"""The training loop of every adversarial generator: two nets, one loss, resumable at any step.

The nets come from the generator's own file, the loss from `_losses`, what is written beside the run from
`learning.run`; this file only alternates them. Under torchrun each process takes its share of the batch and the
gradients are averaged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detector.generators._diffaugment import augment
from detector.generators._losses import LOSSES, gradient_penalty
from detector.learning import devices, steps
from detector.learning.pixels import draw, to_device
from detector.learning.run import Length, Run
from detector.types import Images, Progress, silent


@dataclass(frozen=True)
class Options(Length):
    """One run."""

    rate_g: float = 2e-3  # Adam's step, generator
    rate_d: float = 2e-3  # Adam's step, discriminator
    beta1: float = 0.0  # Adam's first moment; 0 as in StyleGAN
    beta2: float = 0.99  # Adam's second moment
    loss: str = "logistic"  # a name in _losses.LOSSES
    r1: float = 0.5  # weight of the gradient penalty at reals (gamma / 2)
    r2: float = 0.0  # weight of the gradient penalty at fakes
    penalty_every: int = 8  # steps between penalties ("lazy", weight scaled up to match)
    augment: bool = True  # DiffAugment


@dataclass
class Game:
    """The two nets of a generator: `make` turns a seeded source into pictures (N, C, H, W), about -1..1."""

    generator: nn.Module
    discriminator: nn.Module
    make: Callable[[Any, int, torch.Generator], Tensor]
    show: Callable[[nn.Module], Images]  # a fixed set of samples of a net on the CPU, for the grids


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
    for net in (game.generator, game.discriminator):
        net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    g, d = game.generator, game.discriminator
    average: nn.Module = copy.deepcopy(g).eval().requires_grad_(False)
    opt_g, opt_d = (
        torch.optim.Adam(
            net.parameters(), rate, (options.beta1, options.beta2), eps=1e-8, capturable=device.type == "cuda"
        )
        for net, rate in ((g, options.rate_g), (d, options.rate_d))
    )
    parts: dict[str, nn.Module | torch.optim.Optimizer] = {
        "g": g,
        "d": d,
        "average": average,
        "opt_g": opt_g,
        "opt_d": opt_d,
    }
    names = ("loss_d", "loss_g", "penalty", "logit_real", "logit_fake")
    run = Run(folder, options, seed, parts, names, device=device)
    rng, store, (loss_d, loss_g) = run.rng, to_device(pixels, device), LOSSES[options.loss]

    def change(x: Tensor) -> Tensor:
        return augment(x, rng) if options.augment else x

    def step(penalised: bool) -> None:
        real = draw(store, run.share, options.flip, rng).to(device, memory_format=torch.channels_last)
        with devices.autocast(device):
            with torch.no_grad():
                fake = game.make(g, run.share, rng)
            on_real, on_fake = d(change(real)), d(change(fake))
            loss = loss_d(on_real.float(), on_fake.float())
        penalty = torch.zeros((), device=device)
        if penalised:
            with devices.autocast(device):
                penalty = options.r1 * gradient_penalty(d, change(real)) if options.r1 else penalty
                penalty = penalty + options.r2 * gradient_penalty(d, change(fake)) if options.r2 else penalty
            loss = loss + options.penalty_every * penalty
        steps.descend(opt_d, loss, d)

        d.requires_grad_(False)
        with devices.autocast(device):
            on_made = d(change(game.make(g, run.share, rng)))
            lossg = loss_g(
                d(change(real)).float() if options.loss == "relativistic" else on_real.detach(), on_made.float()
            )
        steps.descend(opt_g, lossg, g)
        d.requires_grad_(True)
        steps.follow(average, g, run.decay)
        run.note(loss, lossg, penalty, on_real, on_fake)

    plain, penalised = (steps.Replay(partial(step, kind), device, rng) for kind in (False, True))
    for number in run.steps_left(lambda: game.show(copy.deepcopy(average).cpu()), progress):
        due = bool(options.r1 or options.r2) and number % options.penalty_every == 0
        (penalised if due else plain)()
    return average
