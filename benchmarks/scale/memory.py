"""Check that memory does not grow with the number of rows: `score_to_file` on 10,000 and on 1,000,000 rows.

    python benchmarks/scale/memory.py                    # three minutes on one core
    python benchmarks/scale/memory.py 1000 50000         # other numbers of rows

Only reading, decoding and the network are replaced; the rest is as in `detector score LIST -o FOLDER`: a Parquet list
of paths, the hashes, the database of results, the file from which a killed run is resumed, and the Parquet files. The
replaced reader gives every path bytes of its own, except for every tenth, which has the bytes of the first. Each number
of rows runs in its own process, which prints its largest resident memory. Status 1 if the last number of rows takes
more than LIMIT above the first.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet

from detector.files import sha256
from detector.pictures.faces import Face
from detector.scoring import repeats
from detector.scoring.engine import Opened, Row
from detector.scoring.tables import score_to_file
from detector.scoring.targets import Target, expand
from detector.types import Images, Opinion, Scores

ROWS = (10_000, 1_000_000)  # numbers of rows
LIMIT = 200  # largest allowed growth of the resident memory, MB
SIZE = 8  # side of the synthetic faces, pixels


class Constant:
    """A detector that takes no time."""

    name, size, locates = "constant", SIZE, True

    def score(self, faces: Images) -> Scores:
        return faces.mean((1, 2, 3), dtype=np.float64) / 32 - 4

    def judge(self, scores: Scores) -> list[Opinion]:
        return [Opinion.INCONCLUSIVE] * len(scores)


def hash_name(target: Target) -> str:
    """Return the hash of the bytes of a target."""
    number = int(target.path.rpartition("/")[2].removesuffix(".jpg"))
    return sha256(b"0" if number % 10 == 0 else target.path.encode())


def open_name(target: Target, size: int, locates: bool) -> Opened:
    """Return a picture with one face, whose colour is derived from the hash."""
    digest = hash_name(target)
    face = np.full((size, size, 3), int(digest[:2], 16), np.uint8)
    return Opened(Row(target.path, digest, 640, 480, faces=1), (Face((0, 0, 90, 90), (0, 0, 99, 99)),), (face,))


def run(rows: int, folder: Path) -> None:
    """Score a number of rows, and print memory, CPU time and disk space."""
    with parquet.ParquetWriter(folder / "list.parquet", pyarrow.schema([("path", "string")])) as writer:
        for start in range(0, rows, 10_000):
            names = [f"bucket/{i // 1000:06d}/{i:012d}.jpg" for i in range(start, min(start + 10_000, rows))]
            writer.write_table(pyarrow.table({"path": names}))
    repeats._hash = hash_name
    began = time.process_time()
    counts = score_to_file(expand([str(folder / "list.parquet")]), Constant(), folder / "scores", opener=open_name)
    assert counts.total() == rows, counts
    disk = sum(path.stat().st_size for path in (folder / "scores").iterdir()) / rows
    took = (time.process_time() - began) / rows * 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows:>9,} rows: {peak:6.0f} MB resident at most, {took:.0f} CPU us and {disk:.0f} bytes of Parquet a row")


def main(numbers: list[int]) -> None:
    peaks = []
    for rows in numbers:
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(rows)], capture_output=True, text=True, check=True
        )
        print(done.stdout, end="", flush=True)
        peaks.append(float(done.stdout.partition(":")[2].split()[0]))
    more = peaks[-1] - peaks[0]
    print(f"{more:.0f} MB more; at most {LIMIT} are allowed")
    sys.exit(more > LIMIT)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        with tempfile.TemporaryDirectory() as temporary:
            run(int(sys.argv[2]), Path(temporary))
    else:
        main([int(argument) for argument in sys.argv[1:]] or list(ROWS))
