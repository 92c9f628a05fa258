"""Measure how much faster several worker processes score than one, and the time of each engine per picture.

    python benchmarks/scale/engine_speed.py --pictures 1200             # threads, 1 process, 2 processes
    python benchmarks/scale/engine_speed.py --pictures 1200 --ray       # Ray as well, if it is installed

The pictures are those of `benchmarks/speed/score_speed.py`: the embedded faces as JPEGs of 1024 x 1024 pixels. The
engines score them in turn, each in its own process, and the best turn counts. "seconds" is the time on the clock from
the start of the program, including loading, and "CPU s" is that of the program and all its workers. "start" is the time
of a run on one picture; without it, the rest of the time divided by the other pictures is "ms/picture". Ratios of times
on the clock need as many free cores as there are workers; the load before each turn is printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))
import score_speed

ENGINES = {"threads": [], "1 process": ["--engine", "process", "--workers", "1"],
           "2 processes": ["--engine", "process", "--workers", "2"]}  # fmt: skip
RAY = {"Ray, 2 actors": ["--engine", "ray", "--workers", "2"]}


def measure(options: list[str], folder: Path, out: Path) -> tuple[float, float, bytes]:
    """Return seconds on the clock, CPU seconds and the table of one run with these options."""
    out.unlink(missing_ok=True)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([sys.executable, "-m", "detector", "score", str(folder), "-o", str(out), *options],
                          capture_output=True, text=True, check=False)  # fmt: skip
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu, out.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--ray", action="store_true")
    arguments = parser.parse_args()
    engines = ENGINES | (RAY if arguments.ray and find_spec("ray") else {})
    score_speed.PICTURES = arguments.pictures
    seconds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in engines}
    tables = set()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        (place / "pictures").mkdir()
        (place / "first").mkdir()
        for path in score_speed.write_pictures(None, place):
            path.rename(place / "pictures" / path.name)
        os.link(min((place / "pictures").iterdir()), place / "first" / "picture.jpg")
        for turn in range(arguments.turns):
            for name, options in engines.items():
                load = os.getloadavg()[0]
                start, _, _ = measure(options, place / "first", place / "scores.csv")
                took, cpu, table = measure(options, place / "pictures", place / "scores.csv")
                print(f"turn {turn + 1}, {name}: {took:.1f} s, {start:.1f} s for one picture, {cpu:.1f} CPU s, "
                      f"load before {load:.1f}", flush=True)  # fmt: skip
                seconds[name].append((start, took, cpu))
                tables.add(table)
    assert len(tables) == 1, "the tables differ"
    best = {name: [min(column) for column in zip(*turns, strict=True)] for name, turns in seconds.items()}
    rest = {name: (took - start) / (arguments.pictures - 1) for name, (start, took, _) in best.items()}
    print(f"{arguments.pictures} pictures, equal tables; ratios to 1 process")
    print(f"{'':16}{'start':>8}{'seconds':>9}{'CPU s':>8}{'ratio':>8}{'ms/picture':>12}{'ratio':>8}")
    for name, (start, took, cpu) in best.items():
        print(f"{name:16}{start:>8.1f}{took:>9.1f}{cpu:>8.1f}{best['1 process'][1] / took:>8.2f}"
              f"{1000 * rest[name]:>12.1f}{rest['1 process'] / rest[name]:>8.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
