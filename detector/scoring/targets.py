"""What is to be scored: files, folders, manifests and lists become one list of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from detector.dataset.manifest import find_pictures, read_crops, read_manifest
from detector.pictures.faces import Box

TABLES = frozenset({".csv", ".parquet", ".jsonl"})


@dataclass(frozen=True)
class Target:
    """One picture to score: its path as the user named it, and the face box if a manifest gave one."""

    path: str
    crop: Box | None = None


def expand(inputs: Iterable[str], *, lines: Iterable[str] = ()) -> list[Target]:
    """Return what to score, in order: files as they are, folders and manifests opened, `-` replaced by `lines`."""
    targets: list[Target] = []
    for name in inputs:
        path = Path(name)
        if name == "-":
            targets += [Target(line) for raw in lines if (line := raw.rstrip("\r\n"))]
        elif path.is_dir():
            targets += [Target(str(p)) for p in find_pictures(path)]
        elif path.suffix.lower() in TABLES:
            targets += list_targets(read_manifest(path))
        else:
            targets.append(Target(name))
    return targets


def list_targets(manifest: pd.DataFrame) -> list[Target]:
    """Return what to score of a manifest, in its order."""
    return [Target(path, crop) for path, crop in zip(manifest.path, read_crops(manifest), strict=True)]
