"""Frames of a video: their times, the limits, and hostile files, which end in one error."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from clips import count_up, write_clip

from detector.errors import DamagedImage, ImageError, ImageTooLarge, TooCostly, UnsupportedFormat
from detector.pictures import sandbox, video
from detector.pictures.video import Frame, digest_video, find_container, read_frames, sniff_video

pytest.importorskip("av", reason="the extra video is not installed")
from detector.pictures import frames


def sample(path: Path, count: int = 4) -> list[Frame]:
    _, stamp = digest_video(str(path))
    return list(read_frames(str(path), stamp, count))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "a.mp4", count_up(40))


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "avi"])
def test_frames_lie_in_the_middles_of_equal_parts(container: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.bin", count_up(40), container=container)
    found = sample(path)
    assert [round(frame.time, 2) for frame in found] == [0.5, 1.5, 2.5, 3.5]
    assert [round(frame.image.mean() / 4) for frame in found] == [5, 15, 25, 35]
    assert found[0].image.shape == (64, 80, 3)


def test_a_video_of_few_frames_gives_each_once(tmp_path: Path) -> None:
    assert [round(f.image.mean() / 4) for f in sample(write_clip(tmp_path / "a.mp4", count_up(3)), 16)] == [0, 1, 2]


def test_a_turned_video_is_upright(clip: Path, tmp_path: Path) -> None:
    one, fixed = 1 << 16, 1 << 30
    matrix = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, fixed)
    quarter = struct.pack(">9i", 0, one, 0, -one, 0, 0, 64 * one, 0, fixed)  # clockwise, as telephones write it
    data = clip.read_bytes()
    at = data.index(matrix, data.index(b"tkhd"))
    (tmp_path / "t.mp4").write_bytes(data[:at] + quarter + data[at + 36 :])
    left_bright = [np.repeat(np.linspace(0, 200, 80).astype(np.uint8)[None, ::-1, None], 64, 0).repeat(3, 2)] * 4
    assert sample(tmp_path / "t.mp4")[0].image.shape == (80, 64, 3)
    plain = write_clip(tmp_path / "p.mp4", left_bright).read_bytes()
    at = plain.index(matrix, plain.index(b"tkhd"))
    (tmp_path / "p.mp4").write_bytes(plain[:at] + quarter + plain[at + 36 :])
    image = sample(tmp_path / "p.mp4", 1)[0].image
    assert image[:20].mean() > 150 > 50 > image[-20:].mean()  # the left side is on top after a clockwise turn


def test_containers_are_recognised_by_their_bytes() -> None:
    assert sniff_video(b"\0\0\0\x18ftypisom") == "mov"
    assert sniff_video(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == ""
    assert sniff_video(b"\x1a\x45\xdf\xa3") == "matroska"
    assert sniff_video(b"RIFF\0\0\0\0AVI LIST") == "avi"
    assert [
        sniff_video(head) for head in (b"", b"#EXTM3U\nhttp://x/", b"RIFF\0\0\0\0WEBPVP8 ", b"ffconcat version 1.0")
    ] == [""] * 4


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    assert find_container(str(tmp_path / "a.mp4")) == ""
    assert find_container(str(tmp_path)) == ""
    assert find_container("a\0b.mp4") == ""


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_truncated_videos_are_damaged(container: str, share: float, tmp_path: Path) -> None:
    data = write_clip(tmp_path / "a.bin", count_up(40), container=container).read_bytes()
    (tmp_path / "a.bin").write_bytes(data[: max(int(len(data) * share), 16)])
    with pytest.raises(DamagedImage):
        sample(tmp_path / "a.bin")


def test_random_bytes_after_any_header_are_an_error(clip: Path, tmp_path: Path) -> None:
    rng, data = np.random.default_rng(0), clip.read_bytes()
    for i, head in enumerate((data[:64], b"\x1a\x45\xdf\xa3\x84", b"RIFF\xff\xff\0\0AVI LIST", data[:2000])):
        path = tmp_path / f"{i}.mp4"
        path.write_bytes(head + rng.bytes(20_000))
        with pytest.raises(ImageError):
            sample(path)


def test_damage_at_any_position_is_an_error_or_harmless(clip: Path, tmp_path: Path) -> None:
    rng, data = np.random.default_rng(1), np.frombuffer(clip.read_bytes(), np.uint8)
    for _ in range(12):
        torn = data.copy()
        torn[rng.integers(16, len(torn), 40)] = rng.integers(0, 256, 40)
        (tmp_path / "a.mp4").write_bytes(torn.tobytes())
        with suppress(ImageError):
            assert len(sample(tmp_path / "a.mp4")) <= 4


def test_frames_that_are_too_large_are_refused(tmp_path: Path) -> None:
    large = write_clip(tmp_path / "b.mp4", [np.zeros((2400, 4000, 3), np.uint8)])
    with pytest.raises(ImageTooLarge, match="frames of 4000 x 2400 pixels"):
        sample(large)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("MAX_PACKETS", 39, "more than 39 frames"),
        ("MAX_DURATION", 1, "hours long"),
        ("CODECS", frozenset({"h264"}), "codec mpeg4 are not decoded"),
    ],
)
def test_limits_of_size_and_length_are_enforced(
    name: str, value: object, why: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, name, value)
    _, stamp = digest_video(str(clip))
    with pytest.raises(ImageError, match=why):
        list(frames.sample(b"", path=str(clip), stamp=stamp, kind="mov", count=4))


def test_a_video_that_takes_too_much_memory_is_stopped(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = write_clip(clip.with_name("large.mp4"), [np.zeros((2000, 3000, 3), np.uint8)])
    monkeypatch.setattr(sandbox, "MEMORY", 2**24)
    with pytest.raises(TooCostly, match="memory"):
        sample(large)


def test_limits_of_time_and_of_the_file(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, stamp = digest_video(str(clip))
    assert len(digest) == 64
    with pytest.raises(DamagedImage, match="the file changed"):
        list(read_frames(str(clip), [stamp[0] + 1, *stamp[1:]], 4))
    monkeypatch.setattr(video, "MAX_BYTES", 100)
    with pytest.raises(ImageTooLarge, match="cap for a video is 100"):
        digest_video(str(clip))


def test_the_extra_is_named_where_it_is_missing(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedFormat, match=r"it is a video; install the extra `video`"):
        sample(clip)


def test_a_plan_that_costs_too_much_takes_keyframes() -> None:
    times, keys = np.arange(1000), np.arange(0, 1000, 100)
    exact = frames.plan(times, keys, 4, 10_000)
    assert [step.stamp for step in exact] == [125, 375, 625, 875]
    assert [step.key for step in exact] == [100, 300, 600, 800]
    assert [step.stamp for step in frames.plan(times, keys, 4, 100)] == [100, 400, 600, 900]
    assert [step.stamp for step in frames.plan(times, np.array([0]), 4, 100)] == [0]
    shuffled = np.array([0, 3, 1, 2, 6, 4, 5, 9, 7, 8])  # frames that are shown later than they are stored
    assert [step.place for step in frames.plan(shuffled, np.array([0, 4]), 10, 1000)] == np.argsort(shuffled).tolist()
