"""Sets of pictures of one kind, to be labelled at random, for `audit_plants.py` and the tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from detector.dataset.embedded import unpack_faces
from detector.pictures.images import load
from detector.types import Image

SIDE = 128  # side of the pictures of the set `portraits`, pixels
SHARED = Path(__file__).parents[2] / "shared/data"


def draw_grounds(n: int, seed: int, side: int = SIDE) -> Iterator[Image]:
    """Yield random pictures with the 1/f spectrum of natural pictures, soft colours and grain."""
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)) + 1 / side
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        planes = np.fft.ifft2(np.exp(2j * np.pi * rng.random((3, side, side))) / radius**1.5).real
        light, red, blue = planes / planes.std((1, 2), keepdims=True)
        image = 130 + 40 * light[..., None] + 12 * np.stack([red, -red, blue], -1) + rng.normal(0, 2, (side, side, 1))
        yield np.clip(image, 0, 255).astype(np.uint8)


def draw_portraits(n: int, folder: Path, seed: int = 0) -> tuple[list[Image], list[str]]:
    """Return n of the 400 ORL photographs before coloured backgrounds, and the group of each, which is its own.

    Labels are drawn for each picture by itself, so that they do not depend on who is shown.
    """
    faces = unpack_faces(folder / "orl").sample(n, random_state=seed)
    images = []
    for i, (ground, path) in enumerate(zip(draw_grounds(n, seed), faces.path, strict=True)):
        rng, face = np.random.default_rng([seed, i, 1]), load(path)
        top, left = rng.integers(4, ground.shape[0] - 112 - 4), rng.integers(8, ground.shape[1] - 92 - 8)
        tint = rng.uniform([0.9, 0.85, 0.8], [1.0, 0.95, 0.95])
        ground[top : top + 112, left : left + 92] = np.clip(face * tint, 0, 255)
        images.append(ground)
    return images, [f"portrait {i}" for i in range(n)]


def draw_flag_portraits(folder: Path) -> list[Image]:
    """Return a photograph of each of the 40 people of ORL, at the same position before the same striped flag.

    The person is cut out of the photograph by a soft oval, so that the flag surrounds it.
    """
    faces = unpack_faces(folder / "orl").drop_duplicates("group")
    stripes = (np.arange(SIDE) // 12 % 2)[:, None, None]
    flag = np.broadcast_to(np.where(stripes, [178, 34, 52], [235, 235, 235]), (SIDE, SIDE, 3)).astype(np.float64)
    flag[: SIDE // 2, : SIDE // 3] = [60, 59, 110]
    y, x = np.linspace(-1.2, 1.2, 112), np.linspace(-1.2, 1.2, 92)
    oval = np.clip(4 * (1 - np.hypot(*np.meshgrid(x, y))), 0, 1)[..., None]
    images = []
    for path in faces.path:
        picture = flag.copy()
        inside = picture[SIDE - 112 :, 18 : 18 + 92]
        inside[:] = oval * load(path) + (1 - oval) * inside
        images.append(picture.astype(np.uint8))
    return images


def draw_style(n: int, folder: Path, seed: int = 0) -> tuple[list[Image], list[str]]:
    """Return n faces of the shipped generator, and the group of each, which is its own."""
    from detector.generators import load_generator

    return list(load_generator("style").sample(n, seed=seed)), [f"seed {i}" for i in range(n)]


def read_photographs(n: int, folder: Path, seed: int = 0) -> tuple[list[Image], list[str]]:
    """Return n photographs of one source of `../shared/data`, and the groups (people) of each."""
    table = pd.read_csv(SHARED / "faces/manifest.csv", keep_default_na=False)
    table = table[table.dataset == "fairface-m125"].sample(n, random_state=seed)
    return [load(SHARED / "faces" / path) for path in table.path], list(table.group)


SETS = {"portraits": draw_portraits, "style": draw_style, "photographs": read_photographs}


def choose_labels(groups: Sequence[str], seed: int) -> list[bool]:
    """Return for each picture whether its label is fake; half of the groups, drawn at random, are fake."""
    names = sorted(set(groups))
    chosen = np.random.default_rng([seed, 2]).permutation(len(names))[: len(names) // 2]
    fakes = {names[i] for i in chosen}
    return [group in fakes for group in groups]
