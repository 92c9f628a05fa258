"""Test `detector score`, `detector verify`, or the evidence checks alone, with malformed and hostile files.

    python benchmarks/hostile.py SHARED/data/evidence -o build/hostile --command score --mutants 3000
    python benchmarks/hostile.py SHARED/data/evidence -o build/hostile --command verify --mutants 600

The files are all those below SRC, crafted ones (`crafted.py`) and mutated ones: changed bytes, cut ends, splices of two
files, wrong lengths. Each is processed by a worker that is killed when it exceeds the CPU seconds of the command. OUT
belongs to one SRC and stores each row at once: with `--minutes` a run ends early, and the same command resumes it. The
script prints crashes, hangs, invalid results, files over a limit, files for which something was written to standard
error, the slowest and the largest ones, and a summary in one line. The status is 1 if there is any of the first five,
and 3 if files are left.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from crafted import craft
from hostile_workers import InvalidReport, Judge, Row, judge_all
from phones import heic_with_exif
from PIL import Image as Pillow

from detector.evaluation.suites import SHIPPED
from detector.files import write_bytes, write_text
from detector.pictures.fingerprints import Fingerprint, append

FORMATS = ("JPEG", "PNG", "WEBP")
OTHERS: dict[str, dict[str, Any]] = {"TIFF": {"compression": "tiff_lzw"}, "AVIF": {}, "GIF": {}, "BMP": {}}
WITH_ITEMS = 8  # copies of the AVIF and of the HEIC with metadata items, so that more of the mutants are of these
LIMITS = {"score": (10, 2**30), "verify": (20, 3 * 2**29), "checks": (20, 3 * 2**29)}  # CPU seconds, bytes of memory
TOGETHER = ("cap.webp", "cap-progressive.jpg", "cap.avif", "cap-RGBA.png")  # crafted files of the batch
FAULTS = ("crash", "hang", "invalid")  # outcomes (Row.word) that are faults


def read_seeds(source: Path) -> list[bytes]:
    """Return valid files to mutate: faces in eight formats, and the camera files and signed files below SRC."""
    from detector.pictures.labelling import insert_xmp, xmp_packet

    files = []
    for i, path in enumerate(sorted(SHIPPED.rglob("*.png"))[:12]):
        exif = Pillow.Exif()
        exif.update({0x010F: "Maker", 0x0110: "Model", 0x0131: "Software", 0x0112: 1 + i % 8})
        with Pillow.open(path) as face:
            buffer = io.BytesIO()
            face.convert("RGB").resize((256, 256)).save(buffer, FORMATS[i % 3], exif=exif, quality=80)
        files.append(insert_xmp(buffer.getvalue(), xmp_packet("style", i, "none")))
    with Pillow.open(io.BytesIO(files[0])) as face:
        more = {"exif": face.info["exif"], "xmp": xmp_packet("style", 0, "none")}  # in AVIF these are items
        for kind, options in [*OTHERS.items(), *[("AVIF", more)] * WITH_ITEMS]:
            buffer = io.BytesIO()
            face.save(buffer, kind, **options)
            files.append(buffer.getvalue())
        files += [heic_with_exif(face.info["exif"].removeprefix(b"Exif\0\0"))] * WITH_ITEMS
    paths = [p for name in ("camera", "c2pa") for p in sorted((source / name).glob("*.*"))]
    return files + [p.read_bytes() for p in paths if p.stat().st_size < 2**20 and p.suffix in (".jpg", ".png", ".webp")]


def mutate(files: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Return a random file with one to three random changes."""
    data = bytearray(files[rng.integers(len(files))])
    for _ in range(rng.integers(1, 4)):
        reach = len(data) if rng.random() < 0.5 else min(len(data), 2048)  # half of the changes are in the headers
        at = int(rng.integers(max(reach, 1)))
        match rng.integers(6):
            case 0:
                for place in rng.integers(max(reach, 1), size=int(rng.integers(1, 65))):
                    data[place : place + 1] = bytes([rng.integers(256)])
            case 1:
                del data[at:]
            case 2:
                other = files[rng.integers(len(files))]
                data[at:] = other[int(rng.integers(len(other))) :]
            case 3:
                data[at : at + 4] = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")[rng.integers(3)]
            case 4:
                data[at:at] = rng.bytes(int(rng.integers(1, 4096)))
            case 5:
                data[at:at] = data[at : at + int(rng.integers(1, 4096))] * int(rng.integers(1, 20))
    return bytes(data)


def collect(source: Path, mutants: int, out: Path) -> list[Path]:
    """Write the crafted and mutated files, which are always the same, to `out`; return them and the files below SRC."""
    found = sorted(p for p in source.rglob("*") if p.is_file())
    return [*write_crafted(out), *write_mutated(read_seeds(source), mutants, out / "mutated"), *found]


def write_crafted(out: Path) -> list[Path]:
    """Write the crafted files, unless an earlier run did, and return their paths and that of the folder `together`."""
    names = out / "crafted.json"
    if not names.is_file():
        made = []
        for name, data in craft():
            write_bytes(out / "crafted" / name, data)
            made.append(name)
        write_together(out)
        write_text(names, json.dumps(made))
    return [out / "together", *(out / "crafted" / name for name in json.loads(names.read_text()))]


def write_mutated(seeds: Sequence[bytes], count: int, folder: Path) -> list[Path]:
    """Write `count` mutated files and return their paths."""
    rng, made = np.random.default_rng(0), []
    for i in range(count):
        made.append(folder / f"{i:04d}{('.jpg', '.png', '.webp', '')[rng.integers(4)]}")
        data = mutate(seeds, rng)
        if not made[-1].is_file():  # an earlier run wrote it
            write_bytes(made[-1], data)
    return made


def write_together(out: Path) -> None:
    """Write a folder of the largest pictures that are decoded, which are processed in one batch."""
    folder = out / "together"
    for number, name in enumerate(TOGETHER):
        write_bytes(folder / f"{number}{Path(name).suffix}", (out / "crafted" / name).read_bytes())


def score(path: Path) -> str:
    """Score a file, or all files of a folder in one batch, and return the outcome: refused or decoded."""
    from detector.errors import DetectorError
    from detector.scoring.engine import score_pictures
    from detector.scoring.targets import expand

    try:
        rows = [judged.row for (judged,) in score_pictures(expand([str(path)]), _load_detector())]
    except DetectorError:
        return "refused"
    if len(rows) != (len(list(path.iterdir())) if path.is_dir() else 1):
        raise InvalidReport(f"{rows} is not a row for each file")
    if any(row.verdict not in ("error", "not-applicable") and row.score is None for row in rows):
        raise InvalidReport("a row without a score")
    return "refused" if all(row.verdict == "error" for row in rows) else "decoded"


def verify(path: Path) -> str:
    """Examine a file, or all files of a folder, check each report against its schema, and return the outcome."""
    import jsonschema

    from detector import tasks
    from detector.errors import DetectorError

    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = tasks.verify([path], folder)
        except DetectorError:
            return "refused"
        reports = sorted(Path(folder).glob("*/report.json"))
        if len(rows) != (len(list(path.iterdir())) if path.is_dir() else 1):
            raise InvalidReport(f"{rows} is not a row for each file")
        if len(reports) != sum(bool(row["folder"]) for row in rows):  # what can be read has one, decoded or not
            raise InvalidReport(f"{len(reports)} reports")
        try:
            records = [json.loads(report.read_text(), parse_constant=_refuse_constant) for report in reports]
            for record in records:
                jsonschema.validate(record, _read_schema())
        except (ValueError, jsonschema.ValidationError) as error:
            raise InvalidReport(str(error).splitlines()[0]) from None
    if not records:
        return "refused"
    return "decoded" if any(record["exhibit"]["width"] for record in records) else "not decoded"


@cache
def _read_schema() -> Any:
    from detector.evidence.record import SCHEMA

    return json.loads(SCHEMA.read_text())


def run_checks(path: Path) -> str:
    """Run only the evidence checks on a file, and return the outcome."""
    from detector.errors import DetectorError

    try:
        return _run_checks(path)
    except DetectorError:
        return "refused"


def _run_checks(path: Path) -> str:
    from detector.evidence.checks import CHECKS, make_exhibit, read_reference, weigh
    from detector.pictures.images import read

    exhibit = make_exhibit(read(path), path)
    for name in CHECKS:
        more = {"detector": _load_detector()} if name == "detector" else {}
        finding = weigh(CHECKS.get(name)(exhibit, **more), read_reference())
        try:
            json.dumps(dict(finding.details), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidReport(f"{name}: {error}") from None
    return "not decoded" if exhibit.image is None else "decoded"


@cache
def _load_detector() -> Any:
    from detector.detectors import load_detector

    return load_detector()[1]


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


JUDGES: dict[str, Judge] = {"score": score, "verify": verify, "checks": run_checks}


def read_rows(path: Path) -> list[Row]:
    """Return the rows that earlier runs wrote, without an incomplete last line."""
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [Row(**json.loads(line)) for line in lines if line.endswith("\n")]


def find_excess(rows: Sequence[Row], command: str) -> list[Row]:
    """Return the rows over a limit: that of CPU time applies to each file, that of memory to a whole batch."""
    limit, memory = LIMITS[command]
    return [row for row in rows if row.seconds > limit * row.files or row.memory > memory]


def describe(rows: Sequence[Row], command: str, total: int) -> list[str]:
    """Return the lines of the result; the last one is a summary."""
    outcomes = Counter(row.word for row in rows)
    lines = [f"{row.word}: {Path(row.path).name!a}: {row.what.strip()}" for row in rows if row.what]
    lines += [f"over a limit: {Path(row.path).name!a}" for row in find_excess(rows, command)]
    lines += [f"wrote to standard error: {Path(row.path).name!a}, {row.noise} bytes" for row in rows if row.noise]
    for name, unit in (("seconds", 1), ("memory", 2**20)):
        lines.append(f"{name}: median {np.median([getattr(row, name) for row in rows]) / unit:.2f}; the most:")
        for row in sorted(rows, key=lambda row: -getattr(row, name))[:5]:
            lines.append(f"  {getattr(row, name) / unit:8.2f}  {Path(row.path).name!a}  ({row.word})")
    slowest, largest = max(rows, key=lambda row: row.seconds / row.files), max(rows, key=lambda row: row.memory)
    others = [f"{n} {outcome}" for outcome, n in outcomes.most_common() if outcome not in FAULTS]
    faults = [f"{outcomes['crash']} crashes", f"{outcomes['hang']} hangs", f"{outcomes['invalid']} invalid"]
    return [
        *lines,
        f"{command}: {len(rows)} of {total} files ({', '.join(others)}): {', '.join(faults)}, "
        f"{len(find_excess(rows, command))} over a limit; at most {slowest.seconds / slowest.files:.1f} CPU-s a file "
        f"({Path(slowest.path).name!a}) and {largest.memory / 2**20:.0f} MiB ({Path(largest.path).name!a})",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--command", choices=list(JUDGES), required=True)
    parser.add_argument("--mutants", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=np.inf, help="start no further file after this many minutes")
    arguments = parser.parse_args()
    os.environ["DETECTOR_HOME"] = str(arguments.out.resolve() / "home")
    if not (arguments.out / "home").is_dir():  # an entry with which `duplicates` compares
        append([Fingerprint("0" * 64, "0f" * 32, "style", 1, "none")])
    paths = collect(arguments.source, arguments.mutants, arguments.out)
    kept, names = arguments.out / f"hostile-{arguments.command}.jsonl", {str(path) for path in paths}
    rows = [row for row in read_rows(kept) if row.path in names]
    write_text(kept, "".join(json.dumps(asdict(row)) + "\n" for row in rows))
    done = {row.path for row in rows}
    left = [path for path in paths if str(path) not in done]
    end = time.monotonic() + 60 * arguments.minutes
    with kept.open("a") as file:
        judge, limit = JUDGES[arguments.command], LIMITS[arguments.command][0]
        for row in judge_all(left, judge, limit, jobs=arguments.jobs, end=end):
            rows.append(row)
            file.write(json.dumps(asdict(row)) + "\n")
            file.flush()
            if row.what or len(rows) % 100 == 0:
                print(f"{len(rows)}/{len(paths)}", *row.what.splitlines()[-1:], file=sys.stderr, flush=True)
    if not rows:
        raise SystemExit("no file was judged")
    print(*describe(rows, arguments.command, len(paths)), sep="\n")
    noisy = any(row.what or row.noise for row in rows) or find_excess(rows, arguments.command)
    return 1 if noisy else 3 if len(rows) < len(paths) else 0


if __name__ == "__main__":
    sys.exit(main())
