"""The task `mix`: the style-mixing grid of a style-based generator, of drawn faces and of photographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from detector.errors import DetectorError, ImageError
from detector.files import check_output
from detector.generators import GENERATORS, load_generator
from detector.pictures.images import encode
from detector.pictures.sheets import check_sheet, draw_mixing
from detector.registry import check_options
from detector.tasks.making import open_writer
from detector.tasks.projecting import CODES, cut_face, find_able, measure_margin, read_codes
from detector.types import Code, Images, Mixer, Progress, Projector, silent

LAYERS = ("coarse", "middle", "fine")  # blocks of the grid


def mix(
    name: str,
    sources: Sequence[int | str | Path],
    destinations: Sequence[int | str | Path],
    out: Path | str,
    *,
    weights: Path | str | None = None,
    label: bool = True,
    signer: Path | str | None = None,
    progress: Progress = silent,
    **options: Any,
) -> None:
    """Write the style-mixing grid of a generator to `out`, a PNG whose faces have the generator's resolution.

    sources, destinations: the faces at the beginning of the rows and of the columns: seeds, photographs (paths, whose
    largest face is projected), or files of codes that `project` wrote, which stand for all faces in them. A photograph
    is shown as the generator draws it. options: passed to the generator's `sample` and `mix`, such as truncation=0.7.
    weights, label, signer: as in `generate`; the label names the seed of the first source that has one, or else 0.

    Raises DetectorError if the generator has no styles, cannot draw photographs, or the grid is too large, or a
    photograph cannot be read or shows no face; UnknownName, CheckpointError and OSError as in `generate`.
    """
    kind = GENERATORS.get(name)
    if not issubclass(kind, Mixer):
        raise DetectorError(f"{name} has no styles to mix; these have: {find_able(Mixer)}")
    entries = [*sources, *destinations]
    seeds = [entry for entry in entries if not isinstance(entry, str | Path)]
    if len(seeds) < len(entries) and not issubclass(kind, Projector):
        raise DetectorError(f"{name} cannot draw photographs; these can: {find_able(Projector)}")
    if not seeds and options.get("truncation") is not None:
        raise DetectorError("photographs are not truncated; leave out --truncation")
    check_options(name, kind.mix, options)
    generator: Any = load_generator(name, weights)
    check_output(out)
    write = open_writer(name, weights, label, signer, Path(out).parent)
    margin = cache(partial(measure_margin, generator))  # needed for photographs only, and measured once for both sides
    sides = [_resolve(generator, side, margin, progress) for side in (sources, destinations)]
    left, top = (_draw_ends(generator, faces, options) for faces in sides)
    check_sheet(1 + len(LAYERS) * len(left), 1 + len(top), left.shape[1])
    grids = {layers: generator.mix(*sides, layers=layers, **options) for layers in LAYERS}
    write(Path(out), encode(draw_mixing(left, top, grids)), seeds[0] if seeds else 0)


def _resolve(
    generator: Any, entries: Sequence[int | str | Path], margin: Callable[[], float], progress: Progress
) -> list[int | Code]:
    """Return the seeds and codes of one side of the grid; photographs are projected. margin: as for `cut_face`."""
    faces: list[int | Code] = []
    for entry in entries:
        if not isinstance(entry, str | Path):
            faces.append(entry)
        elif Path(entry).suffix == CODES.suffix:
            faces += list(read_codes(entry, generator))
        else:
            try:
                face = cut_face(entry, generator.size, margin())
            except ImageError as error:
                raise DetectorError(f"{entry}: {error}; name another photograph") from None
            if face is None:
                raise DetectorError(f"{entry}: no face was found; name a photograph that shows one")
            faces += list(generator.project(face[None], seed=0, progress=progress))
    return faces


def _draw_ends(generator: Any, faces: Sequence[int | Code], options: dict[str, Any]) -> Images:
    """Return the faces at the beginning of rows or columns."""
    if isinstance(generator, Projector):
        return generator.draw(faces, **options)
    return np.concatenate([generator.sample(1, seed=face, **options) for face in faces])
