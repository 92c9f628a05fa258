"""Copy a data set with all pictures cropped, resized and encoded alike.

Traces of what was done to a picture before, such as an earlier JPEG save, may survive.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detector.dataset.manifest import read_crops, validate, write_table
from detector.errors import ImageError, ManifestError
from detector.files import sha256, write_bytes
from detector.pictures.faces import Box, face_square, load_square, locate_faces
from detector.pictures.headers import describe
from detector.pictures.images import decode_picture, encode, read, resize
from detector.types import Progress, silent

ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
SKIPPED = "skipped.csv"  # file beside the copies that lists pictures left out: path, sha256, reason


def reencode(
    manifest: pd.DataFrame,
    folder: Path | str,
    *,
    size: int | None,
    format: str = "JPEG",
    quality: int = 95,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return a validated manifest of copies in `folder`: the same rows in order, new path and sha256, no crop.

    Its column `side` keeps how coarse the pictures were before: the side of what was cut out, in pixels.
    The crop (else the centre square) is cut out, resized to `size` pixels per side unless that is None, and written
    without metadata as JPEG, PNG or WEBP. Further columns pass through. Finished files are not made again, so an
    interrupted run goes on where it stopped; names depend on the picture, its crop and every setting.

    Pictures that cannot be read, and copies with the very bytes of an earlier one of that label, are left out and
    listed with the reason in `folder/skipped.csv`. Raises ManifestError if nothing is left, or if the result
    contradicts itself (the same bytes under two labels, a group in two splits).
    """
    if format not in ENDINGS:
        raise ManifestError(f"pictures are re-encoded as {', '.join(ENDINGS)}, not as {format}")
    folder = Path(folder).resolve()
    table = manifest.reset_index(drop=True)
    before = pd.to_numeric(table.get("side", pd.Series(np.nan, index=table.index)), errors="coerce")
    table["side"] = np.minimum(measure_sides(table), before.fillna(np.inf)).astype(int)
    boxes = read_crops(table)
    settings = f"{size} {format} {quality}"
    targets = [
        folder / (sha256(f"{old} {box} {settings}".encode())[:24] + ENDINGS[format])
        for old, box in zip(table.sha256, boxes, strict=True)
    ]

    def copy(path: str, box: Box | None, target: Path) -> tuple[str, str]:
        try:
            data = read(target) if target.is_file() else _copied(path, box, target, size, format, quality)
        except ImageError as error:
            return "", f"{error.reason}: {error}"
        return sha256(data), ""

    made: list[tuple[str, str]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes, resizes and encodes outside Python's lock
        for result in pool.map(copy, table.path, boxes, targets):
            made.append(result)
            progress("re-encoding", len(made), len(table))

    originals, reasons = table[["path", "sha256"]], pd.Series([reason for _, reason in made], dtype=str)
    table["sha256"], table["path"] = [digest for digest, _ in made], [str(target) for target in targets]
    twin = table.duplicated(["sha256", "label"]) & (reasons == "")
    reasons[twin] = "its copy has the same bytes as an earlier one"
    _write_skipped(originals.assign(reason=reasons)[reasons != ""], folder / SKIPPED)
    table = table[reasons == ""].drop(columns="crop", errors="ignore")
    if table.empty:
        raise ManifestError(f"not one of the {len(manifest)} pictures could be read; {SKIPPED} in {folder} says why")
    return validate(table)


def measure_sides(manifest: pd.DataFrame) -> NDArray[np.int64]:
    """Return the side of the square that is cut out of each picture, pixels; 0 if the picture cannot be read."""

    def measure(path: str) -> int:
        try:
            header = describe(read(path))
        except ImageError:
            return 0
        return min(header.width, header.height)

    crops = zip(manifest.path, read_crops(manifest), strict=True)
    sides = [min(box[2] - box[0], box[3] - box[1]) if box else measure(path) for path, box in crops]
    return np.array(sides, np.int64)


def balance(manifest: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return as many photographs as fakes of every split and size (to the nearest power of two), in their order.

    Generators are drawn evenly. Raises ManifestError if photographs and fakes share no split and size.
    """
    sides = measure_sides(manifest)
    table = manifest.reset_index(drop=True)
    draw = np.random.default_rng(seed).permutation(len(table))
    order = table.assign(size=np.rint(np.log2(np.maximum(sides, 1))).astype(int), draw=draw).sort_values("draw")
    order["turn"] = order.groupby(["split", "size", "label", "generator"]).cumcount()
    order = order.sort_values(["turn", "draw"])
    order["rank"] = order.groupby(["split", "size", "label"]).cumcount()
    counts = order.groupby(["split", "size"]).label.agg(lambda labels: min((labels == 0).sum(), (labels == 1).sum()))
    kept = order["rank"].to_numpy() < counts.reindex(pd.MultiIndex.from_frame(order[["split", "size"]])).to_numpy()
    if not kept.any():
        raise ManifestError(
            "photographs and fakes share no split and size, so they cannot be balanced; add some that do"
        )
    return table.loc[sorted(order.index[kept])].reset_index(drop=True)


def _copied(path: str, box: Box | None, target: Path, size: int | None, format: str, quality: int) -> bytes:
    face = load_square(path, box)
    data = encode(face if size is None else resize(face, size, size), format, quality=quality)
    write_bytes(target, data)
    return data


def _write_skipped(rows: pd.DataFrame, where: Path) -> None:
    where.unlink(missing_ok=True)
    if len(rows):
        write_table(rows, where)


def add_crops(
    manifest: pd.DataFrame, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> pd.DataFrame:
    """Return the manifest with `crop` set to the square around the largest face; rows without a face are left out."""
    crops: list[str] = []
    for done, path in enumerate(manifest.path, 1):
        try:
            decoded = decode_picture(read(path))
            boxes = locate_faces(decoded.image)
        except ImageError:
            boxes = []
        square = decoded.enlarge(face_square(boxes[0], decoded.image.shape)) if boxes else ()
        crops.append(" ".join(map(str, square)))
        progress(done, len(manifest))
    table = manifest.assign(crop=crops)
    return table[table.crop != ""].reset_index(drop=True)
