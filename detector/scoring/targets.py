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

Picture = str | Path | Pillow.Image | Image  # a file's name, a Pillow picture, or RGB (H, W, 3)


@dataclass(frozen=True, slots=True)
class Target:
    """One picture to score: its path as the user gave it, and the square of the face if a manifest gives it.

    sha256: of the only file that may be scored under this path; empty if any may. data: the bytes of a picture that is
    no file. span: where its bytes lie in another file, such as a tar. pixels: a picture that is in memory, of Pillow or
    RGB (H, W, 3). `path` is then what to call it. repeated: whether a picture of the same bytes was opened before, so
    that this one is not.
    """

    path: str
    crop: Box | None = None
    sha256: str = ""
    data: bytes | None = field(default=None, repr=False)
    pixels: Pillow.Image | Image | None = field(default=None, repr=False, compare=False)
    repeated: bool = False
    span: Span | None = None

    def read(self) -> bytes:
        """Return the bytes of the picture; ImageError as `images.read`."""
        if self.span is not None:
            return self.span.read()
        return read(self.path) if self.data is None else self.data

    def check(self, digest: str) -> None:
        """Raise ManifestError if `digest`, the SHA-256 of the file, is not the one that the target names."""
        if self.sha256 not in ("", digest):
            raise ManifestError(
                f"{self.path} is not the picture its manifest names by hash; restore it, or index the folder again"
            )


class Listed(Sequence[Target]):
    """The targets of many names, each made when it is its turn: a million of them take several times the memory.

    root: the folder that the paths are relative to. crops: the square of each, None if none has one. digests: as
    `Target.sha256`, of each.
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
        """Return one target, or those of a slice, which keep their root."""
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
    """Return what to score, in order: files as they are, folders and tables opened, `-` replaced by `lines`.

    A name that leads nowhere, and a folder without a picture, stay as targets, whose rows say why they have no score.
    columns: as `foreign.read_table`, of the tables. left_out: collects what else lies in the folders. videos: whether
    those that lie there are taken. archives: whether a tar stands for the pictures in it.

    Raises DetectorError if nothing is found at all, ManifestError if a table cannot be read or has no paths.
    """
    left_out = LeftOut() if left_out is None else left_out
    parts: list[Sequence[Target]] = []
    empty = 0
    for name in inputs:
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
        what = left_out.describe()
        raise DetectorError(f"there is no picture in what was named{f': {what}' if what else ''}")
    return targets


def read_targets(path: Path, columns: Mapping[str, str] | None = None) -> Sequence[Target]:
    """Return what to score of anybody's table, in its order: it needs a column of paths, and may have a `crop`."""
    table = read_table(path, columns)
    if "path" not in table:
        there = ", ".join(table.columns) or "none"
        raise DetectorError(f"{path.name} has no column 'path' (it has {there}); name it with --column path=...")
    return list_targets(table, root=str(path.resolve().parent))


def list_targets(manifest: pd.DataFrame, *, checked: bool = False, root: str = "") -> Sequence[Target]:
    """Return what to score of a manifest, in its order.

    checked: nothing but the files that it names by hash. root: the folder that its paths are relative to.
    """
    crops = read_crops(manifest) if "crop" in manifest else None
    return Listed(manifest.path.array, root, crops, manifest.sha256.array if checked else None)


def take_shard(targets: Sequence[Target], number: int, count: int) -> Sequence[Target]:
    """Return the part `number` of `count`, from 1: every count-th picture, so that all parts take about as long.

    Raises DetectorError if there is no such part, or no picture in it.
    """
    if not 1 <= number <= count:
        raise DetectorError(f"there is no shard {number}/{count}; the first of four is 1/4 and the last 4/4")
    mine = targets[number - 1 :: count]
    if not mine:
        raise DetectorError(f"shard {number}/{count} is empty: there are {len(targets)} pictures in all")
    return mine


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
) -> Sequence[Target]:
    """Return what to score of one picture or several, in order; names are opened as by `expand`.

    A picture in memory is called "picture 1", "picture 2", ... by its position in the list. A table in memory needs the
    column `path` and may have `crop`.

    Raises DetectorError for an empty name, an array of another shape or type, or another kind of object, and what
    `expand` raises.
    """
    if isinstance(pictures, pd.DataFrame):
        if "path" not in pictures:
            raise DetectorError("the table has no column 'path', which names the pictures")
        return list_targets(pictures)
    parts: list[Sequence[Target]] = []
    for number, picture in enumerate(as_list(pictures), 1):
        if isinstance(picture, str | Path):
            if str(picture) == "":
                raise DetectorError('an empty name is no picture; name a file, or "." for the working folder')
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
