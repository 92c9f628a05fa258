"""Layouts of the data sets of other tools."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import crafted
import pytest
from conftest import draw_picture

from detector.dataset.layouts import LAYOUTS, read_layout
from detector.errors import ManifestError, UnknownName
from detector.pictures.images import encode


def put(path: Path, seed: int) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = encode(draw_picture(seed, size=16))
    path.write_bytes(data)
    return data


def test_cnndetection_tree(tmp_path: Path) -> None:
    for i in range(3):
        put(tmp_path / "progan/0_real" / f"{i}.png", i)
        put(tmp_path / "progan/1_fake" / f"{i}.png", 10 + i)
    table = read_layout(tmp_path, "folders", copies=tmp_path)
    assert table.label.value_counts().to_dict() == {0: 3, 1: 3}
    assert set(table.generator) == {"", "progan"}


def test_image_folder_keeps_its_splits(tmp_path: Path) -> None:
    for i, name in enumerate(["train/real/a", "train/biggan/b", "val/real/c", "test/biggan/d"]):
        put(tmp_path / f"{name}.png", i)
    table = read_layout(tmp_path, "folders", copies=tmp_path).set_index("generator")
    assert sorted(table.split) == ["test", "train", "train", "val"]
    assert table.loc["biggan"].split.tolist() == ["test", "train"]


def test_hugging_face_metadata(tmp_path: Path) -> None:
    lines = []
    for i in range(6):
        put(tmp_path / f"{i}.png", i)
        lines.append({"file_name": f"{i}.png", "label": "real" if i % 2 else 1, "generator": "" if i % 2 else "sdxl"})
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    table = read_layout(tmp_path, "jsonl", copies=tmp_path)
    assert table.generator.value_counts().to_dict() == {"": 3, "sdxl": 3}
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "0.png"}')
    with pytest.raises(ManifestError, match="line 1: not a JSON object with file_name and label"):
        read_layout(tmp_path, "jsonl", copies=tmp_path)


def test_deepfakebench(tmp_path: Path) -> None:
    frames = {}
    for i, (label, split, video) in enumerate(
        [("FF-real", "train", "000"), ("FF-real", "test", "001"), ("FF-DF", "train", "002"), ("FF-DF", "test", "003")]
    ):
        names = [f"frames/{video}/{k}.png" for k in range(2)]
        for k, name in enumerate(names):
            put(tmp_path / name, 10 * i + k)
        frames.setdefault(label, {}).setdefault(split, {}).setdefault("c23", {})[video] = {
            "label": label,
            "frames": names,
        }
    (tmp_path / "ff.json").write_text(json.dumps({"FaceForensics++": frames}))
    table = read_layout(tmp_path / "ff.json", "deepfakebench", copies=tmp_path)
    assert len(table) == 8
    assert table.group.nunique() == 4
    assert set(table.generator) == {"", "FF-DF"}
    assert table.split.value_counts().to_dict() == {"train": 4, "test": 4}


def test_a_table_may_not_point_outside_its_folder(tmp_path: Path) -> None:
    put(tmp_path / "secret.png", 0)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "metadata.jsonl").write_text('{"file_name": "../secret.png", "label": 0}')
    with pytest.raises(ManifestError, match="outside"):
        read_layout(tmp_path / "in", "jsonl", copies=tmp_path)


def test_webdataset_writes_only_into_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        for i in range(4):
            add(f"../../evil{i}.png", encode(draw_picture(i, size=16)))
            add(f"../../evil{i}.cls", b"0" if i % 2 else b"1")
    copies = tmp_path / "a" / "b" / "copies"
    table = read_layout(path, "webdataset", copies=copies)
    assert table.label.value_counts().to_dict() == {0: 2, 1: 2}
    assert {Path(p).parent for p in table.path} == {copies.resolve()}
    assert not list(tmp_path.glob("evil*"))


def test_webdataset_reads_no_member_of_many_bytes(tmp_path: Path) -> None:
    """A few megabytes of tar.gz may hold a member of some gigabytes, or a header of it, which tarfile reads whole."""
    (tmp_path / "picture.tar").write_bytes(crafted.tar_of_one("a.png", 3 * 2**30))
    with pytest.raises(ManifestError, match=r"picture\.tar: a\.png has 3,221,225,472 bytes, more than 104,857,600"):
        read_layout(tmp_path / "picture.tar", "webdataset", copies=tmp_path)
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        header = tarfile.TarInfo("x")
        header.type, header.size = kind, 2**31
        (tmp_path / "header.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))
        with pytest.raises(ManifestError, match="a header in the tar has 2,147,483,648 bytes"):
            read_layout(tmp_path / "header.tar", "webdataset", copies=tmp_path)


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_empty_and_invalid_layouts_are_clear_errors(tmp_path: Path, layout: str) -> None:
    nonsense = tmp_path / "x"
    nonsense.write_bytes(b"\x00\x01nonsense")
    with pytest.raises(ManifestError):
        read_layout(tmp_path if layout == "folders" else nonsense, layout, copies=tmp_path)
    with pytest.raises(UnknownName, match="did you mean 'folders'"):
        read_layout(tmp_path, "folder", copies=tmp_path)
