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
FEW_CORES = 4  # largest number of cores on which one thread prepares batches fast enough for the network
AHEAD = 2  # number of batches that the thread prepares ahead


@dataclass(frozen=True)
class Batches:
    """The batches of a training run; batch number `step` depends on the key and this number alone.

    sampler: draws the pairs. pairs: number of pairs in a batch. key: seeds, such as (seed, rank).
    """

    sampler: PairSampler
    pairs: int
    key: tuple[int, ...]

    def __getitem__(self, step: int) -> tuple[Images, np.ndarray[Any, Any]]:
        return self.sampler.batch(self.pairs, np.random.default_rng((*self.key, step)))


def prepared_ahead(batches: Batches, steps: range, processes: int | None = None) -> Iterator[Batch]:
    """Yield the batches of the steps in order; later batches are prepared in the meantime.

    processes: number of processes that prepare batches; 0 means one thread instead. None means one process for each
    core if there are more than FEW_CORES and processes can be forked, otherwise one thread.
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
        batches,  # type: ignore[arg-type]  # with a sampler, torch needs only __getitem__
        batch_size=None,
        sampler=steps,
        num_workers=processes,
        multiprocessing_context="fork",
    )
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # ends OpenCV's threads; a forked process would wait for them for ever
    try:
        return iter(loader)
    finally:
        cv2.setNumThreads(threads)
