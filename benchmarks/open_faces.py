"""Gather faces that anyone can download, of sources and of a generator that no shipped weights have seen.

    python benchmarks/open_faces.py build/open
    detector evaluate --suite benchmarks/suites/open.toml -o build/open/results

The photographs are portraits from public websites of four communities, most of them sent in by the people shown: of all
kinds of cameras, rooms and light, and saved by many programs. Only portraits from before 2024 are taken, because later
ones may be drawn or retouched by a generator. The fakes are profile pictures by Stable Diffusion 3. Each website is a
git repository; those that are not in `OUT/repositories` are cloned there, which takes about 1 GB. A picture is kept if
it is a JPEG in colour that shows one face of at least LEAST pixels, and if no kept picture is nearly the same. A name
of a file stands for a person. Nothing of these pictures is part of this repository.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd
from make_training_set import print_progress

from detector.dataset.manifest import write_manifest
from detector.errors import ImageError
from detector.evidence.checks.duplicates import CLOSE
from detector.files import sha256, write_bytes
from detector.pictures.faces import Box, find_faces
from detector.pictures.fingerprints import distances, perceptual_hash
from detector.pictures.images import decode_picture
from detector.types import Image

LEAST = 120  # shorter side of the box of a face, pixels
COLOUR = 6.0  # mean difference of the largest and the smallest channel below which a picture is grey, grey levels
ENDINGS = (".jpg", ".jpeg")
LEFT_OUT = (  # files, as repository/path: four drawings, and a person whose other photographs train shipped weights
    "djangocon/2018.djangocon.us/static/img/speakers/nick-humrich.jpg",
    "djangocon/2018.djangocon.us/static/img/speakers/sanyam-khurana.jpg",
    "djangocon/2021.djangocon.us/static/img/presenters/katie-mclaughlin.jpg",
    "djangocon/2021.djangocon.us/static/img/presenters/rachele-ditullio.jpg",
    "presidential-innovation-fellows/pif-website/assets/images/fellows/2016/michael-balint-headshot.jpg",
)


class Source(NamedTuple):
    """Folders of a repository at one commit; with a generator, what lies there is fake."""

    dataset: str
    repository: str
    commit: str
    folders: tuple[str, ...]
    licence: str
    generator: str = ""


def _djangocon(year: int, commit: str, *folders: str) -> Source:
    folders = tuple(f"static/img/{folder}" for folder in folders)
    return Source("djangocon-us", f"djangocon/{year}.djangocon.us", commit, folders, "MIT or BSD-3-Clause repository")


SOURCES = (
    Source(
        "stable-diffusion-3", "faker-js/assets-person-portrait", "63aef57b5a839aebe3ad913ec7c76469aabbb6c5",
        ("female/512", "male/512"), "CC0-1.0", "stable-diffusion-3",
    ),
    Source(
        "pif", "presidential-innovation-fellows/pif-website", "8ae57fae9f46935560b8eaaef4fd936eebdf5cf9",
        tuple(f"assets/images/fellows/{year}" for year in (2015, 2016, 2018, 2019, 2020, 2021, 2022, 2023)), "CC0-1.0",
    ),
    Source(
        "ropensci", "ropensci/roweb3", "d84b7eb675f82b6282411055374bd1a7c16b4b5a",
        ("themes/ropensci/static/img/community", "themes/ropensci/static/img/team"), "CC-BY-4.0",
    ),
    Source(
        "jupyter", "jupyter/jupyter.github.io", "1ef03af2279fb3061815f8e7b384253c07f71b78", ("assets/bios",),
        "BSD-3-Clause repository",
    ),
    _djangocon(2017, "6249823d57abb7dd89faf301c94d456bb02edbf8", "organizers"),
    _djangocon(2018, "94a7049af2249ba125969d9027da537ba01073e5", "organizers", "speakers"),
    _djangocon(2019, "d6147ca16b92b4c5182c0c02cd227429884d1f8d", "organizers", "speakers"),
    _djangocon(2021, "c98f30155e2ac4e8c2d6b3cfd8c6830fdcaa44bf", "organizers", "presenters"),
    _djangocon(2023, "0acd0d6c164a2e7eb52d41db2965db74a9558fa0", "organizers", "presenters"),
)  # fmt: skip


def main() -> None:
    """Clone what is missing, and write the chosen pictures and their manifest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    table = gather(given.out, SOURCES)
    write_manifest(table, given.out / "manifest.csv")
    print(table.groupby(["label", "dataset"]).size().to_string())


def gather(out: Path, sources: tuple[Source, ...]) -> pd.DataFrame:
    """Return the manifest of the chosen pictures, which are written below `out`, one folder for each dataset."""
    rows: list[dict[str, object]] = []
    hashes: list[str] = []
    for source in sources:
        folder = clone(source.repository, out / "repositories")
        pictures = list(read_pictures(folder, source))
        for number, (name, data) in enumerate(pictures, 1):
            print_progress(source.repository, number, len(pictures))
            found = choose(data)
            if found is None:
                continue
            phash, crop = found
            if hashes and distances(phash, hashes).min() <= CLOSE[256]:
                continue
            hashes.append(phash)
            digest = sha256(data)
            path = out / source.dataset / f"{digest[:24]}.jpg"
            write_bytes(path, data)
            person = name if source.generator else re.sub(r"[^a-z]", "", PurePosixPath(name).stem.lower())
            rows.append({"path": str(path.resolve()), "sha256": digest, "label": int(bool(source.generator)),
                         "generator": source.generator, "dataset": source.dataset,
                         "group": f"{source.dataset}-{person}", "split": "test", "licence": source.licence,
                         "crop": " ".join(map(str, crop))})  # fmt: skip
    return pd.DataFrame(rows)


def clone(repository: str, folder: Path) -> Path:
    """Return the folder of a repository, which is cloned from GitHub if it is not there."""
    path = folder / f"{repository.replace('/', '+')}.git"
    if not path.is_dir():
        address = f"https://github.com/{repository}"
        subprocess.run(["git", "clone", "--bare", "--quiet", address, str(path)], check=True)
    return path


def read_pictures(repository: Path, source: Source) -> Iterator[tuple[str, bytes]]:
    """Yield path and bytes of each JPEG in the folders of a source, in the order of their paths."""
    git = ["git", "--git-dir", str(repository)]
    listed = subprocess.run([*git, "ls-tree", "-r", "-z", "--name-only", source.commit, *source.folders],
                            check=True, capture_output=True).stdout  # fmt: skip
    for name in sorted(listed.decode().split("\0")):
        if name.lower().endswith(ENDINGS) and f"{source.repository}/{name}" not in LEFT_OUT:
            shown = subprocess.run([*git, "cat-file", "blob", f"{source.commit}:{name}"], capture_output=True)
            if shown.returncode == 0:
                yield name, shown.stdout
            else:
                print(f"{source.repository}: the clone lacks {name}")


def choose(data: bytes) -> tuple[str, Box] | None:
    """Return the perceptual hash of a picture and the square around its face; None if it is not to be kept."""
    try:
        decoded = decode_picture(data)
    except ImageError:
        return None
    faces = find_faces(decoded.image)
    if len(faces) != 1 or measure_colour(decoded.image) < COLOUR:
        return None
    face = faces[0].in_file(decoded)
    left, top, right, bottom = face.box
    if min(right - left, bottom - top) < LEAST or face.turns:
        return None
    return perceptual_hash(decoded.image), face.crop


def measure_colour(image: Image) -> float:
    """Return the mean difference of the largest and the smallest channel of a picture (H, W, 3), grey levels."""
    return float(np.ptp(image[::4, ::4], axis=2).mean())


if __name__ == "__main__":
    main()
