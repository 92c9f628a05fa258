"""Check how, and how often, the picture was compressed, and whether all parts have the same history."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.evidence.checks import CHECKS
from detector.pictures.exif import read_exif
from detector.pictures.faces import Box, locate_faces
from detector.pictures.images import as_stored, decode, decode_picture, encode
from detector.pictures.jpeg import read_jpeg
from detector.types import Decoded, Exhibit, Finding, Image, Outcome

LIMITS = (
    "Saving twice, cropping and odd tables are what platforms do, and point nowhere. So does a region with its own "
    "history, which screenshots, collages and stickers have, unless it is a face and nothing around it. A face that "
    "somebody cut out closely and laid on a page is such a region too. Only the middle 1024 x 1024 pixels are "
    "searched, and a region is seen only if it kept its 8 x 8 grid and was saved worse than the whole."
)
WINDOW = 1024  # side of the middle part that is examined, pixels
QUALITIES = tuple(range(30, 100, 5))  # JPEG qualities at which the picture is saved again to find ghosts
FLAT = 1.0  # log squared error at the lowest quality below which a block is too flat to show a ghost
GLOBAL = 0.15  # depth of the median dip above which the whole picture was saved at that quality before
LOCAL_DEPTH, LOCAL_Z = 0.6, 6.5  # thresholds of a dip in only some blocks; see benchmarks/false_alarms.py
GRID_Z = 6.0  # z-score above which a block grid counts as found
NEAR, FAR = (1.15, 8), (1.9, 48)  # size of a face with its edge, and with its surroundings: factor, added pixels
# Of 83 pasted faces these two found 82; of 299 portraits on pages and on photographs they accused 1.
FACE_SHARE = 0.5  # smallest share of the textured blocks of a face that show the ghost
OUTSIDE = 0.05  # largest share of the ghost that lies elsewhere, and of the surroundings that it covers
SURROUNDINGS = 16  # smallest number of textured blocks around a face with which it can be compared

REFERENCE = (
    f"local ghost: depth below {LOCAL_DEPTH} or z below {LOCAL_Z}; grid: z below 2.1 on 100 pictures never compressed"
)


@CHECKS.register("compression", limits=LIMITS, reference=REFERENCE)
def check(exhibit: Exhibit) -> Finding:
    """Return JPEG tables, quality and subsampling, the block grid, and ghosts of earlier saves.

    Points to fake only where a face was once saved at another quality than what surrounds it.
    """
    header = read_jpeg(exhibit.bytes)
    details: dict[str, Any] = {"jpeg": header, "grid": None, "ghost": None}
    decoded = exhibit.decoded
    if decoded is None or min(decoded.image.shape[:2]) < 64 or decoded.reduced:
        if header is None:
            why = "It has neither a JPEG header nor pixels."
            return Finding("compression", Outcome.NOT_APPLICABLE, why, details)
        why = "it has too few pixels"
        if decoded is not None and decoded.reduced:
            why = "decoded at less than its size, so its blocks were not searched"
        return Finding("compression", Outcome.NEUTRAL, f"{_say(header)}; {why}.", details)
    turn = read_exif(exhibit.bytes).get("Orientation", 1)
    window, corner = _window(_as_stored(exhibit.bytes, decoded, turn))
    details["grid"] = grid = find_grid(window)
    details["ghost"] = ghost = find_ghosts(window, header["quality"] if header else None)
    where = ghost["local"]
    if where:
        left, top, right, bottom = where.pop("box")
        where["box"] = [left + corner[0], top + corner[1], right + corner[0], bottom + corner[1]]
        hit, textured = where.pop("blocks")
        faces = {box: _turn(box, decoded.image.shape, turn, corner) for box in locate_faces(decoded.image)}
        alone = [list(box) for box, stored in faces.items() if is_face_alone(hit, textured, stored)]
        where["face"] = next(iter(alone), None)
    said = [_say(header)] if header else ["Not a JPEG"]
    if ghost["earlier_quality"]:
        said.append(f"all of it was saved at about quality {ghost['earlier_quality']} before")
    if grid["phase"] is not None and (header is None or grid["phase"] != [0, 0]):
        said.append(f"it has the 8 x 8 grid of an earlier JPEG, displaced by {grid['phase'][0]}, {grid['phase'][1]}")
    if where and where["face"]:
        said.append(f"a face was saved at about quality {where['quality']} before and what surrounds it was not")
    elif where:
        part = f"a region ({where['share']:.0%} of it) was saved at about quality {where['quality']} before"
        said.append(f"{part} and the rest was not, as in screenshots, collages and pictures with stickers")
    outcome = Outcome.SUPPORTS_FAKE if where and where["face"] else Outcome.NEUTRAL
    return Finding("compression", outcome, "; ".join(said) + ".", details)


def is_face_alone(hit: NDArray[np.bool_], textured: NDArray[np.bool_], face: Box) -> bool:
    """Return whether a ghost covers a face alone, although the surroundings could show a ghost too.

    hit, textured: of each block of 16 x 16 pixels, whether it shows the ghost and whether it could. face: pixels.
    """
    left, top, right, bottom = face
    y, x = np.indices(hit.shape) * 16 + 8

    def within(scale: float, more: float) -> NDArray[np.bool_]:
        across = np.abs(x - (left + right) / 2) < (right - left) / 2 * scale + more
        return np.asarray(across & (np.abs(y - (top + bottom) / 2) < (bottom - top) / 2 * scale + more))

    inner, near = within(1, 0) & textured, within(*NEAR)
    around = within(*FAR) & ~near & textured
    if not inner.any() or around.sum() < SURROUNDINGS or not hit.any():
        return False
    elsewhere = (hit & ~near).sum() / hit.sum()
    return bool(hit[inner].mean() >= FACE_SHARE and elsewhere <= OUTSIDE and hit[around].mean() <= OUTSIDE)


def find_grid(image: Image) -> dict[str, Any]:
    """Return the offset [x, y] of the strongest 8 x 8 block grid and its z-score; the offset is None below GRID_Z.

    A boundary is where a step exceeds the mean of its two neighbours; means by column and by row modulo 8, in units of
    their standard error. A JPEG's own grid, at [0, 0], hides an earlier one that was not much coarser.

    Source: after Li, Yuan and Yu 2009, Passive detection of doctored JPEG image via block artifact grid extraction.
    """
    luma = _luma(image)
    offsets, scores = [], []
    for plane in (luma, luma.T):
        step = np.abs(np.diff(plane, axis=1))
        excess = np.clip(step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2, -4, 4).mean(axis=0, dtype=np.float64)
        phase = (np.arange(len(excess)) + 2) % 8  # excess[0] lies between columns 1 and 2
        means = np.array([excess[phase == p].mean() for p in range(8)])
        error = float((excess - means[phase]).std()) / np.sqrt(len(excess) / 8) + 0.002
        best = int(means.argmax())
        scores.append((means[best] - np.delete(means, best).mean()) / error)
        offsets.append(best)
    z = round(float(min(scores)), 2)
    return {"phase": offsets if z >= GRID_Z else None, "z": z}


def find_ghosts(image: Image, quality: int | None) -> dict[str, Any]:
    """Return the quality at which the whole picture was saved before, and the part with a different history.

    The picture is saved at each of QUALITIES; blocks that were once saved near one of them change least there. That
    dip of the log squared error, block by block, is a ghost. `quality`: the file's own, near which everything dips.

    Source: Farid 2009, Exposing digital forgeries from JPEG ghosts, IEEE TIFS 4(1), equations 1-4; the dip, its
    normalisation by the picture's own spread and the thresholds are ours. `blocks` of the part: hit and textured.
    """
    luma = _luma(image)
    height, width = (side // 16 * 16 for side in luma.shape)

    def error(at: int) -> NDArray[np.float64]:
        again = _luma(decode(encode(image, "JPEG", quality=at)))
        squared = (again - luma)[:height, :width] ** 2
        blocks = squared.reshape(height // 16, 16, width // 16, 16).mean((1, 3), dtype=np.float64)
        return np.asarray(np.log(blocks + 0.1))

    errors = np.stack([error(at) for at in QUALITIES])
    dips = (errors[:-2] + errors[2:]) / 2 - errors[1:-1]
    textured = errors[0] > FLAT
    found: dict[str, Any] = {"earlier_quality": None, "local": None, "depth": 0.0, "z": 0.0}
    weight = _mean3(textured.astype(np.float64))
    inside = textured & (weight > 0.6)
    if inside.sum() < 64:
        return found
    for at, dip in zip(QUALITIES[1:-1], dips, strict=True):
        if quality is not None and at > quality - 8:
            continue
        smooth = _mean3(np.where(textured, dip, 0)) / np.maximum(weight, 1e-6)
        values = smooth[inside]
        middle = float(np.median(values))
        if middle > GLOBAL:
            if found["earlier_quality"] is None or middle > found["earlier_depth"]:
                found |= {"earlier_quality": at, "earlier_depth": round(middle, 3)}
            continue
        spread = 1.4826 * float(np.median(np.abs(values - middle))) + 0.05
        depth = float(np.quantile(values, 0.96)) - middle
        if depth / spread > found["z"]:
            found |= {"depth": round(depth, 3), "z": round(depth / spread, 2)}
            if depth > LOCAL_DEPTH and depth / spread > LOCAL_Z:
                hit = inside & (smooth > middle + depth / 2)
                rows, columns = np.flatnonzero(hit.any(1)), np.flatnonzero(hit.any(0))
                box = [16 * int(columns[0]), 16 * int(rows[0]), 16 * int(columns[-1]) + 16, 16 * int(rows[-1]) + 16]
                share = round(float(hit.sum() / inside.sum()), 3)
                found["local"] = {"quality": at, "share": share, "box": box, "blocks": (hit, inside)}
    return found


def _say(header: dict[str, Any]) -> str:
    kind = "standard tables" if header["standard_tables"] else "tables of its maker's own"
    return f"JPEG of about quality {header['quality']}, {header['subsampling']}, {kind}"


def _as_stored(data: bytes, decoded: Decoded, turn: Any) -> Image:
    """Return the picture as stored in the file, without turn and colour conversion, so that its block grid is kept.

    turn: the file's EXIF orientation.
    """
    image = decode_picture(data, srgb=False).image if decoded.converted else decoded.image
    return as_stored(image, turn)


def _turn(box: Box, shape: tuple[int, ...], turn: Any, corner: tuple[int, int]) -> Box:
    """Return a box in the upright picture as one in the window of the stored one, turned as `as_stored` turns."""
    left, top, right, bottom = box
    height, width = shape[:2]
    if turn in (5, 6, 7, 8):
        left, top, right, bottom, height, width = top, left, bottom, right, width, height
    if turn in (2, 3, 7, 8):
        left, right = width - right, width - left
    if turn in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return left - corner[0], top - corner[1], right - corner[0], bottom - corner[1]


def _window(image: Image) -> tuple[Image, tuple[int, int]]:
    """Return the middle of the picture and its left and top, multiples of 16 so that the blocks stay whole."""
    top, left = (max(0, side - WINDOW) // 2 // 16 * 16 for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + WINDOW, left : left + WINDOW]), (left, top)


def _luma(image: Image) -> NDArray[np.float32]:
    return np.asarray(image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))


def _mean3(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over each 3 x 3 neighbourhood, edges repeated."""
    padded = np.pad(values, 1, mode="edge")
    height, width = values.shape
    return np.asarray(sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9)
