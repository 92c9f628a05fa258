"""Turn files, folders, tables and lists into one list of pictures to score."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
from PIL import Image as Pillow

from detector.dataset.archives import Span, list_archive
from detector.dataset.foreign import TABLES, read_table
from detector.dataset.listing import LeftOut, find_pictures
from detector.dataset.manifest import read_crops
from detector.errors import DetectorError, ManifestError
from detector.pictures.faces import Box
from detector.pictures.images import read
from detector.types import Image

Picture = str | Path | Pillow.Image | Image  # path of a file, Pillow picture, or RGB array (H, W, 3)


@dataclass(frozen=True, slots=True)
class Target:
    """One picture to score.

    path: path as the user wrote it; a name for a picture in memory. crop: the square of the face, if a manifest gives
    one. sha256: hash that the file must have; empty if it may have any. data: bytes of a picture that is not a file.
    pixels: a picture in memory, of Pillow or an RGB array (H, W, 3). repeated: whether a picture with the same bytes
    was opened before, so that this one is not opened. span: position of the picture in another file, such as a tar.
    """

    path: str
    crop: Box | None = None
    sha256: str = ""
    data: bytes | None = field(default=None, repr=False)
    pixels: Pillow.Image | Image | None = field(default=None, repr=False, compare=False)
    repeated: bool = False
    span: Span | None = None

    def read(self) -> bytes:
        """Return the bytes of the picture; ImageError if they cannot be read."""
        if self.span is not None:
            return self.span.read()
        return read(self.path) if self.data is None else self.data

    def check(self, digest: str) -> None:
        """Raise ManifestError if `digest`, the SHA-256 of the file, is not the one in `sha256`."""
        if self.sha256 not in ("", digest):
            raise ManifestError(
                f"{self.path} does not have the hash in its manifest; restore the file, or index the folder again"
            )


class Listed(Sequence[Target]):
    """A sequence of targets that are created when they are accessed: a million `Target` would need much more memory.

    paths: path of each target. root: folder that the paths are relative to. crops: crop of each target; None if no
    target has one. digests: `Target.sha256` of each target; None if all are empty.
    """

    def __init__(
        self, paths: Sequence[Any], root: str = "", crops: Sequence[Box | None] | None = None,
        digests: Sequence[Any] | None = None,
    ) -> None:  # fmt: skip
        self._paths, self._root, self._crops, self._digests = paths, root, crops, digests

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Target: ...
    @overload
    def __getitem__(self, index: slice) -> Listed: ...
    def __getitem__(self, index: int | slice) -> Target | Listed:
        """Return one target, or the sequence of those in a slice."""
        crops, digests = self._crops, self._digests
        if isinstance(index, slice):
            return Listed(self._paths[index], self._root, crops and crops[index],
                          None if digests is None else digests[index])  # fmt: skip
        return Target(os.path.join(self._root, str(self._paths[index])), crops[index] if crops else None,
                      "" if digests is None else str(digests[index]))  # fmt: skip


def expand(
    inputs: Iterable[str],
    *,
    lines: Iterable[str] = (),
    columns: Mapping[str, str] | None = None,
    left_out: LeftOut | None = None,
    videos: bool = False,
    archives: bool = False,
) -> Sequence[Target]:
    """Return the targets of a list of inputs, in order: files, and the pictures in folders, tables and tars.

    A path without a file and a folder without a picture stay in the list, and their rows state why they have no score.

    lines: paths that the input `-` stands for. columns: our name of a column -> its name in the tables. left_out:
    collects the other files in folders. videos: whether videos in folders are included. archives: whether a tar stands
    for the pictures in it.

    Raises DetectorError for an empty path, if nothing is found, or if a table has no column of paths; ManifestError if
    a table cannot be read.
    """
    left_out = LeftOut() if left_out is None else left_out
    parts: list[Sequence[Target]] = []
    empty = 0
    for name in inputs:
        if not name:
            raise DetectorError('an empty path is not a picture; name a file, or "." for the working folder')
        ending = Path(name).suffix.lower()
        if name == "-":
            parts.append([Target(line) for raw in lines if (line := raw.rstrip("\r\n"))])
        elif os.path.isdir(name):
            found = find_pictures(name, left_out, videos=videos)
            empty += not found
            parts.append(Listed([str(path) for path in found] or [name]))
        elif ending in TABLES:
            parts.append(read_targets(Path(name), columns))
        elif archives and ending == ".tar" and os.path.isfile(name):
            parts.append([Target(inside, span=span) for inside, span in list_archive(name, left_out)])
        else:
            parts.append([Target(name)])
    targets = parts[0] if len(parts) == 1 else [target for part in parts for target in part]
    if len(targets) == empty:
        others = left_out.describe()
        raise DetectorError(f"there is no picture among the inputs{f': {others}' if others else ''}")
    return targets


def read_targets(path: Path, columns: Mapping[str, str] | None = None) -> Sequence[Target]:
    """Return the targets of a table of any tool, in its order; it has a column of paths, and perhaps one of crops."""
    table = read_table(path, columns)
    if "path" not in table:
        present = ", ".join(table.columns) or "none"
        raise DetectorError(f"{path.name} has no column 'path' (it has {present}); name it with --column path=...")
    return list_targets(table, root=str(path.resolve().parent))


def list_targets(manifest: pd.DataFrame, *, checked: bool = False, root: str = "") -> Sequence[Target]:
    """Return the targets of a manifest, in its order.

    checked: whether files must have the hashes in the manifest. root: folder that its paths are relative to.
    """
    crops = read_crops(manifest) if "crop" in manifest else None
    return Listed(manifest.path.array, root, crops, manifest.sha256.array if checked else None)


def take_shard(targets: Sequence[Target], number: int, count: int) -> Sequence[Target]:
    """Return part `number` (counted from 1) of `count` parts: every count-th picture, so that parts take equal time.

    Raises DetectorError if there is no such part, or if it has no picture.
    """
    if not 1 <= number <= count:
        raise DetectorError(f"there is no shard {number}/{count}; the first of four is 1/4 and the last 4/4")
    part = targets[number - 1 :: count]
    if not part:
        raise DetectorError(f"shard {number}/{count} is empty: there are {len(targets)} pictures in all")
    return part


def as_list(pictures: Any) -> list[Any]:
    """Return a list that contains the argument if it is one picture or one path, or else the items of the argument."""
    single = isinstance(pictures, str | Path | Pillow.Image | np.ndarray)
    return [pictures] if single else list(pictures)


def list_pictures(
    pictures: Picture | Iterable[Picture] | pd.DataFrame,
    *,
    columns: Mapping[str, str] | None = None,
    left_out: LeftOut | None = None,
    videos: bool = False,
) -> Sequence[Target]:
    """Return the targets of one picture or several, in order; paths are resolved by `expand`.

    A picture in memory is named "picture 1", "picture 2", ... by its position in the list. A table in memory has a
    column `path`, and perhaps a column `crop`.

    Raises DetectorError for an empty path, an array of another shape or type, or another kind of object, and the errors
    of `expand`.
    """
    if isinstance(pictures, pd.DataFrame):
        if "path" not in pictures:
            raise DetectorError("the table has no column 'path' with the paths of pictures")
        return list_targets(pictures)
    parts: list[Sequence[Target]] = []
    for number, picture in enumerate(as_list(pictures), 1):
        if isinstance(picture, str | Path):
            parts.append(expand([str(picture)], columns=columns, left_out=left_out, videos=videos, archives=True))
        else:
            _check_pixels(picture, number)
            parts.append([Target(f"picture {number}", pixels=picture)])
    if not parts:
        raise DetectorError("there is no picture to score: the list is empty")
    return parts[0] if len(parts) == 1 else [target for part in parts for target in part]


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
