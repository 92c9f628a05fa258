"""Tables and lists of other tools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture
from hypothesis import given
from hypothesis import strategies as st

from detector.dataset.foreign import SYNONYMS, read_columns, read_labels, read_list, read_table, read_tables
from detector.dataset.manifest import read_manifest
from detector.errors import DetectorError, ManifestError
from detector.pictures.images import encode

TABLE = "path,score,label\nMüller, Ä.jpg,0.5,real\nb.jpg,-1.25,fake\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_tables_of_spreadsheets_are_read(encoding: str, separator: str, newline: str, tmp_path: Path) -> None:
    rows = [("path", "score", "label"), ("Müller.jpg", "0.5", "real"), ("b.jpg", "-1.25", "fake")]
    text = newline.join(separator.join(row) for row in rows) + newline
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    table = read_table(tmp_path / "t.csv")
    assert table.path.tolist() == ["Müller.jpg", "b.jpg"]
    assert pd.to_numeric(table.score).tolist() == [0.5, -1.25]
    assert read_labels(table.label).tolist() == [0, 1]


def test_decimal_commas_beside_semicolons_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path;score\na.jpg;0,75\nb.jpg;-2\n")
    assert read_table(tmp_path / "t.csv").score.tolist() == [0.75, -2.0]


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("path\tscore\na\t0,75\nb\t-2\n", [0.75, -2]),
        ('path,score\na,"0,75"\nb,"-2,5"\n', [0.75, -2.5]),
        ("path,score\na,87.5%\nb,2 %\n", [0.875, 0.02]),
        ("path;prob\na;87,5%\nb;2 %\n", [0.875, 0.02]),
        ("path,score\na,\u22120.5\nb,1\n", [-0.5, 1]),
        ("path,score\ra,0.5\rb,1\r", [0.5, 1]),
        ("sep=;\r\npath;score\r\na;0,5\r\nb;1\r\n", [0.5, 1]),
        ("path,score\na,3 %\nb,\n", [0.03, None]),
        ("Image Name;Fake Score (%)\na;87,5%\n", [0.875]),
        ("path,score,\na,1,\n,,\n , ,\n", [1]),
        ("# by a tool\n# on Monday\npath,score\na,1\n", [1]),
        ("# by a tool\n#path,score\n#a,1\nb,2\n", [1, 2]),
    ],
)
def test_scores_as_people_and_spreadsheets_write_them(text: str, scores: list[float | None], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    read = read_table(tmp_path / "t.csv").score
    assert [None if pd.isna(score) else float(score) for score in read] == scores


def test_cells_that_are_padded_as_their_names_are(tmp_path: Path) -> None:
    (tmp_path / "padded.csv").write_text("path , score\na.jpg , 0.5 \nb c.jpg , 2\n")
    assert read_table(tmp_path / "padded.csv").to_numpy().tolist() == [["a.jpg", 0.5], ["b c.jpg", 2]]
    (tmp_path / "plain.csv").write_text("path,score\n a.jpg,0.5\n")
    assert read_table(tmp_path / "plain.csv").path.tolist() == [" a.jpg"], "a file may have such a name"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,score\na,87%\nb,0.02\n", "some scores have a percent sign, and that of row 1 (0.02) has none"),
        ("path,score,score\na,1,-1\n", "two of its columns have the same name and could be the score"),
        ("path , path,score\na,b,1\n", "two of its columns have the same name and could be the path"),
        ('[{"path": "a", "score": 1}]', "it is JSON"),
        ("PK\3\4", "save it as CSV"),
    ],
)
def test_what_has_two_meanings_or_is_another_kind_of_file_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ManifestError) as error:
        read_table(tmp_path / "t.csv")
    assert words in str(error.value)


def test_scores_that_are_no_numbers_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('path,score\na,"1,234.5"\nb,n/a\nc,1/2\nd,2.5\n')
    assert read_table(tmp_path / "t.csv").score.tolist() == ["1,234.5", "n/a", "1/2", 2.5]


@pytest.mark.parametrize(("ours", "theirs"), [(o, t) for o, others in SYNONYMS.items() for t in others])
def test_names_of_columns_are_recognised(ours: str, theirs: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{theirs.replace('_', ' ').title()},other\n1,2\n")
    assert ours in read_table(tmp_path / "t.csv")


def test_our_name_has_priority_and_ambiguous_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("path,filename,score,probability\na.jpg,x.jpg,2,0.9\n")
    assert read_table(tmp_path / "own.csv").loc[0].tolist() == ["a.jpg", "x.jpg", 2, 0.9]
    (tmp_path / "two.csv").write_text("image,filename\na.jpg,b.jpg\n")
    with pytest.raises(ManifestError, match=r"image or filename could be meant: say --column path=\.\.\."):
        read_table(tmp_path / "two.csv")
    assert read_table(tmp_path / "two.csv", {"path": "image"}).path.tolist() == ["a.jpg"]


def test_columns_are_named_for_all_tables_together(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("Datei,Klasse\na.jpg,real\n")
    (tmp_path / "s.csv").write_text("Datei,Wert\na.jpg,3\n")
    columns = {"path": "Datei", "label": "Klasse", "score": "Wert"}
    manifest, scores = read_tables([tmp_path / "m.csv", tmp_path / "s.csv"], columns)
    assert (list(manifest), list(scores)) == (["path", "label"], ["path", "score"])
    with pytest.raises(ManifestError, match="no column 'Bild'"):
        read_tables([tmp_path / "m.csv"], {"path": "Bild"})


@pytest.mark.parametrize("word", ["path", "=x", "path="])
def test_a_column_option_has_two_names(word: str) -> None:
    with pytest.raises(DetectorError, match="NAME=COLUMN"):
        read_columns([word])
    with pytest.raises(DetectorError, match="once"):
        read_columns(["path=a", "path=b"])


def test_names_of_files_are_always_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,group,sha256\n0001,007,00\nNA,null,1e5\n")
    table = read_table(tmp_path / "t.csv")
    assert table.to_numpy().tolist() == [["0001", "007", "00"], ["NA", "null", "1e5"]]


def test_a_list_under_a_title_keeps_its_commas_and_quotes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('path\na, b.jpg\n"c;d.jpg"\n\nnull\n')
    assert read_table(tmp_path / "t.csv").path.tolist() == ["a, b.jpg", "c;d.jpg", "null"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("t.csv", "path,label\na.jpg,0,more\n"), ("t.csv", "pa\0th\n"), ("t.jsonl", "[1]\n"), ("t.jsonl", "{\n"),
     ("t.parquet", "PAR1"), ("t.csv", "")],
)  # fmt: skip
def test_a_file_that_is_not_a_table_is_one_sentence_with_its_name(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=rf"^{name} is not a table: [^\n]+$"):
        read_table(tmp_path / name)


def test_lines_of_json_are_read(tmp_path: Path) -> None:
    rows = [{"file_name": "a\u2028.jpg", "score": 0.1}, {"file_name": "007", "score": None}]
    (tmp_path / "t.jsonl").write_bytes(
        b"\xef\xbb\xbf" + "\n".join(json.dumps(r, ensure_ascii=False) for r in rows).encode()
    )
    table = read_table(tmp_path / "t.jsonl")
    assert table.path.tolist() == ["a\u2028.jpg", "007"]
    assert table.score.isna().tolist() == [False, True]


def test_labels_are_numbers_or_text() -> None:
    words = pd.Series(["Real", " fake ", "0", "1.0", "synthetic", "authentic"])
    assert read_labels(words).tolist() == [0, 1, 0, 1, 1, 0]
    assert read_labels(pd.Series([0, 1])).tolist() == [0, 1]
    assert read_labels(pd.Series([2])).tolist() == [2]  # for whoever reads the table to refuse
    assert np.isnan(read_labels(pd.Series(["", "1"])).iloc[0])


def test_truth_is_a_label_only_if_the_column_says_of_what(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,Is Fake\na,TRUE\nb,no\nc,1\n")
    assert read_labels(read_table(tmp_path / "t.csv").label).tolist() == [1, 0, 1]
    (tmp_path / "t.csv").write_text("path,label\na,TRUE\n")
    with pytest.raises(ManifestError, match="'TRUE' is neither"):
        read_labels(read_table(tmp_path / "t.csv").label)


@pytest.mark.parametrize("label", ["true", "perhaps", "0.5", "nan"])
def test_a_label_that_is_neither_is_named(label: str) -> None:
    with pytest.raises(ManifestError, match=f"row 1: the label '{label}'"):
        read_labels(pd.Series(["real", label]))


def test_a_manifest_with_splits_and_generators_as_others_write_them(tmp_path: Path) -> None:
    rows = "a.png,real,Real,Test\nb.png,spoof,gan,validation\nc.png,human,,Training\n"
    (tmp_path / "m.csv").write_text(f"path,label,generator,split\n{rows}")
    table = read_manifest(tmp_path / "m.csv")
    assert (table.generator.tolist(), table.split.tolist()) == (["", "gan", ""], ["test", "val", "train"])


def test_a_manifest_of_another_tool(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(encode(draw_picture(ord(name[0]), size=16)))
    (tmp_path / "m.csv").write_bytes("Filename;Class\r\na.png;real\r\nb.png;fake\r\ngone.png;fake\r\n".encode("utf-16"))
    table = read_manifest(tmp_path / "m.csv")
    assert table.label.tolist() == [0, 1, 1]
    assert table.generator.tolist() == ["", "unknown", "unknown"]
    assert table.sha256.str.len().tolist() == [64, 64, 64]


@given(st.lists(st.binary(min_size=3, max_size=30).filter(lambda n: not {0, 10, 13} & set(n)), min_size=1, max_size=5))
def test_names_of_any_bytes_come_out_of_a_list(names: list[bytes]) -> None:
    import os

    names = [b"./" + name for name in names]
    for separator in (b"\0", b"\n", b"\r\n"):
        for end in (b"", separator):
            assert [os.fsencode(n) for n in read_list(separator.join(names) + end)] == names


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_lists_of_other_systems_are_read(encoding: str) -> None:
    assert read_list("ä.jpg\r\nb.jpg\r\n".encode(encoding)) == ["ä.jpg", "b.jpg"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_picture_in_place_of_a_list_names_the_option(kind: str) -> None:
    with pytest.raises(DetectorError, match="--stdin"):
        read_list(encode(draw_picture(0), kind))


def test_a_list_that_begins_with_the_letters_of_a_bitmap_is_a_list() -> None:
    assert read_list(b"BMW.jpg\nBMX.jpg\n") == ["BMW.jpg", "BMX.jpg"]


def test_a_parquet_file_with_types_of_pandas_is_a_manifest_as_any_other(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["a.png", "b.png", "c.png"], "label": [0, 1, 1], "generator": ["", "x", "x"],
                          "split": "test", "group": ["1", "2", "3"], "age": [1, None, 3]})  # fmt: skip
    kinds = {name: "category" for name in ("label", "generator", "split", "group")}
    table.astype({**kinds, "age": "Int64"}).assign(known=pd.array([True, None, False], "boolean")).to_parquet(
        tmp_path / "m.parquet"
    )
    read = read_manifest(tmp_path / "m.parquet")
    assert read.label.tolist() == [0, 1, 1]
    assert read.generator.tolist() == ["", "x", "x"]
    assert read.age.isna().tolist() == [False, True, False]
    assert read.known.fillna("").tolist() == [True, "", False]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_nested_values_become_text(ending: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["a.png", "b.png"], "label": [0, 1], "box": [[1, 2], [3, 4]]})
    where = tmp_path / f"m.{ending}"
    if ending == "parquet":
        table.to_parquet(where)
    else:
        table.to_json(where, orient="records", lines=True)
    read = read_manifest(where)
    assert read.box.nunique() == 2
    assert all(isinstance(box, str) for box in read.box)
