"""Compare GAN losses: train the style-based generator with each for the same CPU time, and print the KID.

python benchmarks/choose_loss.py ../shared/data build/losses --seconds 150
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from generator_quality import load_faces, photographs

from detector.generators._adversarial import Options
from detector.generators.style import Style
from detector.learning.embedding import extract_features
from detector.statistics.distances import kid

SIZE = 32
LOSSES = {  # name -> options, with the gradient penalty that the paper recommends for small pictures
    "logistic, R1": {"loss": "logistic", "r1": 0.5, "r2": 0.0},
    "relativistic, R1 and R2": {"loss": "relativistic", "r1": 0.5, "r2": 0.5},
}


def main() -> None:
    """Print one line per loss."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=150)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    reals = photographs(arguments.data)
    held_out = extract_features(load_faces(reals[reals.split != "train"], SIZE))
    for name, loss in LOSSES.items():
        folder = arguments.out / loss["loss"]
        shutil.rmtree(folder, ignore_errors=True)
        options = Options(seconds=arguments.seconds, pictures=10**7, batch=16, augment=False, half_life=2_000, **loss)
        style = Style(SIZE).fit(reals, seed=0, folder=folder, options=options)
        shown = (folder / "losses.csv").read_text().splitlines()[-1].split(",")[0]
        value, error = kid(held_out, extract_features(style.sample(1000, seed=0, truncation=1.0)))
        print(
            f"{name}: KID x 1000 = {value:.1f} +- {error:.1f} after {arguments.seconds:.0f} s and {shown} pictures",
            flush=True,
        )


if __name__ == "__main__":
    main()
