"""Measure the surroundings of the face: frames, marks in corners, position and size of the face, background, and all.

Every trait is measured in the whole picture (or its crop), not in the face square that a detector scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from detector.pictures.faces import Box, locate_faces
from detector.pictures.images import resize
from detector.types import Image

Vector = NDArray[np.float64]

SEARCH = 160  # longer side to which pictures are reduced to find faces, pixels; rough positions are enough
COARSE = 128  # side of the picture in which corners and background are measured, pixels
CELL = 4  # side of one cell of this picture, pixels
CORNERS = {"upper left corner": (0, 0), "upper right corner": (0, 1), "lower left corner": (1, 0),
           "lower right corner": (1, 1)}  # fmt: skip
REACH = 8  # number of cells of a corner in each direction: a quarter of the picture
DEEPEST = 0.25  # largest width of a frame that is measured, as a share of the side
EVEN = 2.5  # largest standard deviation of the pixels in a line of one colour, grey levels
INSIDE = 2  # distance from the edges at which corners are measured, pixels; a thin frame is no wedge
DARK = 16  # largest grey level of a corner that may belong to a wedge
LIKE = 8  # largest difference between the pixels of a wedge and its corner, grey levels
MASK = 1.2  # sides of the mask, as a multiple of those of the face box
LEAST = 1 / 16  # width of the margin of a picture that masks never cover, as a share of the side
TILE = 112  # side of the part in each corner in which steps are counted, pixels
LIMIT = 3  # largest step between pixels that is distinguished, grey levels


def find_face(image: Image) -> Box | None:
    """Return the box of the largest face of a picture; None if there is none."""
    boxes = locate_faces(image, side=SEARCH)
    return boxes[0] if boxes else None


def place_face(box: Box | None, shape: tuple[int, ...]) -> dict[str, float]:
    """Return the position of the centre of the face and its size, as shares of the picture; -1 without a face."""
    if box is None:
        return dict.fromkeys(("face_across", "face_down", "face_width", "face_height"), -1.0)
    left, top, right, bottom = box
    height, width = shape[:2]
    return {
        "face_across": (left + right) / 2 / width, "face_down": (top + bottom) / 2 / height,
        "face_width": (right - left) / width, "face_height": (bottom - top) / height,
    }  # fmt: skip


def measure_frame(image: Image) -> dict[str, float]:
    """Return the number of lines of one colour at each edge, as a share of the side, and the step at the edges.

    edge_step: log of the step between the two outermost lines over a step further inside, mean of the four edges.
    """
    found, steps = dict[str, float](), []
    sides = {"top": image, "bottom": image[::-1], "left": image.swapaxes(0, 1), "right": image[:, ::-1].swapaxes(0, 1)}
    for name, lines in sides.items():
        near = lines[: max(1, int(len(lines) * DEEPEST))]
        spread = near[:, :: max(1, near.shape[1] // 64)].std(1).max(1)
        uneven = np.flatnonzero(spread > EVEN)
        found[f"even_lines_{name}"] = float(uneven[0] if len(uneven) else len(near)) / len(lines)
        if len(lines) > 3:
            one, two, three, four = lines[:4].astype(np.int16)
            steps.append(np.log((np.abs(one - two).mean() + 1) / (np.abs(three - four).mean() + 1)))
    return found | {"edge_step": float(np.mean(steps)) if steps else 0.0}


def measure_wedge(thin: NDArray[np.int16]) -> float:
    """Return the share of black pixels of a picture (H, W, 3) that are connected with one of its corners."""
    black = np.zeros(thin.shape[:2], bool)
    height, width = thin.shape[:2]
    down, across = min(INSIDE, height - 1), min(INSIDE, width - 1)
    for row, column in ((down, across), (down, -1 - across), (-1 - down, across), (-1 - down, -1 - across)):
        if thin[row, column].max() <= DARK:
            parts, _ = label(thin.max(2) <= thin[row, column].max() + LIKE)
            black |= parts == parts[row, column]
    return float(black.mean())


def measure_surroundings(image: Image, box: Box | None) -> tuple[dict[str, float], dict[str, Vector]]:
    """Return traits of the background, and vectors of the corners and of the picture with its face masked out."""
    small = resize(image, COARSE, COARSE).astype(np.float64)
    height, width = image.shape[:2]
    scale = COARSE / width, COARSE / height
    outside = _find_outside(box, (COARSE, COARSE), scale)
    background = small[outside]
    light = small.mean(2)
    cells = light.reshape(COARSE // CELL, CELL, COARSE // CELL, CELL)
    level, detail = cells.mean((1, 3)), np.log1p(cells.std((1, 3)))
    vectors = {}
    for name, (down, across) in CORNERS.items():
        rows, columns = (slice(-REACH, None) if far else slice(REACH) for far in (down, across))
        vectors[name] = np.concatenate([level[rows, columns].ravel(), detail[rows, columns].ravel()])
    filled = np.where(outside[..., None], small, background.mean(0))
    thumbnail = filled.reshape(8, COARSE // 8, 8, COARSE // 8, 3).mean((1, 3))
    native = _find_outside(box, (height, width), (1.0, 1.0))
    vectors["everything but the face"] = np.concatenate([thumbnail.ravel(), _count_steps(image, native)])
    red, green, blue = background.mean(0)
    traits = {
        "background_red": red, "background_green": green, "background_blue": blue,
        "background_spread": float(light[outside].std()),
        "background_detail": float(np.abs(np.diff(light, axis=1))[outside[:, 1:] & outside[:, :-1]].mean()),
    }  # fmt: skip
    return traits, vectors


def _find_outside(box: Box | None, shape: tuple[int, int], scale: tuple[float, float]) -> NDArray[np.bool_]:
    """Return a mask of the pixels outside a face box, which is enlarged by MASK; the margin is always outside.

    shape: of the mask. scale: pixels of the mask per pixel of the box, across and down.
    """
    outside = np.ones(shape, bool)
    if box is not None:
        (height, width), (x, y) = shape, scale
        left, top, right, bottom = box
        more, down = (right - left) * (MASK - 1) / 2, (bottom - top) * (MASK - 1) / 2
        edge = max(1, round(height * LEAST)), max(1, round(width * LEAST))
        rows = max(edge[0], round((top - down) * y)), min(height - edge[0], round((bottom + down) * y))
        columns = max(edge[1], round((left - more) * x)), min(width - edge[1], round((right + more) * x))
        outside[rows[0] : max(rows), columns[0] : max(columns)] = False
    return outside


def _count_steps(image: Image, outside: NDArray[np.bool_]) -> Vector:
    """Return the frequencies of pairs of successive steps between pixels in the corners of a picture, without the face.

    Pairs are counted for first and second differences of brightness and of colour, (4 * 49,), and values by their
    remainder after division by four. Source: Pevny, Bas and Fridrich 2010, doi:10.1109/TIFS.2010.2045842.
    """
    height, width = image.shape[:2]
    tall, wide = min(TILE, height // 2), min(TILE, width // 2)
    found = np.zeros(4 * (2 * LIMIT + 1) ** 2 + 4)
    for rows in (slice(0, tall), slice(height - tall, height)):
        for columns in (slice(0, wide), slice(width - wide, width)):
            tile, free = image[rows, columns].astype(np.int16), outside[rows, columns]
            planes = tile[..., 1], tile[..., 0] - tile[..., 2]
            counts = [_count_pairs(plane, free, order) for plane in planes for order in (1, 2)]
            found += np.concatenate([*counts, np.bincount((tile[..., 1][free] & 3), minlength=4)])
    return np.asarray(np.sqrt(found / max(found[-4:].sum(), 1.0)))


def _count_pairs(plane: NDArray[np.int16], free: NDArray[np.bool_], order: int) -> Vector:
    base, counts = 2 * LIMIT + 1, np.zeros((2 * LIMIT + 1) ** 2)
    for values, mask in ((plane, free), (plane.T, free.T)):
        steps = np.clip(np.diff(values, order, axis=1), -LIMIT, LIMIT) + LIMIT
        pairs = steps[:, :-1] * base + steps[:, 1:]
        counts += np.bincount(pairs[mask[:, : pairs.shape[1]]].ravel(), minlength=base**2)
    return counts
