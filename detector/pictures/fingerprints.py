"""What our own generators made, kept so that it is recognised later: one JSON line a picture.

The perceptual hash is the DCT hash of 64 or 256 bits: 256 where we choose, because aligned faces share their low
frequencies and 64 bits cannot tell them apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from detector.errors import ManifestError
from detector.files import append_lines, home, is_torn
from detector.types import Image

SIDE = 16  # the hash has SIDE x SIDE bits


@dataclass(frozen=True)
class Fingerprint:
    """One picture that a generator made: the bytes that were written, and how to make them again."""

    sha256: str
    phash: str
    generator: str
    seed: int
    checkpoint: str


def registry_path() -> Path:
    """Return the file that `append` adds to by default."""
    return home() / "fingerprints.jsonl"


def perceptual_hash(image: Image, side: int = SIDE) -> str:
    """Return the DCT hash of a picture (H, W, 3): side * side bits as hexadecimal, equal to imagehash's `phash`.

    Source: Zauner 2010, Implementation and benchmarking of perceptual image hash functions, section 3.2.1.
    """
    return np.packbits(to_bits(measure_frequencies(image, side))).tobytes().hex()


def measure_frequencies(image: Image, side: int = SIDE) -> NDArray[np.float64]:
    """Return the lowest cosine coefficients (side, side) of the brightness of a picture (H, W, 3)."""
    small = Pillow.fromarray(image).convert("L").resize((4 * side, 4 * side), Pillow.Resampling.LANCZOS)
    basis = _cosines(4 * side)[:side]
    return np.asarray(basis @ np.asarray(small, np.float64) @ basis.T)


def to_bits(low: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the bits (side * side,) of a hash: which of the cosine coefficients exceed their median."""
    return (low > np.median(low)).ravel()


def distances(phash: str, others: Iterable[str]) -> NDArray[np.float64]:
    """Return the share of bits (N,) in which each other hash differs, 0..1; infinity for one of another length."""
    mine, texts = np.frombuffer(bytes.fromhex(phash), np.uint8), list(others)
    same = np.array([len(text) == len(phash) for text in texts], bool)
    theirs = np.frombuffer(bytes.fromhex("".join(t for t in texts if len(t) == len(phash))), np.uint8)
    found = np.full(len(texts), np.inf)
    found[same] = np.bitwise_count(theirs.reshape(-1, len(mine)) ^ mine).sum(1) / (8 * len(mine))
    return found


def append(prints: Iterable[Fingerprint], path: Path | None = None) -> None:
    """Add lines to a registry; earlier lines are never touched."""
    lines = "".join(json.dumps(asdict(p), sort_keys=True) + "\n" for p in prints)
    append_lines(path or registry_path(), lines.encode())


def read_fingerprints(path: Path | None = None) -> list[Fingerprint]:
    """Return what a registry holds; nothing if there is no such file. Lines that a killed process tore are left out.

    Raises ManifestError that names the first line that is not a fingerprint.
    """
    path = path or registry_path()
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(Fingerprint(**json.loads(line)))
            bytes.fromhex(found[-1].phash)
        except (ValueError, TypeError):
            if is_torn(line):
                continue
            raise ManifestError(f"{path.name}, line {number}: not a fingerprint; remove the line") from None
    return found


@cache
def _cosines(n: int) -> NDArray[np.float64]:
    """Return the rows of the type-2 cosine transform, unscaled (scipy's, halved: the median does not mind)."""
    k, x = np.mgrid[0:n, 0:n]
    return np.asarray(np.cos(np.pi * k * (2 * x + 1) / (2 * n)))
