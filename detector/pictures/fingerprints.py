"""The registry of pictures that our own generators made, by which they are recognised later: one JSON line each.

The perceptual hash is a DCT hash of 64 or 256 bits. We write 256 bits, because aligned faces share their low
frequencies and often have the same 64 bits.
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
from detector.pictures.images import is_blank
from detector.types import Image

SIDE = 16  # the hash has SIDE x SIDE bits


@dataclass(frozen=True)
class Fingerprint:
    """One picture that a generator made: hashes of the written file, and what is needed to make it again."""

    sha256: str
    phash: str
    generator: str
    seed: int
    checkpoint: str


def registry_path() -> Path:
    """Return the default file of the registry."""
    return home() / "fingerprints.jsonl"


def perceptual_hash(image: Image, side: int = SIDE) -> str:
    """Return the DCT hash of a picture (H, W, 3): side * side bits as hexadecimal, equal to imagehash's `phash`.

    Source: Zauner 2010, Implementation and benchmarking of perceptual image hash functions, section 3.2.1.
    """
    return np.packbits(to_bits(measure_frequencies(image, side))).tobytes().hex()


def is_comparable(image: Image) -> bool:
    """Return whether a perceptual hash tells a picture (H, W, 3) from others: those of blank ones are all alike."""
    return min(image.shape[:2]) >= SIDE and not is_blank(image)


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
    code, texts = np.frombuffer(bytes.fromhex(phash), np.uint8), list(others)
    same = np.array([len(text) == len(phash) for text in texts], bool)
    codes = np.frombuffer(bytes.fromhex("".join(t for t in texts if len(t) == len(phash))), np.uint8)
    found = np.full(len(texts), np.inf)
    found[same] = np.bitwise_count(codes.reshape(-1, len(code)) ^ code).sum(1) / (8 * len(code))
    return found


def append(prints: Iterable[Fingerprint], path: Path | None = None) -> None:
    """Append lines to a registry."""
    lines = "".join(json.dumps(asdict(p), sort_keys=True) + "\n" for p in prints)
    append_lines(path or registry_path(), lines.encode())


def read_fingerprints(path: Path | None = None) -> list[Fingerprint]:
    """Return the fingerprints of a registry, [] without one; lines cut short by a killed process are left out.

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
    """Return the rows of the DCT-II without scale factors: half of scipy's, which leaves the hash bits the same."""
    k, x = np.mgrid[0:n, 0:n]
    return np.asarray(np.cos(np.pi * k * (2 * x + 1) / (2 * n)))
