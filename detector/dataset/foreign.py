"""Read tables and lists of other programs: any encoding and separator, other column names, labels as words.

All tables and lists from outside are read here: manifests, scores of other tools, lists of known pictures, and lists
of paths on standard input.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from detector.errors import DetectorError, ManifestError
from detector.pictures.containers import sniff

TABLES = frozenset({".csv", ".tsv", ".parquet", ".jsonl"})  # file name endings of the tables that can be read
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
SEPARATORS = ",;\t|"
SYNONYMS = {  # our column name -> its names in other programs, in lower case and with _ for all that is no letter
    "path": ("filename", "file_name", "filepath", "file_path", "file", "image", "image_path", "image_name",
             "image_file", "imagename", "img", "img_path", "img_name", "picture", "sourcefile", "source_file"),
    "score": ("prediction", "pred", "probability", "prob", "logit", "fake_probability", "prob_fake", "fake_prob",
              "p_fake", "fake_score", "score_fake"),
    "label": ("class", "target", "ground_truth", "gt", "is_fake"),
    "sha256": ("sha_256", "hash"),
}  # fmt: skip
TEXT = ("path", "sha256", "label", "generator", "dataset", "group", "split", "licence", "detector", "phash", "crop")
WORDS = {
    **dict.fromkeys(("real", "reals", "authentic", "original", "genuine", "photo", "photograph", "bonafide",
                     "bona fide", "pristine", "human"), 0),
    **dict.fromkeys(("fake", "fakes", "synthetic", "generated", "manipulated", "deepfake", "ai", "spoof", "forged",
                     "tampered", "ai-generated", "aigc"), 1),
}  # fmt: skip
TRUTH = {"true": 1, "yes": 1, "false": 0, "no": 0}
SPLIT_NAMES = {  # name of a split in other programs -> ours
    **dict.fromkeys(("train", "training"), "train"), **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}  # fmt: skip


def read_table(path: Path | str, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return a CSV, JSONL or Parquet table whose columns have our names.

    columns: our name -> the column's name in the table. Other known names (SYNONYMS) are recognised if ours is missing.
    Cells may also be separated by semicolons or tabs; a byte order mark, UTF-16 and Windows-1252 are recognised. Scores
    may have a decimal comma or a percent sign (87 % is 0.87).

    Raises ManifestError if the file is missing or is no such table, if it lacks one of `columns`, if two of its columns
    could be meant or have the same name, or if only some of its scores have a percent sign.
    """
    return read_tables([path], columns or {})[0]


def read_tables(paths: Sequence[Path | str], columns: Mapping[str, str]) -> list[pd.DataFrame]:
    """Return tables as `read_table` does; each of `columns` must be in at least one of them."""
    tables = [_load(Path(path)) for path in paths]
    for theirs in columns.values():
        if tables and not any(theirs in table for table in tables):
            there = "; ".join(f"{Path(p).name} has {', '.join(t.columns)}" for p, t in zip(paths, tables, strict=True))
            raise ManifestError(f"there is no column {theirs!r}, which --column names: {there}")
    names = [Path(path).name for path in paths]
    return [_read_scores(_rename(t, name, columns), name) for name, t in zip(names, tables, strict=True)]


def read_columns(words: Iterable[str]) -> dict[str, str]:
    """Return a dict from our column name to theirs, of arguments such as path=file; DetectorError for any other form.

    >>> read_columns(["path=file", "label=what it is"])
    {'path': 'file', 'label': 'what it is'}
    """
    columns: dict[str, str] = {}
    for word in words:
        ours, equals, theirs = word.partition("=")
        if not (ours and equals and theirs) or ours in columns:
            raise DetectorError(f"a column is named once, as NAME=COLUMN, such as path=filename, not {word!r}")
        columns[ours] = theirs
    return columns


def find_paths(table: pd.DataFrame, root: Path) -> list[str]:
    """Return the absolute path of each row of a table that lies in the folder `root`."""
    return [os.path.join(root, str(path)) for path in table.path]


def read_labels(labels: pd.Series) -> pd.Series:
    """Return labels as 0 (real) and 1 (fake), from numbers or words; ManifestError names the first unknown label.

    An empty label stays empty (NaN), and any other whole number stays as it is.
    """
    words = labels.astype(str).str.strip().str.lower().where(labels.notna(), "")
    numbers = pd.to_numeric(words.map(lambda word: WORDS.get(word, word)), errors="coerce")
    unknown = labels[(words != "") & (numbers.isna() | (numbers % 1 != 0))]
    if len(unknown):
        raise ManifestError(
            f"row {unknown.index[0]}: the label {str(unknown.iloc[0])!r} is neither real (0) nor fake (1); write one "
            "of these, or name the column of labels with --column label=..."
        )
    return numbers if numbers.isna().any() else numbers.astype(int)


def read_list(data: bytes) -> list[str]:
    r"""Return the names in a list, one per line or separated by NUL, in UTF-8, UTF-16 or as plain bytes.

    Raises DetectorError if the bytes are a picture.

    >>> read_list(b"a.jpg\0b\nc.jpg\0")
    ['a.jpg', 'b\nc.jpg']
    """
    if kind := find_format(data[:64]):
        raise DetectorError(
            f"standard input holds a {kind} file, and - takes a list of names; say --stdin instead of -"
        )
    encoding = _find_encoding(data)
    if encoding is not None and encoding != "utf-8-sig":
        data = data.decode(encoding, "replace").encode("utf-8", "surrogateescape")
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\0" in data:
        return [os.fsdecode(name) for name in data.split(b"\0") if name]
    return [os.fsdecode(name) for line in data.split(b"\n") if (name := line.rstrip(b"\r"))]


def find_format(head: bytes) -> str:
    """Return the format of a picture by its first bytes; empty for anything else, also for text that begins with BM."""
    kind = sniff(head)
    return "" if kind == "BMP" and head[6:10] != bytes(4) else kind


def read_text(path: Path) -> str:
    """Return the text of a file, decoded as UTF-8 or UTF-16, or as Windows-1252 if it is neither."""
    data = path.read_bytes()
    try:
        return data.decode(_find_encoding(data) or "utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _find_encoding(data: bytes) -> str | None:
    """Return the encoding shown by a byte order mark, or by where NUL bytes lie; None if there are neither."""
    for mark, encoding in BOMS.items():
        if data.startswith(mark):
            return encoding
    head = data[:4096]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) > 0.6 * (len(head) // 2) and min(even, odd) == 0:
        return "utf-16-le" if odd else "utf-16-be"
    return None


def _read_scores(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the table with numbers in place of scores that are text; what is no number stays as it is."""
    if "score" not in table or pd.api.types.is_numeric_dtype(table.score):
        return table
    texts = table.score.astype(str).str.strip().str.replace("\N{MINUS SIGN}", "-")
    percent, given = texts.str.endswith("%"), table.score.notna() & (texts != "")
    if percent.any() and not percent[given].all():
        plain = texts[given & ~percent]
        what = f"that of row {plain.index[0]} ({plain.iloc[0]}) has none"
        raise ManifestError(f"{name}: some scores have a percent sign, and {what}")
    texts = texts.str.rstrip("%").str.rstrip()
    if not texts.str.contains(".", regex=False).any():
        texts = texts.str.replace(r"^([+-]?\d+),(\d+)$", r"\1.\2", regex=True)
    numbers = pd.to_numeric(texts, errors="coerce") / (100 if percent.any() else 1)
    return table.assign(score=numbers.astype(object).where(numbers.notna(), table.score).infer_objects())


def _load(path: Path) -> pd.DataFrame:
    """Return a table with its own column names."""
    if not path.is_file():
        raise ManifestError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\3\4":
                raise ValueError("it is a spreadsheet or another ZIP file; save it as CSV")
        if path.suffix.lower() == ".parquet":
            return _make_plain(pd.read_parquet(path).rename(columns=str))
        text = read_text(path)
        return _parse_lines(text) if path.suffix.lower() == ".jsonl" else _parse_cells(text)
    except (ValueError, OSError, KeyError, csv.Error, pd.errors.ParserWarning) as error:
        raise ManifestError(f"{path.name} is not a table: {' '.join(str(error).split())[:120]}") from None


def _make_plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without pandas' own types and nested values: missing numbers are NaN, lists and the like text."""
    kinds: dict[str, Any] = {}
    for name, kind in table.dtypes.items():
        if isinstance(kind, pd.CategoricalDtype | pd.BooleanDtype):
            kinds[str(name)] = object
        elif pd.api.types.is_numeric_dtype(kind) and pd.api.types.is_extension_array_dtype(kind):
            kinds[str(name)] = float
        elif pd.api.types.is_object_dtype(kind) and table[name].map(pd.api.types.is_list_like).any():
            kinds[str(name)] = str
    return table.astype(kinds)


def _parse_lines(text: str) -> pd.DataFrame:
    rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line holds no JSON object")
    return _make_plain(pd.DataFrame(rows).rename(columns=str))


def _parse_cells(text: str) -> pd.DataFrame:
    """Return a table of separated cells; the separator is the one that splits the first line into most cells."""
    if "\0" in text:
        raise ValueError("it holds NUL characters")
    text = text if "\n" in text else text.replace("\r", "\n")  # as spreadsheets on old Macintoshes write lines
    text = _skip_comments(re.sub(r"\Asep=.\r?\n", "", text))  # the first line is for spreadsheets
    if text.lstrip()[:1] in ("[", "{"):
        raise ValueError("it is JSON; write one object for each line to a file that ends with .jsonl")
    head = text.lstrip("\r\n").partition("\n")[0]
    split = {mark: next(csv.reader([head], delimiter=mark), []) for mark in SEPARATORS}
    separator = max(SEPARATORS, key=lambda mark: len(split[mark]))
    names = split[separator]
    if len(names) == 1:  # a table of one column, in whose cells a comma separates nothing
        cells = [",".join(row) for row in csv.reader(io.StringIO(text.lstrip("\r\n"), newline="")) if row]
        return pd.DataFrame({names[0].strip(): cells[1:]})
    times = Counter(map(_ours, map(str.strip, names)))
    for known in (*TEXT, "score"):
        if times[known] > 1 and len({name.strip() for name in names if _ours(name) == known}) < times[known]:
            raise ValueError(f"two of its columns have the same name and could be the {known}; remove one")
    text_columns = {name: str for name in names if _ours(name) in TEXT}
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row has more cells than the header
        table = pd.read_csv(
            io.StringIO(text), sep=separator, keep_default_na=False, index_col=False, low_memory=False,
            na_values={name: ["", "nan"] for name in names if name.strip() in ("score", "probability")},
            decimal="," if separator == ";" else ".", dtype=text_columns,
        )  # fmt: skip
    if any(name != name.strip() for name in names):  # cells are padded as the names are
        for name in table.columns[[pd.api.types.is_string_dtype(kind) for kind in table.dtypes]]:
            table[name] = table[name].str.strip()
    return _drop_blank(table.rename(columns=str.strip))


def _skip_comments(text: str) -> str:
    """Return the text without its first lines that begin with #; such a line with a known column name is the header."""
    while text.startswith("#"):
        line, _, rest = text[1:].partition("\n")
        if {_ours(cell) for cell in re.split(f"[{SEPARATORS}]", line)} & {"path", "sha256", "score", "label"}:
            return text[1:].lstrip()
        text = rest
    return text


def _drop_blank(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table without the rows in which nothing stands, as spreadsheets write them below a table."""
    rows = table
    for i in range(table.shape[1]):
        cells = rows.iloc[:, i]
        rows = rows[cells.isna() | (cells.astype(str).str.strip() == "")]
    return table.drop(index=rows.index)


def _ours(name: str) -> str:
    """Return our name for a column of another table, or its own name if we have none."""
    small = _plain(name)
    return next((ours for ours, others in SYNONYMS.items() if small in others), small)


def _plain(name: str) -> str:
    """Return a column's name in lower case, with _ for all that is no letter."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def _rename(table: pd.DataFrame, name: str, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the table with our column names. name: of its file, for the error message."""
    for ours, theirs in columns.items():
        if theirs in table and ours != theirs:
            table = table.drop(columns=ours, errors="ignore").rename(columns={theirs: ours})
    for ours in SYNONYMS:
        meant = [column for column in table.columns if _ours(column) == ours]
        if ours in table or not meant:
            continue
        if len(meant) > 1:
            raise ManifestError(
                f"{name} has no column {ours!r}, and {' or '.join(meant)} could be meant: say --column {ours}=..."
            )
        if _plain(meant[0]) == "is_fake":  # then true means fake, and in a column of another name it is not known
            words = table[meant[0]].astype(str).str.strip().str.lower().map(TRUTH)
            table = table.assign(**{meant[0]: words.where(words.notna(), table[meant[0]])})
        table = table.rename(columns={meant[0]: ours})
    return table
