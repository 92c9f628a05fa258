"""Measure how many pictures `detector score` scores per CPU second, its steps, and a ResNet-50 in eager torch.

    python benchmarks/speed/score_speed.py              # the embedded faces with a border, enlarged to 1024 pixels
    python benchmarks/speed/score_speed.py ../shared/data/evidence/camera

The pictures are JPEGs of 1024 x 1024 pixels. Every line gives the CPU time of this process on one thread, as the best
of five turns in which all lines run one after another. Other programs slow all lines down alike, so the ratios are more
reliable than the times. ResNet-50 at 224 pixels, float32, in batches of 32, without decoding, is the cost of Wang et
al. 2020, arXiv:1912.11035.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}  # set before a library reads them

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from detector.dataset.embedded import unpack_faces
from detector.dataset.listing import find_pictures
from detector.detectors.cnn import Cnn
from detector.files import sha256, write_bytes
from detector.pictures.faces import centre_square, face_square, locate_faces, prepare
from detector.pictures.images import cut, decode, encode, load, read, resize
from detector.scoring.checkpoint import SHIPPED
from detector.scoring.engine import score_pictures
from detector.scoring.targets import Target

SIDE, PICTURES, TURNS, BATCH = 1024, 64, 5, 32
BORDER = 28  # width of the mirrored border around each embedded photograph of 92 x 112 pixels


def main() -> None:
    """Measure all jobs in rotation, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path, nargs="?", help="a folder of photographs; by default the embedded ones")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as temporary:
        paths = write_pictures(arguments.pictures, Path(temporary))
        tight = [cut_tightly(path) for path in paths]
        timed = {name: (run, n) for name, run, n in jobs(paths, tight)}
        seconds = {name: [] for name in timed}  # type: dict[str, list[float]]
        for _ in range(TURNS):
            for name, (run, _) in timed.items():
                start = time.process_time()
                run()
                seconds[name].append(time.process_time() - start)
    rate = {name: n / min(seconds[name]) for name, (_, n) in timed.items()}
    eager = rate["ResNet-50, eager torch"]
    print(f"{'':34}{'images/CPU s':>14}{'ms':>8}{'of ResNet-50':>14}")
    for name, value in rate.items():
        print(f"{name:34}{value:>14.1f}{1000 / value:>8.2f}{value / eager:>13.1f}x")
    parts = sum(1 / rate[name] for name in ("read and decode", "locate", "cut and resize", "networks"))
    print(f"whole pipeline / sum of its parts: {1 / rate['whole pipeline'] / parts:.2f}")


def write_pictures(source: Path | None, folder: Path) -> list[Path]:
    """Write PICTURES different JPEGs of SIDE pixels per side."""
    found = [Path(p) for p in unpack_faces(folder / "orl").path] if source is None else list(find_pictures(source))
    paths = []
    for i in range(PICTURES):
        image = load(found[i * len(found) // PICTURES])
        left, top, right, bottom = centre_square(image)
        if source is None:  # the border: the embedded faces fill their pictures
            left, top, right, bottom = left - BORDER, top - BORDER, right + BORDER, bottom + BORDER
        image = resize(cut(image, (left, top, right, bottom), mirrored=True), SIDE, SIDE)
        noise = np.random.default_rng(i).normal(0, 2, image.shape)  # sensor noise: smooth files decode too fast
        data = encode(np.clip(image + noise, 0, 255).astype(np.uint8), "JPEG", quality=90)
        paths.append(folder / f"{i:03d}.jpg")
        write_bytes(paths[-1], data)
    return paths


def cut_tightly(path: Path) -> Path:
    """Write the tightly cropped face of a picture, enlarged to SIDE, and return its path."""
    image = load(path)
    boxes = locate_faces(image)[:1]
    face = resize(cut(image, face_square(boxes[0], image.shape, 1.1)) if boxes else image, SIDE, SIDE)
    target = path.with_name(f"tight-{path.name}")
    write_bytes(target, encode(face, "JPEG", quality=90))
    return target


def jobs(paths: list[Path], tight: list[Path]) -> list[tuple[str, Callable[[], object], int]]:
    """Return (name, function, number of pictures that the function processes) of each job."""
    import torch

    from detector.learning import backbones

    torch.set_num_threads(1)
    detector, strong = (Cnn.load(SHIPPED / name, threads=1) for name in ("default", "strong"))
    data = [read(path) for path in paths]
    images = [decode(d) for d in data]
    boxes = [locate_faces(image)[:1] for image in images]
    crops = [face_square(b[0], i.shape) if b else centre_square(i) for b, i in zip(boxes, images, strict=True)]
    faces = np.stack([prepare(i, detector.size, c) for i, c in zip(images, crops, strict=True)])
    resnet = backbones.import_timm().create_model("resnet50", num_classes=1).eval()
    batch = torch.zeros(BATCH, 3, 224, 224)

    def eager() -> None:
        with torch.no_grad():
            resnet(batch)

    targets, n = [Target(str(path)) for path in paths], len(paths)
    tightly = [Target(str(path)) for path in tight]
    return [
        ("whole pipeline", partial(score_all, targets, detector), n),
        ("whole pipeline, tight cuts", partial(score_all, tightly, detector), n),
        ("whole pipeline, strong", partial(score_all, targets, strong), n),
        ("read and decode", lambda: [(sha256(d := read(p)), decode(d)) for p in paths], n),
        ("locate", lambda: [locate_faces(i) for i in images], n),
        ("cut and resize", lambda: [prepare(i, detector.size, c) for i, c in zip(images, crops, strict=True)], n),
        ("networks", lambda: [detector.score(faces[i : i + BATCH]) for i in range(0, n, BATCH)], n),
        ("networks, strong", lambda: [strong.score(faces[i : i + BATCH]) for i in range(0, n, BATCH)], n),
        ("ResNet-50, eager torch", eager, BATCH),
    ]


def score_all(targets: list[Target], detector: Cnn) -> None:
    """Score pictures as `detector score` does."""
    for _ in score_pictures(targets, detector, threads=1):
        pass


if __name__ == "__main__":
    main()
