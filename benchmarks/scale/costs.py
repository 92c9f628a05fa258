"""Estimate the cost of a billion pictures a day from measured costs, and simulate how long a request takes.

    python benchmarks/scale/costs.py                       # measures this machine, then prints both tables
    python benchmarks/scale/costs.py --ms 1 5 12 3 45      # with other costs: the fields of Costs

The first table multiplies the pictures of a day by the CPU time of each step, the bytes read and the bytes written. The
second is a queueing simulation of `detector serve`: requests arrive at random (Poisson), the first free worker takes
the oldest request, and the time of an examination has a lognormal distribution whose mean is the measured time. With
one worker and exponential times the same code must agree with Erlang's formula; `--check` compares them.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))

DAY = 86_400  # seconds
PICTURES = 1_000_000_000  # number of pictures a day
PICTURE_BYTES = 300_000  # size of one picture, bytes
ROW_BYTES = 120  # size of one row of Parquet, bytes; paths are assumed to be less regular than in memory.py
LOAD = 0.7  # share of the time in which a core is busy
SPREAD = 0.5  # standard deviation of the logarithm of the time an examination takes
REQUESTS = 200_000  # number of simulated requests


class Costs(NamedTuple):
    """CPU milliseconds that the steps of one picture of 1024 x 1024 pixels take, on one core."""

    hash: float  # read and hash the file
    decode: float  # decode the picture
    find: float  # find the face and cut it out
    score: float  # run the network
    report: float  # examine the picture in the service, with its drawings


def measure() -> Costs:
    """Return the CPU time of each step on this machine, the best of three runs."""
    import score_speed

    from detector.evidence.rendering import draw_pictures
    from detector.files import sha256
    from detector.pictures.faces import centre_square, face_square, locate_faces, prepare
    from detector.pictures.images import decode, read
    from detector.tasks.examining import load_examiner

    score_speed.PICTURES = 24
    detector, examiner = score_speed.load_detector("onnx"), load_examiner()

    def find(image: np.ndarray) -> np.ndarray:
        box = locate_faces(image)[:1]
        return prepare(image, detector.size, face_square(box[0], image.shape) if box else centre_square(image))

    def report(data: bytes) -> None:
        record, image = examiner.examine(data, "picture.jpg", max_pixels=10**8)
        list(draw_pictures(record, image))

    with tempfile.TemporaryDirectory() as temporary:
        paths = score_speed.write_pictures(None, Path(temporary))
        data = [read(path) for path in paths]
        images = [decode(some) for some in data]
        faces = np.stack([find(image) for image in images])
        steps: list[tuple[int, Callable[[], object]]] = [
            (24, lambda: [sha256(read(path)) for path in paths]),
            (24, lambda: [decode(some) for some in data]),
            (24, lambda: [find(image) for image in images]),
            (24, lambda: detector.score(faces)),
            (6, lambda: [report(some) for some in data[:6]]),
        ]
        return Costs(*(min(_time(step) for _ in range(3)) / n * 1000 for n, step in steps))


def _time(step: Callable[[], object]) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


def print_costs(costs: Costs) -> None:
    """Print the cores, the network traffic and the storage that PICTURES a day need."""
    each = PICTURES / DAY

    def cores(ms: float) -> float:
        return each * ms / 1000 / LOAD

    steps = {"read and hash, before and at opening": 2 * costs.hash, "decode": costs.decode,
             "find and cut faces": costs.find, "network": costs.score}  # fmt: skip
    total = sum(steps.values())
    print(f"{PICTURES:,} pictures a day are {each:,.0f} a second; cores are busy {LOAD:.0%} of the time\n")
    print(f"{'step':38}{'CPU ms':>8}{'cores':>9}{'share':>8}")
    for name, ms in (*steps.items(), ("all", total)):
        print(f"{name:38}{ms:>8.2f}{cores(ms):>9,.0f}{ms / total:>8.0%}")
    stored = PICTURES * ROW_BYTES
    rows = [
        ("with accelerators for the network", f"{cores(total - costs.score):,.0f} cores remain for the other steps"),
        ("if half of the pictures are copies", f"{cores((total - costs.hash) / 2 + costs.hash):,.0f} cores"),
        ("network traffic, in", f"{each * PICTURE_BYTES * 8 / 1e9:,.0f} Gbit/s at {PICTURE_BYTES:,} bytes a picture"),
        ("storage of rows", f"{stored / 1e9:,.0f} GB a day, {stored * 365 / 1e12:,.0f} TB a year"),
        ("storage of pictures, if kept", f"{PICTURES * PICTURE_BYTES / 1e12:,.0f} TB a day"),
        ("programs that hash, each on one core", f"{each * costs.hash / 1000:,.1f}; so many shards at least"),
    ]
    print()
    for name, text in rows:
        print(f"{name:38}{text}")


def simulate(
    rate: float, workers: int, draw: Callable[[np.random.Generator, int], np.ndarray], *, seed: int = 0
) -> np.ndarray:
    """Return the seconds from arrival to answer, (0.9 * REQUESTS,), of requests that arrive at `rate` per second.

    draw: function of (random generator, n) that returns the seconds of n examinations.
    """
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, REQUESTS))
    free = [0.0] * workers
    ends = np.empty(REQUESTS)
    for i, (arrival, takes) in enumerate(zip(arrivals.tolist(), draw(rng, REQUESTS).tolist(), strict=True)):
        end = max(heapq.heappop(free), arrival) + takes
        heapq.heappush(free, end)
        ends[i] = end
    return (ends - arrivals)[REQUESTS // 10 :]  # without the beginning, when the queue is empty


def print_latency(seconds: float) -> None:
    """Print the duration of a request by load and number of workers. seconds: mean duration of an examination."""
    print(f"\none examination takes {1000 * seconds:.0f} ms on average\n")
    print(f"{'workers':>8}{'load':>6}{'requests/s':>12}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
    mean = np.log(seconds) - SPREAD**2 / 2
    for workers in (2, 16, 128):
        for load in (0.5, 0.7, 0.9, 0.95):
            took = simulate(load * workers / seconds, workers, lambda rng, n: rng.lognormal(mean, SPREAD, n))
            p50, p95, p99 = np.percentile(took, (50, 95, 99)) * 1000
            print(f"{workers:>8}{load:>6.0%}{load * workers / seconds:>12,.1f}{p50:>9,.0f}{p95:>9,.0f}{p99:>9,.0f}")


def check() -> None:
    """Compare the mean of the simulation with one worker and exponential times with 1 / (service - arrival rate)."""
    for load in (0.5, 0.7, 0.9):
        found = simulate(load, 1, lambda rng, n: rng.exponential(1, n)).mean()
        print(f"load {load:.0%}: mean {found:.2f}, by the formula {1 / (1 - load):.2f}")
        assert abs(found * (1 - load) - 1) < 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ms", type=float, nargs=5, metavar=tuple(name.upper() for name in Costs._fields))
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if arguments.check:
        check()
        return
    costs = Costs(*arguments.ms) if arguments.ms else measure()
    print_costs(costs)
    print_latency(costs.report / 1000)


if __name__ == "__main__":
    main()
