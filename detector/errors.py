"""All errors that this package raises on purpose. Each message is one sentence that names the fix.

DetectorError                  anything below; the command line prints it as one line and exits with 2
+-- ImageError                 one picture cannot be read; `reason` is a short slug for tables
|   +-- UnreadableFile         missing, or cannot be opened
|   +-- UnsupportedFormat      not one of the formats that are decoded
|   +-- ImageTooLarge          more bytes or pixels than the cap
|   +-- DamagedImage           truncated, corrupt or empty
|   +-- TooCostly              decoding would take too much time or memory
|       +-- ProcessDied        the process that decoded it ended, and no limit ended it
|           +-- ProcessKilled  another program or the system ended that process
+-- ManifestError              a table of pictures contradicts itself or lacks a column
+-- ScoresError                a table of scores cannot be evaluated (one class, NaN, unknown pictures)
+-- UnknownName                no such generator, detector, perturbation, metric, suite ...
+-- CheckpointError            a folder of weights is missing, incomplete or of another kind
+-- MissingExtra               an optional dependency is not installed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 40  # largest number of names that a message lists


class DetectorError(Exception):
    """Any error that this package raises on purpose."""


class ImageError(DetectorError):
    """One picture cannot be read."""

    reason = "unreadable"


class UnreadableFile(ImageError):
    """There is no such file, it cannot be opened, or it is not a regular file."""


class UnsupportedFormat(ImageError):
    """The bytes are not in a picture format that is decoded here."""

    reason = "unsupported format"


class ImageTooLarge(ImageError):
    """The header promises more than the cap on bytes or pixels; nothing was decoded."""

    reason = "too large"


class DamagedImage(ImageError):
    """The bytes begin like a picture but cannot be decoded."""

    reason = "damaged"


class TooCostly(ImageError):
    """Decoding takes more time or memory than a picture may."""

    reason = "too costly to decode"


class ProcessDied(TooCostly):
    """The process that decoded the picture ended, and none of its limits ended it."""


class ProcessKilled(ProcessDied):
    """A signal from outside ended the process, such as SIGKILL; the picture need not be the reason."""


class ManifestError(DetectorError):
    """A manifest contradicts itself or lacks a column."""


class ScoresError(DetectorError):
    """A table of scores cannot be evaluated."""


class CheckpointError(DetectorError):
    """A folder of weights is missing, incomplete or of another kind."""


class MissingExtra(DetectorError):
    """An optional dependency is not installed."""


class UnknownName(DetectorError):
    """An unknown name of a generator, detector, suite or the like; the message lists the known names."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1)
        listed = ", ".join(known[:SHOWN]) + (f" and {len(known) - SHOWN:,} others" if len(known) > SHOWN else "")
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {listed or 'none'}"
        super().__init__(f"no {kind} named {name!r}; {hint}")
