"""Kill commands at random moments, run them again, and compare their results with those of an uninterrupted run.

    python benchmarks/kills.py 20 generate            # twenty kills of one command
    python benchmarks/kills.py 10 train-generator train-detector
    python benchmarks/kills.py 5                      # of every command in COMMANDS

A command passes if, after each kill, the same command ends with status 0, its results equal those of the uninterrupted
run, and no temporary file is left. The moments of the kills lie between the first output of the command and its end. A
run that ended before its kill shows how long the command takes now, and is replaced, up to ATTEMPTS times.
For each command, the script prints the number of kills, how many of them hit a running process, and all differences;
the status is 1 if there is any.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from detector.dataset.manifest import read_manifest
from detector.files import TEMPORARY, sha256
from detector.pictures.fingerprints import read_fingerprints
from detector.pictures.images import encode, load
from detector.scoring.checkpoint import read_tensors

ATTEMPTS = 5  # largest number of runs for one kill, until one is still running at the moment of the kill
TIMEOUT = 600  # largest duration of one run of a command, seconds
OUT = "out"  # folder of the output, below the folder in which a command runs


@dataclass(frozen=True)
class Command:
    """A command to be killed.

    arguments: command line after `detector`. It runs in a folder of its own, {data} stands for the folder of inputs,
    and the output is written to OUT. compare: function of (folder of the uninterrupted run, folder of the killed run)
    that returns the differences, one line each. prepare: function that writes the inputs to a folder.
    """

    arguments: str
    compare: Callable[[Path, Path], list[str]]
    prepare: Callable[[Path], None] = lambda data: None


def run(command: Command, kills: int, *, seed: int = 0) -> tuple[int, list[str]]:
    """Kill and repeat a command `kills` times; return how many kills hit a running process, and the differences."""
    rng, hits, wrong = random.Random(seed), 0, []
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        data, whole = Path(name) / "data", Path(name) / "whole"
        data.mkdir()
        command.prepare(data)
        span = _time(command, data, whole)
        for number in range(kills):
            for attempt in range(ATTEMPTS):
                folder = Path(name) / f"{number}-{attempt}"
                killed, lasted = _kill(command, data, folder, rng.random() * span)
                if killed:
                    break
                span = min(span, lasted)
            hits += killed
            done = _start(command, data, folder, wait=True)
            differing = [f"status {done.returncode}"] if done.returncode else command.compare(whole, folder)
            left = [path.name for path in folder.rglob(".*") if TEMPORARY.fullmatch(path.name)]
            wrong += [f"kill {number}: {what}" for what in (*differing, *(f"{name} is left" for name in left))]
    return hits, wrong


def _start(command: Command, data: Path, folder: Path, *, wait: bool) -> subprocess.Popen[bytes]:
    """Start the command in a folder, with DETECTOR_HOME below it. wait: return when the command has ended."""
    folder.mkdir(exist_ok=True)
    arguments = command.arguments.format(data=data).split()
    settings = {"DETECTOR_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-m", "detector", *arguments], cwd=folder, env=os.environ | settings,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    if wait:
        process.wait(TIMEOUT)
    return process


def _time(command: Command, data: Path, folder: Path) -> float:
    """Run the command without a kill, and return the seconds from its first output to its end."""
    killed, lasted = _kill(command, data, folder, TIMEOUT)
    if killed:
        raise SystemExit(f"without a kill, `detector {command.arguments}` takes more than {TIMEOUT} seconds")
    return lasted


def _kill(command: Command, data: Path, folder: Path, after: float) -> tuple[bool, float]:
    """Start the command and kill it `after` seconds after its first output.

    Returns whether it was still running, and the seconds from its first output to its end. A run that ends with an
    error before the kill ends the script.
    """
    process = _start(command, data, folder, wait=False)
    began = time.monotonic()
    while process.poll() is None and not (folder / OUT).exists() and time.monotonic() - began < TIMEOUT:
        time.sleep(0.002)
    first = time.monotonic()
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    status = process.wait()
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"without a kill, `detector {command.arguments}` ended with status {status}")
    return status == -signal.SIGKILL, time.monotonic() - first


def draw_manifest(data: Path) -> None:
    """Write 24 random pictures and their manifest, `manifest.csv`."""
    rng, rows = np.random.default_rng(0), []
    for i in range(24):
        image = np.kron(rng.integers(0, 256, (4 + 4 * (i % 2), 4 + 4 * (i % 2), 3)), np.ones((16, 16, 1)))
        path = data / f"{i:02d}.png"
        path.write_bytes(encode(image[:64, :64].astype(np.uint8)))
        rows.append((str(path), sha256(path.read_bytes()), i % 2, "drawn" * (i % 2), "drawn", f"group-{i}",
                     ("train", "train", "val", "test")[i // 2 % 4], "CC0-1.0"))  # fmt: skip
    names = ["path", "sha256", "label", "generator", "dataset", "group", "split", "licence"]
    pd.DataFrame(rows, columns=names).to_csv(data / "manifest.csv", index=False)


def compare_generated(whole: Path, cut: Path) -> list[str]:
    """Return differences of pictures and manifests, and of the fingerprint registry from one line for each file."""
    tables = [read_manifest(folder / OUT / "manifest.csv") for folder in (whole, cut)]
    files = [sorted(path.name for path in (folder / OUT).iterdir()) for folder in (whole, cut)]
    kept = ["label", "generator", "dataset", "group", "split", "licence"]
    wrong = [] if files[0] == files[1] else ["other files"]
    wrong += [] if tables[0][kept].equals(tables[1][kept]) else ["another manifest"]
    for one, other in zip(*(table.path for table in tables), strict=False):
        wrong += [] if np.array_equal(load(one), load(other)) else [f"other pixels in {Path(other).name}"]
    lines = Counter(p.sha256 for p in read_fingerprints(cut / "home" / "fingerprints.jsonl"))
    wrong += [] if lines == Counter(tables[1].sha256) else ["the fingerprint registry does not have one line per file"]
    return wrong


def compare_trained(whole: Path, cut: Path) -> list[str]:
    """Return differences of the names of all files, of the cards and of the weights."""
    files = [sorted(p.relative_to(folder / OUT) for p in (folder / OUT).rglob("*")) for folder in (whole, cut)]
    wrong = [] if files[0] == files[1] else [f"other files: {set(files[0]) ^ set(files[1])}"]
    cards = [json.loads((folder / OUT / "card.json").read_text()) for folder in (whole, cut)]
    wrong += [] if cards[0].keys() == cards[1].keys() else ["another card"]
    tensors = [read_tensors(folder / OUT) for folder in (whole, cut)]
    apart = max(float(np.abs(tensors[0][name].astype(float) - tensors[1][name]).max(initial=0)) for name in tensors[0])
    return wrong + ([] if apart < 1e-4 else [f"weights differ by {apart:.2g}"])


COMMANDS = {
    "generate": Command(f"generate style -n 12 --seed 5 -o {OUT}", compare_generated),
    "train-generator": Command(
        f"train generator crude --manifest {{data}}/manifest.csv --pictures 320 --set snapshot=64 -o {OUT}",
        compare_trained, draw_manifest,
    ),
    "train-detector": Command(
        f"train detector cnn --manifest {{data}}/manifest.csv --size 48 --backbone resnet10t --epochs 3 -o {OUT}",
        compare_trained, draw_manifest,
    ),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None, commands: Mapping[str, Command] = COMMANDS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int, help="number of kills of each command")
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=f"some of {', '.join(commands)}; all by default")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    options = parser.parse_args(arguments)
    if unknown := set(options.commands) - set(commands):
        parser.error(f"there is no command {', '.join(sorted(unknown))}; there are {', '.join(commands)}")
    failed = False
    for name in options.commands or commands:
        hits, wrong = run(commands[name], options.kills, seed=options.seed)
        summary = f"{name}: {options.kills} kills, {hits} of a running process, {len(wrong)} differences"
        print(summary, *wrong, sep="\n  ")
        failed |= bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
