"""Train the shipped generators from the development pictures, stage after stage.

    python benchmarks/train_generators.py style-64 ../shared/data build/generators
    python benchmarks/train_generators.py style-64 ../shared/data build/generators --start detector/weights/style-64
    python benchmarks/train_generators.py style-128 ../shared/data build/generators --seconds 500
    python benchmarks/train_generators.py diffusion-64 ../shared/data build/generators --seconds 500
    python benchmarks/train_generators.py latent ../shared/data build/generators --seconds 500
    python benchmarks/train_generators.py crude ../shared/data build/generators
    python benchmarks/train_generators.py diffusion ../shared/data build/generators

The openly licensed real faces (`use=train`) are split by person, and the training split is used. Each stage starts from
the weights of the previous one, and is resumed after an interrupt; `--start` skips to the last stage and starts it from
other weights (style only). The last stages are meant for a GPU; on one CPU core, `crude` takes ten minutes and
`diffusion` half an hour. A call ends after `--seconds`, and the next call resumes the run. The folder
`NAME/checkpoints` has the weights of the last stage at every snapshot (`generator_quality.py` measures them), and
`NAME/speed.json` has the number of pictures per second.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from generator_quality import photographs
from make_training_set import print_progress

from detector.files import write_text
from detector.generators import GENERATORS, crude, diffusion, latent
from detector.generators._adversarial import Options
from detector.learning.run import Length


@dataclass(frozen=True)
class Stage:
    """A generator's constructor arguments and the options of its run."""

    arguments: dict[str, Any]
    options: Length


SMALL, LARGE = {"batch": 16, "augment": False}, {"batch": 64, "half_life": 30_000, "snapshot": 400_000}
RECIPES: dict[str, tuple[str, list[Stage]]] = {
    "style-64": ("style", [
        Stage({"size": 32}, Options(pictures=64_000, rate_g=2e-3, rate_d=2e-3, r1=0.5, **SMALL)),
        Stage({"size": 64}, Options(pictures=16_000, rate_g=3e-3, rate_d=4e-3, r1=0.4, **SMALL)),
        Stage({"size": 64}, Options(pictures=112_000, rate_g=2e-3, rate_d=2e-3, r1=0.1, half_life=8_000, **SMALL)),
        Stage({"size": 64}, Options(pictures=240_000, rate_g=1.5e-3, rate_d=1.5e-3, r1=0.1, half_life=15_000, **SMALL)),
        Stage({"size": 64}, Options(pictures=4_000_000, rate_g=2e-3, rate_d=2e-3, r1=0.1, **LARGE)),
    ]),
    "style-128": ("style", [
        Stage({"size": 64, "width": 256}, Options(pictures=500_000, rate_g=2e-3, rate_d=2e-3, r1=0.1, **LARGE)),
        Stage({"size": 128, "width": 256}, Options(pictures=3_000_000, rate_g=2e-3, rate_d=2e-3, r1=0.3, **LARGE)),
    ]),
    "diffusion-64": ("diffusion", [
        Stage({"size": 64}, diffusion.Options(pictures=6_000_000, batch=128, half_life=60_000, snapshot=400_000)),
    ]),
    "crude": ("crude", [
        Stage({}, replace(crude.OPTIONS, pictures=400_000, half_life=8_000, snapshot=50_000)),
    ]),
    "diffusion": ("diffusion", [
        Stage({"size": 32, "width": 16, "levels": 3},
              diffusion.Options(pictures=100_096, rate=8e-4, half_life=8_000, snapshot=25_000)),
    ]),
    "latent": ("latent", [
        Stage({"size": 128}, latent.Options(pictures=2_000_000, batch=32, half_life=10_000, snapshot=51_200)),
    ]),
}  # fmt: skip


def train(name: str, data: Path, folder: Path, *, start: Path | None, seconds: float) -> None:
    """Run the remaining stages, for at most that many seconds."""
    began, (kind, stages) = time.monotonic(), RECIPES[name]
    reals = photographs(data)
    first = len(stages) - 1 if start else 0
    for number, stage in list(enumerate(stages, 1))[first:]:
        stage_folder, last, options = folder / f"stage-{number}", number == len(stages), stage.options
        stage_folder.mkdir(parents=True, exist_ok=True)
        pictures, spent = read_progress(stage_folder)
        first_weights: dict[str, Any] = {"start": start} if kind == "style" else {}
        while pictures < options.pictures:  # each turn resumes the run, with a larger number of pictures
            limit = spent + seconds - (time.monotonic() - began)
            if limit <= spent:
                return
            goal = min(pictures + options.snapshot, options.pictures) if last else options.pictures
            thing: Any = GENERATORS.get(kind)(**stage.arguments)
            run = replace(options, pictures=goal, seconds=limit)
            thing.fit(reals, seed=1, folder=stage_folder, options=run, progress=print_progress, **first_weights)
            pictures, spent = read_progress(stage_folder)
            facts = {"pictures": pictures, "seconds": spent, "device": device_name()}
            thing.save(stage_folder, **facts)
            if last:
                thing.save(folder / "checkpoints" / f"{pictures:08d}", **facts)
                write_text(
                    folder / "speed.json", json.dumps(facts | {"a_second": round(pictures / max(spent, 1), 1)}) + "\n"
                )
        start = stage_folder


def read_progress(folder: Path) -> tuple[int, int]:
    """Return the number of pictures that a run has shown, and its duration in seconds."""
    log = folder / "losses.csv"
    last = log.read_text().splitlines()[-1].split(",") if log.is_file() else ["0", "0"]
    return (int(last[0]), int(last[1])) if last[0].isdigit() else (0, 0)


def device_name() -> str:
    """Return the name of the device."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("data", type=Path, help="the folder that holds faces/manifest.csv")
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path, help="weights from which the last stage starts")
    parser.add_argument("--seconds", type=float, default=math.inf, help="largest duration of this call")
    arguments = parser.parse_args()
    train(
        arguments.name, arguments.data, arguments.out / arguments.name, start=arguments.start, seconds=arguments.seconds
    )


if __name__ == "__main__":
    main()
