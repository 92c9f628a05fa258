"""Kill commands at random moments, run them again, and compare what they leave with an unbroken run.

    python benchmarks/kills.py 20 generate            # twenty kills of one command
    python benchmarks/kills.py 10 train-generator train-detector
    python benchmarks/kills.py 5                      # of every command in COMMANDS

A command passes if, after each kill, the same command ends well, its results equal those of the unbroken run, and no
temporary file is left. Kills fall between the first output of the command and its end. One line for each command names
the kills, how many of them hit a running process, and what differed; the status is 1 if anything did.
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

TIMEOUT = 600  # seconds that one run of a command may take
OUT = "out"  # where a command writes, below the folder in which it runs


@dataclass(frozen=True)
class Command:
    """A command to be killed.

    words: after `detector`; it runs in a folder of its own, {data} is a folder of inputs and its output is OUT.
    compare: (folder of the unbroken run, of the killed one) -> what differs, one line each. prepare: writes the inputs.
    """

    words: str
    compare: Callable[[Path, Path], list[str]]
    prepare: Callable[[Path], None] = lambda data: None


def run(command: Command, kills: int, *, seed: int = 0) -> tuple[int, list[str]]:
    """Return (kills that hit a running process, what differed) of so many killed runs."""
    rng, hits, wrong = random.Random(seed), 0, []
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        data, whole = Path(name) / "data", Path(name) / "whole"
        data.mkdir()
        command.prepare(data)
        first, last = _time(command, data, whole)
        for number in range(kills):
            folder = Path(name) / str(number)
            hits += _kill(command, data, folder, rng.uniform(first, last))
            done = _start(command, data, folder, wait=True)
            differing = [f"status {done.returncode}"] if done.returncode else command.compare(whole, folder)
            left = [path.name for path in folder.rglob(".*") if TEMPORARY.fullmatch(path.name)]
            wrong += [f"kill {number}: {what}" for what in (*differing, *(f"{name} is left" for name in left))]
    return hits, wrong


def _start(command: Command, data: Path, folder: Path, *, wait: bool) -> subprocess.Popen[bytes]:
    """Start the command in a folder, with a home of its own below it."""
    folder.mkdir(exist_ok=True)
    words = command.words.format(data=data).split()
    settings = {"DETECTOR_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-m", "detector", *words], cwd=folder, env=os.environ | settings,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    if wait:
        process.wait(TIMEOUT)
    return process


def _time(command: Command, data: Path, folder: Path) -> tuple[float, float]:
    """Run the command whole and return how many seconds passed until its first output and until its end."""
    began, first = time.monotonic(), 0.0
    process = _start(command, data, folder, wait=False)
    while process.poll() is None and time.monotonic() - began < TIMEOUT:
        if not first and (folder / OUT).exists():
            first = time.monotonic() - began
        time.sleep(0.005)
    if process.returncode != 0:
        raise SystemExit(f"the unbroken run of `detector {command.words}` ended with status {process.returncode}")
    return first, time.monotonic() - began


def _kill(command: Command, data: Path, folder: Path, after: float) -> bool:
    """Start the command, kill it after so many seconds, and return whether it was still running."""
    process = _start(command, data, folder, wait=False)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def draw_manifest(data: Path) -> None:
    """Write 24 drawn pictures and their manifest, `manifest.csv`."""
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
    """Compare pictures, manifests and the fingerprint registry, which has exactly one line for each file."""
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
    """Compare the names of all files, the card and the weights."""
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


def main(words: Sequence[str] | None = None, commands: Mapping[str, Command] = COMMANDS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int, help="of each command")
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=f"of {', '.join(commands)}; all by default")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args(words)
    if unknown := set(given.commands) - set(commands):
        parser.error(f"there is no command {', '.join(sorted(unknown))}; there are {', '.join(commands)}")
    failed = False
    for name in given.commands or commands:
        hits, wrong = run(commands[name], given.kills, seed=given.seed)
        print(f"{name}: {given.kills} kills, {hits} of a running process, {len(wrong)} differences", *wrong, sep="\n  ")
        failed |= bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
