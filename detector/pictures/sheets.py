"""Sheets of faces with names above and beside them. Faces keep their pixels; only very small ones are enlarged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from detector.errors import DetectorError
from detector.pictures.images import MAX_PIXELS, tile
from detector.types import Image, Images

LEAST = 96  # smallest side of a face on a sheet, pixels; smaller faces are enlarged by a whole factor
INK = (51, 51, 51)  # colour of the names
SMALLEST_TEXT = 8  # smallest height of the names, pixels

Span = tuple[int, int, str]  # first pixel, last pixel + 1, and the name that is centred between them


def draw_mixing(sources: Images, destinations: Images, grids: Mapping[str, NDArray[np.uint8]]) -> Image:
    """Return the style-mixing grid: each face is that of its column, with styles of that of its row.

    sources: (S, H, W, 3). destinations: (D, H, W, 3). grids: which styles are taken (coarse, ...), to (S, D, H, W, 3).

    Raises DetectorError if the grid is too large. Source: Karras, Laine and Aila 2019, arXiv:1812.04948, figure 3.
    """
    rows, columns = len(sources), len(destinations)
    check_sheet(1 + len(grids) * rows, 1 + columns, sources.shape[1])
    sources, destinations = _enlarge(sources), _enlarge(destinations)
    height, width = sources.shape[1:3]
    gap = max(2, height // 6)
    block = rows * height + gap
    canvas = np.full((height + len(grids) * block, width + gap + columns * width, 3), 255, np.uint8)
    canvas[:height, width + gap :] = tile(destinations, columns, gap=0)
    left = []
    for top, (name, grid) in zip(range(height + gap, len(canvas), block), grids.items(), strict=True):
        cells = _enlarge(grid.reshape(-1, *grid.shape[2:]))
        canvas[top : top + rows * height, :width] = tile(sources, 1, gap=0)
        canvas[top : top + rows * height, width + gap :] = tile(cells, columns, gap=0)
        left.append((top, top + rows * height, f"{name} styles of the source"))
    return _add_names(canvas, [(width + gap, canvas.shape[1], "destination")], left, height // 8)


def draw_table(faces: NDArray[np.uint8], columns: Sequence[str], rows: Sequence[str] = ()) -> Image:
    """Return faces (R, C, H, W, 3) in rows and columns, with the names of both; DetectorError if it is too large."""
    down, across = faces.shape[:2]
    check_sheet(down, across, faces.shape[2])
    cells = _enlarge(faces.reshape(-1, *faces.shape[2:]))
    height, width = cells.shape[1:3]
    return _add_names(
        tile(cells, across, gap=2),
        [(i * (width + 2), i * (width + 2) + width, name) for i, name in enumerate(columns)],
        [(i * (height + 2), i * (height + 2) + height, name) for i, name in enumerate(rows)],
        height // 8,
    )


def check_sheet(rows: int, columns: int, side: int) -> None:
    """Raise DetectorError if a sheet of faces would have more pixels than a picture that this package reads."""
    if (pixels := rows * columns * max(side, LEAST) ** 2) > MAX_PIXELS:
        raise DetectorError(
            f"{rows} x {columns} faces of {side} pixels are {pixels / 1e6:,.0f} megapixels, more than the "
            f"{MAX_PIXELS / 1e6:.0f} of a sheet; name fewer faces, or a smaller --size if the generator has several"
        )


def _enlarge(faces: Images) -> Images:
    """Return faces of at least LEAST pixels, each pixel repeated."""
    factor = -(-LEAST // faces.shape[1])
    return faces.repeat(factor, 1).repeat(factor, 2)


def _add_names(canvas: Image, top: Sequence[Span], left: Sequence[Span], size: int) -> Image:
    """Return the canvas with a margin above and, if there are names for it, on the left; `size` is the letters'."""
    margin = 2 * size
    aside = margin if left else 0
    whole = np.full((canvas.shape[0] + margin, canvas.shape[1] + aside, 3), 255, np.uint8)
    whole[margin:, aside:] = canvas
    for first, last, name in top:
        whole[:margin, aside + first : aside + last] = _write(name, last - first, margin, size)
    for first, last, name in left:
        whole[margin + first : margin + last, :margin] = np.rot90(_write(name, last - first, margin, size))
    return whole


def _write(name: str, width: int, height: int, size: int) -> Image:
    """Return a name in the middle of a white strip, smaller than `size` if it would not fit."""
    strip = Pillow.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size)
    if (length := pen.textlength(name, font)) > width:
        font = ImageFont.load_default(max(SMALLEST_TEXT, int(size * width / length)))
    pen.text((width / 2, height / 2), name, INK, font, anchor="mm")
    return np.asarray(strip)
