"""A table as a folder of Parquet files. Several runs may write into it, each its own files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from detector.errors import DetectorError
from detector.files import check_folder, remove_leftovers

PART = re.compile(r"part-(\d+)-of-(\d+)-(\d+)\.parquet")  # number of the shard, count of shards, number of the file


def name_part(shard: tuple[int, int]) -> str:
    """Return the beginning of the file names of a shard (number, count).

    >>> name_part((2, 8))
    'part-2-of-8'
    """
    return f"part-{shard[0]}-of-{shard[1]}"


def check_folder_of_parts(folder: Path, shard: tuple[int, int]) -> None:
    """Create the folder if it does not exist; OSError if it is not writable, DetectorError if it has other files.

    Files of another count of shards are refused too, because the table would have some pictures twice.
    """
    check_folder(folder)
    for path in folder.iterdir():
        found = PART.fullmatch(path.name)
        if not path.name.startswith(".") and (found is None or int(found[2]) != shard[1]):
            raise DetectorError(f"{folder} has {path.name}, which is not one of {shard[1]} shards; name another folder")


def write_parts(
    folder: Path, shard: tuple[int, int], rows: Iterator[dict[str, Any]], size: int,
    write: Callable[[Path, Iterable[dict[str, Any]]], None],
) -> None:  # fmt: skip
    """Write the rows of a shard as one or more files of `size` rows, and remove surplus files of an earlier run.

    write: function of (path, rows) that writes one file.
    """
    number = 0
    while (first := next(rows, None)) is not None or number == 0:
        path = folder / f"{name_part(shard)}-{number:05d}.parquet"
        remove_leftovers(path)
        write(path, chain([] if first is None else [first], islice(rows, size - 1)))
        number += 1
    for path in folder.iterdir():
        found = PART.fullmatch(path.name)
        if found and int(found[1]) == shard[0] and int(found[3]) >= number:
            path.unlink()
