"""Decode frames of a video with PyAV (FFmpeg) in the process with limits, which `video` starts.

Only this process imports PyAV. FFmpeg is given the container format, may open no second file and no network
connection, and decodes only the codecs in CODECS. The cost of a video is limited three times: by its header (size of a
frame, duration), by its packets, which are counted before anything is decoded, and by the limits of the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from detector.errors import DamagedImage, ImageError, ImageTooLarge, TooCostly, UnsupportedFormat

CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "msmpeg4v3", "mpeg1video", "mpeg2video",
                    "h263", "mjpeg", "prores", "dvvideo"})  # fmt: skip
MAX_PIXELS = 9_500_000  # largest frame, pixels; a frame of 4096 x 2304 has 9.4 million
MAX_DURATION = 24 * 3600  # longest video, seconds
MAX_PACKETS = 2_000_000  # number of packets of the video stream; nine hours at 60 frames per second
DECODED_PIXELS = 500_000_000  # pixels that may be decoded per returned frame, on average: 240 frames of 1080p
MAX_BOXES = 100_000  # number of outermost boxes of an MP4 file that are read; fragmented files have some per second
TOLERANCE = 1.0  # seconds by which the last decoded frame may be earlier than the last packet says
OPTIONS = {"protocol_whitelist": "none", "codec_whitelist": ",".join(sorted(CODECS)), "max_streams": "64"}


class Step(NamedTuple):
    """How to reach one frame: positions in the file of the frame and of the keyframe before it, and their times."""

    key: int
    place: int
    start: int  # time of the keyframe, in units of the stream
    stamp: int  # time of the frame


def sample(data: bytes, *, path: str, stamp: list[int], kind: str, count: int) -> Iterator[Any]:
    """Yield a dict about the video, then for each sampled frame a dict and its rows as they are stored, RGB bytes.

    data: empty, because the file is read piece by piece. stamp: of the file, from `video.digest_video`. kind: container
    format, as FFmpeg names it. The first dict has found (number of frames that follow) and duration (seconds). The dict
    of a frame has time (seconds from the first frame), width, height, and turns (quarter turns, counter-clockwise, that
    make it upright).

    Raises UnsupportedFormat, ImageTooLarge, TooCostly or DamagedImage.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if [status.st_size, status.st_mtime_ns, status.st_ino] != stamp:
                raise DamagedImage("the file changed while it was read")
            refuse_torn(file, kind, status.st_size)
            with av.open(file, format=kind, options=OPTIONS, metadata_errors="ignore") as container:
                yield from _sample(container, count)
    except ImageError:
        raise
    except MemoryError:
        raise TooCostly("it takes more memory than a video may") from None
    except OSError as error:  # raised for the file, or by FFmpeg
        raise DamagedImage(f"the video is damaged: {(error.strerror or str(error))[:120]}") from None
    except Exception as error:  # PyAV raises many kinds of errors on hostile files; none may escape
        raise DamagedImage(f"the video is damaged: {' '.join(str(error).split())[:120]}") from None


def refuse_torn(file: IO[bytes], kind: str, size: int) -> None:
    """Raise DamagedImage if the outermost parts of a file reach beyond its end; seek back to its start."""
    at = 0
    if kind == "mov":
        for _ in range(MAX_BOXES):
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4])
            length = int.from_bytes(head[8:16]) if length == 1 else length
            if length < 8 or len(head) < 8:
                break
            at += length
    elif kind == "avi":
        at = int.from_bytes(file.read(8)[4:], "little")
        at += 8 if at else 0
    elif kind == "matroska":
        for _ in range(2):  # the header and the segment, which may be of unknown length
            file.seek(at)
            head = file.read(12)
            first = head[4] if len(head) > 4 else 0
            width = 9 - first.bit_length()
            value = int.from_bytes(head[4 : 4 + width]) & ((1 << 7 * width) - 1)
            if not first or value == (1 << 7 * width) - 1:
                break
            at += 4 + width + value
    if at > size:
        raise DamagedImage(f"the file is truncated: it has {size:,} of {at:,} bytes")
    file.seek(0)


def _sample(container: Any, count: int) -> Iterator[Any]:
    stream = container.streams.best("video")
    if stream is None:
        raise UnsupportedFormat("the file holds no moving picture")
    codec = stream.codec_context
    if codec is None or codec.name not in CODECS:
        raise UnsupportedFormat(f"videos of the codec {codec.name if codec else 'unknown'} are not decoded")
    pixels = codec.width * codec.height
    _refuse_large(codec.width, codec.height)
    codec.options = {"max_pixels": str(MAX_PIXELS)}
    codec.thread_count, codec.thread_type = 1, "NONE"
    times, keys = _list_packets(container, stream)
    unit = float(stream.time_base)
    duration = float(times.max() - times.min()) * unit
    if duration > MAX_DURATION:
        raise TooCostly(f"it is {duration / 3600:,.0f} hours long; the cap is {MAX_DURATION // 3600}")
    steps = plan(times, keys, count, count * DECODED_PIXELS // max(pixels, 1))
    yield {"found": len(steps), "duration": duration}
    for step, frame in zip(steps, _decode(container, stream, steps, unit), strict=True):
        yield {"time": (step.stamp - int(times.min())) * unit, "width": frame.width, "height": frame.height,
               "turns": round(frame.rotation / 90) % 4}  # fmt: skip
        yield frame.to_ndarray(format="rgb24").tobytes()


def _refuse_large(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageTooLarge(f"frames of {width} x {height} pixels; the cap is {MAX_PIXELS / 1e6:g} megapixels")


def _list_packets(container: Any, stream: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the time of every packet, in units of the stream and in file order, and the positions of keyframes."""
    times: list[int] = []
    keys: list[int] = []
    for packet in container.demux(stream):
        time = packet.dts if packet.pts is None else packet.pts
        if time is None:  # the empty packet at the end
            continue
        if packet.is_keyframe:
            keys.append(len(times))
        times.append(time)
        if len(times) > MAX_PACKETS:
            raise TooCostly(f"it has more than {MAX_PACKETS:,} frames")
    if not keys:
        raise DamagedImage("the video has no frame from which decoding can start")
    return np.array(times, np.int64), np.array(keys, np.int64)


def plan(times: NDArray[np.int64], keys: NDArray[np.int64], count: int, most: int) -> list[Step]:
    """Return how to reach up to `count` frames, evenly spaced in time: those in the middle of `count` equal parts.

    times: of all packets, in file order. keys: positions of the keyframes among them. most: number of frames that may
    be decoded. If the plan needs more, the nearest keyframes are taken instead, which cost one frame each.
    """
    order = np.argsort(times, kind="stable")
    shown = times[order]
    length = float(shown[-1] - shown[0]) * len(shown) / max(len(shown) - 1, 1)  # with the duration of the last frame
    middles = shown[0] + length * (np.arange(count) + 0.5) / count
    places = order[np.unique(np.searchsorted(shown, middles, "right") - 1)]
    steps = [_step(times, keys, int(place)) for place in places]
    cost, position = 0, -1
    for step in steps:
        cost += step.place - max(step.key - 1, position)
        position = step.place
    if cost > most:
        nearest = keys[np.unique(np.abs(times[keys][None] - middles[:, None]).argmin(1))]
        steps = [Step(int(key), int(key), int(times[key]), int(times[key])) for key in nearest]
    return steps


def _step(times: NDArray[np.int64], keys: NDArray[np.int64], place: int) -> Step:
    """Return how to reach a frame: from the last keyframe that comes before it both in the file and in time."""
    number = max(int(np.searchsorted(keys, place, "right")) - 1, 0)
    while number and times[keys[number]] > times[place]:
        number -= 1
    key = int(keys[number])
    return Step(key, place, int(times[key]), int(times[place]))


def _decode(container: Any, stream: Any, steps: list[Step], unit: float) -> Iterator[Any]:
    """Yield the frame of each step."""
    position, frames = -1, iter(())
    frame = None
    for step in steps:
        if step.key > position:
            container.seek(step.start, stream=stream)
            frames = container.decode(stream)
        position = step.place
        frame = _reach(frames, frame, step.stamp)
        if frame is None or (step.stamp - (frame.pts or step.stamp)) * unit > TOLERANCE:
            raise DamagedImage(f"the video ends before its frame at {step.stamp * unit:.1f} seconds")
        if frame.is_corrupt:
            raise DamagedImage(f"its frame at {step.stamp * unit:.1f} seconds is damaged")
        yield frame


def _reach(frames: Iterator[Any], frame: Any, stamp: int) -> Any:
    """Return the first of the next frames that is shown at this time or later, or else the last frame."""
    for frame in frames:
        _refuse_large(frame.width, frame.height)
        if frame.pts is None or frame.pts >= stamp:
            return frame
    return frame
