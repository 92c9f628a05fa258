"""The processes of a training run under torchrun; this module imports no torch, so that `tasks` starts fast."""

from __future__ import annotations

import os


def is_first() -> bool:
    """Return whether this process is the first of the training run, the one that writes; True without torchrun."""
    return int(os.environ.get("RANK", 0)) == 0
