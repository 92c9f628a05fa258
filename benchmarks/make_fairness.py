"""List the photographs that `suites/fairness.toml` judges people by: those that the shipped detector did not learn.

    python benchmarks/make_fairness.py ../shared/data build/default      # after make_training_set.py

The real faces of its `test` split, with the origin, gender and age that their dataset declares, whole pictures as they
came. Writes `benchmarks/data/fairness/manifest.csv`; run it again whenever the shipped weights are trained anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from make_training_set import held_out

from detector.dataset.manifest import write_manifest

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("learnt", type=Path, help="the folder that make_training_set.py wrote")
    given = parser.parse_args()
    chosen = held_out(given.data, given.learnt)
    chosen = chosen.assign(split="test", use="heldout").drop(columns="crop", errors="ignore").reset_index(drop=True)
    write_manifest(chosen, HERE / "data" / "fairness" / "manifest.csv")
    print(f"{len(chosen)} photographs")


if __name__ == "__main__":
    main()
