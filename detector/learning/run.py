"""What the training run of a generator leaves beside itself, and how it goes on after an interrupt.

Written to its folder: `options.json`, `losses.csv` (means since the line before), `samples/*.png`, and
`resume.safetensors` (nets, averages, optimisers). Under torchrun the first process alone writes.
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
from detector.learning import devices, seeds, state
from detector.pictures.images import encode, tile
from detector.types import Images, Progress

LENGTH = ("pictures", "seconds", "snapshot")  # options that may change when a run goes on


@dataclass(frozen=True)
class Length:
    """How long a run is. Counts of pictures are of reals shown to the net, over all processes."""

    pictures: int = 400_000  # length of the run
    batch: int = 32  # pictures a step
    half_life: int = 5_000  # pictures after which the weight average has forgotten half
    flip: bool = True  # mirror half of the reals
    seconds: float = math.inf  # stop after this much time, whatever `pictures` says
    snapshot: int = 20_000  # pictures between sample grids and resume states


class Run:
    """One run in one folder: `for _ in run.steps_left(show, progress):` a step that notes its losses."""

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
        """Start, or fill the parts from what the folder holds; CheckpointError if that had other options."""
        self.folder, self.options, self.parts = folder, options, parts
        self.rank, self.world = devices.join_world(device)
        self.recipe = {k: v for k, v in asdict(options).items() if k not in LENGTH} | {"seed": seed}
        self.step, spent = 0, 0.0
        self.tally, self.counted = torch.zeros(len(losses), device=device), 0
        self.seed, self.rng = seed, torch.Generator(device)
        self.decay = torch.ones((), device=device)  # what is left of the weight average after a step
        resume = folder / "resume.safetensors"
        if resume.is_file():
            facts = state.load_state(resume, parts)
            if facts["recipe"] != self.recipe:
                raise CheckpointError(f"{resume} was begun with other options; delete it, or name another folder")
            self.step, spent = facts["step"], facts["seconds"]
        elif self.rank == 0:
            record = json.dumps(asdict(options) | {"seed": seed}, indent=2, default=str)
            write_text(folder / "options.json", record + "\n")
            write_text(folder / "losses.csv", f"pictures,seconds,{','.join(losses)}\n")
        self.started = time.monotonic() - spent

    @property
    def share(self) -> int:
        """Pictures a step of this process."""
        return self.options.batch // self.world

    def steps_left(self, show: Callable[[], Images], progress: Progress) -> Iterator[int]:
        """Yield the number of each step, from 0, while one is left and time for it.

        What a step draws follows from seed, step and process. Where a snapshot is due, and at the end, the run is kept.
        show: returns the faces of a grid.
        """
        batch, pictures = self.options.batch, self.options.pictures
        steps, every = math.ceil(pictures / batch), max(self.options.snapshot // batch, 1)
        while self.step < steps and time.monotonic() - self.started < self.options.seconds:
            seeds.reseed(self.rng, self.seed, self.step, self.rank)
            forgets = min(self.options.half_life, max((self.step + 1) * batch / 20, 1))  # early on it follows closely
            self.decay.fill_(0.5 ** (batch / forgets))
            yield self.step
            self.step += 1
            self.counted += 1
            progress("training", min(self.step * batch, pictures), pictures)
            if self.step % every == 0:
                self._keep(show())
        if self.counted:
            self._keep(show())

    def note(self, *losses: Tensor) -> None:
        """Add up the losses of a step, without waiting for them."""
        self.tally += torch.stack([loss.detach().float().mean() for loss in losses])

    def _keep(self, faces: Images) -> None:
        """Write losses, a grid of faces, and all that the run needs to go on."""
        if self.rank == 0:
            means = [f"{v:.5g}" for v in (self.tally / self.counted).tolist()]  # waits for the steps
            seen, seconds = self.step * self.options.batch, time.monotonic() - self.started
            with open(self.folder / "losses.csv", "a") as file:
                file.write(",".join([str(seen), str(round(seconds)), *means]) + "\n")
            write_bytes(self.folder / "samples" / f"{seen:08d}.png", encode(tile(faces, 8, gap=0)))
            facts = {"step": self.step, "seconds": seconds, "recipe": self.recipe}
            state.save_state(self.folder / "resume.safetensors", self.parts, facts)
        self.tally.zero_()
        self.counted = 0
