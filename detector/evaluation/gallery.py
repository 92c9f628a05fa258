"""The gallery: a page with faces of each shipped generator, their KID to photographs, and the detector's AUC."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from detector.errors import MissingExtra
from detector.files import open_templates, sha256, write_bytes
from detector.pictures.images import encode, resize, tile
from detector.statistics.distances import Floats, kid
from detector.statistics.intervals import Estimate, measure
from detector.types import Image, Images, Label

SIDE = 128  # side of every picture that is compared, pixels
QUALITY = 95  # JPEG quality of every picture that is scored
FACES = 8  # number of faces in a strip
SUBSET = 500  # largest number of pictures in the subsets over which KID is averaged
CELL = 160  # side of a face in a strip, pixels


@dataclass(frozen=True)
class Entry:
    """One generator of the gallery, with its faces (N, S, S, 3).

    name: name of the weights. year: year of the method.
    """

    name: str
    generator: str
    year: int
    faces: Images

    @property
    def size(self) -> int:
        """The side of a face, pixels."""
        return int(self.faces.shape[1])

    @property
    def grey(self) -> bool:
        """Whether all faces are grey."""
        return bool((self.faces == self.faces[..., :1]).all())


def write_matched(entry: Entry, photographs: pd.DataFrame, squares: Sequence[Image], folder: Path) -> pd.DataFrame:
    """Write the faces of a generator and photographs of the same resolution below a folder, and return their manifest.

    Photographs are reduced to the side of the faces, and made grey if these are grey; then all pictures are resized to
    SIDE and saved as JPEG. photographs: rows with group and split. squares: the face squares of these rows, (h, w, 3).
    """
    rows = []
    coarse = [resize(square, *[min(entry.size, min(square.shape[:2]))] * 2) for square in squares]
    reals = [as_grey(image) if entry.grey else image for image in coarse]
    splits = photographs.split.to_numpy()
    kinds = (
        (Label.REAL, reals, photographs.group, ""),
        (Label.FAKE, list(entry.faces), range(len(entry.faces)), entry.name),
    )
    for label, images, groups, generator in kinds:
        for i, (image, group) in enumerate(zip(images, groups, strict=True)):
            path = folder / f"{label.name.lower()}-{i:05d}.jpg"
            data = encode(resize(image, SIDE, SIDE), "JPEG", quality=QUALITY)
            write_bytes(path, data)
            owner = str(group) if label == Label.REAL else f"{entry.name}/seed-{i}"
            rows.append(
                (str(path), sha256(data), int(label), generator, entry.name, owner, splits[i % len(splits)], "")
            )
    return pd.DataFrame(
        rows, columns=["path", "sha256", "label", "generator", "dataset", "group", "split", "licence"]
    ).drop_duplicates("sha256", ignore_index=True)


def embed(images: Sequence[Image] | Images) -> Floats | None:
    """Return the features (N, 1280) of pictures, all at SIDE; None if the weights of the network are not installed."""
    from detector.learning.embedding import extract_features

    try:
        return extract_features(np.stack([resize(image, SIDE, SIDE) for image in images]))
    except MissingExtra:
        return None


def measure_kid(entry: Entry, reals: Floats | None) -> tuple[float, float] | None:
    """Return KID x 1000 with its standard error, of the faces against photographs; None without features.

    Photographs keep their colours and resolution here, so that what a generator cannot draw counts. reals: features of
    the photographs, from `embed`.
    """
    faces = None if reals is None else embed(entry.faces)
    if reals is None or faces is None:
        return None
    return kid(reals, faces, size=min(SUBSET, len(faces) // 2, len(reals) // 2))


def measure_auc(table: pd.DataFrame, scores: pd.Series) -> Estimate:
    """Return the AUC of a generator's faces against photographs. scores: score of each row; NaN is left out."""
    judged = scores.notna().to_numpy()
    rows = table[judged]
    return measure(rows.label, scores[judged].to_numpy(float), rows.group, ["auc"], seed=0)["auc"]


def draw_strip(faces: Images) -> bytes:
    """Return the first FACES faces as one JPEG, each enlarged to CELL."""
    return encode(tile(np.stack([resize(face, CELL, CELL) for face in faces[:FACES]]), FACES), "JPEG", quality=90)


def as_grey(image: Image) -> Image:
    """Return a grey picture (H, W, 3), whose channels all have the mean of the channels."""
    mean = np.rint(image.mean(-1, keepdims=True)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(mean, image.shape))


def describe_entry(entry: Entry, kid_value: tuple[float, float] | None, auc: Estimate, card: str) -> dict[str, Any]:
    """Return an entry as JSON: its name, year, size and figures. card: the licence of its weights."""
    return {
        "name": entry.name, "generator": entry.generator, "year": entry.year, "size": entry.size, "grey": entry.grey,
        "kid_x1000": None if kid_value is None else kid_value[0],
        "kid_error": None if kid_value is None else kid_value[1],
        "auc": describe_estimate(auc), "licence": card,
    }  # fmt: skip


def describe_estimate(estimate: Estimate) -> dict[str, float | None]:
    """Return an estimate as JSON; a missing interval is null."""
    return {key: None if value != value else value for key, value in asdict(estimate).items()}


def make_page(record: dict[str, Any], strips: dict[str, bytes]) -> str:
    """Return the HTML of the gallery. record: as `tasks.make_gallery` returns it. strips: name of an entry -> JPEG."""
    template = open_templates(Path(__file__).parent).get_template("gallery.html.jinja")
    shown = {name: base64.b64encode(data).decode() for name, data in strips.items()}
    return template.render(**record, strips=shown, side=SIDE, quality=QUALITY)


def are_grey(squares: Sequence[Image]) -> bool:
    """Return whether all photographs are grey."""
    return all((square == square[..., :1]).all() for square in squares)
