"""The manifest, the table that describes a data set: one row for each picture, CSV or Parquet.

| column | meaning |
|---|---|
| path | in a file: posix, relative to it; in memory: absolute |
| sha256 | identity and join key |
| label | 0 real, 1 fake |
| generator | what made the fake; empty if and only if real |
| dataset | where the picture comes from |
| group | leakage unit: identity, video or seed; never in two splits |
| split | train, val or test |
| licence | licence of the picture |
| crop | optional: "left top right bottom" of the face, pixels; cut before anything else |
| kind | optional: pictures of one kind are comparable (size, codec, framing); evaluations match pairs by it |
| side | optional: of the face before it was resized, pixels; `reencode` keeps it, and training pairs by it |

Further columns pass through. Label, generator and group are columns: nothing is guessed from a path afterwards.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from detector.dataset.foreign import SPLIT_NAMES, WORDS, find_paths, read_labels, read_table
from detector.dataset.listing import LeftOut, find_pictures
from detector.errors import ImageError, ManifestError
from detector.files import FORMULA, as_cell, as_text, replacing, sha256
from detector.pictures.images import read
from detector.types import Label

COLUMNS = ("path", "sha256", "label", "generator", "dataset", "group", "split", "licence")
SPLITS = ("train", "val", "test")
MAX_SIDE = 20_000  # longest side of a crop, pixels
FRACTIONS = (0.6, 0.15, 0.25)  # shares of the groups in train, val and test


def validate(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its columns in order and of their types; ManifestError names contradicting rows."""
    missing = [c for c in COLUMNS if c not in manifest]
    if missing:
        raise ManifestError(f"the manifest lacks the columns {', '.join(missing)}; `detector index` writes them all")
    extra = [c for c in manifest.columns if c not in COLUMNS]
    table = manifest[[*COLUMNS, *extra]].reset_index(drop=True)
    for column in (*COLUMNS, "crop", "kind"):
        if column in table and column != "label":
            table[column] = table[column].fillna("").astype(str)
    table["dataset"] = table.dataset.replace("", "unknown")
    try:
        table["label"] = table["label"].astype(int)
    except (TypeError, ValueError):
        raise ManifestError("a label is not a number; it is 0 (real) or 1 (fake)") from None

    def refuse(rows: pd.Series, fault: str) -> None:
        if rows.any():
            shown = ", ".join(f"row {i} ({table.path[i]})" for i in table.index[rows][:3])
            raise ManifestError(f"{fault}: {shown}{' and others' if rows.sum() > 3 else ''}")

    refuse(~table.label.isin([0, 1]), "a label is neither 0 (real) nor 1 (fake)")
    refuse(~table.split.isin(SPLITS), "a split is none of train, val, test")
    refuse((table.label == Label.FAKE) & (table.generator == ""), "a fake names no generator")
    refuse((table.label == Label.REAL) & (table.generator != ""), "a real picture names a generator")
    refuse(table.group == "", "a picture has no group (identity, video or seed)")
    refuse(table.groupby("sha256").label.transform("nunique") > 1, "the same bytes stand under two labels")
    refuse(table.groupby("group").split.transform("nunique") > 1, "a group is in two splits")
    return table


def read_manifest(path: Path | str, *, check: bool = True, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return a validated manifest, its paths absolute; unchecked, contradictions are left for `audit` to report.

    Only `path` and `label` must be there: other tools' tables lack the rest. A missing hash is computed (of the path,
    where there is no picture to read); a missing generator is "unknown" for fakes, a missing group is the file itself,
    and a missing split is "test". columns: as `foreign.read_table`.
    """
    return complete(read_table(path, columns), Path(path), check=check)


def complete(table: pd.DataFrame, path: Path, *, check: bool = True) -> pd.DataFrame:
    """Return the manifest of a table that was read from `path`; as `read_manifest`."""
    absent = [c for c in ("path", "label") if c not in table]
    if absent:
        raise ManifestError(
            f"{path.name} lacks the column {absent[0]!r}; name it with --column {absent[0]}=..., or let `detector "
            "index` write a manifest"
        )
    table = table.assign(path=find_paths(table, path.resolve().parent), label=read_labels(table.label))
    if "split" in table:
        table["split"] = [SPLIT_NAMES.get(str(split).strip().lower(), split) for split in table.split]
    if "generator" in table:  # some tables repeat the label of real pictures here
        table["generator"] = [
            "" if WORDS.get(str(name).lower()) == label == Label.REAL else name
            for name, label in zip(table.generator, table.label, strict=True)
        ]
    if "sha256" not in table:
        table["sha256"] = [_identify(p) for p in table.path]
    fills: dict[str, Any] = {
        "generator": np.where(table.label == Label.FAKE, "unknown", ""),
        "dataset": "unknown",
        "group": table.sha256,
        "split": "test",
        "licence": "unknown",
    }
    for column, value in fills.items():
        if column not in table:
            table[column] = value
    return validate(table) if check else table


def _identify(path: str) -> str:
    try:
        return sha256(read(path))
    except ImageError:
        return sha256(os.fsencode(path))


def write_manifest(manifest: pd.DataFrame, path: Path | str) -> None:
    """Validate and write a manifest, as CSV or Parquet by the name's ending, its paths relative to it."""
    path = Path(path)
    table = validate(manifest)
    root = path.resolve().parent
    table["path"] = [_relative(Path(p), root) for p in table.path]
    write_table(table, path)


def write_table(table: pd.DataFrame, path: Path | str) -> None:
    """Write a table in one step, as CSV, JSONL or Parquet by the name's ending; names that are no text are escaped."""
    path = Path(path)
    for column in table.columns[[pd.api.types.is_string_dtype(kind) for kind in table.dtypes]]:
        write = as_cell if column == "path" else as_text
        table = table.assign(**{column: [write(v) if isinstance(v, str) else v for v in table[column]]})
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        elif path.suffix == ".jsonl":
            table.to_json(temporary, orient="records", lines=True)
        else:
            texts = table.select_dtypes(exclude="number")  # most columns of a large table are numbers
            ends = any(isinstance(v, str) and "\r" in v for name in texts for v in texts[name])  # csv quotes only \n
            table.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC if ends else csv.QUOTE_MINIMAL)


def index_folder(
    folder: Path | str,
    *,
    label: Label | None = None,
    generator: str = "",
    dataset: str = "",
    group_by: str = "file",
    licence: str = "unknown",
    seed: int = 0,
    left_out: LeftOut | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Return the manifest of the pictures below a folder, hashed and split by group.

    label: of all of them; None reads the layout, `real/...` beside `fake/<generator>/...`, or `0_real` and `1_fake`.
    generator: of the fakes; in a layout, of those in no folder that names one.
    group_by: "file" (every picture for itself), "folder" (the folder it lies in), or a regular expression on the
    relative path, whose first bracket (else whole match) is the group. left_out: collects pictures that cannot be read
    and files of other kinds.

    Raises ManifestError if it is no folder, has no pictures, the layout is neither, or the table contradicts itself.
    """
    if not os.path.isdir(folder):
        raise ManifestError(f"{folder} is not a folder; name the folder that has the pictures")
    folder, left_out = Path(folder).resolve(), LeftOut() if left_out is None else left_out
    paths = find_pictures(folder, left_out)
    dataset = dataset or _plain(folder.name)
    rows = []
    for done, path in enumerate(paths, 1):
        inside = path.relative_to(folder)
        row_label, row_generator = (label, generator) if label is not None else _layout(inside)
        if row_label == Label.FAKE:
            row_generator = row_generator or generator or "unknown"
        progress(done, len(paths))
        try:
            digest = sha256(read(path))
        except ImageError as error:
            left_out.pictures[str(path)] = str(error)
            continue
        group = f"{dataset}/{_group(inside, group_by, digest)}"
        rows.append((as_text(path), digest, int(row_label), row_generator, dataset, group, "train", licence))
    if label is None and generator and rows and generator not in {row[3] for row in rows}:
        raise ManifestError(
            "leave out --generator: it is for fakes whose folder names no generator, and there are none"
        )
    if not rows:
        raise ManifestError(f"there are no pictures below {folder}{(left_out and f': {left_out.describe()}') or ''}")
    return validate(assign_splits(drop_copies(rows, left_out), seed=seed))


def drop_copies(rows: Sequence[tuple[Any, ...]], left_out: LeftOut) -> pd.DataFrame:
    """Return the table of rows in the order of COLUMNS, once for the same bytes and label; the others are counted."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    once = table.drop_duplicates(["sha256", "label"], ignore_index=True)
    left_out.copies += len(table) - len(once)
    return once


def assign_splits(manifest: pd.DataFrame, *, seed: int, fractions: Sequence[float] = FRACTIONS) -> pd.DataFrame:
    """Return the table with `split` drawn anew: whole groups, the same fractions for reals and for each generator."""
    table = manifest.copy()
    rng = np.random.default_rng(seed)
    where: dict[str, str] = {}
    for _, rows in table.groupby(["label", "generator"], sort=True):
        groups = [g for g in sorted(rows.group.unique()) if g not in where]
        order = rng.permutation(len(groups))
        edges = np.cumsum(fractions) * len(groups)
        for rank, i in enumerate(order):
            where[groups[i]] = SPLITS[min(int(np.searchsorted(edges, rank + 0.5)), len(SPLITS) - 1)]
    table["split"] = table.group.map(where)
    return table


def merge(manifests: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return one validated manifest of several."""
    return validate(pd.concat(list(manifests), ignore_index=True))


def read_crop(text: object) -> tuple[int, int, int, int] | None:
    """Return the box in a `crop` cell; None if the cell is empty.

    >>> read_crop("96 84 352 340")
    (96, 84, 352, 340)
    """
    if not isinstance(text, str) or not text.strip():
        return None
    numbers = text.split()
    try:
        left, top, right, bottom = (round(float(n)) for n in numbers)
    except ValueError:
        raise ManifestError(f"a crop is four numbers, left top right bottom, not {text!r}") from None
    if not (left < right <= left + MAX_SIDE and top < bottom <= top + MAX_SIDE):
        raise ManifestError(f"a crop is left top right bottom with left < right and top < bottom, not {text!r}")
    return left, top, right, bottom


def read_crops(manifest: pd.DataFrame) -> list[tuple[int, int, int, int] | None]:
    """Return the box of every row, None for rows without one; all None if the table has no column `crop`."""
    return [read_crop(c) for c in manifest["crop"]] if "crop" in manifest else [None] * len(manifest)


def _layout(inside: Path) -> tuple[Label, str]:
    for i, part in enumerate(inside.parts[:-1]):
        if part in ("real", "0_real"):
            return Label.REAL, ""
        if part in ("fake", "1_fake"):
            below, above = inside.parts[i + 1 : -1], inside.parts[:i]
            return Label.FAKE, _plain(below[0] if below else above[-1] if above else "")
    raise ManifestError(
        f"cannot tell the label of {inside.as_posix()}: say --label real or --label fake, or lay the folder out as "
        "real/... and fake/<generator>/... (0_real and 1_fake also do)"
    )


def _group(inside: Path, group_by: str, digest: str) -> str:
    if group_by == "file":
        return digest[:16]
    if group_by == "folder":
        return as_text(inside.parent.as_posix())
    found = re.search(group_by, inside.as_posix())
    if found is None:
        raise ManifestError(f"the group pattern {group_by!r} does not match {inside.as_posix()}")
    return as_text(found.group(1) if found.groups() else found.group(0))


def _plain(name: str) -> str:
    """Return the name of a folder as a cell that a spreadsheet does not take for a formula."""
    return as_text(name.lstrip("".join(FORMULA)))


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path.resolve(), root)).as_posix()


def describe_data(table: pd.DataFrame) -> dict[str, Any]:
    """Return the entry of a card about the training pictures: counts, and a hash of their hashes."""
    counts = table.groupby(["split", "label", "generator", "dataset"]).size().rename("n").reset_index()
    digest = hashlib.sha256("\n".join(sorted(table.sha256)).encode()).hexdigest()
    return {"manifest_sha256": digest, "pictures": counts.to_dict("records")}
