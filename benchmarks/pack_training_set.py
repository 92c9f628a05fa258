"""Pack the pictures from which a training set is made, to transfer them to a machine with a GPU.

    python benchmarks/pack_training_set.py build/default build/packed --open build/open
    python benchmarks/make_training_set.py DATA build/packed --open build/packed/open --audit 0   # on the other machine

JPEGs are cropped to the face square without loss, at the edges of their blocks (`jpegtran`), because only this part is
used in training; squares of more than LOSSLESS pixels are shrunk and saved as WebP 94. Generated pictures are saved as
JPEG 95, those of more than 256 pixels as WebP 90. Copies through autoencoders and altered decoders are left out; they
are made again on the other machine, from `DATA/autoencoders`.
"""

from __future__ import annotations

import argparse
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from make_training_set import print_progress

from detector.dataset.manifest import read_crops, read_manifest, write_manifest
from detector.files import sha256, write_bytes
from detector.pictures.images import cut, encode, load, resize

BLOCK = 16  # side of the JPEG blocks at whose edges a picture is cropped, pixels
LOSSLESS, SHRUNK = 512, 448  # largest side of a square that is cropped without loss, and that of larger ones, pixels
STYLEGAN = 160  # number of pictures of each truncation that are packed, because they are large
FOLDERS = ("photographs", "fakes")  # folder names of the pictures with located faces, by label


def main() -> None:
    """Pack the photographs and fakes of a training set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("made", type=Path, help="the folder that make_training_set.py wrote")
    parser.add_argument("out", type=Path)
    parser.add_argument("--open", type=Path, help="the folder that open_faces.py wrote")
    arguments = parser.parse_args()
    located = read_manifest(arguments.made / "located.csv")
    labels = [pack(located[located.label == label], arguments.out / name) for label, name in enumerate(FOLDERS)]
    write_manifest(pd.concat(labels, ignore_index=True), arguments.out / "located.csv")
    if arguments.open is not None:
        folder = arguments.out / "open"
        write_manifest(pack(read_manifest(arguments.open / "train.csv"), folder), folder / "train.csv")
    crops = read_manifest(arguments.made / "manifest.csv").set_index("sha256").crop
    for path in sorted(arguments.made.glob("made/*/manifest.csv")):
        drawn = read_manifest(path)
        drawn = drawn.assign(crop=drawn.sha256.map(crops))[drawn.sha256.isin(crops.index)]
        if drawn.generator.iloc[0] == "stylegan":
            drawn = drawn.sample(STYLEGAN, random_state=0)
        folder = arguments.out / "made" / path.parent.name
        write_manifest(pack(drawn, folder), folder / "manifest.csv")


def pack(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Write the face square of every picture, and return the table of the packed files."""
    rows = list(zip(table.itertuples(), read_crops(table), strict=True))
    with ThreadPoolExecutor(2) as pool:
        packed = []
        for number, row in enumerate(pool.map(lambda job: pack_one(*job, folder), rows), 1):
            packed.append(row)
            print_progress(folder.name, number, len(rows))
    return table.assign(**pd.DataFrame(packed, index=table.index)).reset_index(drop=True)


def pack_one(row: object, crop: tuple[int, int, int, int] | None, folder: Path) -> dict[str, str]:
    """Write the face square of a picture, and return the path, the hash and the crop of the new file."""
    source = Path(row.path)  # type: ignore[attr-defined]
    data = source.read_bytes()
    if source.suffix == ".png" and row.label == 1:  # type: ignore[attr-defined]
        square = load(source)
        square = square if crop is None else cut(square, crop)
        large = len(square) > 256
        data = encode(square, "WEBP" if large else "JPEG", quality=90 if large else 95, subsampling="4:4:4")
        ending, box = (".webp" if large else ".jpg"), (0, 0, len(square), len(square))
    elif crop is not None and crop[2] - crop[0] > LOSSLESS:
        data = encode(resize(cut(load(source), crop), SHRUNK, SHRUNK), "WEBP", quality=94)
        ending, box = ".webp", (0, 0, SHRUNK, SHRUNK)
    elif data[:2] == b"\xff\xd8" and crop is not None:
        ending, (left, top, right, bottom) = ".jpg", crop
        x, y = max(left, 0) // BLOCK * BLOCK, max(top, 0) // BLOCK * BLOCK
        area = f"{right - x}x{bottom - y}+{x}+{y}"
        command = ["jpegtran", "-copy", "none", "-progressive", "-optimize", "-crop", area, str(source)]
        data, box = (
            subprocess.run(command, check=True, capture_output=True).stdout,
            (left - x, top - y, right - x, bottom - y),
        )
    else:
        ending, box = source.suffix, crop or (0, 0, 0, 0)
    path = folder / f"{row.sha256[:24]}{ending}"  # type: ignore[attr-defined]
    write_bytes(path, data)
    return {"path": str(path.resolve()), "sha256": sha256(data), "crop": " ".join(map(str, box))}


if __name__ == "__main__":
    main()
