"""Tasks that exceed the limits of the process of `pictures.sandbox`; this module has no tests."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from detector.errors import DamagedImage


def echo(data: bytes, **options: Any) -> Iterator[Any]:
    """Yield the options, then the data in two parts."""
    yield options
    yield data[: len(data) // 2]
    yield data[len(data) // 2 :]


def spin(data: bytes) -> Iterator[Any]:
    """Never answer."""
    while True:
        pass
    yield {}


def sleep(data: bytes) -> Iterator[Any]:
    """Answer too late, without using the CPU."""
    yield {}
    time.sleep(60)


def grow(data: bytes) -> Iterator[Any]:
    """Allocate a gigabyte."""
    yield {"bytes": len(bytearray(2**30))}


def die(data: bytes) -> Iterator[Any]:
    """End the process in the middle of an answer."""
    yield {}
    os._exit(7)


def end(data: bytes, number: int) -> Iterator[Any]:
    """End the process with a signal in the middle of an answer."""
    yield {}
    os.kill(os.getpid(), number)
    time.sleep(60)


def refuse(data: bytes) -> Iterator[Any]:
    """Raise DamagedImage after some items."""
    yield {}
    raise DamagedImage("found late")


def talk(data: bytes) -> Iterator[Any]:
    """Write to standard error, and to standard output."""
    os.write(1, b"to standard output\n")
    os.write(2, b"to standard error\n")
    yield {}
