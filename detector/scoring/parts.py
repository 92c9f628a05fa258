"""A folder of Parquet files that together are one table, which several runs may write: each run its own files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from detector.errors import DetectorError
from detector.files import check_folder, remove_leftovers

PART = re.compile(r"part-(\d+)-of-(\d+)-(\d+)\.parquet")  # shard, number of shards, number of the file


def name_part(shard: tuple[int, int]) -> str:
    """Return how the files of a shard begin.

    >>> name_part((2, 8))
    'part-2-of-8'
    """
    return f"part-{shard[0]}-of-{shard[1]}"


def check_folder_of_parts(folder: Path, shard: tuple[int, int]) -> None:
    """Make the folder if need be; raise OSError if nothing can be written into it, DetectorError if it has other files.

    Files of another number of shards would hold pictures twice.
    """
    check_folder(folder)
    for path in folder.iterdir():
        found = PART.fullmatch(path.name)
        if not path.name.startswith(".") and (found is None or int(found[2]) != shard[1]):
            raise DetectorError(f"{folder} holds {path.name}, which is no part of {shard[1]}; name another folder")


def write_parts(
    folder: Path, shard: tuple[int, int], rows: Iterator[dict[str, Any]], size: int,
    write: Callable[[Path, Iterable[dict[str, Any]]], None],
) -> None:  # fmt: skip
    """Write the rows of a shard as files of `size` rows, at least one, and remove those that an earlier run left over.

    write: writes one whole file.
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
