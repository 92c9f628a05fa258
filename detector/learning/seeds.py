"""Random numbers fixed by their keys, such as (seed, step, rank).

A run that was killed and resumed draws what the unbroken run would have drawn; no global seed is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seeded_generator(*keys: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator of random numbers whose seed is made of the keys, such as (seed, step, rank)."""
    return reseed(torch.Generator(device=device), *keys)


def reseed(rng: torch.Generator, *keys: int) -> torch.Generator:
    """Seed a generator of random numbers with the keys and return it."""
    state = np.random.SeedSequence([len(keys), *(k & 0xFFFFFFFF for k in keys)]).generate_state(1, np.uint64)[0]
    return rng.manual_seed(int(state >> 1))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let weights drawn in this block depend on the seed alone, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
