"""The figures of a training run: a line for people on the log, and the numbers for TensorBoard.

A training loop calls `note` at the end of each epoch or snapshot. Every handler of the logger `detector.training` gets
the line; that of `logged_to` takes the numbers instead. A loop therefore does not know who listens.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detector.errors import MissingExtra, UnknownName
from detector.learning.processes import is_first
from detector.types import Image

LOG = logging.getLogger("detector.training")
FORMATS = ("tensorboard",)  # what `train --log` writes
EVENTS = "tensorboard"  # folder of the event files, below that of the weights


def note(line: str, *, step: int, values: Mapping[str, float], samples: Image | None = None) -> None:
    """Log how the training goes; under torchrun only the first process does.

    line: for people. step: number of the epoch, the step or the picture. values: name -> figure at this step. samples:
    a sheet of generated faces, RGB (H, W, 3).
    """
    if is_first():
        LOG.info("%s", line, extra={"step": step, "values": dict(values), "samples": samples})


@contextmanager
def logged_to(kind: str | None, folder: Path) -> Iterator[None]:
    """Write the figures that are noted inside the block to event files in `folder`/tensorboard; None writes nothing.

    Raises UnknownName for another kind than those of FORMATS, MissingExtra if TensorBoard is not installed.
    """
    if kind is None:
        yield
        return
    if kind not in FORMATS:
        raise UnknownName("log", kind, FORMATS)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("tensorboard is optional: pip install 'face-forgery-detector[tensorboard]'") from None
    handler, level = _Events(SummaryWriter(str(folder / EVENTS))), LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.setLevel(level)
        LOG.removeHandler(handler)
        handler.writer.close()


class _Events(logging.Handler):
    """Writes the numbers of each record that `note` made."""

    def __init__(self, writer: Any) -> None:
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write the numbers of one record, if it has any."""
        for name, value in getattr(record, "values", {}).items():
            self.writer.add_scalar(name, value, record.step)  # type: ignore[attr-defined]
        if getattr(record, "samples", None) is not None:
            self.writer.add_image("samples", record.samples, record.step, dataformats="HWC")  # type: ignore[attr-defined]
        self.writer.flush()
