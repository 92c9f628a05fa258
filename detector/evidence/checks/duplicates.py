"""Check whether the picture is known: in a list of the user, or in the registry of our own generators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from detector.dataset.foreign import read_table
from detector.errors import ManifestError
from detector.evidence.checks import CHECKS
from detector.pictures.fingerprints import (
    distances,
    is_comparable,
    perceptual_hash,
    read_fingerprints,
    registry_path,
)
from detector.types import Exhibit, Finding, Outcome

LIMITS = (
    "A match says that the picture is, or derives from, one in the list, and is worth what the list is worth. No match "
    "says nothing. Crops, rotations and overlays hide a picture from a perceptual hash; 64-bit hashes of aligned faces "
    "can collide."
)
CLOSE = {64: 4 / 64, 256: 0.1}  # largest share of differing bits; resaved copies have up to .07, other pictures .24
VOTES = {"fake": Outcome.SUPPORTS_FAKE, "1": Outcome.SUPPORTS_FAKE, "real": Outcome.SUPPORTS_REAL,
         "0": Outcome.SUPPORTS_REAL}  # fmt: skip


@dataclass(frozen=True)
class KnownPicture:
    """A picture of a list: its SHA-256 and its perceptual hash, either of them "" if unknown, its label and its facts.

    about: what the report says of the match: for a list of the user its name and the note.
    """

    sha256: str
    phash: str
    label: str
    about: dict[str, Any]


@CHECKS.register("duplicates", limits=LIMITS, reference={str(bits): share for bits, share in CLOSE.items()})
def check(exhibit: Exhibit, *, known: Sequence[KnownPicture] = (), registry: Path | None = None) -> Finding:
    """Return the closest known picture: by SHA-256, or by perceptual hash, mirrored or not.

    known: the list of the user, as `read_known` returns it. registry: a fingerprint file; None is this installation's
    own. Raises ManifestError if the registry is not one.
    """
    entries = [*_read_registry(registry), *known]
    if not entries:
        return Finding("duplicates", Outcome.NOT_APPLICABLE, "There is no list of known pictures to compare with.")
    match = _closest(exhibit, entries)
    if match is None:
        return Finding("duplicates", Outcome.NEUTRAL, f"None of {len(entries):,} known pictures.",
                       {"compared": len(entries), "match": None})  # fmt: skip
    entry, share, mirrored = match
    how = "the very bytes of" if share is None else f"a near duplicate ({share:.1%} of the hash differs) of"
    about = f"generator {entry.about['generator']}, seed {entry.about['seed']}" if "seed" in entry.about else "the list"
    details = {
        "compared": len(entries),
        "match": {"exact": share is None, "distance": share, "mirrored": mirrored, "label": entry.label or None,
                  **entry.about, "sha256": entry.sha256 or None},
    }  # fmt: skip
    summary = f"The picture is {how} a known one ({about}; label: {entry.label or 'none'})."
    return Finding("duplicates", VOTES.get(entry.label, Outcome.NEUTRAL), summary, details)


def _read_registry(path: Path | None) -> Sequence[KnownPicture]:
    """Return the entries of a fingerprint file, which is read again only if it has changed."""
    path = path or registry_path()
    try:
        state = path.stat()
    except OSError:
        return ()
    return _read_version(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)
def _read_version(path: Path, changed: int, size: int) -> Sequence[KnownPicture]:
    made = read_fingerprints(path)
    return [KnownPicture(one.sha256, one.phash, "fake", {**asdict(one), "list": "registry"}) for one in made]


def read_known(path: Path) -> list[KnownPicture]:
    """Return the rows of a list of known pictures.

    path: a table with `sha256` or `phash` (16 or 64 hexadecimal digits, as imagehash writes them), and where wanted
    `label` (real or fake) and `note`. Raises ManifestError that names the first row without a valid hash.
    """
    table = read_table(path).fillna("").astype(str)
    entries = []
    for number, row in enumerate(table.to_dict("records"), 2):
        digest, phash = ((row.get(k) or "").strip().lower() for k in ("sha256", "phash"))
        try:
            sizes = len(bytes.fromhex(digest)), 8 * len(bytes.fromhex(phash))
        except ValueError:
            sizes = -1, -1
        if sizes[0] not in (0, 32) or sizes[1] not in (0, *CLOSE) or sizes == (0, 0):
            raise ManifestError(f"{path.name}, line {number}: give sha256 (64 digits) or phash (16 or 64 digits)")
        label, note = (row.get("label") or "").strip().lower()[:16], (row.get("note") or "")[:200]
        entries.append(KnownPicture(digest, phash, label, {"note": note, "list": path.name}))
    return entries


def _closest(exhibit: Exhibit, entries: list[KnownPicture]) -> tuple[KnownPicture, float | None, bool] | None:
    for entry in entries:
        if entry.sha256 == exhibit.sha256:
            return entry, None, False
    if exhibit.image is None or not is_comparable(exhibit.image):
        return None
    hashes = [entry.phash for entry in entries]
    found: list[tuple[float, bool, int]] = []
    for side in (8, 16):
        for mirrored in (False, True):
            image = np.ascontiguousarray(exhibit.image[:, ::-1]) if mirrored else exhibit.image
            shares = distances(perceptual_hash(image, side), hashes)
            nearest = int(np.argmin(shares))
            if shares[nearest] <= CLOSE[side * side]:
                found.append((round(float(shares[nearest]), 4), mirrored, nearest))
    if not found:
        return None
    share, mirrored, nearest = min(found)
    return entries[nearest], share, mirrored
