"""The batches of a detector's training run, which a thread or other processes prepare while the network computes."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from detector.learning.pairs import PairSampler
from detector.types import Images

Batch = tuple[Tensor, Tensor]  # faces (N, H, W, 3), labels (N,)
FEW_CORES = 4  # number of cores up to which a thread prepares batches as fast as the network takes them
AHEAD = 2  # number of batches that the thread prepares ahead


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


def prepared_ahead(batches: Batches, steps: range, processes: int | None = None) -> Iterator[Batch]:
    """Yield the batches of those steps, in order, prepared ahead.

    processes: that prepare them; 0 for one thread, which is enough for a few cores. None: one for each core of more
    than FEW_CORES, where processes can be forked.
    """
    if processes is None:
        cores = os.cpu_count() or 1
        processes = cores if cores > FEW_CORES and "fork" in multiprocessing.get_all_start_methods() else 0
    return _in_processes(batches, steps, processes) if processes else _in_a_thread(batches, steps)


def _in_a_thread(batches: Batches, steps: range) -> Iterator[Batch]:
    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(batches.__getitem__, step) for step in steps[:AHEAD])
        for step in range(len(steps)):
            faces, labels = ahead.popleft().result()
            if step + AHEAD < len(steps):
                ahead.append(pool.submit(batches.__getitem__, steps[step + AHEAD]))
            yield torch.from_numpy(faces), torch.from_numpy(labels)


def _in_processes(batches: Batches, steps: range, processes: int) -> Iterator[Batch]:
    loader: DataLoader[Any] = DataLoader(
        batches,  # type: ignore[arg-type]  # torch asks for __getitem__ alone where the sampler is given
        batch_size=None,
        sampler=steps,
        num_workers=processes,
        multiprocessing_context="fork",
    )
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # ends OpenCV's threads, for which a forked process would wait for ever
    try:
        return iter(loader)
    finally:
        cv2.setNumThreads(threads)
