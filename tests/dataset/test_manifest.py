"""Manifests: columns, splits, layouts of folders, writing and reading."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.dataset.listing import find_pictures
from detector.dataset.manifest import (
    COLUMNS,
    SPLITS,
    assign_splits,
    index_folder,
    merge,
    read_crop,
    read_manifest,
    validate,
    write_manifest,
)
from detector.errors import ManifestError
from detector.files import from_text
from detector.pictures.images import encode
from detector.types import Label


def rows(**changes: object) -> pd.DataFrame:
    table = pd.DataFrame({
        "path": ["a.png", "b.png", "c.png"], "sha256": ["1", "2", "3"], "label": [0, 1, 1],
        "generator": ["", "g", "g"], "dataset": "d", "group": ["x", "y", "z"], "split": ["train", "train", "test"],
        "licence": "ours",
    })  # fmt: skip
    return table.assign(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": [0, 1, 2]}, r"neither 0 .* row 2 \(c.png\)"),
        ({"label": ["real", "1", "1"]}, "not a number"),
        ({"split": ["train", "train", "dev"]}, r"none of train, val, test: row 2"),
        ({"generator": ["", "", "g"]}, r"a fake names no generator: row 1 \(b.png\)"),
        ({"generator": ["g", "g", "g"]}, r"a real picture names a generator: row 0"),
        ({"group": ["", "y", "z"]}, "no group"),
        ({"sha256": ["1", "1", "3"]}, r"same bytes stand under two labels: row 0 \(a.png\), row 1 \(b.png\)"),
        ({"group": ["x", "y", "y"]}, r"a group is in two splits: row 1 \(b.png\), row 2 \(c.png\)"),
    ],
)
def test_contradictions_name_their_rows(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        validate(rows(**changes))


def test_missing_columns_are_named() -> None:
    with pytest.raises(ManifestError, match="lacks the columns group, licence"):
        validate(rows().drop(columns=["group", "licence"]))


def test_further_columns_pass_through_and_order_is_fixed() -> None:
    table = validate(rows(age=[1, 2, 3])[["age", *reversed(COLUMNS)]])
    assert list(table.columns) == [*COLUMNS, "age"]


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_written_paths_are_relative_and_come_back_absolute(tmp_path: Path, name: str) -> None:
    table = rows(path=[str(tmp_path / "p" / n) for n in ("a.png", "b.png", "c, d\n.png")])
    write_manifest(table, tmp_path / "sub" / name)
    again = read_manifest(tmp_path / "sub" / name)
    assert [Path(p).resolve() for p in again.path] == [Path(p).resolve() for p in table.path]
    assert again.drop(columns="path").equals(validate(table).drop(columns="path"))
    moved = tmp_path / "elsewhere"
    (tmp_path / "sub").rename(moved)
    assert Path(read_manifest(moved / name).path[0]).resolve() == (tmp_path / "p" / "a.png").resolve()


def test_missing_columns_of_a_table_are_filled(tmp_path: Path) -> None:
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(encode(draw_picture(i)))
    (tmp_path / "m.csv").write_text("path,label\n0.png,0\n1.png,1\n")
    table = read_manifest(tmp_path / "m.csv")
    assert table.generator.tolist() == ["", "unknown"]
    assert table.split.tolist() == ["test", "test"]
    assert table.group.nunique() == 2


@pytest.mark.parametrize(("text", "message"), [("path\na.png\n", "lacks the column 'label'"), ("", "is not a table")])
def test_other_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match="there is no file"):
        read_manifest(tmp_path / "absent.csv")


@given(st.integers(0, 5), st.integers(3, 60), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_splits_never_share_a_group(seed: int, n: int, per_group: int) -> None:
    label = np.arange(n * per_group) % 2
    table = pd.DataFrame({
        "path": [str(i) for i in range(len(label))], "sha256": [str(i) for i in range(len(label))], "label": label,
        "generator": np.where(label, "g", ""), "dataset": "d",
        "group": [f"{i // per_group}" for i in range(len(label))],
        "split": "train", "licence": "",
    })  # fmt: skip
    split = assign_splits(table, seed=seed)
    assert (split.groupby("group").split.nunique() == 1).all()
    assert split.equals(assign_splits(table, seed=seed))
    validate(split)


def test_each_class_and_generator_keeps_the_fractions() -> None:
    n = 1000
    label = np.arange(n) % 2
    table = rows().iloc[:0].reindex(range(n)).assign(
        path=[str(i) for i in range(n)], sha256=[str(i) for i in range(n)], label=label,
        generator=np.where(label, np.where(np.arange(n) % 4 == 1, "g", "h"), ""), group=[str(i) for i in range(n)],
        dataset="d", split="train", licence="",
    )  # fmt: skip
    split = assign_splits(table, seed=3)
    for _, part in split.groupby("generator"):
        shares = part.split.value_counts(normalize=True)
        assert np.allclose([shares[s] for s in SPLITS], [0.6, 0.15, 0.25], atol=0.01)


def layout(folder: Path, names: list[str]) -> None:
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(draw_picture(i, size=16)))


@pytest.mark.parametrize(
    "names",
    [
        ["real/a/1.png", "real/b/2.png", "fake/g/3.png", "fake/g/4.png"],
        ["g/0_real/1.png", "g/0_real/2.png", "g/1_fake/3.png", "g/1_fake/4.png"],
    ],
)
def test_layouts_give_label_and_generator(tmp_path: Path, names: list[str]) -> None:
    layout(tmp_path, names)
    table = index_folder(tmp_path)
    assert sorted(table.label) == [0, 0, 1, 1]
    assert set(table.generator[table.label == 1]) == {"g"}


def test_unclear_layout_names_the_option(tmp_path: Path) -> None:
    layout(tmp_path, ["1.png"])
    with pytest.raises(ManifestError, match="--label real"):
        index_folder(tmp_path)
    assert index_folder(tmp_path, label=Label.REAL).label.tolist() == [0]


def test_same_bytes_under_two_labels_are_refused(tmp_path: Path) -> None:
    layout(tmp_path, ["real/1.png", "fake/g/2.png"])
    (tmp_path / "fake/g/2.png").write_bytes((tmp_path / "real/1.png").read_bytes())
    with pytest.raises(ManifestError, match="same bytes stand under two labels"):
        index_folder(tmp_path)


def test_groups_by_folder_and_pattern(tmp_path: Path) -> None:
    layout(tmp_path, ["ann/1.png", "ann/2.png", "bob/1.png"])
    assert index_folder(tmp_path, label=Label.REAL, group_by="folder").group.nunique() == 2
    assert index_folder(tmp_path, label=Label.REAL, group_by=r"/(\d)").group.nunique() == 2
    with pytest.raises(ManifestError, match="does not match"):
        index_folder(tmp_path, label=Label.REAL, group_by=r"zed")


def test_a_generator_names_the_fakes_that_no_folder_names_and_is_refused_if_there_are_none(tmp_path: Path) -> None:
    for number, name in enumerate(("real/a.png", "fake/b.png", "fake/style/c.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encode(draw_picture(number)))
    assert set(index_folder(tmp_path, generator="x").generator) == {"", "x", "style"}
    (tmp_path / "fake" / "b.png").unlink()
    with pytest.raises(ManifestError, match="leave out --generator"):
        index_folder(tmp_path, generator="x")


def test_no_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "set.zip").touch()
    with pytest.raises(ManifestError, match=r"set\.zip is not a folder"):
        index_folder(tmp_path / "set.zip")
    with pytest.raises(ManifestError, match="no pictures"):
        index_folder(tmp_path, label=Label.REAL)


def test_hidden_files_are_ignored(tmp_path: Path) -> None:
    layout(tmp_path, ["a.png", ".b.png", ".c/d.png"])
    assert [p.name for p in find_pictures(tmp_path)] == ["a.png"]


@pytest.mark.parametrize("text", ["1 2 3", "a b c d", "10 10 10 10", "5 5 2 2", "0 0 40000 40000"])
def test_crops_that_are_no_boxes_are_refused(text: str) -> None:
    with pytest.raises(ManifestError, match="a crop is"):
        read_crop(text)


def test_merge_validates() -> None:
    with pytest.raises(ManifestError, match="same bytes stand under two labels"):
        merge([rows(), rows(label=[1, 0, 0], generator=["g", "", ""])])


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_names_with_line_ends_and_bytes_that_are_no_text_survive(tmp_path: Path, ending: str) -> None:
    names = [b"a\rb.png", b"c\nd.png", b"e\r\nf.png", b"lat\xe9in.png", b'"g",h.png']
    (tmp_path / "in").mkdir()
    for number, name in enumerate(names):
        with open(os.fsencode(tmp_path / "in") + b"/" + name, "wb") as file:
            file.write(encode(draw_picture(number, size=16)))
    write_manifest(index_folder(tmp_path / "in", label=Label.REAL), tmp_path / f"m.{ending}")
    table = read_manifest(tmp_path / f"m.{ending}")
    assert sorted(os.fsencode(from_text(path)).rpartition(b"/")[2] for path in table.path) == sorted(names)
