"""Measure how much faster several worker processes score than one, and the time of each engine per picture.

    python benchmarks/scale/engine_speed.py --pictures 400              # threads, 1 process, 2 processes
    python benchmarks/scale/engine_speed.py --pictures 400 --ray        # Ray as well, if it is installed

The pictures are those of `benchmarks/speed/score_speed.py`: the embedded faces as JPEGs of 1024 x 1024 pixels. The
engines score them in turn, each in its own process, and the best turn counts. "seconds" is the time on the clock from
the start of the program, including loading, and "CPU s" is that of the program and all its workers. Ratios of times on
the clock need as many free cores as there are workers; the load before each turn is printed.
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
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    tables = set()
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "pictures").mkdir()
        for path in score_speed.write_pictures(None, Path(temporary)):
            path.rename(Path(temporary) / "pictures" / path.name)
        for turn in range(arguments.turns):
            for name, options in engines.items():
                load = os.getloadavg()[0]
                took, cpu, table = measure(options, Path(temporary) / "pictures", Path(temporary) / "scores.csv")
                print(f"turn {turn + 1}, {name}: {took:.1f} s, {cpu:.1f} CPU s, load before {load:.1f}", flush=True)
                seconds[name].append((took, cpu))
                tables.add(table)
    assert len(tables) == 1, "the tables differ"
    best = {name: [min(column) for column in zip(*turns, strict=True)] for name, turns in seconds.items()}
    alone = best["1 process"][0]
    print(f"{arguments.pictures} pictures, equal tables")
    print(f"{'':16}{'seconds':>9}{'CPU s':>9}{'ms/picture':>12}{'of 1 process':>14}")
    for name, (took, cpu) in best.items():
        print(f"{name:16}{took:>9.1f}{cpu:>9.1f}{1000 * took / arguments.pictures:>12.1f}{alone / took:>13.2f}x")


if __name__ == "__main__":
    main()
