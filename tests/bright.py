"""A detector that worker processes can import; its score is the brightness of a face."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from detector.types import Images, Opinion, Scores


class Bright:
    """kill: path of a file; the worker that finds it removes it and kills itself, as if memory were exhausted."""

    name, size, locates = "bright", 16, False

    def __init__(self, kill: Path | None = None) -> None:
        self.kill = kill

    def score(self, faces: Images) -> Scores:
        if self.kill is not None and self.kill.exists():
            self.kill.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return faces.mean((1, 2, 3), dtype=np.float64) / 32 - 4

    def judge(self, scores: Scores) -> list[Opinion]:
        return [Opinion.LIKELY_FAKE if s > 0 else Opinion.LIKELY_REAL for s in scores]


def load(kill: Path | None = None) -> Bright:
    return Bright(kill)
