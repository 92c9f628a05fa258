"""Compare the Parquet files of an engine, whose runs are killed and resumed, with those of an unbroken run in threads.

    python benchmarks/scale/equality.py --pictures 2000 --kills 10
    python benchmarks/scale/equality.py --pictures 2000 --kills 10 --engine ray

The pictures are JPEGs of 256 x 256 pixels, made from the shipped faces by small changes; some have the bytes of an
earlier one, and one is no picture. `detector score` writes them in two shards, with a table of faces. The engine's runs
are killed (SIGKILL) when a random number of rows is there and a random time has passed. All files must be equal to the
byte and no other file may be left; the status is 1 if not.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from kills_measuring import PICTURES, compare_bytes

from detector.pictures.images import encode, load, resize
from detector.scoring.engines import NAMES

SIDE = 256  # side of the pictures, pixels
REPEAT = 97  # every so many pictures, one has the bytes of the first
BROKEN = 50  # number of the picture that is no picture
PAUSE = 0.5  # largest random time between a number of rows and the kill, seconds
SHARDS = (1, 2)


def write_pictures(folder: Path, count: int) -> None:
    """Write pictures to a folder: each a shipped face with another brightness, position and JPEG quality."""
    folder.mkdir()
    sources = [resize(load(path), SIDE + 16, SIDE + 16) for path in sorted(PICTURES.rglob("*.png"))]
    draw = np.random.default_rng(0)
    for number in range(count):
        left, top, quality = (int(draw.integers(low, high)) for low, high in ((0, 16), (0, 16), (70, 96)))
        face = sources[number % len(sources)][top : top + SIDE, left : left + SIDE]
        data = encode((face * draw.uniform(0.8, 1)).astype(np.uint8), "JPEG", quality=quality)
        if number % REPEAT == 0 and number:
            data = (folder / f"{0:05d}.jpg").read_bytes()
        (folder / f"{number:05d}.jpg").write_bytes(b"no picture" if number == BROKEN else data)


def start(place: Path, out: Path, shard: int, options: list[str]) -> subprocess.Popen[bytes]:
    """Start to score a shard of the pictures."""
    command = [sys.executable, "-m", "detector", "score", str(place / "pictures"), "--shard", f"{shard}/{len(SHARDS)}",
               "-o", str(out / "out" / "scores"), "--faces", str(out / "out" / "faces"), *options]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(run: subprocess.Popen[bytes]) -> None:
    """Wait until a run ends; status 3 says that one file is no picture."""
    _, errors = run.communicate()
    if run.returncode not in (0, 3):
        raise SystemExit(errors.decode())


def kill(run: subprocess.Popen[bytes], progress: Path, rows: int, pause: float) -> bool:
    """Kill a run when so many rows are there and a time has passed; return whether it was still running."""
    while run.poll() is None and (not progress.exists() or progress.read_bytes().count(b"\n") <= rows):
        time.sleep(0.05)
    time.sleep(pause)
    running = run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.communicate()
    return running


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--engine", choices=NAMES, default="process")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw, killed = random.Random(given.seed), 0
    options = ["--engine", given.engine, *(["--workers", str(given.workers)] if given.engine != "threads" else [])]
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        whole, cut = place / "whole", place / "cut"
        write_pictures(place / "pictures", given.pictures)
        for shard in SHARDS:
            finish(start(place, whole, shard, []))
        for shard in SHARDS:
            kills = given.kills * shard // len(SHARDS) - given.kills * (shard - 1) // len(SHARDS)
            progress = cut / "out" / "scores" / f".part-{shard}-of-{len(SHARDS)}.partial"
            for rows in sorted(draw.sample(range(max(given.pictures // len(SHARDS) - 64, kills)), kills)):
                killed += kill(start(place, cut, shard, options), progress, rows, draw.uniform(0, PAUSE))
            finish(start(place, cut, shard, options))
        differences = compare_bytes(whole, cut)
        files = [path for path in (cut / "out").rglob("*") if path.is_file()]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{given.engine}: {given.pictures:,} pictures, {killed} kills of running processes, {len(files)} files, "
          f"{'; '.join(differences) or 'equal to the byte'} ({used.ru_utime + used.ru_stime:.0f} CPU s)")  # fmt: skip
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
