"""What malformed and hostile files do to `detector score`, to `detector verify`, or to the evidence checks alone.

    python benchmarks/hostile.py SHARED/data/evidence -o build/hostile --command score --mutants 3000
    python benchmarks/hostile.py SHARED/data/evidence -o build/hostile --command verify --mutants 600

Takes every file below SRC, crafted ones (`crafted.py`) and mutated ones: flipped bytes, cut ends, splices of two files,
lengths that lie. Each is judged in a process that is killed when it exceeds the CPU seconds of its command. OUT belongs
to one SRC and keeps the rows as they come: with `--minutes` a run ends early, and the same command goes on from there.
Prints crashes, hangs, invalid answers, files over a limit or that wrote to standard error, the slowest and the largest,
and one line that sums up; status 1 if there is any of the first five, 3 if files are left.
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
from PIL import Image as Pillow

from detector.evaluation.suites import SHIPPED
from detector.files import write_bytes, write_text
from detector.pictures.fingerprints import Fingerprint, append

FORMATS = ("JPEG", "PNG", "WEBP")
OTHERS: dict[str, dict[str, Any]] = {"TIFF": {"compression": "tiff_lzw"}, "AVIF": {}, "GIF": {}, "BMP": {}}
LIMITS = {"score": (10, 2**30), "verify": (20, 3 * 2**29), "checks": (20, 3 * 2**29)}  # CPU seconds, bytes, for a file
TOGETHER = ("cap.webp", "cap-progressive.jpg", "cap.avif", "cap-RGBA.png")  # crafted files, for one batch
FAULTS = ("crash", "hang", "invalid")  # words of rows that say why


def read_seeds(source: Path) -> list[bytes]:
    """Return honest files to mutate: faces in seven formats, and files of cameras and with credentials below SRC."""
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
        for kind, options in OTHERS.items():
            buffer = io.BytesIO()
            face.save(buffer, kind, **options)
            files.append(buffer.getvalue())
    given = [p for name in ("camera", "c2pa") for p in sorted((source / name).glob("*.*"))]
    return files + [p.read_bytes() for p in given if p.stat().st_size < 2**20 and p.suffix in (".jpg", ".png", ".webp")]


def mutate(files: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Return one file with one to three faults."""
    data = bytearray(files[rng.integers(len(files))])
    for _ in range(rng.integers(1, 4)):
        reach = len(data) if rng.random() < 0.5 else min(len(data), 2048)  # the headers are where the trouble is
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
    """Return the files below SRC, and crafted and mutated ones written to `out`, the same every time."""
    given = sorted(p for p in source.rglob("*") if p.is_file())
    return [*write_crafted(out), *write_mutated(read_seeds(source), mutants, out / "mutated"), *given]


def write_crafted(out: Path) -> list[Path]:
    """Write the crafted files, unless an earlier run did, and return them with the folder `together`."""
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
    """Write so many mutated files and return them."""
    rng, made = np.random.default_rng(0), []
    for i in range(count):
        made.append(folder / f"{i:04d}{('.jpg', '.png', '.webp', '')[rng.integers(4)]}")
        data = mutate(seeds, rng)
        if not made[-1].is_file():  # an earlier run wrote it
            write_bytes(made[-1], data)
    return made


def write_together(out: Path) -> None:
    """Write a folder of the largest pictures that are decoded, to be judged in one batch."""
    folder = out / "together"
    for number, name in enumerate(TOGETHER):
        write_bytes(folder / f"{number}{Path(name).suffix}", (out / "crafted" / name).read_bytes())


def score(path: Path) -> str:
    """Score a file, or all of a folder in one batch; return what became of it, in a word."""
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
    return "refused" if all(row.verdict == "error" for row in rows) else "looked at"


def verify(path: Path) -> str:
    """Examine a file, or all of a folder, and check each report against its schema."""
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
        if len(reports) != sum(row["opinion"] != "error" for row in rows):
            raise InvalidReport(f"{len(reports)} reports")
        try:
            records = [json.loads(report.read_text(), parse_constant=_refuse_constant) for report in reports]
            for record in records:
                jsonschema.validate(record, _read_schema())
        except (ValueError, jsonschema.ValidationError) as error:
            raise InvalidReport(str(error).splitlines()[0]) from None
    if not records:
        return "refused"
    return "looked at" if any(record["exhibit"]["width"] for record in records) else "not decoded"


@cache
def _read_schema() -> Any:
    from detector.evidence.record import SCHEMA

    return json.loads(SCHEMA.read_text())


def run_checks(path: Path) -> str:
    """Run the evidence checks alone on a file."""
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
    return "not decoded" if exhibit.image is None else "looked at"


@cache
def _load_detector() -> Any:
    from detector.detectors import load_detector

    return load_detector()[1]


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


JUDGES: dict[str, Judge] = {"score": score, "verify": verify, "checks": run_checks}


def read_rows(path: Path) -> list[Row]:
    """Return the rows that earlier runs wrote, without a last line that was torn."""
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [Row(**json.loads(line)) for line in lines if line.endswith("\n")]


def find_excess(rows: Sequence[Row], command: str) -> list[Row]:
    """Return the rows over a limit: of CPU time, which counts for each file, or of memory, which counts for all."""
    limit, memory = LIMITS[command]
    return [row for row in rows if row.seconds > limit * row.files or row.memory > memory]


def describe(rows: Sequence[Row], command: str, total: int) -> list[str]:
    """Return the answer as lines, the last of which sums up."""
    words = Counter(row.word for row in rows)
    lines = [f"{row.word}: {Path(row.path).name!a}: {row.what.strip()}" for row in rows if row.what]
    lines += [f"over a limit: {Path(row.path).name!a}" for row in find_excess(rows, command)]
    lines += [f"wrote to standard error: {Path(row.path).name!a}, {row.noise} bytes" for row in rows if row.noise]
    for name, unit in (("seconds", 1), ("memory", 2**20)):
        lines.append(f"{name}: median {np.median([getattr(row, name) for row in rows]) / unit:.2f}; the most:")
        for row in sorted(rows, key=lambda row: -getattr(row, name))[:5]:
            lines.append(f"  {getattr(row, name) / unit:8.2f}  {Path(row.path).name!a}  ({row.word})")
    slowest, largest = max(rows, key=lambda row: row.seconds / row.files), max(rows, key=lambda row: row.memory)
    others = [f"{n} {word}" for word, n in words.most_common() if word not in FAULTS]
    faults = [f"{words['crash']} crashes", f"{words['hang']} hangs", f"{words['invalid']} invalid"]
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
    parser.add_argument("--minutes", type=float, default=np.inf, help="start no further file after these")
    given = parser.parse_args()
    os.environ["DETECTOR_HOME"] = str(given.out.resolve() / "home")
    if not (given.out / "home").is_dir():  # so that `duplicates` has something to compare
        append([Fingerprint("0" * 64, "0f" * 32, "style", 1, "none")])
    paths = collect(given.source, given.mutants, given.out)
    kept, names = given.out / f"hostile-{given.command}.jsonl", {str(path) for path in paths}
    rows = [row for row in read_rows(kept) if row.path in names]
    write_text(kept, "".join(json.dumps(asdict(row)) + "\n" for row in rows))
    done = {row.path for row in rows}
    left = [path for path in paths if str(path) not in done]
    end = time.monotonic() + 60 * given.minutes
    with kept.open("a") as file:
        for row in judge_all(left, JUDGES[given.command], LIMITS[given.command][0], jobs=given.jobs, end=end):
            rows.append(row)
            file.write(json.dumps(asdict(row)) + "\n")
            file.flush()
            if row.what or len(rows) % 100 == 0:
                print(f"{len(rows)}/{len(paths)}", *row.what.splitlines()[-1:], file=sys.stderr, flush=True)
    if not rows:
        raise SystemExit("no file was judged")
    print(*describe(rows, given.command, len(paths)), sep="\n")
    noisy = any(row.what or row.noise for row in rows) or find_excess(rows, given.command)
    return 1 if noisy else 3 if len(rows) < len(paths) else 0


if __name__ == "__main__":
    sys.exit(main())
