"""What malformed and hostile files do to `detector score`, to `detector verify`, or to the evidence checks alone.

    python benchmarks/hostile.py SHARED/data/evidence/hostile -n 3000 -o build/hostile --command score

Takes every file below SRC, adds crafted ones (`crafted.py`) and tops them up to n with mutated ones: flipped bytes, cut
ends, splices of two files, lengths that lie. Each is judged in a process that is killed when it exceeds the CPU seconds
of its command. Prints crashes, hangs, invalid answers, files that wrote to standard error, the slowest and the largest;
status 1 if there is any of the first four, or more memory than the command may take, its decoder included.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from crafted import craft
from PIL import Image as Pillow

from detector.files import write_bytes, write_text
from detector.pictures.fingerprints import Fingerprint, append

HERE = Path(__file__).parent
FORMATS = ("JPEG", "PNG", "WEBP")
OTHERS: dict[str, dict[str, Any]] = {"TIFF": {"compression": "tiff_lzw"}, "AVIF": {}, "GIF": {}, "BMP": {}}
LIMITS = {"score": (10, 2**30), "verify": (20, 3 * 2**29), "checks": (20, 3 * 2**29)}  # CPU seconds, bytes, for a file
FIELDS = ("word", "what", "seconds", "memory", "noise")
PATIENCE = 10  # times the CPU seconds, after which who sleeps is stopped


class InvalidReport(Exception):
    """A report that does not keep its schema."""


def sources(source: Path) -> list[bytes]:
    """Return honest files to mutate: faces in three formats with EXIF and XMP, and what lies beside SRC."""
    from detector.pictures.labelling import insert_xmp, xmp_packet

    files = []
    for i, path in enumerate(sorted((HERE / "data" / "smoke").glob("*.png"))[:12]):
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
    beside = [p for name in ("camera", "c2pa") for p in sorted((source.parent / name).glob("*.*"))]
    return files + [
        p.read_bytes() for p in beside if p.stat().st_size < 2**20 and p.suffix in (".jpg", ".png", ".webp")
    ]


def mutate(files: list[bytes], rng: np.random.Generator) -> bytes:
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


def collect(source: Path, n: int, out: Path) -> list[Path]:
    """Return n files: those below SRC, and crafted and mutated ones written to `out`, the same every time."""
    given = sorted(p for p in source.rglob("*") if p.is_file())
    for name, data in craft():
        given.append(out / "crafted" / name)
        write_bytes(given[-1], data)
    given = given[:n]
    append([Fingerprint("0" * 64, "0f" * 32, "style", 1, "none")])  # so that `duplicates` has something to compare
    honest, rng, made = sources(source), np.random.default_rng(0), []
    for i in range(n - len(given)):
        made.append(out / "mutated" / f"{i:04d}{('.jpg', '.png', '.webp', '')[rng.integers(4)]}")
        write_bytes(made[-1], mutate(honest, rng))
    return given + made


def together(out: Path) -> Path:
    """Return a folder of the largest pictures that are decoded, to be scored in one batch."""
    folder = out / "together"
    for number, name in enumerate(("cap.webp", "cap-progressive.jpg", "cap.avif", "cap-RGBA.png")):
        write_bytes(folder / f"{number}{Path(name).suffix}", (out / "crafted" / name).read_bytes())
    return folder


def judge(path: Path) -> str:
    """Return what became of one file, in a word; raise InvalidReport, or whatever gets past the checks."""
    from detector.errors import DetectorError

    try:
        return _judge()(path)
    except DetectorError:
        return "refused"


@cache
def _judge() -> Callable[[Path], str]:
    """Return what judges a file: `score`, `verify`, or each check."""
    command = os.environ["HOSTILE_COMMAND"]
    if command != "verify":
        return _check if command == "checks" else _score
    import jsonschema

    from detector.evidence.record import SCHEMA
    from detector.tasks import verify

    schema = json.loads(SCHEMA.read_text())

    def report(path: Path) -> str:
        with tempfile.TemporaryDirectory() as folder:
            if verify([path], folder)[0]["opinion"] == "error":
                return "refused"
            found = list(Path(folder).glob("*/report.json"))
            if len(found) != 1:
                raise InvalidReport(f"{len(found)} reports")
            try:
                record = json.loads(found[0].read_text(), parse_constant=_no_constant)
                jsonschema.validate(record, schema)
            except (ValueError, jsonschema.ValidationError) as error:
                raise InvalidReport(str(error).splitlines()[0]) from None
        return "looked at" if record["exhibit"]["width"] else "not decoded"

    return report


def _score(path: Path) -> str:
    """Score a file, or all of a folder in one batch."""
    from detector.tasks import score_inputs

    rows = score_inputs([path])
    if not isinstance(rows, list) or len(rows) != (len(list(path.iterdir())) if path.is_dir() else 1):
        raise InvalidReport(f"{rows} is not a row for each file")
    if any(row.verdict not in ("error", "not-applicable") and row.score is None for row in rows):
        raise InvalidReport("a row without a score")
    return "refused" if all(row.verdict == "error" for row in rows) else "looked at"


def _check(path: Path) -> str:
    from detector.evidence.checks import CHECKS, make_exhibit, read_reference, weigh
    from detector.pictures.images import read

    exhibit = make_exhibit(read(path), path)
    for name in CHECKS:
        more = {"detector": _detector()} if name == "detector" else {}
        finding = weigh(CHECKS.get(name)(exhibit, **more), read_reference())
        try:
            json.dumps(dict(finding.details), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidReport(f"{name}: {error}") from None
    return "not decoded" if exhibit.image is None else "looked at"


@cache
def _detector() -> Any:
    from detector.detectors import load_detector

    return load_detector()[1]


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _decoders() -> list[int]:
    """Return the processes that this one started and that still run."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def _seconds() -> float:
    """Return the CPU seconds of this process and of all that it started."""
    dead = resource.getrusage(resource.RUSAGE_CHILDREN)
    alive = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in _decoders()]
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in alive)
    return time.process_time() + dead.ru_utime + dead.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


class Watch(threading.Thread):
    """Looks every few ms at the memory of this process and its decoders together; keeps the peak, in bytes."""

    peak = 0

    def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, IndexError):  # a decoder that just ended
                pids = (os.getpid(), *_decoders())
                pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
                self.peak = max(self.peak, pages * os.sysconf("SC_PAGE_SIZE"))
            time.sleep(0.005)


def work(pipe: Connection, limit: float) -> None:
    """Judge the files that come through the pipe until it closes; answer what became of each."""
    os.environ["OMP_NUM_THREADS"] = "1"
    heard = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the process
    os.dup2(heard.fileno(), 2)
    _judge()
    watch = Watch(daemon=True)
    watch.start()
    pipe.send(None)
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        start, what, noise, watch.peak = _seconds(), "", heard.tell(), 0
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + limit) + 1, resource.RLIM_INFINITY))
        try:
            word = judge(path)
        except InvalidReport as error:
            word, what = "invalid", str(error)
        except BaseException:
            word, what = "crash", traceback.format_exc()
        noise = heard.seek(0, os.SEEK_END) - noise
        pipe.send((word, what, _seconds() - start, watch.peak, noise))


def run(paths: list[Path], jobs: int, limit: float, end: float = np.inf) -> Iterator[dict[str, Any]]:
    """Yield what became of each file: word, what, CPU seconds, peak memory in bytes, bytes on standard error.

    limit: CPU seconds; who sleeps is found after PATIENCE times as long. end: when, by `time.monotonic`, to stop.
    """
    spawn, queue = multiprocessing.get_context("spawn"), list(reversed(paths))
    workers: dict[Connection, Any] = {}
    doing: dict[Connection, tuple[Path, float] | None] = {}

    def start() -> None:
        mine, theirs = spawn.Pipe()
        process = spawn.Process(target=work, args=(theirs, limit), daemon=True)
        process.start()
        theirs.close()
        workers[mine], doing[mine] = process, None

    def stop(pipe: Connection) -> int | None:
        process = workers.pop(pipe)
        doing.pop(pipe)
        process.kill()
        process.join()
        pipe.close()
        return process.exitcode

    for _ in range(min(jobs, len(paths))):
        start()
    while workers:
        if time.monotonic() > end:
            queue.clear()
        ready = wait(list(workers), timeout=0.5)
        for pipe in list(workers):
            task = doing[pipe]
            if pipe in ready:
                try:
                    answer = pipe.recv()
                except (EOFError, ConnectionError):
                    if task is None:
                        raise SystemExit("a worker died before its first file; run `judge` by hand") from None
                    process = workers[pipe]
                    process.join(5)
                    if process.exitcode == -signal.SIGXCPU:
                        yield {"path": task[0]} | dict(zip(FIELDS, ("hang", "", limit, 0, 0), strict=True))
                    else:
                        what = f"the process died ({process.exitcode})"
                        yield {"path": task[0]} | dict(zip(FIELDS, ("crash", what, 0.0, 0, 0), strict=True))
                    stop(pipe)
                    if queue:
                        start()
                    continue
                if task is not None:
                    yield {"path": task[0]} | dict(zip(FIELDS, answer, strict=True))
                if queue:
                    doing[pipe] = (queue.pop(), time.monotonic())
                    pipe.send(doing[pipe][0])  # type: ignore[index]
                else:
                    stop(pipe)
            elif task is not None and time.monotonic() - task[1] > PATIENCE * limit:
                yield {"path": task[0]} | dict(zip(FIELDS, ("hang", "", limit, 0, 0), strict=True))
                stop(pipe)
                if queue:
                    start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=np.inf, help="start no further file after these")
    parser.add_argument("--command", choices=list(LIMITS), default="verify")
    given = parser.parse_args()
    os.environ["HOSTILE_COMMAND"] = given.command
    os.environ["DETECTOR_HOME"] = str(given.out.resolve() / "home")
    limit, memory = LIMITS[given.command]
    paths = collect(given.source, given.n, given.out)
    if given.command == "score":
        paths.insert(0, together(given.out))
    seen = []
    for row in run(paths, given.jobs, limit, time.monotonic() + 60 * given.minutes):
        seen.append(row)
        if row["what"]:
            print(f"{row['word']}: {row['path'].name!a}\n{row['what']}", file=sys.stderr, flush=True)
        if len(seen) % 100 == 0:
            print(f"{len(seen)}/{len(paths)}", file=sys.stderr, flush=True)

    counts = Counter(row["word"] for row in seen)
    noisy = [row["path"].name for row in seen if row["noise"]]
    print(
        f"{given.command}, {len(seen)} of {len(paths)} files:",
        ", ".join(f"{n} {word}" for word, n in counts.most_common()),
    )
    print(f"crashes {counts['crash']}, hangs over {limit} s {counts['hang']}, invalid {counts['invalid']}")
    print(f"wrote to standard error: {noisy or 'none'}")
    for name, unit in (("seconds", 1), ("memory", 2**20)):
        print(f"{name}: median {np.median([row[name] for row in seen]) / unit:.2f}; the most:")
        for row in sorted(seen, key=lambda row: -row[name])[:5]:
            print(f"  {row[name] / unit:8.2f}  {row['path'].name!a}  ({row['word']})")
    rows = [row | {"path": row["path"].name} for row in seen]
    write_text(given.out / f"hostile-{given.command}.json", json.dumps(rows, indent=1) + "\n")
    bad = counts["crash"] + counts["hang"] + counts["invalid"] + len(noisy)
    return int(bad > 0 or any(row["seconds"] > limit or row["memory"] > memory for row in seen))


if __name__ == "__main__":
    sys.exit(main())
