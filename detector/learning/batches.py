"""The batches of a detector's training run, which other processes prepare while the network computes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from detector.learning.pairs import PairSampler
from detector.types import Images

Batch = tuple[Tensor, Tensor]  # faces (N, H, W, 3), labels (N,)


@dataclass(frozen=True)
class Batches:
    """The batches of a training run: batch number `step` is fixed by the key and the number alone.

    sampler: draws the pairs. pairs: of a batch.
    """

    sampler: PairSampler
    pairs: int
    key: tuple[int, ...]

    def __getitem__(self, step: int) -> tuple[Images, np.ndarray[Any, Any]]:
        return self.sampler.batch(self.pairs, np.random.default_rng((*self.key, step)))


def prepared_ahead(batches: Batches, steps: range) -> Iterator[Batch]:
    """Yield the batches of those steps, in order; where processes can be forked, each core prepares some ahead."""
    forks = "fork" in multiprocessing.get_all_start_methods()
    loader: DataLoader[Any] = DataLoader(
        batches,  # type: ignore[arg-type]  # torch asks for __getitem__ alone where the sampler is given
        batch_size=None,
        sampler=steps,
        num_workers=(os.cpu_count() or 1) if forks else 0,
        multiprocessing_context="fork" if forks else None,
    )
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # ends OpenCV's threads, for which a forked process would wait for ever
    try:
        return iter(loader)
    finally:
        cv2.setNumThreads(threads)
