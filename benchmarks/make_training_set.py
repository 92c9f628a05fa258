"""Build the manifest of what the shipped detector learns from.

    python benchmarks/open_faces.py build/open
    python benchmarks/make_training_set.py ../shared/data build/default --open build/open

Photographs of six sources and the fakes that are marked `use=train` are located; nothing of them is copied. To them
come fakes that are made here: copies of every photograph through three of the four latent autoencoders (the fourth,
LEFT_OUT, only ever measures), copies of half of those that train through decoders that enlarge as other generators do
(`decoders.py`, trained here first), copies of every photograph through decoders that are altered at random instead of
trained, copies and swaps by this package's own generators, pictures drawn by `style-64` and `style-128`, and by the
pretrained `stylegan` where that extra is installed. Pictures with `use=evaluate` or `use=heldout` are never read. With
`--open`, the photographs of public websites that train join them, one of each person, with copies of their own through
the autoencoders and altered decoders, and the fakes of public repositories. The column `turn` numbers the copies of a
photograph by one method. What is there already is not made again. A GPU is used where there is one for all but the
altered decoders; without, each of the six decoders takes about 25 minutes of one core. The altered ones take a quarter
of an hour of a core for each turn.
"""

from __future__ import annotations

import argparse
import json
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from autoencoders import NAMES, STRIDE, Autoencoder
from decoders import CROP, KINDS, alter_decoder, jitter, read_decoder, scatter_weights, train_decoder

from detector import tasks
from detector.dataset.audit import audit
from detector.dataset.manifest import assign_splits, read_crops, read_manifest, validate, write_manifest
from detector.dataset.reencoding import add_crops, measure_sides
from detector.errors import MissingExtra
from detector.files import sha256, write_bytes, write_text
from detector.learning.devices import pick_device
from detector.learning.pairs import match_colours
from detector.pictures.images import cut, load, resize
from detector.scoring.checkpoint import SHIPPED
from detector.types import Image, Label

LEFT_OUT = "taesd3"  # the autoencoder whose reconstructions are never learnt
COPIED = [name for name in NAMES if name != LEFT_OUT]
SIDES = (112, 384)  # of the squares that are copied, pixels, drawn evenly on a logarithmic scale
TOGETHER = 32  # photographs that are copied at one side, with one noise
STEPS = 300  # training steps of each decoder
EACH = 2  # one in so many photographs that train is copied through the decoders that are trained here
LOWEST_PSNR = 20.0  # dB; a decoder that restores photographs less well is left out
COPIES = 2  # copies of every photograph through each autoencoder
TURNS = 8  # copies of every photograph through altered decoders
ALIKE, LARGEST = 16, 320  # photographs that share an altered decoder, and the largest side of their copies, pixels
LOWEST_ALTERED_PSNR = 22.5  # dB; a copy through an altered decoder that is less like its photograph is left out
NOISE = (0.0, 0.0, 0.03, 0.08)  # of the latent code, in its standard deviations, drawn evenly
LEAST = 80  # side of a face square, pixels, below which a picture is left out
ALTERED = {"latent": (128, 192), "reconstruct": (128, 208), "swap": (128, 208)}  # generator: sides, pixels
ALTERED_EACH, DRAWN_EACH, STYLEGAN_EACH = 250, 400, 275  # pictures of a generator and side, or of a truncation
TRUNCATIONS = (0.6, 0.65, 0.75, 0.8, 0.9, 1.0)  # of the styles of `stylegan`; 1.0 gives the most varied faces
FRACTIONS = (0.94, 0.06, 0.0)


def print_progress(what: str, done: int, total: int, step: int = 1) -> None:
    """Print one line every 250 steps. step: by how many `done` grew since the last call."""
    if done // 250 > (done - step) // 250 or done == total:
        print(f"{what}: {done} of {total}", flush=True)


def main() -> None:
    """Build what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv and autoencoders/")
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", choices=[*COPIED, *KINDS], help="make these copies and stop: several can run at once")
    parser.add_argument("--open", type=Path, help="the folder that open_faces.py wrote")
    parser.add_argument("--audit", type=int, default=4000, help="pictures that are audited at the end; 0 for none")
    given = parser.parse_args()
    located = given.out / "located.csv"
    if not located.is_file():
        table = read_manifest(given.data / "faces" / "manifest.csv")
        mine = table[table.use == "train"].reset_index(drop=True)
        write_manifest(add_crops(mine, progress=lambda i, n: print_progress("locating", i, n)), located)
    found = read_manifest(located)
    found = found[measure_sides(found) >= LEAST].reset_index(drop=True)
    photographs = assign_splits(found[found.label == 0].reset_index(drop=True), seed=0, fractions=FRACTIONS)
    parts = [photographs, assign_splits(found[found.label == 1].reset_index(drop=True), seed=0, fractions=FRACTIONS)]
    names = [given.only] if given.only else [*COPIED, *KINDS]
    weights = given.data / "autoencoders"
    copies = [copy_through(name, photographs, weights, given.out) for name in names]
    if given.only:
        return
    parts += [table for table in copies if table is not None]
    parts += copy_repeatedly(photographs, weights, given.out / "made", first=2)
    for name, sides in ALTERED.items():
        parts += [alter(name, photographs, given.out / "made" / f"{name}-{side}", side) for side in sides]
    parts += copy_open(given.open, weights, given.out / "made" / "open") if given.open else []
    drawn = pd.concat(draw_all(given.out / "made"), ignore_index=True)  # two checkpoints may share a seed, so a group
    parts.append(assign_splits(drawn, seed=0, fractions=FRACTIONS))
    table = validate(pd.concat(parts, ignore_index=True))
    write_manifest(table, given.out / "manifest.csv")
    print(table.groupby(["label", "generator", "dataset"]).size().to_string())
    sample = table.sample(min(given.audit, len(table)), random_state=0)
    for finding in audit(sample, progress=print_progress) if given.audit else []:
        print(f"audit: {finding.severity.value}: {finding.name}: {finding.summary}")


def copy_through(name: str, photographs: pd.DataFrame, weights: Path, out: Path) -> pd.DataFrame | None:
    """Return copies of the photographs through an autoencoder or a decoder of that name, which is trained first.

    None: that decoder does not restore photographs well enough.
    """
    device = pick_device()
    if name in COPIED:
        return copy_all(name, Autoencoder.read(weights, name, device), photographs, out / "made" / name)
    photographs = photographs[photographs.split == "train"].reset_index(drop=True)
    few = photographs.iloc[::EACH].reset_index(drop=True)
    path, note = out / "decoders" / f"{name}.safetensors", out / "decoders" / f"{name}.json"
    if not note.is_file():
        psnr = train_decoder(name, read_squares(photographs), weights, path, STEPS, device)
        write_text(note, json.dumps({"psnr": round(psnr, 2)}) + "\n")
    psnr = json.loads(note.read_text())["psnr"]
    print(f"{name}: {psnr} dB", flush=True)
    if psnr < LOWEST_PSNR:
        return None
    net = read_decoder(name, weights, path, device)
    return copy_all(name, net, few, out / "made" / name, varied=True)


def read_squares(photographs: pd.DataFrame) -> list[Image]:
    """Return the face squares of photographs, those of CROP pixels and more."""
    rows = list(zip(photographs.path, read_crops(photographs), strict=True))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        squares = pool.map(lambda row: cut(load(row[0]), row[1]), rows)
        return [square for square in squares if len(square) >= CROP]


def copy_all(
    name: str, net: Autoencoder, photographs: pd.DataFrame, folder: Path, *, varied: bool = False, turn: int = 1
) -> pd.DataFrame:
    """Return one copy of every photograph through an autoencoder, as PNG; finished batches are kept.

    Photographs of about one size are copied together, at a side that is drawn for them. varied: the decoder's weights
    are changed a little for every batch. turn: number of the copy of each photograph.
    """
    order = photographs.assign(side=measure_sides(photographs)).sort_values(["side", "sha256"]).reset_index(drop=True)
    key = zlib.crc32(name.encode() if turn == 1 else f"{name}#{turn}".encode())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(order), TOGETHER):
            batch = order.iloc[start : start + TOGETHER]
            paths = [copy_path(folder, sha) for sha in batch.sha256]
            if not all(path.is_file() for path in paths):
                rng = np.random.default_rng([key, start])
                high = max(min(int(batch.side.min()), SIDES[1]), SIDES[0] + STRIDE)
                side = int(np.exp(rng.uniform(np.log(SIDES[0]), np.log(high)))) // STRIDE * STRIDE
                rows = zip(batch.path, read_crops(batch), strict=True)
                squares = np.stack(list(pool.map(lambda row, n=side: resize(cut(load(row[0]), row[1]), n, n), rows)))  # type: ignore[misc]
                kept = jitter(net.decode, rng) if varied else None
                copies = net.reconstruct(squares, float(rng.choice(NOISE)), rng)
                if kept is not None:
                    net.decode.load_state_dict(kept)
                list(pool.map(write_png, paths, copies))
            print_progress(name, min(start + TOGETHER, len(order)), len(order), TOGETHER)
        digests = pool.map(lambda sha: sha256(copy_path(folder, sha).read_bytes()), order.sha256)
    return pd.DataFrame({
        "path": [str(copy_path(folder, sha).resolve()) for sha in order.sha256], "sha256": list(digests), "label": 1,
        "generator": name, "dataset": order.dataset, "group": order.group, "split": order.split,
        "licence": order.licence, "turn": turn,
    })  # fmt: skip


def copy_altered(photographs: pd.DataFrame, weights: Path, folder: Path, turn: int) -> pd.DataFrame:
    """Return copies of photographs through decoders that are altered anew for every few of them; those alike are kept.

    A copy gets the mean and the spread of its photograph's colours. turn: number of the copy of each photograph.
    """
    if (folder / "manifest.csv").is_file():
        return read_manifest(folder / "manifest.csv")
    order = photographs.assign(side=measure_sides(photographs)).sort_values(["side", "sha256"]).reset_index(drop=True)
    autoencoders = {name: Autoencoder.read(weights, name) for name in COPIED}
    rows = []
    for start in range(0, len(order), ALIKE):
        batch, rng = order.iloc[start : start + ALIKE], np.random.default_rng([404, turn, start])
        name, net = alter_decoder(autoencoders, rng)
        high = max(min(int(batch.side.min()), LARGEST), SIDES[0] + STRIDE)
        side = int(np.exp(rng.uniform(np.log(SIDES[0]), np.log(high)))) // STRIDE * STRIDE
        scatter_weights(net.decode, rng)  # type: ignore[arg-type]
        squares = [
            resize(cut(load(path), crop), side, side) for path, crop in zip(batch.path, read_crops(batch), strict=True)
        ]
        copies = net.reconstruct(np.stack(squares), float(rng.choice(NOISE)), rng)
        for photograph, square, copy in zip(batch.itertuples(), squares, copies, strict=True):
            if -10 * np.log10(((square - copy.astype(float)) ** 2).mean() / 255**2) < LOWEST_ALTERED_PSNR:
                continue
            path = copy_path(folder, photograph.sha256)
            write_png(path, match_colours(copy, square))
            digest = sha256(path.read_bytes())
            rows.append({"path": str(path.resolve()), "sha256": digest, "label": 1, "generator": name,
                         "dataset": photograph.dataset, "group": photograph.group, "split": photograph.split,
                         "licence": photograph.licence, "turn": turn})  # fmt: skip
        print_progress(folder.name, min(start + ALIKE, len(order)), len(order), ALIKE)
    write_manifest(pd.DataFrame(rows), folder / "manifest.csv")
    return pd.DataFrame(rows)


def copy_repeatedly(photographs: pd.DataFrame, weights: Path, out: Path, first: int) -> list[pd.DataFrame]:
    """Return the copies of photographs through altered decoders, and those through each autoencoder from turn `first`.

    `main` makes the first turn by `copy_through`, so that several autoencoders can run at once.
    """
    tables = []
    for name in COPIED:
        net = Autoencoder.read(weights, name, pick_device())
        for turn in range(first, COPIES + 1):
            folder = out / (name if turn == 1 else f"{name}-{turn}")
            tables.append(copy_all(name, net, photographs, folder, turn=turn))
    altered = (copy_altered(photographs, weights, out / f"altered{turn}", turn) for turn in range(1, TURNS + 1))
    return [*tables, *altered]


def copy_open(folder: Path, weights: Path, out: Path) -> list[pd.DataFrame]:
    """Return the photographs of public websites that train, one of each person, their copies, and the fakes."""
    table = read_manifest(folder / "train.csv").drop(columns="split").drop_duplicates("group")
    fakes, photographs = (
        assign_splits(table[table.label == label].reset_index(drop=True), seed=0, fractions=FRACTIONS)
        for label in (Label.FAKE, Label.REAL)
    )
    return [photographs, fakes, *copy_repeatedly(photographs, weights, out, first=1)]


def write_png(path: Path, picture: Image) -> None:
    """Write a picture (H, W, 3) without loss, by OpenCV, whose encoder takes a fifth of Pillow's time."""
    write_bytes(path, cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]))[1].tobytes())


def copy_path(folder: Path, sha: str) -> Path:
    """Return where the copy of the photograph with that hash lies."""
    return folder / f"{sha[:24]}.png"


def alter(name: str, photographs: pd.DataFrame, folder: Path, side: int) -> pd.DataFrame:
    """Return copies or swaps by a generator of this package, of every source of photographs alike."""

    def make() -> None:
        large = photographs[measure_sides(photographs) >= side]
        sources = [rows for _, rows in large.groupby("dataset")]
        each = ALTERED_EACH // len(sources)
        chosen = pd.concat([rows.sample(min(each, len(rows)), random_state=side) for rows in sources])
        tasks.alter(name, chosen.reset_index(drop=True), folder, size=side, label=False, progress=print_progress)

    return made(folder, make)


def draw_all(folder: Path) -> list[pd.DataFrame]:
    """Return what the generators that need no photograph draw, without labels: a mark in a file must not be learnt."""
    jobs: list[tuple[str, str, int, dict[str, Any]]] = []
    for seed, truncation in enumerate((0.8, 1.0), 7):
        for weights in ("style-64", "style-128"):
            options = {"weights": SHIPPED / weights, "truncation": truncation, "seed": 10_000 * seed}
            jobs.append(("style", f"{weights}-{truncation}", DRAWN_EACH, options))
    for seed, truncation in enumerate(TRUNCATIONS, 7):
        options = {"truncation": truncation, "seed": 10_000 * seed, "size": 512}
        jobs.append(("stylegan", f"stylegan-{truncation}", STYLEGAN_EACH, options))
    tables = []
    for name, title, count, options in jobs:

        def make(name: str = name, title: str = title, count: int = count, options: dict[str, Any] = options) -> None:
            tasks.generate(name, count, folder / title, label=False, progress=print_progress, **options)

        try:
            rows = made(folder / title, make)
        except MissingExtra as error:
            print(f"left out: {error}")
            continue
        tables.append(add_crops(rows, progress=lambda i, n: print_progress("locating", i, n)))
    return tables


def made(folder: Path, make: Callable[[], None]) -> pd.DataFrame:
    """Return the manifest of a folder, made first if it is not there."""
    if not (folder / "manifest.csv").is_file():
        make()
    return read_manifest(folder / "manifest.csv")


if __name__ == "__main__":
    main()
