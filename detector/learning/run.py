"""The training run of a generator: what it writes to its folder, and how it is resumed after an interrupt.

It writes `options.json`, `losses.csv` (each line has the means since the previous line), `samples/*.png`, and
`resume.safetensors` (networks, averaged weights, optimisers). Under torchrun only the first process writes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from detector.errors import CheckpointError
from detector.files import write_bytes, write_text
from detector.learning import devices, journal, seeds, state
from detector.pictures.images import encode, tile
from detector.types import Images, Progress

LENGTH = ("pictures", "seconds", "snapshot")  # options that may be changed when a run is resumed


@dataclass(frozen=True)
class Length:
    """The length of a run. A number of pictures counts real pictures shown to the network by all processes together."""

    pictures: int = 400_000  # number of pictures after which the run ends
    batch: int = 32  # number of pictures in a step
    half_life: int = 5_000  # number of pictures after which a weight's share in the average (EMA) has halved
    flip: bool = True  # whether half of the real pictures are mirrored
    seconds: float = math.inf  # time after which the run ends, even if fewer than `pictures` were shown
    snapshot: int = 20_000  # number of pictures between two sample grids, at which the state is saved too


class Run:
    """One run in one folder: in `for _ in run.steps_left(show, progress):` each step passes its losses to `note`."""

    def __init__(
        self,
        folder: Path,
        options: Length,
        seed: int,
        parts: Mapping[str, nn.Module | torch.optim.Optimizer],
        losses: Sequence[str],
        *,
        device: torch.device,
    ) -> None:
        """Start a run, or load the state of an interrupted run from `resume.safetensors` into the parts.

        parts: name -> network or optimiser that is saved. losses: names of the columns in `losses.csv`.

        Raises CheckpointError if the interrupted run had other options.
        """
        self.folder, self.options, self.parts = folder, options, parts
        self.losses, self.device = losses, device
        self.rank, self.world = devices.join_world(device)
        self.recipe = {k: v for k, v in asdict(options).items() if k not in LENGTH} | {"seed": seed}
        self.step, spent = 0, 0.0
        self.tally, self.counted = torch.zeros(len(losses), device=device), 0
        self.seed, self.rng = seed, torch.Generator(device)
        self.decay = torch.ones((), device=device)  # decay of the weight average (EMA) at this step
        resume = folder / "resume.safetensors"
        if resume.is_file():
            facts = state.load_state(resume, parts)
            if facts["recipe"] != self.recipe:
                raise CheckpointError(f"{resume} was started with other options; delete it, or name another folder")
            self.step, spent = facts["step"], facts["seconds"]
        elif self.rank == 0:
            record = json.dumps(asdict(options) | {"seed": seed}, indent=2, default=str)
            write_text(folder / "options.json", record + "\n")
            write_text(folder / "losses.csv", f"pictures,seconds,{','.join(losses)}\n")
        self.started = time.monotonic() - spent

    @property
    def share(self) -> int:
        """Number of pictures of each step that this process takes."""
        return self.options.batch // self.world

    def steps_left(self, show: Callable[[], Images], progress: Progress) -> Iterator[int]:
        """Yield the numbers of the remaining steps, counted from 0, until the run has its length or the time is over.

        The random numbers of a step depend only on seed, step and process. The run is saved at each snapshot and at the
        end. show: function that returns the pictures of a sample grid.
        """
        batch, pictures = self.options.batch, self.options.pictures
        steps, every = math.ceil(pictures / batch), max(self.options.snapshot // batch, 1)
        while self.step < steps and self._has_time():
            seeds.reseed(self.rng, self.seed, self.step, self.rank)
            half_life = min(self.options.half_life, max((self.step + 1) * batch / 20, 1))  # shorter in early steps
            self.decay.fill_(0.5 ** (batch / half_life))
            yield self.step
            self.step += 1
            self.counted += 1
            progress("training", min(self.step * batch, pictures), pictures)
            if self.step % every == 0:
                self._keep(show())
        if self.counted:
            self._keep(show())

    def note(self, *losses: Tensor) -> None:
        """Add the losses of a step to the sums, without waiting for the GPU."""
        self.tally += torch.stack([loss.detach().float().mean() for loss in losses])

    def _has_time(self) -> bool:
        """Return whether `seconds` have not passed yet, by the clock of the first process."""
        if math.isinf(self.options.seconds):
            return True
        return devices.take_from_leader(time.monotonic() - self.started, self.device) < self.options.seconds

    def _keep(self, faces: Images) -> None:
        """Write the losses, a grid of faces, and the state that a resumed run needs."""
        if self.rank == 0:
            means = [f"{v:.5g}" for v in (self.tally / self.counted).tolist()]  # waits for the GPU
            shown, seconds = self.step * self.options.batch, time.monotonic() - self.started
            with open(self.folder / "losses.csv", "a") as file:
                file.write(",".join([str(shown), str(round(seconds)), *means]) + "\n")
            sheet = tile(faces, 8, gap=0)
            write_bytes(self.folder / "samples" / f"{shown:08d}.png", encode(sheet))
            losses = dict(zip(self.losses, means, strict=True))
            listed = ", ".join(f"{name} {value}" for name, value in losses.items())
            journal.note(f"{shown:,} of {self.options.pictures:,} pictures, {seconds:.0f} s: {listed}", step=shown,
                         values={name: float(value) for name, value in losses.items()}, samples=sheet)  # fmt: skip
            facts = {"step": self.step, "seconds": seconds, "recipe": self.recipe}
            state.save_state(self.folder / "resume.safetensors", self.parts, facts)
        self.tally.zero_()
        self.counted = 0
