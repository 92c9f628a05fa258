"""What can be measured of a picture besides its face: header, colour, border, sharpness, and a hash to find its twins.

One row a picture; the audit asks whether any of it gives the label away.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import label

from detector.dataset.manifest import read_crops
from detector.errors import ImageError
from detector.pictures.faces import Box, centre_square
from detector.pictures.features import radial_spectrum
from detector.pictures.fingerprints import perceptual_hash
from detector.pictures.headers import describe
from detector.pictures.images import cut, decode_picture, read
from detector.types import Image, Progress, silent

Hashes = NDArray[np.uint8]  # (N, 32): 256 bits a picture; zeros where there is none
NEAR = 20  # bits of 256 in which near twins differ at most
TWINS = 1000  # neighbours looked at in one bucket of equal hash words
WINDOW = 256  # pixels a side in the middle of a face whose sharpness is measured
BLACK = 5  # grey level up to which a pixel may be a wedge


def measure_traits(manifest: pd.DataFrame, progress: Progress = silent) -> tuple[pd.DataFrame, Hashes]:
    """Return the traits of every picture, one row each, and the perceptual hashes.

    A picture that cannot be read has an empty `format` and no other trait. Header traits are the file's; colour, border
    and sharpness are those of its crop, else of its centre square, at its own resolution.
    """
    rows, hashes = list[dict[str, Any]](), np.zeros((len(manifest), 32), np.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for i, (traits, phash) in enumerate(pool.map(_look, manifest.path, read_crops(manifest))):
            rows.append(traits)
            hashes[i] = phash
            progress("looking at pictures", i + 1, len(manifest))
    return pd.DataFrame(rows), hashes


def near_pairs(hashes: Hashes, limit: int = NEAR) -> NDArray[np.intp]:
    """Return the pairs (K, 2), smaller first, of hashes (N, 32) that differ in at most `limit` of 256 bits.

    Pictures that share one of the sixteen 16-bit words are compared: every pair up to 15 bits apart does, and of
    random ones 20 apart all but one in some hundreds. Rows of zeros stand for no hash. Costs n log n and the pairs.
    """
    words = np.ascontiguousarray(hashes).view(np.uint16)
    there = np.flatnonzero(hashes.any(1))
    found = [np.empty((0, 2), np.intp)]
    for word in words.T:
        order = there[np.argsort(word[there], kind="stable")]
        key, at = word[order], np.arange(len(order))
        for step in range(1, TWINS + 1):
            at = at[at + step < len(order)]
            at = at[key[at] == key[at + step]]
            if not len(at):
                break
            a, b = order[at], order[at + step]
            close = np.bitwise_count(words[a] ^ words[b]).sum(1) <= limit
            found.append(np.sort(np.column_stack([a, b])[close], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _look(path: str, crop: Box | None) -> tuple[dict[str, Any], Hashes]:
    blank = np.zeros(32, np.uint8)
    try:
        data = read(path)
        header, decoded = describe(data), decode_picture(data)
    except ImageError:
        return {"format": ""}, blank
    face = cut(decoded.image, decoded.shrink(crop) if crop else centre_square(decoded.image))
    traits = asdict(header) | {"aspect": header.width / header.height} | _pixels(face)
    flat = min(face.shape[:2]) < 16 or traits["spread"] < 2  # blank pictures all agree
    return traits, blank if flat else np.frombuffer(bytes.fromhex(perceptual_hash(face)), np.uint8)


def _pixels(face: Image) -> dict[str, float]:
    """Return colour, border and sharpness of a face (H, W, 3)."""
    height, width = face.shape[:2]
    thin = face[:: max(1, height // 128), :: max(1, width // 128)].astype(np.int16)
    light = thin.mean(2)
    ring = np.concatenate([face[0], face[1:, -1], face[-1, -2::-1], face[-2:0:-1, 0]]).astype(np.int16)
    steps = np.abs(np.diff(ring, axis=0)).max(1) if len(ring) > 1 else np.zeros(1)
    top, left = max(0, (height - WINDOW) // 2), max(0, (width - WINDOW) // 2)
    bands = radial_spectrum(face[None, top : top + WINDOW, left : left + WINDOW], 16)[0]
    red, green, blue = thin.mean((0, 1))
    return {
        "red": red, "green": green, "blue": blue,
        "spread": float(light.std()),
        "saturation": float((thin.max(2) - thin.min(2)).mean()),
        "wedge": _wedge(thin.max(2)),
        "flat_border": float((steps <= 1).mean()),
        "border_light": float(ring.mean() - light.mean()),
        "medium": float(bands[5:9].mean() - bands[1:4].mean()),
        "fine": float(bands[10:15].mean() - bands[1:4].mean()),
    }  # fmt: skip


def _wedge(brightest: NDArray[np.int16]) -> float:
    """Return the share of black pixels (H, W) that hang together with the border."""
    parts, _ = label(brightest <= BLACK)
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return float(np.isin(parts, np.unique(edge[edge > 0])).mean())
