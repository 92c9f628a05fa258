"""Measure the CPU time that `detector audit` needs for a picture of 512 x 512 pixels, and that of decoding it.

    python benchmarks/speed/audit_speed.py

The pictures are the ORL photographs before coloured backgrounds (`clean_sets.py`), enlarged and saved as JPEG. All runs
on one thread, and each time is the best of five runs. Other programs slow both down alike, so the ratio is more
reliable than the times.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}  # set before a library reads them

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from clean_sets import draw_portraits

from detector.dataset.traits import measure_traits
from detector.pictures.images import decode, encode, read, resize

SIDE, PICTURES, TURNS = 512, 24, 5


def time_best(task: Callable[[], Any]) -> float:
    """Return the CPU milliseconds of a task per picture, the best of TURNS runs."""
    times = []
    for _ in range(TURNS):
        start = time.process_time()
        task()
        times.append(time.process_time() - start)
    return 1000 * min(times) / PICTURES


def main() -> None:
    cv2.setNumThreads(1)
    os.cpu_count = lambda: 1  # so that the audit uses one thread
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.jpg" for i in range(PICTURES)]
        for path, image in zip(paths, draw_portraits(PICTURES, Path(folder))[0], strict=True):
            path.write_bytes(encode(resize(image, SIDE, SIDE), "JPEG", quality=90))
        manifest = pd.DataFrame({"path": [str(path) for path in paths]})
        measuring = time_best(lambda: measure_traits(manifest))
        decoding = time_best(lambda: [decode(read(str(path))) for path in paths])
    print(f"measuring {measuring:.1f} ms, of which decoding {decoding:.1f} ms: {measuring / decoding:.1f} times")


if __name__ == "__main__":
    main()
