"""Turn files, folders, tables and lists into one list of pictures to score."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as Pillow

from detector.dataset.foreign import TABLES, find_paths, read_table
from detector.dataset.listing import LeftOut, find_pictures
from detector.dataset.manifest import read_crops
from detector.errors import DetectorError, ManifestError
from detector.pictures.faces import Box
from detector.types import Image

Picture = str | Path | Pillow.Image | Image  # a file's name, a Pillow picture, or RGB (H, W, 3)


@dataclass(frozen=True)
class Target:
    """One picture to score: its path as the user gave it, and the square of the face if a manifest gives it.

    sha256: the file must have this hash; empty if any file may be scored. data: the bytes of a picture that is not a
    file. pixels: a picture in memory, a Pillow picture or RGB (H, W, 3). With data or pixels, `path` is only a name.
    """

    path: str
    crop: Box | None = None
    sha256: str = ""
    data: bytes | None = field(default=None, repr=False)
    pixels: Pillow.Image | Image | None = field(default=None, repr=False, compare=False)

    def check(self, digest: str) -> None:
        """Raise ManifestError if `digest`, the SHA-256 of the file, is not the one that the target names."""
        if self.sha256 not in ("", digest):
            raise ManifestError(
                f"{self.path} is not the picture its manifest names by hash; restore it, or index the folder again"
            )


def expand(
    inputs: Iterable[str],
    *,
    lines: Iterable[str] = (),
    columns: Mapping[str, str] | None = None,
    left_out: LeftOut | None = None,
    videos: bool = False,
) -> list[Target]:
    """Return the pictures to score, in order: files, the content of folders and tables, and `lines` in place of `-`.

    A name without a file and a folder without a picture stay as targets; their rows say why they have no score.
    columns: column names in the tables, as in `foreign.read_table`. left_out: collects the other files in the folders.
    videos: whether videos in the folders are scored.

    Raises DetectorError if nothing is found at all, ManifestError if a table cannot be read or has no paths.
    """
    left_out = LeftOut() if left_out is None else left_out
    targets: list[Target] = []
    empty = 0
    for name in inputs:
        if name == "-":
            targets += [Target(line) for raw in lines if (line := raw.rstrip("\r\n"))]
        elif os.path.isdir(name):
            found = find_pictures(name, left_out, videos=videos)
            empty += not found
            targets += [Target(str(path)) for path in found] or [Target(name)]
        elif Path(name).suffix.lower() in TABLES:
            targets += read_targets(Path(name), columns)
        else:
            targets.append(Target(name))
    if len(targets) == empty:
        what = left_out.describe()
        raise DetectorError(f"there is no picture in what was named{f': {what}' if what else ''}")
    return targets


def read_targets(path: Path, columns: Mapping[str, str] | None = None) -> list[Target]:
    """Return the pictures of a table, in its order; it needs a column of paths and may have a column `crop`."""
    table = read_table(path, columns)
    if "path" not in table:
        there = ", ".join(table.columns) or "none"
        raise DetectorError(f"{path.name} has no column 'path' (it has {there}); name it with --column path=...")
    return list_targets(table.assign(path=find_paths(table, path.resolve().parent)))


def list_targets(manifest: pd.DataFrame, *, checked: bool = False) -> list[Target]:
    """Return the pictures of a manifest, in its order. checked: their files must have the hashes in the manifest."""
    digests = manifest.sha256 if checked else [""] * len(manifest)
    return [Target(*row) for row in zip(manifest.path, read_crops(manifest), digests, strict=True)]


def as_list(pictures: Any) -> list[Any]:
    """Return a list: of the argument if it is one picture or one name, otherwise of the items in the argument."""
    single = isinstance(pictures, str | Path | Pillow.Image | np.ndarray)
    return [pictures] if single else list(pictures)


def list_pictures(
    pictures: Picture | Iterable[Picture] | pd.DataFrame,
    *,
    columns: Mapping[str, str] | None = None,
    left_out: LeftOut | None = None,
    videos: bool = False,
) -> list[Target]:
    """Return the pictures to score, in order, from one picture or several; `expand` opens names.

    A picture in memory is called "picture 1", "picture 2", ... by its position in the list. A table in memory needs the
    column `path` and may have `crop`.

    Raises DetectorError for an empty name, an array of another shape or type, or another kind of object, and what
    `expand` raises.
    """
    if isinstance(pictures, pd.DataFrame):
        if "path" not in pictures:
            raise DetectorError("the table has no column 'path', which names the pictures")
        return list_targets(pictures)
    targets: list[Target] = []
    for number, picture in enumerate(as_list(pictures), 1):
        if isinstance(picture, str | Path):
            if str(picture) == "":
                raise DetectorError('an empty name is no picture; name a file, or "." for the working folder')
            targets += expand([str(picture)], columns=columns, left_out=left_out, videos=videos)
        else:
            _check_pixels(picture, number)
            targets.append(Target(f"picture {number}", pixels=picture))
    if not targets:
        raise DetectorError("there is no picture to score: the list is empty")
    return targets


def _check_pixels(picture: object, number: int) -> None:
    """Raise DetectorError unless the argument is a Pillow picture or an array of RGB pixels."""
    if isinstance(picture, Pillow.Image):
        return
    if not isinstance(picture, np.ndarray):
        raise DetectorError(
            f"picture {number} is of type {type(picture).__name__}; give a path, a PIL picture or an array"
        )
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise DetectorError(
            f"picture {number} is an array {picture.shape} of {picture.dtype}; pixels are RGB, (H, W, 3), uint8"
        )
