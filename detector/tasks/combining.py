"""The task `combine`: join photographs and fakes into one data set whose pictures are all processed alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from detector.dataset.foreign import TABLES, read_tables
from detector.dataset.listing import LeftOut
from detector.dataset.manifest import (
    COLUMNS,
    assign_splits,
    complete,
    read_crops,
    read_manifest,
    validate,
    write_manifest,
)
from detector.dataset.reencoding import add_crops, measure_sides, reencode
from detector.errors import ImageError, ManifestError
from detector.files import check_folder, check_output, sha256, sweep
from detector.pictures.images import read
from detector.scoring.targets import as_list, expand
from detector.types import Label, Progress, silent

if TYPE_CHECKING:
    from detector.dataset.findings import AuditFinding

MAX_SIDE = 512  # largest side that `choose_size` returns, pixels


def combine(
    manifests: Path | str | pd.DataFrame | Sequence[Path | str | pd.DataFrame],
    out: Path | str,
    *,
    size: int | None = None,
    format: str = "jpg",
    quality: int = 95,
    crop: bool = False,
    audited: bool = True,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> tuple[pd.DataFrame, list[AuditFinding]]:
    """Return the joined manifest, and the findings of its audit; write the manifest to `out`.

    The pictures are split again, and a group, such as a person, is in one split only. Every picture is cut to a square
    (its crop, or else its centre), resized and saved in the same way. The files are in a folder with the name of `out`
    without its ending, and `skipped.csv` in this folder lists the pictures that were left out. The columns are those of
    `index`, and `side`.

    manifests: tables or their paths, one or several, that together list photographs and fakes. size: side of the
    pictures in pixels; None takes the median side of the photographs or of the fakes, whichever is smaller, and at most
    MAX_SIDE, so that few pictures are enlarged. format: "jpg", "png" or "webp". quality: quality of JPEG and WebP, 1 to
    100. crop: crop a picture without a crop to its largest face, and leave it out if it has none. audited: audit the
    result, as `audit` does. seed: seed of the splits and of the audit. columns: our name of a column -> its name in the
    manifests.

    Raises ManifestError for a table that cannot be read, a missing class, the same bytes under two labels, or an `out`
    without an ending; OSError if nothing can be written.
    """
    from detector.dataset.audit import audit

    out = Path(out)
    folder = out.with_suffix("")
    if folder == out:
        raise ManifestError(f"{out} has no ending, and the pictures go into a folder of that name; name {out}.csv")
    check_output(out)
    check_folder(folder)
    sweep(out.parent, folder)
    joined = pd.concat(_read_all(manifests, columns or {}), ignore_index=True).assign(split="train")
    identity = [column for column in ("sha256", "label", "crop") if column in joined]
    table = assign_splits(validate(joined.drop_duplicates(identity)), seed=seed)
    if set(table.label) != {Label.REAL, Label.FAKE}:
        raise ManifestError("all pictures have one label; name manifests that together have photographs and fakes")
    if crop:
        table = _crop_faces(table, progress)
    table = reencode(table, folder, size=size or choose_size(table), quality=quality, progress=progress,
                     format=format.upper().replace("JPG", "JPEG"))  # fmt: skip
    write_manifest(table, out)
    return table, audit(table, seed=seed, progress=progress) if audited else []


def _read_all(manifests: Any, columns: Mapping[str, str]) -> list[pd.DataFrame]:
    """Return the manifests as tables, and read those that are given as paths."""
    several = [manifests] if isinstance(manifests, pd.DataFrame) else as_list(manifests)
    paths = [manifest for manifest in several if not isinstance(manifest, pd.DataFrame)]
    tables = iter(read_tables(paths, columns))
    return [m if isinstance(m, pd.DataFrame) else complete(next(tables), Path(m), check=False) for m in several]


def choose_size(manifest: pd.DataFrame) -> int:
    """Return the median side of the photographs or of the fakes, whichever is smaller, in pixels; at most MAX_SIDE."""
    sides = pd.Series(measure_sides(manifest), index=manifest.index)
    medians = sides[sides > 0].groupby(manifest.label).median()
    if medians.empty:
        raise ManifestError(f"not one of the {len(manifest)} pictures can be read")
    return int(min(medians.min(), MAX_SIDE))


def _crop_faces(manifest: pd.DataFrame, progress: Progress) -> pd.DataFrame:
    """Return the rows of a manifest that have a crop or a face; rows without a crop get one around the largest face.

    Raises ManifestError if no face is found in the pictures of a class.
    """
    cropped = manifest.get("crop", pd.Series("", index=manifest.index)) != ""
    found = add_crops(manifest[~cropped], progress=lambda done, total: progress("locating faces", done, total))
    table = pd.concat([manifest[cropped], found], ignore_index=True)
    if set(table.label) != {Label.REAL, Label.FAKE}:
        raise ManifestError("no face was found in the pictures of one class; leave out the cropping of faces")
    return table


def read_photographs(inputs: Sequence[str | Path], left_out: LeftOut | None) -> pd.DataFrame:
    """Return a manifest of the photographs among pictures, folders and manifests; unreadable files are left out."""
    tables = [read_manifest(name, check=False) for name in inputs if Path(name).suffix.lower() in TABLES]
    names = [str(name) for name in inputs if Path(name).suffix.lower() not in TABLES]
    rows = []
    for target in expand(names, left_out=left_out) if names else ():
        try:
            digest = sha256(read(target.path))
        except ImageError as error:
            if left_out is not None:
                left_out.pictures[target.path] = str(error)
            continue
        rows.append((str(Path(target.path).resolve()), digest, int(Label.REAL), "", "photographs", digest, "test", ""))
    table = pd.concat([*tables, pd.DataFrame(rows, columns=list(COLUMNS))], ignore_index=True)
    return table[table.label == Label.REAL].reset_index(drop=True)


def cut_faces(manifest: pd.DataFrame, n: int, progress: Progress) -> pd.DataFrame:
    """Return at most n rows, each with a crop: that of the manifest, or else one around the located face."""
    cropped = np.array([crop is not None for crop in read_crops(manifest)], bool)
    located = add_crops(manifest[~cropped].head(spare(n)),
                        progress=lambda done, total: progress("locating faces", done, total))  # fmt: skip
    return pd.concat([manifest[cropped], located], ignore_index=True).head(n)


def spare(n: int) -> int:
    """Return the number of pictures to take if n faces are needed, because no face is found in some pictures."""
    return n + n // 2 + 2
