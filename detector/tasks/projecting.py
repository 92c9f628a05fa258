"""The tasks `project` (photographs as a style-based generator draws them) and `show_directions` (of its styles)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from detector.dataset.listing import LeftOut
from detector.dataset.manifest import read_crops, write_manifest
from detector.errors import CheckpointError, DetectorError, ImageError
from detector.files import as_text, check_output, sha256, write_bytes
from detector.generators import GENERATORS, load_generator
from detector.pictures.faces import MARGIN, Box, face_square, find_faces, locate_faces, prepare
from detector.pictures.images import cut, decode_picture, encode, read
from detector.pictures.sheets import draw_table
from detector.registry import check_options
from detector.scoring.targets import as_list
from detector.tasks.combining import read_photographs
from detector.tasks.making import MAX_SEED, open_writer
from detector.types import Image, Images, Label, Progress, Projector, silent

CODES = Path("codes.safetensors")  # file with the codes of all faces, beside the manifest
SHOWN = 32  # largest number of photographs on the sheet
SAMPLES = 16  # number of drawn faces from which it is measured how large a generator draws a face
FIRST = 3  # number of directions of each set of layers on the sheet of directions
AMOUNTS = (-3.0, -1.5, 0.0, 1.5, 3.0)  # columns of that sheet, standard deviations of w


def project(
    name: str,
    photographs: str | Path | Sequence[str | Path],
    folder: Path | str,
    *,
    seed: int = 0,
    weights: Path | str | None = None,
    edit: Mapping[str, float] | None = None,
    label: bool = True,
    signer: Path | str | None = None,
    left_out: LeftOut | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return the manifest of photographs as a style-based generator draws them; the pictures are below a folder.

    The largest face of each photograph is cut as large as the generator draws faces, and the styles of all layers (W+)
    are sought that draw a face most like it. The columns are those of `index`, with `distance` (mean squared difference
    of ImageNet features, 0 to 4) and `psnr` (decibels) between photograph and projection. A fake keeps dataset, group,
    split and licence of its photograph. The folder also gets `codes.safetensors`, which `mix` takes. A sheet beside it,
    named as the folder with `-sheet.png`, shows photographs and projections.

    photographs: pictures, folders or manifests. seed: seed of the search; the same seed gives the same pixels. edit:
    direction, such as coarse-1, -> how far the styles are moved, in standard deviations; the pictures are then the
    edited ones, and distance and psnr those before. left_out: collects pictures that cannot be read or show no face.
    weights, label, signer: as in `generate`.

    Raises DetectorError if the generator cannot do it, for a direction that does not exist, or if no photograph has a
    face; UnknownName, CheckpointError and OSError as in `generate`.
    """
    if not issubclass(GENERATORS.get(name), Projector):
        raise DetectorError(f"{name} cannot draw photographs; these can: {find_able(Projector)}")
    left_out, folder = LeftOut() if left_out is None else left_out, Path(folder)
    table = read_photographs(as_list(photographs), left_out)
    if not 0 <= seed <= MAX_SEED - len(table):
        raise DetectorError(f"seed and number of photographs are at least 0, and together at most {MAX_SEED:,}")
    generator: Any = load_generator(name, weights)
    generator.draw([0], edit=edit)  # raises DetectorError for a direction that does not exist
    write = open_writer(name, weights, label, signer, folder)
    table, faces = _cut_faces(table, generator, left_out, progress)
    codes = generator.project(faces, seed=seed, progress=progress)
    drawn = generator.draw(list(codes))
    edited = generator.draw(list(codes), edit=edit) if edit else drawn
    made = table.drop(columns="crop", errors="ignore").assign(label=int(Label.FAKE), generator=name)
    paths = [folder / f"{i:08d}.png" for i in range(len(edited))]
    made["sha256"] = [sha256(write(path, encode(edited[i]), seed + i)) for i, path in enumerate(paths)]
    made["path"] = [as_text(path.resolve()) for path in paths]
    made["distance"], made["psnr"] = _measure_errors(faces, drawn)
    write_bytes(folder / CODES, save({"codes": codes}, {"generator": name}))
    columns = {"photograph": faces, "projection": drawn}
    if edit:
        columns[", ".join(f"{direction}={amount:g}" for direction, amount in edit.items())] = edited
    sheet = draw_table(np.stack([part[:SHOWN] for part in columns.values()], 1), list(columns))
    write(name_sheet(folder), encode(sheet), seed)
    write_manifest(made, folder / "manifest.csv")
    return made


def show_directions(
    name: str,
    out: Path | str,
    *,
    seed: int = 0,
    weights: Path | str | None = None,
    label: bool = True,
    signer: Path | str | None = None,
    **options: Any,
) -> None:
    """Write a sheet to `out`, a PNG: one drawn face, moved along the first three directions of each set of layers.

    seed: seed of the face. options: passed to the generator's `draw`, such as truncation=0.7. weights, label, signer:
    as in `generate`.

    Raises DetectorError if the generator has no directions; UnknownName, CheckpointError and OSError as in `generate`.
    """
    kind = GENERATORS.get(name)
    if not issubclass(kind, Projector):
        raise DetectorError(f"{name} has no directions of styles; these have: {find_able(Projector)}")
    check_options(name, kind.draw, options)
    generator: Any = load_generator(name, weights)
    check_output(out)
    write = open_writer(name, weights, label, signer, Path(out).parent)
    names = generator.list_directions(FIRST)
    rows = [[generator.draw([seed], edit={name: amount}, **options)[0] for amount in AMOUNTS] for name in names]
    write(Path(out), encode(draw_table(np.array(rows), [f"{amount:+g}" for amount in AMOUNTS], names)), seed)


def find_able(protocol: type) -> str:
    """Return the names of the generators that can do what a protocol says, as a list in a sentence."""
    return ", ".join(name for name in GENERATORS if issubclass(GENERATORS.get(name), protocol))


def name_sheet(folder: Path) -> Path:
    """Return the path of the sheet that `project` writes beside its folder."""
    return folder.resolve().with_name(f"{folder.resolve().name}-sheet.png")


def measure_margin(generator: Any) -> float:
    """Return the side of a generator's pictures as a multiple of the longer side of the boxes of the faces in them."""
    boxes = [box for image in generator.draw(range(SAMPLES)) for box in locate_faces(image)[:1]]
    shares = [max(right - left, bottom - top) / generator.size for left, top, right, bottom in boxes]
    return 1 / float(np.median(shares)) if shares else MARGIN


def cut_face(path: Path | str, size: int, margin: float, crop: Box | None = None) -> Image | None:
    """Return the largest face in a file, (size, size, 3), None if there is none; what `images.read` raises.

    margin: side of the square that is cut, as a multiple of the longer side of the face box. crop: the part of the
    picture in which the face is located, pixels.
    """
    decoded = decode_picture(read(path))
    image = decoded.image if crop is None else cut(decoded.image, decoded.shrink(crop))
    found = find_faces(image)
    if not found:
        return None
    return prepare(image, size, face_square(found[0].box, image.shape, margin), found[0].turns)


def read_codes(path: Path | str, generator: Any) -> NDArray[np.float32]:
    """Return the codes (N, layers, w_dim) that `project` wrote; CheckpointError for another file or generator."""
    try:
        with safe_open(path, "np") as file:
            facts, codes = file.metadata() or {}, np.asarray(file.get_tensor("codes"))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} holds no codes of faces ({str(error).splitlines()[0][:100]})") from None
    if facts.get("generator") != generator.name or codes.ndim != 3 or codes.dtype != np.float32 or not len(codes):
        raise CheckpointError(f"{path} holds no codes of faces of {generator.name}")
    if not np.isfinite(codes).all():
        raise CheckpointError(f"{path} holds codes that are not finite; project the photographs again")
    return codes


def _cut_faces(
    table: pd.DataFrame, generator: Any, left_out: LeftOut, progress: Progress
) -> tuple[pd.DataFrame, Images]:
    """Return the rows of the photographs that have a face, and their faces (N, size, size, 3)."""
    margin, faces = measure_margin(generator), {}
    for i, (path, crop) in enumerate(zip(table.path, read_crops(table), strict=True)):
        try:
            face = cut_face(path, generator.size, margin, crop)
            if face is None:
                left_out.pictures[path] = "no face was found"
            else:
                faces[i] = face
        except ImageError as error:
            left_out.pictures[path] = str(error)
        progress("locating faces", i + 1, len(table))
    if not faces:
        what = next((f"{path}: {why}" for path, why in left_out.pictures.items()), "there is no photograph")
        raise DetectorError(f"{what}; name at least one photograph that shows a face")
    return table.iloc[list(faces)].reset_index(drop=True), np.stack(list(faces.values()))


def _measure_errors(faces: Images, drawn: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distance (N,) and the PSNR (N,), decibels, between faces and how they are drawn."""
    from detector.learning.embedding import measure_distances

    squared = ((faces.astype(float) - drawn) ** 2).mean((1, 2, 3))
    return measure_distances(faces, drawn), 10 * np.log10(255**2 / np.maximum(squared, 1e-9))
