"""What is to be scored: files, folders, manifests and lists become one list of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from detector.dataset.manifest import find_pictures, read_crops, read_manifest
from detector.errors import ManifestError
from detector.pictures.faces import Box

TABLES = frozenset({".csv", ".parquet", ".jsonl"})


@dataclass(frozen=True)
class Target:
    """One picture to score: its path as the user named it, and the face's square if a manifest gave one.

    sha256: of the only file that may be scored under this path; empty if any may.
    """

    path: str
    crop: Box | None = None
    sha256: str = ""

    def check(self, digest: str) -> None:
        """Raise ManifestError if the file, which has that SHA-256, is not the one that is to be scored."""
        if self.sha256 not in ("", digest):
            raise ManifestError(
                f"{self.path} is not the picture its manifest names by hash; restore it, or index the folder again"
            )


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


def list_targets(manifest: pd.DataFrame, *, checked: bool = False) -> list[Target]:
    """Return what to score of a manifest, in its order. checked: nothing but the files that it names by hash."""
    digests = manifest.sha256 if checked else [""] * len(manifest)
    return [Target(*row) for row in zip(manifest.path, read_crops(manifest), digests, strict=True)]
