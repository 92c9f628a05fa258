"""Measure what an engine costs for each picture besides reading and scoring it: pickling, sending, waiting.

    python benchmarks/scale/overhead.py                  # threads and one worker process; Ray as well, if installed

Reading, decoding and the network are those of `memory.py`, which take next to no time. Each engine has one worker. The
first pictures, during which it starts, do not count. "CPU us" is the CPU time of the program that reads the results,
without its worker; of the turns the best counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[2])))  # for workers
from memory import Constant, open_name

from detector.scoring.engines import CHUNK, find_engine
from detector.scoring.targets import Target

PICTURES, TURNS = 5000, 3
FIRST = 10 * CHUNK  # number of pictures that do not count
LAST = 2 * 32  # number of pictures after the measured ones, so that the engine is busy to the end


def measure(name: str) -> tuple[float, float]:
    """Return microseconds on the clock and of CPU time for each picture."""
    targets = [Target(f"{number}.jpg") for number in range(FIRST + PICTURES + LAST)]
    found = iter(find_engine(name, Constant, 1 if name != "threads" else None)(targets, Constant(), opener=open_name))
    drain(found, FIRST)
    clocks: tuple[Callable[[], float], ...] = (time.monotonic, time.process_time)
    began = [clock() for clock in clocks]
    drain(found, PICTURES)
    wall, cpu = ((clock() - start) / PICTURES * 1e6 for clock, start in zip(clocks, began, strict=True))
    drain(found, LAST)
    return wall, cpu


def drain(found: object, count: int) -> None:
    """Read so many results."""
    assert sum(1 for _ in islice(found, count)) == count  # type: ignore[call-overload]


def main() -> None:
    print(f"{'':10}{'us':>8}{'CPU us':>8}")
    for name in ("threads", "process", *(["ray"] if find_spec("ray") else [])):
        wall, cpu = map(min, zip(*(measure(name) for _ in range(TURNS)), strict=True))
        print(f"{name:10}{wall:>8.0f}{cpu:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
