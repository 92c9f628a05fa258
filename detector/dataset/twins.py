"""Find twins: pictures that are copies of each other, saved again, resized or mirrored.

Among 588 official portraits, many before the same flag, the two most similar ones of different people differ in 58 of
256 bits; copies that were resized, recompressed or darkened differ in at most 20.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.pictures.fingerprints import measure_frequencies, to_bits
from detector.types import Image

Hashes = NDArray[np.uint8]  # (N, 32): 256 bits for each picture; zeros for a picture without a hash

NEAR = 20  # largest number of bits, of 256, in which near twins differ
NEIGHBOURS = 1000  # largest number of pictures with an equal word that are compared with a picture


def hash_both(face: Image) -> tuple[Hashes, Hashes]:
    """Return the perceptual hashes (32,) of a picture and of its mirror image.

    A mirror image has the same cosine coefficients, with the opposite sign in every second column.
    """
    low = measure_frequencies(face)
    turned = low * np.where(np.arange(low.shape[1]) % 2, -1, 1)
    as_is, mirrored = (np.packbits(to_bits(values)) for values in (low, turned))
    return as_is, mirrored


def find_pairs(hashes: Hashes, mirrored: Hashes) -> NDArray[np.intp]:
    """Return the pairs (K, 2), smaller number first, of pictures that are near each other or the mirror image."""
    pairs = near_pairs(np.concatenate([hashes, mirrored])) % max(len(hashes), 1)
    return np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)


def near_pairs(hashes: Hashes, limit: int = NEAR) -> NDArray[np.intp]:
    """Return the pairs (K, 2), smaller first, of hashes (N, 32) that differ in at most `limit` of 256 bits.

    Only pictures that share one of the sixteen 16-bit words are compared. Every pair with up to 15 different bits does
    so, and of random pairs with 20 different bits all but one in several hundred. Rows of zeros mean no hash. The time
    grows as n log n, and with the number of pairs.
    """
    words = np.ascontiguousarray(hashes).view(np.uint16)
    there = np.flatnonzero(hashes.any(1))
    found = [np.empty((0, 2), np.intp)]
    for word in words.T:
        order = there[np.argsort(word[there], kind="stable")]
        key, at = word[order], np.arange(len(order))
        for step in range(1, NEIGHBOURS + 1):
            at = at[at + step < len(order)]
            at = at[key[at] == key[at + step]]
            if not len(at):
                break
            a, b = order[at], order[at + step]
            close = np.bitwise_count(words[a] ^ words[b]).sum(1) <= limit
            found.append(np.sort(np.column_stack([a, b])[close], axis=1))
    return np.unique(np.concatenate(found), axis=0)
