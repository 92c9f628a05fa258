"""Progress on one page: what each shipped generator draws, how far it is from photographs, and whether it is found."""

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
FACES = 8  # faces of a strip
SUBSET = 500  # largest number of pictures of a subset that KID is averaged over
CELL = 160  # side of a face of a strip, pixels


@dataclass(frozen=True)
class Rung:
    """One generator: its faces as it draws them (N, S, S, 3), and where its weights come from."""

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
        """Whether no face has a colour."""
        return bool((self.faces == self.faces[..., :1]).all())


def write_matched(rung: Rung, photographs: pd.DataFrame, squares: Sequence[Image], folder: Path) -> pd.DataFrame:
    """Return the manifest of a rung's faces and of photographs made as coarse as they are, written below a folder.

    Photographs are reduced to the side of the faces and, where these are grey, made grey; then all are brought to SIDE
    and saved as JPEG. photographs: rows with group and split. squares: their faces, (h, w, 3).
    """
    rows = []
    coarse = [resize(square, *[min(rung.size, min(square.shape[:2]))] * 2) for square in squares]
    reals = [as_grey(image) if rung.grey else image for image in coarse]
    splits = photographs.split.to_numpy()
    kinds = (
        (Label.REAL, reals, photographs.group, ""),
        (Label.FAKE, list(rung.faces), range(len(rung.faces)), rung.name),
    )
    for label, images, groups, generator in kinds:
        for i, (image, group) in enumerate(zip(images, groups, strict=True)):
            path = folder / f"{label.name.lower()}-{i:05d}.jpg"
            data = encode(resize(image, SIDE, SIDE), "JPEG", quality=QUALITY)
            write_bytes(path, data)
            owner = str(group) if label == Label.REAL else f"{rung.name}/seed-{i}"
            rows.append((str(path), sha256(data), int(label), generator, rung.name, owner, splits[i % len(splits)], ""))
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


def measure_kid(rung: Rung, reals: Floats | None) -> tuple[float, float] | None:
    """Return KID x 1000 with its standard error, of the faces against photographs; None without features.

    Coarse and grey faces are compared with photographs as they are: what a generator cannot draw counts. reals: of
    `embed`.
    """
    faces = None if reals is None else embed(rung.faces)
    if reals is None or faces is None:
        return None
    return kid(reals, faces, size=min(SUBSET, len(faces) // 2, len(reals) // 2))


def measure_auc(table: pd.DataFrame, scores: pd.Series) -> Estimate:
    """Return the AUC of a rung's fakes against photographs as coarse. scores: of the rows; NaN is not judged."""
    judged = scores.notna().to_numpy()
    rows = table[judged]
    return measure(rows.label, scores[judged].to_numpy(float), rows.group, ["auc"], seed=0)["auc"]


def draw_strip(faces: Images) -> bytes:
    """Return the first FACES faces as one JPEG, each enlarged to CELL."""
    return encode(tile(np.stack([resize(face, CELL, CELL) for face in faces[:FACES]]), FACES), "JPEG", quality=90)


def as_grey(image: Image) -> Image:
    """Return a picture (H, W, 3) without colours: the mean of its channels in each."""
    mean = np.rint(image.mean(-1, keepdims=True)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(mean, image.shape))


def describe_rung(rung: Rung, kid_value: tuple[float, float] | None, auc: Estimate, card: str) -> dict[str, Any]:
    """Return one rung as JSON: its name, year, size and figures. card: the licence of its weights."""
    return {
        "name": rung.name, "generator": rung.generator, "year": rung.year, "size": rung.size, "grey": rung.grey,
        "kid_x1000": None if kid_value is None else kid_value[0],
        "kid_error": None if kid_value is None else kid_value[1],
        "auc": describe_estimate(auc), "licence": card,
    }  # fmt: skip


def describe_estimate(estimate: Estimate) -> dict[str, float | None]:
    """Return an estimate as JSON, in which an interval that there is not is null."""
    return {key: None if value != value else value for key, value in asdict(estimate).items()}


def make_page(record: dict[str, Any], strips: dict[str, bytes]) -> str:
    """Return the HTML of the gallery. record: as `tasks.make_gallery` returns it. strips: name of a rung -> JPEG."""
    template = open_templates(Path(__file__).parent).get_template("gallery.html.jinja")
    shown = {name: base64.b64encode(data).decode() for name, data in strips.items()}
    return template.render(**record, strips=shown, side=SIDE, quality=QUALITY)


def are_grey(squares: Sequence[Image]) -> bool:
    """Return whether no photograph has a colour."""
    return all((square == square[..., :1]).all() for square in squares)
