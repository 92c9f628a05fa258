"""Small videos for tests, encoded by PyAV: drawn pictures, or embedded faces that move. Skips where it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from detector.pictures.images import resize
from detector.types import Image


def write_clip(path: Path, frames: Sequence[Image], *, container: str = "mp4", rate: int = 10, gop: int = 12) -> Path:
    """Encode frames (H, W, 3), all of one size with even sides, as MPEG-4 part 2."""
    av = pytest.importorskip("av", reason="the extra video is not installed")
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.gop_size, stream.bit_rate = "yuv420p", gop, 2_000_000
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return path


def count_up(n: int, *, side: int = 64) -> list[Image]:
    """Grey frames whose brightness is four times their number."""
    return [np.full((side, side + 16, 3), 4 * i, np.uint8) for i in range(n)]


def move(faces: Sequence[Image], n: int) -> list[Image]:
    """Faces side by side on grey, each 184 x 224 pixels, that move to the right by a pixel a frame."""
    frames = []
    for i in range(n):
        frame = np.full((264, 260 * len(faces), 3), 90, np.uint8)
        for k, face in enumerate(faces):
            frame[20:244, 260 * k + 10 + i : 260 * k + 194 + i] = resize(face, 184, 224)
        frames.append(frame)
    return frames
