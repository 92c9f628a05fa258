"""The tasks that make manifests of folders, labelled fakes and altered photographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from detector.dataset.listing import LeftOut
from detector.dataset.manifest import (
    COLUMNS,
    assign_splits,
    index_folder,
    read_crops,
    read_manifest,
    write_manifest,
)
from detector.errors import DetectorError, ImageError
from detector.files import as_text, check_folder, check_output, sha256, sweep, write_bytes
from detector.generators import GENERATORS, load_generator
from detector.pictures.faces import load_face
from detector.pictures.fingerprints import is_comparable, perceptual_hash, read_fingerprints
from detector.pictures.images import encode, load
from detector.registry import check_options
from detector.scoring.checkpoint import digest_checkpoint, find_checkpoint
from detector.types import Alterer, Label, Licensed, Progress, Sampler, Trainable, silent

MAX_SEED = 2**32 - 1  # the largest seed that numpy, torch and scikit-learn all accept


def index(
    folder: Path | str,
    out: Path | str,
    *,
    label: Label | None = None,
    generator: str = "",
    dataset: str = "",
    group_by: str = "file",
    licence: str = "unknown",
    layout: str | None = None,
    phash: bool = False,
    seed: int = 0,
    left_out: LeftOut | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return a manifest of the pictures below a folder, one row for each, and write it to `out` (CSV or Parquet).

    Columns: path, sha256, label (0 real, 1 fake), generator, dataset, group, split (train, val or test) and licence.
    All pictures of a group are in one split.

    label: label of every picture; None reads it from the folders real/ and fake/<generator>/. generator: name of the
    generator of the fakes. dataset: source of the pictures; empty takes the name of the folder. group_by: what makes a
    group: "file", "folder" or a regular expression on the path. layout: a name in `layouts.LAYOUTS`, if the folder is
    the data set of another tool. phash: adds the column `phash`, the perceptual hash of each picture, by which `verify`
    finds near copies; it is empty for a file that cannot be decoded and for a picture of one colour. seed: seed of the
    splits. left_out: collects the files that are not in the manifest, with the reasons.

    Raises ManifestError if there is no picture or no label, OSError if `out` cannot be written.
    """
    check_output(out)
    if layout is not None:
        from detector.dataset.layouts import read_layout

        copies = Path(out).parent / "pictures"
        table = read_layout(folder, layout, copies=copies, dataset=dataset, licence=licence, seed=seed,
                            left_out=left_out, progress=partial(progress, "hashing"))  # fmt: skip
    else:
        table = index_folder(folder, label=label, generator=generator, dataset=dataset, group_by=group_by,
                             licence=licence, seed=seed, left_out=left_out,
                             progress=partial(progress, "hashing"))  # fmt: skip
    if phash:
        hashes = []
        for path in table.path:
            hashes.append(_hash_picture(path))
            progress("perceptual hashes", len(hashes), len(table))
        table = table.assign(phash=hashes)
    write_manifest(table, out)
    return table


def _hash_picture(path: str) -> str:
    """Return the perceptual hash of a picture, or "" for one that cannot be decoded or that would match any other."""
    try:
        image = load(path)
    except ImageError:
        return ""
    return perceptual_hash(image) if is_comparable(image) else ""


def unpack_photographs(folder: Path | str, *, seed: int = 0) -> pd.DataFrame:
    """Return the manifest of the 400 grey photographs of 40 people that come with the installation; columns as `index`.

    The photographs and `manifest.csv` are written below a folder. seed: seed of the splits; all pictures of a person
    are in one split.

    Raises ManifestError if the package that contains them is missing, OSError if the folder cannot be written.
    """
    from detector.dataset.embedded import unpack_faces

    check_folder(folder)
    table = unpack_faces(Path(folder), seed=seed)
    write_manifest(table, Path(folder) / "manifest.csv")
    return table


def generate(
    name: str,
    n: int,
    folder: Path | str,
    *,
    seed: int = 0,
    weights: Path | str | None = None,
    format: str = "png",
    label: bool = True,
    signer: Path | str | None = None,
    progress: Progress = silent,
    **options: Any,
) -> pd.DataFrame:
    """Return the manifest of n labelled fakes, which are written below a folder; columns as in `index`.

    Picture i has the seed `seed` + i. The pixels of a seed are always the same; a signed file also contains an
    identifier and a time, so its `sha256` differs from run to run.

    name: name of a generator; `detector list` shows all. weights: folder of its checkpoint; None takes the shipped one,
    or else that of `detector quickstart`. format: "png", "jpg" or "webp". options: passed to the generator's `sample`,
    such as truncation=0.7. label: whether files are labelled by `labelling.label_file`: with XMP, with a C2PA manifest
    if c2pa-python is installed, and with a line in the fingerprint registry. signer: a PEM file, read by
    `labelling.read_signer`; None takes the local certificate.

    Raises UnknownName for a generator that does not exist, CheckpointError if it has no weights, DetectorError for a
    generator that only alters pictures, an option that it does not take or a seed out of range, OSError if the folder
    cannot be written.
    """
    folder = Path(folder)
    if not 0 <= seed <= MAX_SEED - n:
        raise DetectorError(f"seed and number of faces are at least 0, and together at most {MAX_SEED:,}")
    kind = GENERATORS.get(name)
    if not issubclass(kind, Sampler):
        raise DetectorError(f"{name} alters real pictures; name a manifest of them with --from")
    check_options(name, kind.sample, options)
    source: Any = load_generator(name, weights)
    write = open_writer(name, weights, label, signer, folder)
    licence = source.licence if isinstance(source, Licensed) else "made by detector"
    rows, plain = [], []
    for start in range(0, n, 64):
        count = min(64, n - start)
        for i, image in enumerate(source.sample(count, seed=seed + start, **options), seed + start):
            data = encode(image, format.upper().replace("JPG", "JPEG"))
            plain.append(sha256(data))
            path = folder / f"{i:08d}.{format}"
            data = write(path, data, i)
            rows.append((as_text(path.resolve()), sha256(data), int(Label.FAKE), name, f"generated-{name}",
                         f"{name}/seed-{i}", "train", licence))  # fmt: skip
        progress("generating", start + count, n)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = assign_splits(table[~pd.Series(plain, dtype=str).duplicated()].reset_index(drop=True), seed=seed)
    write_manifest(table, folder / "manifest.csv")
    return table


def alter(
    name: str,
    originals: pd.DataFrame | Path | str,
    folder: Path | str,
    *,
    n: int | None = None,
    seed: int = 0,
    size: int = 128,
    weights: Path | str | None = None,
    label: bool = True,
    signer: Path | str | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return the manifest of fakes that a generator makes from real pictures; they are written below a folder as PNG.

    A fake keeps the group and the split of its original, so both are in one split.

    originals: a manifest, as a table or a path; its first n real pictures are cropped, resized to `size` pixels, and
    altered. weights, label, signer: as in `generate`. columns: our name of a column -> its name in the manifest.

    Raises DetectorError if the generator does not alter pictures, if there is no real picture, or if one cannot be
    read; UnknownName and CheckpointError as in `generate`, OSError if the folder cannot be written.
    """
    table = originals if isinstance(originals, pd.DataFrame) else read_manifest(originals, columns=columns)
    reals = table[table.label == Label.REAL].iloc[:n]
    if reals.empty:
        raise DetectorError("the manifest has no real picture to alter")
    if not issubclass(GENERATORS.get(name), Alterer):
        raise DetectorError(f"{name} makes faces from nothing; leave out --from")
    source: Any = load_generator(name, weights)
    folder = Path(folder)
    write = open_writer(name, weights, label, signer, folder)
    made = reals.drop(columns="crop", errors="ignore").assign(label=int(Label.FAKE), generator=name)
    paths, hashes = [], []
    for i, (path, crop) in enumerate(zip(reals.path, read_crops(reals), strict=True)):
        try:
            face = load_face(path, size, crop)
        except ImageError as error:
            raise DetectorError(f"{path}: {error}; remove the row or restore the file") from None
        out = folder / f"{i:08d}.png"
        data = write(out, encode(source.alter(face[None], seed=seed + i)[0]), seed + i)
        paths.append(as_text(out.resolve()))
        hashes.append(sha256(data))
        progress(f"altering with {name}", i + 1, len(reals))
    made["path"], made["sha256"] = paths, hashes
    write_manifest(made, folder / "manifest.csv")
    return made.reset_index(drop=True)


def open_writer(
    name: str, weights: Path | str | None, labelled: bool, signer: Path | str | None, folder: Path
) -> Callable[[Path, bytes, int], bytes]:
    """Return a function of (path, data, seed) that writes a generated file, labelled or not, and returns its bytes."""
    check_folder(folder)
    sweep(folder)
    if not labelled:

        def write(path: Path, data: bytes, seed: int) -> bytes:
            write_bytes(path, data)
            return data

        return write
    from detector.pictures.labelling import label_file, read_signer

    identity = None if signer is None else read_signer(signer)
    folder_of_weights = (
        (weights or find_checkpoint("generator", name)) if issubclass(GENERATORS.get(name), Trainable) else None
    )
    checkpoint = "none" if folder_of_weights is None else digest_checkpoint(folder_of_weights)
    known = frozenset(read_fingerprints())
    return lambda path, data, seed: label_file(
        path, data, generator=name, seed=seed, checkpoint=checkpoint, signer=identity, known=known
    )
