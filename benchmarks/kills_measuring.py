"""Kill the commands that score, measure and verify, as `kills.py` does, and compare their results.

    python benchmarks/kills_measuring.py 20 score verify

Scores and reports of `evaluate` must be equal to the byte. Reports of `verify` contain the time at which they were made
and are compared without it; the custody log must receive and report each exhibit once, and the case must be consistent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kills import OUT, Command, main

from detector.evidence.integrity import check_case
from detector.files import sha256
from detector.pictures.images import encode

PICTURES = Path(__file__).parents[1] / "detector" / "evaluation" / "shipped" / "pictures"
EXHIBITS = 5  # number of pictures that `verify` examines


def copy_faces(data: Path, count: int) -> list[Path]:
    """Write `count` pictures, some of them several times, to `data/in`, and return their paths."""
    (data / "in").mkdir()
    sources = sorted(PICTURES.rglob("*.png"))
    paths = [data / "in" / f"{number:03d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(sources[number % len(sources)].read_bytes())
    return paths


def prepare_many(data: Path) -> None:
    """Write 181 pictures, one of them large; scoring them takes some seconds."""
    copy_faces(data, 180)
    (data / "in" / "noise.png").write_bytes(
        encode(np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8))
    )


def prepare_few(data: Path) -> None:
    """Write EXHIBITS pictures."""
    copy_faces(data, EXHIBITS)


def prepare_manifest(data: Path) -> None:
    """Write 60 pictures and their manifest, in which half of them are fake."""
    rows = [
        (str(path), sha256(path.read_bytes()), i % 2, "smoke" * (i % 2), "smoke", f"group-{i}", "test", "CC0-1.0")
        for i, path in enumerate(copy_faces(data, 60))
    ]
    names = ["path", "sha256", "label", "generator", "dataset", "group", "split", "licence"]
    pd.DataFrame(rows, columns=names).to_csv(data / "manifest.csv", index=False)


def compare_bytes(whole: Path, cut: Path) -> list[str]:
    """Return differences of all files."""
    contents = []
    for folder in (whole / OUT, cut / OUT):
        contents.append({str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    names = sorted(contents[0].keys() | contents[1].keys())
    return [f"{name} differs" for name in names if contents[0].get(name) != contents[1].get(name)]


def compare_cases(whole: Path, cut: Path) -> list[str]:
    """Return differences of the reports without times and of the custody log, and problems of the killed case."""
    reports, events = [], []
    for folder in (whole / OUT, cut / OUT):
        reports.append({path.parent.name: _read_report(path) for path in sorted(folder.rglob("report.json"))})
        lines = [json.loads(line) for line in (folder / "custody.jsonl").read_text().splitlines()]
        events.append([(e["event"], e["path"]) for e in lines if e["event"] not in ("indexed", "recovered")])
    wrong = [] if reports[0] == reports[1] else ["other reports"]
    wrong += [] if events[0] == events[1] else ["other events in the custody log"]
    files = [sorted(str(p.relative_to(f / OUT)) for p in (f / OUT).rglob("*")) for f in (whole, cut)]
    wrong += [] if files[0] == files[1] else [f"other files: {set(files[0]) ^ set(files[1])}"]
    found = check_case(cut / OUT)
    return wrong + found.problems + found.notes


def _read_report(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    del report["made"], report["sha256"]
    return report


COMMANDS = {
    "score": Command(f"score {{data}}/in -o {OUT}/scores.csv --faces {OUT}/faces.csv", compare_bytes, prepare_many),
    "score-process": Command(
        f"score {{data}}/in --engine process --workers 2 -o {OUT}/scores.csv --faces {OUT}/faces.csv",
        compare_bytes, prepare_many,
    ),
    "evaluate": Command(f"evaluate {{data}}/manifest.csv -o {OUT}", compare_bytes, prepare_manifest),
    "verify": Command(f"verify {{data}}/in -o {OUT}", compare_cases, prepare_few),
}  # fmt: skip

if __name__ == "__main__":
    main(commands=COMMANDS)
