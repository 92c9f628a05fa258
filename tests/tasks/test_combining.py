"""Photographs and fakes become one data set: split by group, saved alike, audited."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture, run_inside

from detector import tasks
from detector.dataset.manifest import COLUMNS, read_manifest
from detector.errors import ManifestError
from detector.files import sha256
from detector.pictures.images import decode_picture, encode
from detector.types import Label


def write_set(folder: Path, label: Label, n: int = 24, *, size: int, format: str, people: int = 12) -> Path:
    """Write a manifest of n pictures of some people, all of one split, and return its path."""
    rows = []
    for i in range(n):
        path = folder / f"{i:03d}.{format.lower()}"
        data = encode(draw_picture(100 * label + i, size=size), format)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        made = "drawn" if label == Label.FAKE else ""
        rows.append(
            (path.name, sha256(data), int(label), made, folder.name, f"{folder.name}/{i % people}", "test", "-")
        )
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture
def manifests(tmp_path: Path) -> list[Path]:
    return [write_set(tmp_path / "real", Label.REAL, size=96, format="WEBP"),
            write_set(tmp_path / "fake", Label.FAKE, size=64, format="PNG")]  # fmt: skip


def test_groups_stay_whole_and_both_classes_are_saved_alike(manifests: list[Path], tmp_path: Path) -> None:
    table, findings = tasks.combine(manifests, tmp_path / "mixed.csv", audited=False)
    assert findings == []
    assert (table.groupby("group").split.nunique() == 1).all()
    assert set(table.split) == {"train", "val", "test"}
    assert (table.groupby("split").label.nunique() == 2).all()
    again = read_manifest(tmp_path / "mixed.csv")
    assert again.sha256.tolist() == table.sha256.tolist()
    assert {Path(path).parent for path in again.path} == {tmp_path / "mixed"}
    opened = [decode_picture(Path(path).read_bytes()) for path in again.path]
    assert {(picture.width, picture.height) for picture in opened} == {(64, 64)}  # the side of the smaller class
    assert {Path(path).suffix for path in again.path} == {".jpg"}
    assert set(again[again.label == Label.REAL].side) == {96}


def test_a_seed_decides_the_splits(manifests: list[Path], tmp_path: Path) -> None:
    made = [tasks.combine(manifests, tmp_path / name, audited=False, seed=seed)[0].split.tolist()
            for name, seed in (("a.csv", 0), ("b.csv", 0), ("c.csv", 1))]  # fmt: skip
    assert made[0] == made[1]
    assert made[0] != made[2]


@pytest.mark.parametrize("which", [0, 1])
def test_one_class_alone_is_refused(which: int, manifests: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="one label"):
        tasks.combine(manifests[which], tmp_path / "mixed.csv")
    assert not (tmp_path / "mixed.csv").exists()


def test_an_output_without_an_ending_is_refused_before_anything_is_written(
    manifests: list[Path], tmp_path: Path
) -> None:
    """Its pictures would go into a folder of the same name."""
    with pytest.raises(ManifestError, match=r"name .*mixed\.csv"):
        tasks.combine(manifests, tmp_path / "new" / "mixed", size=32)
    assert not (tmp_path / "new").exists()


def test_the_same_bytes_under_two_labels_are_refused(manifests: list[Path], tmp_path: Path) -> None:
    table = pd.read_csv(manifests[1], keep_default_na=False)
    shutil.copy(manifests[0].parent / "000.webp", manifests[1].parent / "copy.webp")
    data = (manifests[1].parent / "copy.webp").read_bytes()
    table.loc[0, ["path", "sha256"]] = ["copy.webp", sha256(data)]
    table.to_csv(manifests[1], index=False)
    with pytest.raises(ManifestError, match="two labels"):
        tasks.combine(manifests, tmp_path / "mixed.csv")


def test_cropping_leaves_out_pictures_without_a_face(manifests: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no face was found"):
        tasks.combine(manifests, tmp_path / "mixed.csv", crop=True)
    for manifest in manifests:
        table = pd.read_csv(manifest, keep_default_na=False)
        table["crop"] = np.where(table.index < 12, "8 8 56 56", "")
        table.to_csv(manifest, index=False)
    table, _ = tasks.combine(manifests, tmp_path / "mixed.csv", crop=True, audited=False)
    assert table.label.value_counts().to_dict() == {0: 12, 1: 12}
    assert set(table.side) == {48}


def test_the_command_reports_left_out_pictures_and_serious_findings(manifests: list[Path], tmp_path: Path) -> None:
    (manifests[0].parent / "003.webp").write_bytes(b"torn")
    done = run_inside("mix", *manifests, "-o", "mixed.csv", "--no-audit", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "47 pictures in mixed.csv" in done.stdout
    assert "mixed/skipped.csv" in done.stderr
    done = run_inside("mix", *manifests, "-o", "mixed.csv", cwd=tmp_path)
    found = dict(re.findall(r"^(\S.*?) {2,}(ok|note|serious) ", done.stdout, re.MULTILINE))
    assert {found[name] for name in ("file format", "picture size", "groups across splits")} == {"ok"}
    assert done.returncode == (1 if "serious" in found.values() else 3)
    done = run_inside("mix", *manifests, "--format", "png", "--quality", "80", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "leave out --quality" in done.stderr
