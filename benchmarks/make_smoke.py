"""Make the pictures and the detector of the suite `smoke`: 60 generated faces, and a small detector.

    detector generate style -n 60 --seed 0 --weights detector/weights/style-64 --no-label -o build/smoke/test
    detector generate style -n 320 --seed 1000 --weights detector/weights/style-64 --no-label -o build/smoke/fit
    python benchmarks/make_smoke.py build/smoke

The faces of `test` are converted to grey and written to `detector/evaluation/shipped/pictures`. The detector in
`detector/evaluation/shipped/spectrum` is trained on the faces of `fit` and on the embedded photographs of the training
people. No person and no seed is in both sets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from detector import tasks
from detector.dataset.embedded import unpack_faces
from detector.dataset.manifest import merge, read_manifest, write_manifest
from detector.evaluation.running import write_alike
from detector.evaluation.suites import SHIPPED
from detector.files import sha256, write_bytes
from detector.pictures.images import encode, load

SIDE = 64  # side of the pictures that the detector is trained on, pixels


def grey(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the manifest of grey copies: the photographs are grey, so colour must not reveal the fakes."""
    paths, hashes = [], []
    for i, path in enumerate(table.path):
        light = np.rint(load(path) @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        data = encode(np.repeat(light[..., None], 3, axis=2))
        write_bytes(folder / f"{i:02d}.png", data)
        paths.append(str((folder / f"{i:02d}.png").resolve()))
        hashes.append(sha256(data))
    return table.assign(path=paths, sha256=hashes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path, help="the folder that holds test/manifest.csv and fit/manifest.csv")
    build = parser.parse_args().build
    for old in (SHIPPED / "pictures").glob("*.png"):
        old.unlink()
    test = grey(read_manifest(build / "test" / "manifest.csv"), SHIPPED / "pictures")
    write_manifest(test.assign(split="test", dataset="smoke"), SHIPPED / "pictures" / "manifest.csv")

    fakes = grey(read_manifest(build / "fit" / "manifest.csv"), build / "grey").assign(split="train")
    fakes.loc[fakes.index % 4 == 0, "split"] = "val"
    faces = unpack_faces(build / "orl")
    training = write_alike(merge([faces[faces.split != "test"], fakes]), build / "alike", SIDE)
    tasks.train("detector", "spectrum", training, SHIPPED / "spectrum", arguments={"size": SIDE, "bins": 16})


if __name__ == "__main__":
    main()
