"""The training loop of every GAN: two networks are updated in turn, and a run can be resumed at any step.

The networks come from the generator's own file, the losses from `_losses`, and what is written beside the run from
`learning.run`. Under torchrun each process takes its share of the batch and the gradients are averaged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

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

G = TypeVar("G", bound=nn.Module)
LOSS_NAMES = ("loss_d", "loss_g", "penalty", "logit_real", "logit_fake")  # columns of losses.csv


@dataclass(frozen=True)
class Options(Length):
    """The options of one training run."""

    rate_g: float = 2e-3  # learning rate of the generator (Adam)
    rate_d: float = 2e-3  # learning rate of the discriminator (Adam)
    beta1: float = 0.0  # Adam's decay of the first moment; 0 as in StyleGAN
    beta2: float = 0.99  # Adam's decay of the second moment
    loss: str = "logistic"  # a name in _losses.LOSSES
    r1: float = 0.5  # weight of the gradient penalty at reals (gamma / 2)
    r2: float = 0.0  # weight of the gradient penalty at fakes
    penalty_every: int = 8  # steps between penalties; the penalty's weight is multiplied by the same number
    augment: bool = True  # whether DiffAugment is applied to the discriminator's input


@dataclass
class Gan(Generic[G]):
    """A generator, its discriminator, and the functions that draw from the generator.

    make: function of (generator, n, random numbers) that returns training pictures (n, C, H, W) of about -1..1. show:
    function of a generator on the CPU that returns the samples (N, H, W, 3) of a grid, always of the same seeds.
    """

    generator: G
    discriminator: nn.Module
    make: Callable[[G, int, torch.Generator], Tensor]
    show: Callable[[G], Images]

    def train(
        self,
        pixels: NDArray[np.uint8],
        options: Options,
        *,
        folder: Path,
        seed: int,
        device: torch.device,
        progress: Progress = silent,
    ) -> G:
        """Train on pictures (N, H, W, C) and return the generator with averaged weights (EMA).

        Raises CheckpointError if the folder holds a run with other options.
        """
        for net in (self.generator, self.discriminator):
            net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        training = _Training(self, options, to_device(pixels, device), device)
        run = training.run = Run(folder, options, seed, training.parts(), LOSS_NAMES, device=device)
        plain, penalised = (steps.Replay(partial(training.step, due), device, run.rng) for due in (False, True))
        for number in run.steps_left(lambda: self.show(copy.deepcopy(training.average).cpu()), progress):
            due = bool(options.r1 or options.r2) and number % options.penalty_every == 0
            (penalised if due else plain)()
        return training.average


@dataclass
class _Training(Generic[G]):
    """The state of one run: networks, optimisers and pictures."""

    gan: Gan[G]
    options: Options
    pixels: NDArray[np.uint8] | Tensor
    device: torch.device
    run: Run = field(init=False)

    def __post_init__(self) -> None:
        self.average: G = copy.deepcopy(self.gan.generator).eval().requires_grad_(False)
        self.optimiser_g = self._adam(self.gan.generator, self.options.rate_g)
        self.optimiser_d = self._adam(self.gan.discriminator, self.options.rate_d)

    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Return everything that a resumed run needs."""
        return {"g": self.gan.generator, "d": self.gan.discriminator, "average": self.average,
                "opt_g": self.optimiser_g, "opt_d": self.optimiser_d}  # fmt: skip

    def step(self, penalised: bool) -> None:
        """Update the discriminator, the generator and the average. penalised: add the gradient penalties."""
        real = draw(self.pixels, self.run.share, self.options.flip, self.run.rng)
        real = real.to(self.device, memory_format=torch.channels_last)
        loss_d, penalty, logit_real, logit_fake = self._update_discriminator(real, penalised)
        loss_g = self._update_generator(real, logit_real)
        steps.update_ema(self.average, self.gan.generator, self.run.decay)
        self.run.note(loss_d, loss_g, penalty, logit_real, logit_fake)

    def _update_discriminator(self, real: Tensor, penalised: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take one step of the discriminator and return (loss, penalty, logits of reals, logits of fakes)."""
        options, discriminator = self.options, self.gan.discriminator
        with devices.autocast(self.device):
            with torch.no_grad():
                fake = self.gan.make(self.gan.generator, self.run.share, self.run.rng)
            logit_real, logit_fake = discriminator(self._change(real)), discriminator(self._change(fake))
            loss = LOSSES[options.loss][0](logit_real.float(), logit_fake.float())
        penalty = torch.zeros((), device=self.device)
        if penalised:
            with devices.autocast(self.device):
                if options.r1:
                    penalty = options.r1 * gradient_penalty(discriminator, self._change(real))
                if options.r2:
                    penalty = penalty + options.r2 * gradient_penalty(discriminator, self._change(fake))
            loss = loss + options.penalty_every * penalty
        steps.optimizer_step(self.optimiser_d, loss, discriminator)
        return loss, penalty, logit_real, logit_fake

    def _update_generator(self, real: Tensor, logit_real: Tensor) -> Tensor:
        """Take one step of the generator and return its loss."""
        discriminator = self.gan.discriminator.requires_grad_(False)
        with devices.autocast(self.device):
            made = self.gan.make(self.gan.generator, self.run.share, self.run.rng)
            logit_fake = discriminator(self._change(made)).float()
            relativistic = self.options.loss == "relativistic"  # this loss compares with the updated discriminator
            logit_real = discriminator(self._change(real)).float() if relativistic else logit_real.detach()
            loss = LOSSES[self.options.loss][1](logit_real, logit_fake)
        steps.optimizer_step(self.optimiser_g, loss, self.gan.generator)
        discriminator.requires_grad_(True)
        return loss

    def _change(self, pictures: Tensor) -> Tensor:
        return augment(pictures, self.run.rng) if self.options.augment else pictures

    def _adam(self, net: nn.Module, rate: float) -> torch.optim.Adam:
        betas, on_gpu = (self.options.beta1, self.options.beta2), self.device.type == "cuda"
        return torch.optim.Adam(net.parameters(), rate, betas, capturable=on_gpu)
