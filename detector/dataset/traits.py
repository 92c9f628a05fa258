"""Measure traits of every picture of a manifest that are unrelated to its face, and hashes that find its twins.

The audit tests whether any of them reveals the label. Traits of the file are in `file_traits`, traces of processing in
`history_traits`, those of the surroundings in `frame_traits`; colour, border and sharpness are measured here.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detector.dataset.file_traits import read_coding, read_file_date, read_metadata
from detector.dataset.frame_traits import find_face, measure_frame, measure_surroundings, measure_wedge, place_face
from detector.dataset.history_traits import measure_history, measure_tones
from detector.dataset.manifest import read_crops
from detector.dataset.twins import Hashes, hash_both
from detector.errors import ImageError
from detector.pictures.faces import Box, centre_square
from detector.pictures.features import radial_spectrum
from detector.pictures.images import cut, decode_picture, read, resize
from detector.types import Image, Progress, silent

WINDOW = 192  # side of the window in the middle of a face in which fine traits are measured, pixels
SMALLEST = 16  # smallest side of a face for which fine traits and a hash are computed, pixels
FIELDS = 64  # number of metadata fields that become traits: those whose share of pictures is nearest to one half
FEW = 5  # smallest number of pictures with, and of pictures without, a field that becomes a trait
COARSE = 16  # side at which colours are measured, so that neither noise nor sharpness moves them, pixels
TINT = 0.1  # share of the pixels, the least colourful ones, that show a colour cast


@dataclass(frozen=True)
class Traits:
    """The traits of N pictures.

    table: one row per picture, one column per trait; `format` is empty if the picture cannot be read. vectors: name ->
    (N, D). hashes, mirrored: perceptual hashes of the pictures and of their mirror images.
    """

    table: pd.DataFrame
    vectors: dict[str, NDArray[np.float64]]
    hashes: Hashes
    mirrored: Hashes

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Whether each picture could be read."""
        return self.table.format.ne("").to_numpy()

    def keep(self, rows: NDArray[np.bool_]) -> Traits:
        """Return the traits of some pictures."""
        table = self.table[rows].reset_index(drop=True).infer_objects()
        vectors = {name: values[rows] for name, values in self.vectors.items()}
        return Traits(table, vectors, self.hashes[rows], self.mirrored[rows])


@dataclass(frozen=True)
class _Picture:
    """The traits, metadata fields, vectors and hashes of one picture."""

    traits: dict[str, Any]
    fields: frozenset[str] = frozenset()
    vectors: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    hashes: tuple[Hashes, Hashes] = (np.zeros(32, np.uint8), np.zeros(32, np.uint8))


def measure_traits(manifest: pd.DataFrame, progress: Progress = silent) -> Traits:
    """Return the traits of every picture, one row each.

    Traits of the file are read from its bytes. Colour, border, sharpness, traces of processing and hashes are measured
    in the crop, or else in the centre square, at its own resolution; frame, face, background and tone curve in the
    crop, or else in the whole picture.
    """
    pictures = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for picture in pool.map(_measure, manifest.path, read_crops(manifest)):
            pictures.append(picture)
            progress("measuring pictures", len(pictures), len(manifest))
    table = pd.DataFrame([picture.traits for picture in pictures])
    names = list(dict.fromkeys(name for picture in pictures for name in picture.vectors))
    vectors = {name: _stack([picture.vectors.get(name) for picture in pictures]) for name in names}
    hashes, mirrored = (np.stack([picture.hashes[k] for picture in pictures]) for k in (0, 1))
    return Traits(pd.concat([table, _count_fields(pictures)], axis=1), vectors, hashes, mirrored)


def _measure(path: str, crop: Box | None) -> _Picture:
    try:
        data = read(path)
        decoded = decode_picture(data)
    except ImageError:
        return _Picture({"format": ""})
    metadata, fields = read_metadata(data)
    size = {"width": decoded.width, "height": decoded.height, "aspect": decoded.width / decoded.height}
    traits = read_coding(data) | metadata | size | {"file_day": read_file_date(path)}
    whole = cut(decoded.image, decoded.shrink(crop)) if crop else decoded.image
    square = (0, 0, *whole.shape[1::-1]) if crop else centre_square(whole)
    face = cut(whole, square)
    traits |= measure_square(face)
    if min(face.shape[:2]) < SMALLEST:
        return _Picture(traits, fields)
    box = find_face(whole)
    traits |= place_face(box, whole.shape) | measure_frame(whole)
    offset = (crop[0] % 8, crop[1] % 8) if crop and not decoded.reduced else (0, 0)
    named, vectors = measure_history(_cut_window(whole, square, offset))
    around, more = measure_surroundings(whole, box)
    vectors["tone curve"] = measure_tones(whole)
    flat = traits["spread"] < 2  # all blank pictures have the same hash
    return _Picture(traits | named | around, fields, vectors | more, _Picture({}).hashes if flat else hash_both(face))


def measure_square(face: Image) -> dict[str, float]:
    """Return colour, border and sharpness of a face (H, W, 3), in grey levels, shares and logarithms of power."""
    height, width = face.shape[:2]
    thin = face[:: max(1, height // 128), :: max(1, width // 128)].astype(np.int16)
    light = thin.mean(2)
    ring = np.concatenate([face[0], face[1:, -1], face[-1, -2::-1], face[-2:0:-1, 0]]).astype(np.int16)
    steps = np.abs(np.diff(ring, axis=0)).max(1) if len(ring) > 1 else np.zeros(1)
    top, left = max(0, (height - WINDOW) // 2), max(0, (width - WINDOW) // 2)
    bands = radial_spectrum(face[None, top : top + WINDOW, left : left + WINDOW], 16)[0]
    coarse = resize(face, *(min(side, COARSE) for side in (width, height))).reshape(-1, 3).astype(np.int16)
    red, green, blue = coarse.mean(0)
    colourful = coarse.max(1) - coarse.min(1)
    few = max(1, int(TINT * len(coarse)))
    plain, dark = (coarse[np.argsort(values, kind="stable")[:few]] for values in (colourful, coarse.sum(1)))
    return {
        "red": red, "green": green, "blue": blue, "red_over_green": red - green, "blue_over_green": blue - green,
        "red_cast": float((plain[:, 0] - plain[:, 1]).mean()), "blue_cast": float((plain[:, 2] - plain[:, 1]).mean()),
        "red_shadows": float((dark[:, 0] - dark[:, 1]).mean()),
        "blue_shadows": float((dark[:, 2] - dark[:, 1]).mean()),
        "spread": float(light.std()),
        "saturation": float(colourful.mean()),
        "wedge": measure_wedge(thin),
        "flat_border": float((steps <= 1).mean()),
        "border_light": float(ring.mean() - light.mean()),
        "medium": float(bands[5:9].mean() - bands[1:4].mean()),
        "fine": float(bands[10:15].mean() - bands[1:4].mean()),
    }  # fmt: skip


def _cut_window(whole: Image, square: Box, offset: tuple[int, int]) -> Image:
    """Return the window in the middle of a square that begins on the 8-pixel grid of the file.

    offset: position of the picture `whole` on that grid, (x, y).
    """
    starts, ends = [], []
    for start, end, shift in zip(square[:2], square[2:], offset, strict=True):
        first = start + max(0, (end - start - WINDOW) // 2)
        first += -(first + shift) % 8 if end - first >= SMALLEST + 8 else 0
        starts.append(first)
        ends.append(min(first + WINDOW, end))
    return cut(whole, (starts[0], starts[1], ends[0], ends[1]))


def _stack(values: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64]:
    """Return vectors (N, D); zeros for a picture without one."""
    length = next(len(value) for value in values if value is not None)
    return np.stack([np.zeros(length) if value is None else value for value in values])


def _count_fields(pictures: Sequence[_Picture]) -> pd.DataFrame:
    """Return a column for each of FIELDS metadata fields: whether each picture has it."""
    counts = Counter(name for picture in pictures for name in picture.fields)
    common = [name for name, count in sorted(counts.items()) if min(count, len(pictures) - count) >= FEW]
    common.sort(key=lambda name: abs(counts[name] - len(pictures) / 2))
    columns = {f"field {name}": [name in picture.fields for picture in pictures] for name in common[:FIELDS]}
    return pd.DataFrame(columns, index=range(len(pictures)))
