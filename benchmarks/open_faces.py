"""Gather faces that anyone can download: portraits from public websites, and fakes of text-to-image models and GANs.

    python benchmarks/open_faces.py build/open
    detector evaluate --suite benchmarks/suites/open.toml -o build/open/results
    detector evaluate --suite benchmarks/suites/confirm.toml -o build/open/confirmed
    detector evaluate --suite benchmarks/suites/kinds.toml -o build/open/kinds

The photographs are portraits from public websites of communities, most of them sent in by the people shown: of all
kinds of cameras, rooms and light, and saved by many programs. Each website is a git repository; those that are not in
`OUT/repositories` are cloned there, which takes some GB. `data/open/faces.csv` lists the chosen pictures, by the
repository and the object that hold them, with the square around the face and a number for the person. Chosen were JPEGs
from before 2024 (later portraits may be drawn or retouched by a generator) that are in colour and show one face of at
least 120 pixels; drawings, tinted and filtered pictures, hidden faces and second copies were left out by eye, and
people whose name or picture is in another dataset by program. The fakes are of Stable Diffusion 1.4 and 3, of StyleGAN
2 (256 pixels; samples that its authors published) and of a text-to-image model of 2026 that its author does not name,
of which unusual pictures were left out by eye. All pictures of a dataset serve the one use that DATASETS names. Those
whose licence may be that of a website's template only measure. Those that confirm were gathered after the weights and
thresholds that they measure were final: portraits from five websites, and fakes of five further generators, which the
authors of these or of other programs show. Those of three generators are tiles of sheets, which are cut out and saved
without loss. Fakes of two repositories train: portraits that Google's Nano Banana drew after photographs, and pictures
by 55 text-to-image models, of which FLUX alone is known to be of the family of a generator that measures (by `kinds`).
No picture is part of this repository.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from make_training_set import print_progress

from detector.dataset.foreign import find_format
from detector.dataset.manifest import read_crop, write_manifest
from detector.files import sha256, write_bytes
from detector.pictures.images import cut, decode, encode

LISTED = Path(__file__).parent / "data" / "open" / "faces.csv"  # repository, blob, dataset, person, crop


class Dataset(NamedTuple):
    """What the pictures of a dataset are used for, under which licence, and the generator of fakes.

    use: `train`; `calibrate`, which sets thresholds and bounds; `evaluate`, which only measures; or `confirm`, which
    measures what nobody had looked at when weights and thresholds were chosen. sheets: the pictures are tiles of larger
    ones, and the square around the face is cut out of these.
    """

    use: str
    licence: str
    generator: str = ""
    sheets: bool = False


DATASETS = {
    "stable-diffusion-3": Dataset("evaluate", "CC0-1.0", "stable-diffusion-3"),
    "stable-diffusion-1-4": Dataset("evaluate", "MIT repository", "stable-diffusion-1.4"),
    "stylegan-2": Dataset("evaluate", "MIT repository; samples published by NVIDIA; only measured with", "stylegan-2"),
    "ai-gallery": Dataset("evaluate", "MIT repository", "text-to-image-2026"),
    "jupyter": Dataset("evaluate", "BSD-3-Clause repository"),
    "devfest-vienna": Dataset("evaluate", "MIT repository; only measured with"),
    "gsa-coe": Dataset("evaluate", "US government work; only measured with"),
    "usds": Dataset("evaluate", "CC0-1.0 repository; only measured with"),
    "councilmatic": Dataset("evaluate", "MIT repository; only measured with"),
    "devfest-nantes": Dataset("evaluate", "MIT repository; only measured with"),
    "devfest-toulouse": Dataset("evaluate", "MIT repository; only measured with"),
    "jsconf": Dataset("evaluate", "MIT repository; only measured with"),
    "qcrypt": Dataset("evaluate", "MIT repository; only measured with"),
    "18f": Dataset("confirm", "US government work; only measured with"),
    "angular-up": Dataset("confirm", "MIT repository; only measured with"),
    "devfest-brussels": Dataset("confirm", "MIT repository; only measured with"),
    "devfest-cz": Dataset("confirm", "MIT repository; only measured with"),
    "devfest-ukraine": Dataset("confirm", "MIT repository; only measured with"),
    "stylegan-1": Dataset("confirm", "MIT repository; only measured with", "stylegan-1", sheets=True),
    "stargan": Dataset("confirm", "MIT repositories; only measured with", "stargan", sheets=True),
    "styleswin": Dataset("confirm", "MIT repository; only measured with", "styleswin", sheets=True),
    "facechain": Dataset("confirm", "Apache-2.0 repository; only measured with", "stable-diffusion-1.5"),
    "flux-portraits": Dataset("confirm", "Apache-2.0 repository; only measured with", "flux"),
    "pif": Dataset("calibrate", "CC0-1.0"),
    "corecpp": Dataset("calibrate", "MIT repository; only calibrated with"),
    "gdg-malaga": Dataset("calibrate", "MIT repository; only calibrated with"),
    "djangocon-us": Dataset("train", "MIT or BSD-3-Clause repository"),
    "ropensci": Dataset("train", "CC-BY-4.0"),
    "bssw": Dataset("train", "MIT repository"),
    "chi-hack-night": Dataset("train", "MIT repository"),
    "csvconf": Dataset("train", "MIT repository"),
    "delphi": Dataset("train", "MIT repository"),
    "greenelab": Dataset("train", "BSD-3-Clause repository"),
    "monarch": Dataset("train", "BSD-3-Clause repository"),
    "pycon-cz": Dataset("train", "MIT repository"),
    "pycon-sk": Dataset("train", "CC-BY-4.0"),
    "reichlab": Dataset("train", "Apache-2.0 repository"),
    "a11yproject": Dataset("train", "Apache-2.0 repository"),
    "angular-bios": Dataset("train", "MIT repository"),
    "dotnet-foundation": Dataset("train", "MIT repository"),
    "eig-france": Dataset("train", "Licence Ouverte"),
    "ember-team": Dataset("train", "MIT repository"),
    "girldevelopit": Dataset("train", "MIT repository"),
    "jquery-events": Dataset("train", "MIT repository"),
    "jsconfbp": Dataset("train", "MIT repository"),
    "jsconfkorea": Dataset("train", "Apache-2.0 repository"),
    "pycon-uganda": Dataset("train", "MIT repository"),
    "rubyconf-thailand": Dataset("train", "MIT repository"),
    "techqueria": Dataset("train", "MIT repository"),
    "nano-banana": Dataset("train", "MIT repository", "nano-banana"),
    "sd-samples": Dataset("train", "MIT repository", "sd-samples"),
}


def main() -> None:
    """Clone what is missing, and write the pictures and a manifest for each use."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    table = gather(given.out, pd.read_csv(LISTED))
    for use, rows in table.groupby("use"):
        write_manifest(rows.reset_index(drop=True), given.out / f"{use}.csv")
    print(table.groupby(["use", "dataset"]).size().to_string())


def gather(out: Path, listed: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest of the listed pictures, which are written below `out`, one folder for each dataset."""
    rows = []
    for repository, part in listed.groupby("repository", sort=False):
        folder = clone(str(repository), out / "repositories")
        for number, row in enumerate(part.itertuples(), 1):
            data = read_blob(folder, str(row.blob))
            print_progress(str(repository), number, len(part))
            if data is None:
                print(f"{repository}: the clone lacks {row.blob}")
                continue
            dataset, crop = DATASETS[str(row.dataset)], str(row.crop)
            if dataset.sheets:
                box = read_crop(crop)
                assert box is not None
                data, crop = encode(cut(decode(data), box), "PNG"), f"0 0 {box[2] - box[0]} {box[3] - box[1]}"
            digest = sha256(data)
            ending = "png" if find_format(data) == "PNG" else "jpg"
            path = out / str(row.dataset) / f"{digest[:24]}.{ending}"
            write_bytes(path, data)
            rows.append({"path": str(path.resolve()), "sha256": digest, "label": int(bool(dataset.generator)),
                         "generator": dataset.generator, "dataset": row.dataset, "group": row.person, "split": "test",
                         "licence": dataset.licence, "crop": crop, "use": dataset.use})  # fmt: skip
    return pd.DataFrame(rows)


def clone(repository: str, folder: Path) -> Path:
    """Return the folder of a repository, which is cloned from GitHub if it is not there."""
    path = folder / f"{repository.replace('/', '+')}.git"
    if not path.is_dir():
        address = f"https://github.com/{repository}"
        subprocess.run(["git", "clone", "--bare", "--quiet", address, str(path)], check=True)
    return path


def read_blob(repository: Path, blob: str) -> bytes | None:
    """Return the content of an object of a repository, None if the clone lacks it."""
    shown = subprocess.run(["git", "--git-dir", str(repository), "cat-file", "blob", blob], capture_output=True)
    return shown.stdout if shown.returncode == 0 else None


if __name__ == "__main__":
    main()
