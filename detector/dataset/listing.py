"""The pictures below a folder, and the other files, counted by type."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from detector.dataset.foreign import find_format
from detector.files import printable
from detector.pictures import video
from detector.pictures.images import HEIF_SUFFIXES, SUFFIXES, can_read_heif

OWN = frozenset({"manifest.csv"})  # files that this package writes beside pictures; they are not counted as left out
HEAD = 64  # number of first bytes from which the format of a file without an ending is recognised
LONGEST = 12  # length of the longest file name ending that is shown, characters
SHOWN = 6  # number of file types that are named; the others are counted together


@dataclass
class LeftOut:
    """Files in the given folders that were left out.

    types: ending (or "without ending", "hidden picture", "folder that cannot be opened") -> number of files. pictures:
    path -> why a picture could not be read. copies: number of pictures whose bytes another one has, too.
    """

    types: Counter[str] = field(default_factory=Counter)
    pictures: dict[str, str] = field(default_factory=dict)
    copies: int = 0

    def __bool__(self) -> bool:
        return bool(self.types or self.pictures)

    def describe(self) -> str:
        """Return what was left out in one line, such as `26 left out: 12 .heic, 8 .mp4`; empty if nothing was."""
        types = self.types + Counter({"unreadable": len(self.pictures)})
        if not types:
            return ""
        shown = types.most_common(SHOWN)
        named = [f"{n:,} {kind}" for kind, n in shown]
        if rest := types.total() - sum(n for _, n in shown):
            named.append(f"{rest:,} others")
        return f"{types.total():,} left out: {', '.join(named)} (passed over: not read as pictures)"


def find_pictures(folder: Path | str, left_out: LeftOut | None = None, *, videos: bool = False) -> list[Path]:
    """Return every picture below a folder, sorted; recognised by its ending, or without one by its first bytes.

    Folders behind links are entered, each once on any way down and none that lies below `folder` anyway, so that loops
    end. Hidden files and folders are passed over. left_out: collects what else is there, also hidden files that have
    the ending of a picture, as telephones name what is in their bin. videos: whether they are taken too.
    """
    endings = SUFFIXES | (HEIF_SUFFIXES if can_read_heif() else set()) | (video.SUFFIXES if videos else set())
    folder, left_out = Path(folder), LeftOut() if left_out is None else left_out
    found = []
    for path in _walk(folder, left_out):
        if path.suffix.lower() in endings or (
            path.suffix == "" and (_is_picture(path) or (videos and video.find_container(str(path))))
        ):
            found.append(path)
        elif path.name not in OWN:
            left_out.types[_type(path)] += 1
    return sorted(found)


def _walk(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    """Yield everything that is not a folder, unsorted; folders behind links come after all others."""
    inside = {_identity(str(parent)) for parent in folder.resolve().parents}
    links: list[tuple[str, frozenset[tuple[int, int]], bool]] = []
    waiting = [(str(folder), frozenset[tuple[int, int]](), False)]  # folder, the folders around it, is behind a link
    while waiting:
        here, above, linked = waiting.pop()
        me = _identity(here)
        try:
            entries = list(os.scandir(here)) if not (linked and me in inside | above) else []
        except OSError:
            entries = []
            left_out.types["folder that cannot be opened"] += 1
        inside |= set() if linked else {me}
        for entry in entries:
            if entry.name.startswith("."):
                if _is_hidden_picture(entry):
                    left_out.types["hidden picture"] += 1
                continue
            if not _is_folder(entry):
                yield Path(entry.path)
            elif entry.is_symlink():
                links.append((entry.path, above | {me}, True))
            else:
                waiting.append((entry.path, above | {me}, linked))
        if not waiting:
            waiting, links = links, []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # for example a link to itself
        return False


def _is_hidden_picture(entry: os.DirEntry[str]) -> bool:
    """Return whether a hidden entry has the ending of a picture; macOS keeps further data of x.jpg in ._x.jpg."""
    ending = os.path.splitext(entry.name)[1].lower()
    return ending in SUFFIXES | HEIF_SUFFIXES and not entry.name.startswith("._") and not _is_folder(entry)


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_dev, status.st_ino


def _is_picture(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            return bool(find_format(file.read(HEAD)))
    except OSError:
        return False


def _type(path: Path) -> str:
    ending = printable(path.suffix.lower())
    return "without ending" if not ending else ending if len(ending) <= LONGEST else "others"
