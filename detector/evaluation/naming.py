"""Give unique names to the detectors and score files that are compared, also if their files have the same name."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.errors import ScoresError
from detector.files import printable


@dataclass(frozen=True)
class Source:
    """A source of scores: a table or a detector's folder, with the names of detectors in it.

    names: of a detector, or those in a table's column `detector`; none for a table without one, which is named by its
    file.
    """

    path: Path
    names: tuple[str, ...] = ()
    folder: bool = False

    def name(self, depth: int) -> tuple[str, ...]:
        """Return the names, each preceded by `depth` parts of the path."""
        path = Path(os.path.abspath(self.path))
        parts = (path if self.folder else path.with_suffix("")).parts
        if not self.names:
            return ("/".join(parts[-depth - 1 :]),)
        own = "/".join(parts[-depth:]) if depth else ""
        if self.folder:
            return (own,) if own else self.names
        return tuple(f"{own}/{name}" if own else name for name in self.names)


def name_apart(sources: Sequence[Source]) -> list[dict[str, str]]:
    """Return for each source a dict from its own names to unique ones, which also differ if case is ignored.

    A table without names has one entry, "". Those that share a name are told apart by the folders they lie in.

    Raises ScoresError if the same file or folder is named twice.
    """
    for path, count in Counter(source.path.resolve() for source in sources).items():
        if count > 1:
            raise ScoresError(f"{printable(str(path))} is named {count} times; name it once")
    depths = [0] * len(sources)
    deepest = max((len(Path(os.path.abspath(source.path)).parts) for source in sources), default=0)
    while True:
        shown = [tuple(map(printable, source.name(depth))) for source, depth in zip(sources, depths, strict=True)]
        counts = Counter(name.lower() for names in shown for name in {n.lower(): n for n in names}.values())
        alike = [i for i, names in enumerate(shown) if any(counts[name.lower()] > 1 for name in names)]
        if alike and min(depths[i] for i in alike) > deepest:  # A/x.csv and a/x.csv
            shown = [tuple(f"{n} ({i + 1})" for n in names) if i in alike else names for i, names in enumerate(shown)]
            alike = []
        if not alike:
            return [dict(zip(s.names or ("",), names, strict=True)) for s, names in zip(sources, shown, strict=True)]
        for i in alike:
            depths[i] += 1


def file_names(names: Sequence[str]) -> list[str]:
    """Return for each name a file name that any file system allows, unique also if case is ignored.

    >>> file_names(["a/cnn", "a_cnn"])
    ['a_cnn', 'a_cnn-2']
    """
    found: list[str] = []
    taken: set[str] = set()
    for name in names:
        stem = file = re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_")[:80] or "unnamed"
        number = 1
        while file.lower() in taken:
            number += 1
            file = f"{stem}-{number}"
        taken.add(file.lower())
        found.append(file)
    return found
