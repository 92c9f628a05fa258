"""Random numbers that are determined by keys, such as (seed, step, rank).

A resumed run therefore draws the same numbers as an uninterrupted run. No global seed is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seeded_generator(*keys: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator of random numbers whose seed is computed from keys, such as (seed, step, rank)."""
    return reseed(torch.Generator(device=device), *keys)


def reseed(rng: torch.Generator, *keys: int) -> torch.Generator:
    """Seed a generator of random numbers with the keys and return it."""
    state = np.random.SeedSequence([len(keys), *(k & 0xFFFFFFFF for k in keys)]).generate_state(1, np.uint64)[0]
    return rng.manual_seed(int(state >> 1))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator in this block, and restore its former state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
