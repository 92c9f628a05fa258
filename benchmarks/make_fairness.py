"""List the photographs that `suites/fairness.toml` judges people by: those that the shipped detector did not learn.

    python benchmarks/make_fairness.py ../shared/data

The real faces with `use=heldout`, which no shipped weights ever learn, with the origin, gender and age that their
dataset declares, whole pictures as they came. Writes `benchmarks/data/fairness/manifest.csv`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from detector.dataset.manifest import read_manifest, write_manifest

HERE = Path(__file__).parent


def held_out(data: Path) -> pd.DataFrame:
    """Return the photographs of people whom no shipped weights learnt."""
    table = read_manifest(data / "faces" / "manifest.csv")
    return table[(table.label == 0) & (table.use == "heldout")].reset_index(drop=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    given = parser.parse_args()
    chosen = held_out(given.data)
    chosen = chosen.assign(split="test", use="heldout").drop(columns="crop", errors="ignore").reset_index(drop=True)
    write_manifest(chosen, HERE / "data" / "fairness" / "manifest.csv")
    print(f"{len(chosen)} photographs")


if __name__ == "__main__":
    main()
