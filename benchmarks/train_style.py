"""Train the shipped style-64 from the development pictures: first at 32 pixels, then grown to 64.

    python benchmarks/train_style.py ../shared/data build/style

The openly licensed real faces (`use=train`) are split by person; the generator learns the training part. Each stage
resumes after an interrupt. The 32-pixel stage gives the layout of a face at a quarter of the cost.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from detector.checkpoint import CARD, read_card
from detector.files import write_text
from detector.generators._adversarial import Options
from detector.generators.style import Style
from detector.manifest import assign_splits, read_manifest

STAGES = [  # side in pixels, options; each starts from the one before
    (32, Options(pictures=64_000, batch=16, rate_g=2e-3, rate_d=2e-3, r1=0.5, half_life=5_000, augment=False)),
    (64, Options(pictures=16_000, batch=16, rate_g=3e-3, rate_d=4e-3, r1=0.4, half_life=5_000, augment=False)),
    (64, Options(pictures=112_000, batch=16, rate_g=2e-3, rate_d=2e-3, r1=0.1, half_life=8_000, augment=False)),
    (64, Options(pictures=240_000, batch=16, rate_g=1.5e-3, rate_d=1.5e-3, r1=0.1, half_life=15_000, augment=False)),
]


def report(what: str, done: int, total: int) -> None:
    """Print one line every hundred steps."""
    if done % 1600 == 0:
        print(f"{what}: {done} of {total}", flush=True)


def main() -> None:
    """Run the stages and write the card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    table = read_manifest(given.data / "faces" / "manifest.csv")
    reals = table[(table.label == 0) & (table.use == "train")].reset_index(drop=True)
    reals = assign_splits(reals, seed=0, fractions=(0.8, 0.1, 0.1))
    start, began = None, time.monotonic()
    for number, (size, options) in enumerate(STAGES, 1):
        folder = given.out / f"stage-{number}"
        if not (folder / CARD).is_file():
            style = Style(size)
            style.fit(reals, seed=1, folder=folder, options=options, start=start, progress=report)
            style.save(folder)
        start = folder
    card = read_card(start or given.out, "generator") | {"seconds": round(time.monotonic() - began)}
    write_text(given.out / f"stage-{len(STAGES)}" / CARD, json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
