"""Face squares of a manifest at their own resolution, decoded once into a file that is mapped into memory."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from detector.dataset.manifest import read_crops
from detector.errors import ImageError, ManifestError
from detector.files import replacing
from detector.learning.devices import leader_first
from detector.pictures.faces import Box, load_square
from detector.pictures.images import resize
from detector.types import Image, Progress, silent


class Squares:
    """Face squares, RGB uint8 (side, side, 3); the side differs from picture to picture."""

    def __init__(self, pixels: np.ndarray, sides: list[int]) -> None:
        self._pixels = pixels
        self.sides = np.asarray(sides, np.int64)
        self._ends = np.cumsum(self.sides**2 * 3)

    def __len__(self) -> int:
        return len(self.sides)

    def __getitem__(self, row: int) -> Image:
        side, end = int(self.sides[row]), int(self._ends[row])
        return np.asarray(self._pixels[end - side * side * 3 : end].reshape(side, side, 3))


def load_squares(manifest: pd.DataFrame, limit: int, cache: Path, *, progress: Progress = silent) -> Squares:
    """Return the face square of every row (its crop, or else the centre), shrunk to at most `limit` pixels per side.

    Only pixels are used, neither metadata nor file names. Pictures are decoded once into `cache`, which is mapped into
    memory, so that a set may be larger than memory, and a resumed run starts at once.

    Raises ManifestError that names a picture which cannot be read.
    """
    with leader_first():
        return _decode_once(manifest, limit, cache, progress)


def _decode_once(manifest: pd.DataFrame, limit: int, cache: Path, progress: Progress) -> Squares:
    key = cache.with_suffix(".json")
    wanted = {"limit": limit, "pictures": list(manifest.sha256), "crops": [str(c) for c in manifest.get("crop", ())]}
    if cache.is_file() and key.is_file():
        kept = json.loads(key.read_text())
        if {name: kept.get(name) for name in wanted} == wanted:
            return Squares(np.memmap(cache, np.uint8, "r"), kept["sides"])
    sides: list[int] = []
    rows = zip(manifest.path, read_crops(manifest), strict=True)
    with replacing(cache) as temporary, open(temporary, "wb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, square in enumerate(pool.map(lambda row: _read(row[0], row[1], limit), rows), 1):
            sides.append(len(square))
            file.write(square.tobytes())
            progress("reading pictures", done, len(manifest))
    with replacing(key) as temporary:
        temporary.write_text(json.dumps(wanted | {"sides": sides}))
    return Squares(np.memmap(cache, np.uint8, "r"), sides)


def _read(path: str, crop: Box | None, limit: int) -> Image:
    try:
        square = load_square(path, crop)
    except ImageError as error:
        raise ManifestError(f"{path}: {error}; remove the row or restore the file") from None
    side = min(*square.shape[:2], limit)
    return square if square.shape[:2] == (side, side) else resize(square, side, side)
