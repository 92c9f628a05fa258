"""One training step: down the loss, the averaged weights after it, and its replay on a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from detector.learning.devices import average_gradients


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float | Tensor) -> None:
    """Move the averaged weights a step towards the net's: average = decay * average + (1 - decay) * net."""
    theirs = dict(net.named_parameters())
    for name, mine in average.named_parameters():
        mine.lerp_(theirs[name], 1 - decay)
    for kept, current in zip(average.buffers(), net.buffers(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(current, 1 - decay)
        else:
            kept.copy_(current)


class Replay:
    """A training step that a GPU records once and then replays; on a CPU it is just called.

    The nets here are small: called one by one, their thousands of kernels leave a GPU idle nine tenths of the time. A
    step takes nothing and returns nothing, draws from `rng` at most, and changes tensors that stay where they are.
    Source: the CUDA graphs of torch (whole-network capture).
    """

    WARM = 3  # calls before it is recorded: optimisers make their moments, kernels are chosen

    def __init__(self, step: Callable[[], None], device: torch.device, rng: torch.Generator | None = None) -> None:
        self.step, self.device, self.rng, self.calls = step, device, rng, 0
        self.graph: Any = None
        self.pays = device.type == "cuda" and int(os.environ.get("WORLD_SIZE", 1)) == 1
        self.aside: Any = torch.cuda.Stream(device) if self.pays else None  # type: ignore[no-untyped-call]

    def __call__(self) -> None:
        """Take the step."""
        if not self.pays:
            return self.step()
        with torch.cuda.device(self.device):
            self._replay()
        return None

    def _replay(self) -> None:
        self.calls += 1
        if self.calls <= self.WARM:
            now = torch.cuda.current_stream()
            self.aside.wait_stream(now)
            with torch.cuda.stream(self.aside):
                self.step()
            now.wait_stream(self.aside)
            return
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            if self.rng is not None:
                self.graph.register_generator_state(self.rng)
            with torch.cuda.graph(self.graph):
                self.step()
        self.graph.replay()


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, net: nn.Module) -> None:
    """Take one step of the optimiser down the loss, the net's gradient averaged over all processes."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    average_gradients(net)
    optimiser.step()
