"""Learn: a generator or a detector, from a manifest into a folder of weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from detector import __version__
from detector.dataset.manifest import describe_data, read_manifest
from detector.detectors import DETECTORS
from detector.errors import DetectorError
from detector.generators import GENERATORS
from detector.types import Progress, silent


def train(
    kind: str,
    name: str,
    manifest: Path | str | pd.DataFrame,
    folder: Path | str,
    *,
    seed: int = 0,
    device: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Any:
    """Train a "generator" or a "detector" on a manifest into a folder, resuming what it holds, and return it.

    arguments: of the constructor. options: of its `fit`.
    """
    registry = {"generator": GENERATORS, "detector": DETECTORS}[kind]
    table = manifest if isinstance(manifest, pd.DataFrame) else read_manifest(manifest)
    if not hasattr(registry.get(name), "fit"):
        raise DetectorError(f"{name} has nothing to learn; use it as it is, without training")
    try:
        thing = registry.get(name)(**(arguments or {}))
    except TypeError as error:
        raise DetectorError(f"{name} takes no such argument: {str(error).split('()')[-1].strip()}") from None
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    thing.fit(table, seed=seed, folder=folder, device=device, progress=progress, **options)
    if int(os.environ.get("RANK", 0)) == 0:  # under torchrun, one process writes
        thing.save(folder, seed=seed, version=__version__, data=describe_data(table))
    return thing
