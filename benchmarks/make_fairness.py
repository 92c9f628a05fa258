"""Write the manifest of the suite `fairness`: photographs on which no shipped weights were trained.

    python benchmarks/make_fairness.py ../shared/data

These are the real faces with `use=heldout`, which are never used in training, as unchanged whole pictures, with the
origin, gender and age that their data set declares. The script writes `benchmarks/data/fairness/manifest.csv`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from detector.dataset.manifest import read_manifest, write_manifest

HERE = Path(__file__).parent


def held_out(data: Path) -> pd.DataFrame:
    """Return the photographs of people whose pictures were not used to train any shipped weights."""
    table = read_manifest(data / "faces" / "manifest.csv")
    return table[(table.label == 0) & (table.use == "heldout")].reset_index(drop=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    arguments = parser.parse_args()
    chosen = held_out(arguments.data)
    chosen = chosen.assign(split="test", use="heldout").drop(columns="crop", errors="ignore").reset_index(drop=True)
    write_manifest(chosen, HERE / "data" / "fairness" / "manifest.csv")
    print(f"{len(chosen)} photographs")


if __name__ == "__main__":
    main()
