"""One training step: the optimiser's step, the average of the weights (EMA), and the replay of steps on a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from detector.learning.devices import average_gradients


@torch.no_grad()
def update_ema(average: nn.Module, net: nn.Module, decay: float | Tensor) -> None:
    """Update the exponential moving average of a network: average = decay * average + (1 - decay) * net.

    decay: a number or a tensor; a replayed GPU step reads the present value of the tensor.
    """
    parameters = dict(net.named_parameters())
    for name, averaged in average.named_parameters():
        averaged.lerp_(parameters[name], 1 - decay)
    for buffer, current in zip(average.buffers(), net.buffers(), strict=True):
        if buffer.is_floating_point():
            buffer.lerp_(current, 1 - decay)
        else:
            buffer.copy_(current)


class Replay:
    """A training step that a GPU records once and then replays; on a CPU it is called as usual.

    A step of these small networks has thousands of kernels; if they are started one by one, a GPU is idle for nine
    tenths of the time. A step takes no argument, returns nothing, draws random numbers from `rng` only, and changes
    tensors in place. Source: the CUDA graphs of torch (whole-network capture).
    """

    WARMUP = 3  # number of calls before a step is recorded; they create optimiser moments and choose kernels

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
        if self.calls <= self.WARMUP:
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


def optimizer_step(optimiser: torch.optim.Optimizer, loss: Tensor, net: nn.Module) -> None:
    """Take one step of the optimiser that reduces the loss, with the gradient averaged over all processes."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    average_gradients(net)
    optimiser.step()
