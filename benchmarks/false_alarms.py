"""Measure how often each evidence check points to a fake for photographs; print a table, and write `reference.json`.

    python benchmarks/open_faces.py build/open
    python benchmarks/false_alarms.py ../shared/data build/open

The photographs are those of cameras with their metadata, 300 unchanged faces, 300 other faces that were resized and
saved again, and the portraits of the nine websites that only measure; the faces are of people whose pictures were not
used to train the shipped detector. All checks but `detector` also get the portraits of the 26 websites that train or
calibrate (`learned`). The check `duplicates` gets the hashes of all fakes of the development data. A check with a rate
above 5 % is treated as neutral (`checks.weigh`). The check `detector` is that of `default`; a report with other
weights, such as `strong`, quotes the false alarms of their model card. Run the script again whenever the shipped
weights change. It writes `detector/evidence/checks/reference.json`.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from detector import detectors
from detector.dataset.manifest import read_manifest
from detector.evidence.checks import CHECKS, MAX_FALSE_ALARMS, REFERENCE, make_exhibit, read_exhibit
from detector.files import write_text
from detector.pictures.fingerprints import Fingerprint, append, perceptual_hash
from detector.pictures.images import encode, load, resize
from detector.scoring.checkpoint import SHIPPED, digest_checkpoint
from detector.statistics.proportions import clopper_pearson
from detector.types import Exhibit, Outcome

KINDS = ("camera", "untouched", "recompressed", "website", "learned")
FACES = 300  # number of faces of each kind, unchanged and saved again


def recompress(exhibit: Exhibit, rng: np.random.Generator) -> Exhibit:
    """Return the exhibit after it was saved as JPEG, and in half of the cases resized before."""
    image = exhibit.image
    scale = rng.uniform(0.6, 1.4) if rng.random() < 0.5 else 1.0
    image = resize(image, round(image.shape[1] * scale), round(image.shape[0] * scale))
    data = encode(image, "JPEG", quality=int(rng.integers(50, 98)))
    return make_exhibit(data, exhibit.path)


def photographs(data: Path, opened: Path) -> Iterator[tuple[str, Exhibit]]:
    """Yield (kind, exhibit) for every photograph."""
    rng = np.random.default_rng(0)
    for path in sorted((data / "evidence/camera").iterdir()):
        yield "camera", read_exhibit(path)
    table = read_manifest(data / "faces" / "manifest.csv")
    reals = table[table.use == "heldout"].reset_index(drop=True).sample(2 * FACES, random_state=0).path
    for i, path in enumerate(reals):
        exhibit = read_exhibit(path)
        yield ("untouched", exhibit) if i < FACES else ("recompressed", recompress(exhibit, rng))
    for name, kind in (("evaluate", "website"), ("calibrate", "learned"), ("train", "learned")):
        portraits = read_manifest(opened / f"{name}.csv")
        for path in portraits.path[portraits.label == 0]:
            yield kind, read_exhibit(path)


def register_fakes(data: Path, registry: Path) -> None:
    """Write the hashes of all fakes of the development data to a fingerprint registry."""
    table = pd.read_csv(data / "faces/manifest.csv")
    fakes = table[table.label == 1]
    prints = (perceptual_hash(load(data / "faces" / name)) for name in fakes.path)
    append(
        (Fingerprint(s, p, g, 0, "") for s, p, g in zip(fakes.sha256, prints, fakes.generator, strict=True)), registry
    )


def main(data: Path, opened: Path) -> None:
    """Run every check on every photograph, print a table, and write the reference."""
    found, weights = [], SHIPPED / "default"
    _, detector = detectors.load_detector(weights)
    with tempfile.TemporaryDirectory() as temporary:
        registry = Path(temporary) / "fakes.jsonl"
        register_fakes(data, registry)
        checks = {name: CHECKS.get(name) for name in CHECKS}
        checks["detector"] = functools.partial(checks["detector"], detector=detector)
        checks["duplicates"] = functools.partial(checks["duplicates"], registry=registry)
        for kind, exhibit in photographs(data, opened):
            asked = {name: check for name, check in checks.items() if (name, kind) != ("detector", "learned")}
            found += [(name, kind, check(exhibit)) for name, check in asked.items()]

    reference, rows = {}, []
    for name in checks:
        kept = [(kind, f) for check, kind, f in found if check == name and f.outcome != Outcome.NOT_APPLICABLE]
        alarms = [kind for kind, f in kept if f.outcome == Outcome.SUPPORTS_FAKE]
        n, k = len(kept), len(alarms)
        high = clopper_pearson(k, n)[1]
        reference[name] = {"n": n, "alarms": k, "rate": round(k / max(n, 1), 4), "high": round(high, 4)}
        reference[name] |= {"weights": digest_checkpoint(weights)} if name == "detector" else {}
        measured = CHECKS.facts(name).get("measured", ())
        reference[name]["ranges"] = {
            key: np.round(np.quantile([f.details[key] for _, f in kept], (0.01, 0.99), axis=0), 3).tolist()
            for key in measured
        }
        by_kind = {kind: f"{alarms.count(kind)}/{sum(k == kind for k, _ in kept)}" for kind in KINDS}
        weighs = "yes" if k / max(n, 1) <= MAX_FALSE_ALARMS else "NOTHING"
        rows.append(
            {"check": name, **by_kind, "rate": reference[name]["rate"], "below": round(high, 4), "weighs": weighs}
        )
    print(pd.DataFrame(rows).to_string(index=False))
    what = "photographs: rate of supports-fake, upper end of its 95 % Clopper-Pearson interval, 1-99 % ranges"
    write_text(REFERENCE, json.dumps({"what": what, "checks": reference}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
