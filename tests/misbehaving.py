"""A judge of files for the tests of `hostile_workers`, in a module of its own that a new process imports quickly."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from hostile_workers import InvalidReport

MEMORY = 64 * 2**20


def misbehave(path: Path) -> str:
    """Misbehave in the way that the name of the file states."""
    match path.stem:
        case "crash":
            ctypes.string_at(0)
        case "raise":
            raise ValueError("no")
        case "invalid":
            raise InvalidReport("two reports")
        case "hang":
            while True:
                pass
        case "sleep":
            time.sleep(60)
        case "noise":
            os.write(2, b"a warning")
        case "memory":
            block = bytearray(MEMORY)
            time.sleep(0.2)
            del block
    return "decoded"
