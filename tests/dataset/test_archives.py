"""Pictures in a tar are read without unpacking; other members are counted, and none can choose what is read."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from conftest import draw_picture

from detector.dataset.archives import Span, list_archive
from detector.dataset.listing import LeftOut
from detector.errors import DamagedImage, ImageTooLarge, ManifestError
from detector.pictures.images import encode


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def test_each_picture_is_found_where_it_lies(tmp_path: Path) -> None:
    pictures = {f"{i}.png": encode(draw_picture(i)) for i in range(3)}
    others = {"0.cls": b"1", "0.json": b"{}", "alone.txt": b"text", "clip.mp4": b"film", ".hidden.png": b"no"}
    path = write_tar(tmp_path / "a.tar", pictures | others)
    left_out = LeftOut()
    found = list_archive(path, left_out)
    assert {name: span.read() for name, span in found} == {f"{path}/{name}": data for name, data in pictures.items()}
    assert left_out.types == {".txt": 1, ".mp4": 1, ".png": 1}  # the last is the link


def test_a_compressed_tar_and_a_file_that_is_none_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(b"no tar")
    for path in (write_tar(tmp_path / "a.tar", {"0.png": b"x"}, "w:gz"), tmp_path / "b.tar"):
        with pytest.raises(ManifestError, match="not an uncompressed tar"):
            list_archive(path, LeftOut())


def test_a_member_that_is_too_large_or_cut_off_is_an_error_of_that_picture(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abcdef")
    assert Span(str(tmp_path / "a"), 2, 3).read() == b"cde"
    with pytest.raises(ImageTooLarge):
        Span(str(tmp_path / "a"), 2, 3).read(max_bytes=2)
    for size in (0, 5):
        with pytest.raises(DamagedImage):
            Span(str(tmp_path / "a"), 2, size).read()
