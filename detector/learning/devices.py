"""The device and the precision of a training run, and the processes that take part in it."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from detector.errors import DetectorError
from detector.learning.processes import is_first


def pick_device(name: str | None = None) -> torch.device:
    """Return the named device; without a name, a CUDA device (under torchrun that of this process), or else the CPU.

    Raises DetectorError if there is no device of that name.
    """
    if name is not None:
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError, NotImplementedError):  # torch raises each of them
            raise DetectorError(
                f"there is no device {name!r} here; name cpu, or leave out --device to take a GPU if there is one"
            ) from None
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True  # chooses the fastest kernels for the shapes, which never change
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


def autocast(device: torch.device, *, depthwise: bool = False) -> Any:
    """Return a context in which PyTorch computes in bfloat16 if that is faster, and otherwise in float32.

    depthwise: whether the network consists of depthwise convolutions, which a CPU runs slower in bfloat16.
    """
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16) if torch.cuda.is_bf16_supported() else nullcontext()
    pays = not depthwise and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast("cpu", torch.bfloat16) if pays else nullcontext()


def join_world(device: torch.device) -> tuple[int, int]:
    """Return the rank of this process and the number of processes that torchrun started; (0, 1) without torchrun."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(torch.distributed.destroy_process_group)  # gloo aborts at exit if the group still exists
    return (torch.distributed.get_rank(), size) if size > 1 else (0, 1)


@contextmanager
def leader_first() -> Iterator[bool]:
    """Let the first process run the block before the others do; yield whether this process is the first."""
    first, together = is_first(), int(os.environ.get("WORLD_SIZE", 1)) > 1
    if together and not first:
        torch.distributed.barrier()
    yield first
    if together and first:
        torch.distributed.barrier()


def take_from_leader(value: float, device: torch.device) -> float:
    """Return the value of the first process in every process: clocks differ, and all must stop at the same step."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    torch.distributed.broadcast(shared, 0)
    return shared.item()


def average_gradients(net: nn.Module) -> None:
    """Replace each gradient by its mean over all processes, sent in one message; does nothing in a single process."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
