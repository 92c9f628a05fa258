"""The pictures that are found in a folder, and the files that are left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import draw_picture

from detector.dataset import listing
from detector.dataset.listing import LeftOut, find_pictures
from detector.dataset.manifest import index_folder
from detector.errors import ManifestError
from detector.pictures.images import encode
from detector.types import Label


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(draw_picture(len(name), size=16)))


def found(folder: Path, left_out: LeftOut | None = None) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_pictures(folder, left_out)]


def test_what_is_left_out_is_counted_by_type(tmp_path: Path) -> None:
    fill(tmp_path, "a.JPG", "b/c.webp", "9f86d081", ".hidden.png", ".git/x.png", "manifest.csv")
    for name, count in ((".svg", 12), (".MP4", 8), (".txt", 1), ("", 1)):
        for i in range(count):
            (tmp_path / f"x{i}{name}").write_text("no picture")
    left_out = LeftOut()
    assert found(tmp_path, left_out) == ["9f86d081", "a.JPG", "b/c.webp"]
    assert left_out.describe().startswith("23 left out: 12 .svg, 8 .mp4, 1 hidden picture, 1 .txt, 1 without ending")
    assert not LeftOut()
    assert LeftOut().describe() == ""


def test_hidden_pictures_are_counted_and_other_hidden_files_are_not(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", ".trashed-1767225600-b.jpg", "._a.jpg", ".thumbnails/c.png", ".noending")
    for name in (".DS_Store", ".a.jpg.tmp", ".nomedia"):
        (tmp_path / name).touch()
    (tmp_path / ".folder.png").mkdir()
    left_out = LeftOut()
    assert found(tmp_path, left_out) == ["a.jpg"]
    assert left_out.types == {"hidden picture": 1}
    (tmp_path / ".trashed-1767225600-b.jpg").unlink()
    assert found(tmp_path, nothing := LeftOut()) == ["a.jpg"]
    assert not nothing


def test_videos_and_heic_are_taken_where_they_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.heic", "b.MP4", "c.webm"):
        (tmp_path / name).touch()
    (tmp_path / "d").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0isommp42")
    monkeypatch.setattr(listing, "can_read_heif", lambda: True)
    assert found(tmp_path) == ["a.heic"]
    assert [path.name for path in find_pictures(tmp_path, videos=True)] == ["a.heic", "b.MP4", "c.webm", "d"]
    monkeypatch.setattr(listing, "can_read_heif", lambda: False)
    left_out = LeftOut()
    assert found(tmp_path, left_out) == []
    assert left_out.types == {".heic": 1, ".mp4": 1, ".webm": 1, "without ending": 1}


def test_unknown_endings_are_escaped_and_long_ones_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "a.\x1b[2K").touch()
    (tmp_path / ("b." + "x" * 200)).touch()
    left_out = LeftOut()
    assert found(tmp_path, left_out) == []
    assert "\x1b" not in left_out.describe()
    assert len(left_out.describe()) < 100


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    fill(tmp_path / "store", "1.png", "deep/2.png")
    fill(tmp_path / "set", "fake/gan/3.png")
    links = {"set/real": "store", "set/again": "set", "set/up": "", "store/back": "store", "store/home": "set",
             "set/fake/self": "set/fake/self", "set/near": "set/fake"}  # fmt: skip
    for link, target in links.items():
        os.symlink(tmp_path / target, tmp_path / link)
    assert found(tmp_path / "set") == ["fake/gan/3.png", "real/1.png", "real/deep/2.png"]


def test_two_links_to_one_folder_are_both_entered(tmp_path: Path) -> None:
    """The same pictures as real and as fake are a contradiction that nobody sees if one of them is passed over."""
    fill(tmp_path / "store", "1.png")
    (tmp_path / "set" / "fake").mkdir(parents=True)
    os.symlink(tmp_path / "store", tmp_path / "set" / "real")
    os.symlink(tmp_path / "store", tmp_path / "set" / "fake" / "gan")
    assert found(tmp_path / "set") == ["fake/gan/1.png", "real/1.png"]
    with pytest.raises(ManifestError, match="two labels"):
        index_folder(tmp_path / "set")


def test_a_pipe_that_is_named_like_a_picture_is_found_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b")
    os.symlink(tmp_path / "gone", tmp_path / "c.png")
    left_out = LeftOut()
    assert found(tmp_path, left_out) == ["a.png", "c.png"]
    assert left_out.types.total() == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser opens every folder")
def test_a_folder_that_cannot_be_opened_is_left_out_and_reported(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "shut/b.png")
    (tmp_path / "shut").chmod(0)
    left_out = LeftOut()
    assert found(tmp_path, left_out) == ["a.png"]
    (tmp_path / "shut").chmod(0o755)
    assert "1 folder that cannot be opened" in left_out.describe()


def test_a_failing_folder_is_left_out_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a.png", "shut/b.png")
    scan = os.scandir

    def fail(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", fail)
    left_out = LeftOut()
    assert found(tmp_path, left_out) == ["a.png"]
    assert "1 folder that cannot be opened" in left_out.describe()


def test_index_names_the_pictures_it_leaves_out(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "b.png")
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    left_out = LeftOut()
    table = index_folder(tmp_path, label=Label.REAL, left_out=left_out)
    assert len(table) == 1  # both hold the same bytes
    assert {Path(p).name for p in left_out.pictures} == {"empty.jpg", "pipe.jpg"}
    assert "empty" in left_out.pictures[str(tmp_path / "empty.jpg")]
    assert "2 unreadable" in left_out.describe()


def test_a_folder_without_pictures_is_an_error_that_lists_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.svg").touch()
    with pytest.raises(ManifestError, match=r"no pictures .*: 1 left out: 1 \.svg"):
        index_folder(tmp_path, label=Label.REAL)


def test_names_that_are_no_text_and_formulas_in_names_of_folders(tmp_path: Path) -> None:
    fill(tmp_path, os.fsdecode(b"set/real/caf\xe9.png"), "set/fake/=HYPERLINK(1)/b.png", "set/real/-c.png")
    table = index_folder(tmp_path / "set")
    assert table.generator.unique().tolist() == ["HYPERLINK(1)", ""]
    assert [Path(p).name for p in table.path] == ["b.png", "-c.png", "caf\\xe9.png"]
