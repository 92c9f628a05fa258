"""Read data sets in the layouts of other tools into a manifest.

Each function takes a path and yields rows (path, label, generator, group, split); `read_layout` makes a manifest of
these rows. A class counts as real if its name is one of REAL_NAMES or ends in "real"; any other name is a generator.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from detector.dataset.archives import Member
from detector.dataset.foreign import SPLIT_NAMES, WORDS, read_text
from detector.dataset.listing import LeftOut, find_pictures
from detector.dataset.manifest import assign_splits, drop_copies, validate
from detector.errors import ImageError, ManifestError
from detector.files import as_text, sha256, write_bytes
from detector.pictures.images import MAX_BYTES, SUFFIXES, read
from detector.registry import Registry
from detector.types import Label

Rows = Iterator[tuple[Path, Label, str, str, str]]  # path, label, generator, group, split ("" if the layout has none)
LAYOUTS: Registry[Callable[[Path, Path], Rows]] = Registry("layout", "detector.dataset.layouts")

REAL_NAMES = {word for word, label in WORDS.items() if label == Label.REAL} | {"0", "0_real", "nature", "live"}


@LAYOUTS.register("folders", summary="ImageFolder: one folder per class, optionally below train/val/test")
def read_folders(source: Path, copies: Path) -> Rows:
    """Yield the rows of [split/]class/picture."""
    for path in find_pictures(source):
        parts = list(path.relative_to(source).parts[:-1])
        split = SPLIT_NAMES.get(parts[0].lower(), "") if parts else ""
        parts = parts[1:] if split else parts
        if not parts:
            raise ManifestError(f"{path.name} lies in no class folder; give the picture's folder a class name")
        label, generator = _class(parts[-1] if parts[-1] in ("0_real", "1_fake") else parts[0], parts)
        yield path, label, generator, "", split


@LAYOUTS.register("jsonl", summary="Hugging Face imagefolder: metadata.jsonl with file_name and label")
def read_jsonl(source: Path, copies: Path) -> Rows:
    """Yield the rows of a metadata.jsonl, or of the one inside a folder; optional keys: generator, group, split."""
    source = source / "metadata.jsonl" if source.is_dir() else source
    for number, line in enumerate(_text(source).splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            name, given = entry["file_name"], entry["label"]
        except (ValueError, KeyError, TypeError):
            raise ManifestError(f"{source.name}, line {number}: not a JSON object with file_name and label") from None
        label, generator = _class(str(given), [str(entry.get("generator") or given)])
        yield _inside(source.parent, name), label, generator, str(entry.get("group", "")), str(entry.get("split", ""))


@LAYOUTS.register(
    "deepfakebench", summary="DeepfakeBench JSON: dataset / class / split / [compression /] video / frames"
)
def read_deepfakebench(source: Path, copies: Path) -> Rows:
    """Yield the rows of a DeepfakeBench dataset file; paths of frames are relative to it, and each video is a group."""

    def walk(node: Any, split: str) -> Rows:
        for key, below in node.items():
            if isinstance(below, dict) and isinstance(below.get("frames"), list):
                label, generator = _class(str(below.get("label", "")), [str(below.get("label", ""))])
                for frame in below["frames"]:
                    yield _inside(source.parent, str(frame).replace("\\", "/")), label, generator, str(key), split
            elif isinstance(below, dict):
                yield from walk(below, SPLIT_NAMES.get(str(key).lower(), split))

    try:
        yield from walk(json.loads(_text(source)), "")
    except (ValueError, AttributeError):
        raise ManifestError(f"{source.name} is not a DeepfakeBench dataset file") from None


@LAYOUTS.register("webdataset", summary="WebDataset tar: pictures with a .cls or .json beside them")
def read_webdataset(source: Path, copies: Path) -> Rows:
    """Yield the rows of a tar; its pictures are copied into `copies` under names that no member of the tar chooses."""
    labels: dict[str, tuple[Label, str]] = {}
    pictures: dict[str, Path] = {}
    try:
        with tarfile.open(source, tarinfo=Member) as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                file = archive.extractfile(member) if member.isfile() else None
                if file is None:
                    continue
                key, ending = str(name.with_suffix("")), name.suffix.lower()
                if ending in SUFFIXES:
                    if member.size > MAX_BYTES:
                        raise ManifestError(
                            f"{source.name}: {member.name} has {member.size:,} bytes, more than {MAX_BYTES:,}; "
                            "leave it out of the tar"
                        )
                    data = file.read()
                    pictures[key] = copies / f"{sha256(data)[:32]}{ending}"
                    write_bytes(pictures[key], data)
                elif ending == ".cls":
                    labels[key] = _class(file.read(64).decode(errors="replace").strip(), [])
                elif ending == ".json":
                    entry = json.loads(file.read(2**20))
                    labels[key] = _class(str(entry["label"]), [str(entry.get("generator") or entry["label"])])
    except (tarfile.TarError, ValueError, KeyError, EOFError) as error:
        raise ManifestError(f"{source.name} is not a WebDataset tar: {error}") from None
    for key, path in pictures.items():
        if key not in labels:
            raise ManifestError(f"{source.name}: {key} has neither a .cls nor a .json that gives its label")
        yield path, *labels[key], "", ""


def read_layout(
    source: Path | str,
    layout: str,
    *,
    copies: Path,
    dataset: str = "",
    licence: str = "unknown",
    seed: int = 0,
    left_out: LeftOut | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Return the manifest of a data set in another tool's layout.

    Splits that the layout names are kept. If any picture has none, all splits are drawn at random by group.

    left_out: collects the pictures that cannot be read.

    Raises UnknownName for an unknown layout, ManifestError if the data set does not follow the layout.
    """
    source, left_out = Path(source), LeftOut() if left_out is None else left_out
    dataset = dataset or source.stem
    found = list(LAYOUTS.get(layout)(source, copies))
    if not found:
        raise ManifestError(f"there are no pictures in {source} under the layout {layout!r}")
    rows = []
    for done, (path, label, generator, group, split) in enumerate(found, 1):
        progress(done, len(found))
        try:
            digest = sha256(read(path))
        except ImageError as error:
            left_out.pictures[str(path)] = str(error)
            continue
        rows.append((as_text(path.resolve()), digest, int(label), generator, dataset,
                     f"{dataset}/{group or digest[:16]}", SPLIT_NAMES.get(split.lower(), ""), licence))  # fmt: skip
    if not rows:
        raise ManifestError(f"not one of the {len(found)} pictures in {source} can be read: {left_out.describe()}")
    table = drop_copies(rows, left_out)
    return validate(table if (table.split != "").all() else assign_splits(table, seed=seed))


def _class(name: str, below: list[str]) -> tuple[Label, str]:
    """Return (label, generator) of a class.

    The generator is the name of the class, or the first specific name in `below` if the class is only called fake.
    """
    if name.lower() in REAL_NAMES or name.lower().endswith("real"):
        return Label.REAL, ""
    telling = [part for part in below if part.lower() not in ("1", "fake", "fakes", "1_fake")]
    own = name if name.lower() not in ("1", "fake", "fakes", "1_fake") else ""
    return Label.FAKE, own or (telling[0] if telling else "unknown")


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file that a table names; raise ManifestError if it lies outside the table's folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ManifestError(f"{name} lies outside {folder}; move the table beside its pictures")
    return path


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
