"""What malformed and hostile files do to the evidence checks, or to the whole of `detector verify`.

    python benchmarks/hostile.py SHARED/data/evidence/hostile -n 1000 -o build/hostile

Takes every file below SRC, adds bombs and pictures at the cap, and tops them up to n with mutated ones: flipped bytes,
cut ends, splices of two files, lengths that lie. Each is judged in a process that is killed after 10 CPU seconds.
Prints crashes, hangs, invalid reports, the slowest and the largest; status 1 if there is any of the first three, or
more than 1 GB of memory.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from detector.files import write_bytes, write_text
from detector.pictures.images import MAX_PIXELS

HERE = Path(__file__).parent
FORMATS = ("JPEG", "PNG", "WEBP")
MEMORY = 2**30  # bytes
PATIENCE = 10


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
    beside = [p for name in ("camera", "c2pa") for p in sorted((source.parent / name).glob("*.*"))]
    return files + [
        p.read_bytes() for p in beside if p.stat().st_size < 2**20 and p.suffix in (".jpg", ".png", ".webp")
    ]


def craft() -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes): small blocks without number, text that unfolds a thousandfold, pictures at the cap."""

    def saved(size: tuple[int, int], kind: str, mode: str = "RGB") -> bytes:
        buffer = io.BytesIO()
        Pillow.new(mode, size).save(buffer, kind)
        return buffer.getvalue()

    def png(*chunks: bytes) -> bytes:
        body = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
        plain = saved((64, 64), "PNG")
        return plain[:33] + b"".join(body) + plain[33:]

    def jpeg(code: int, payload: bytes, times: int = 1) -> bytes:
        plain = saved((64, 64), "JPEG")
        return plain[:2] + (bytes([0xFF, code]) + struct.pack(">H", len(payload) + 2) + payload) * times + plain[2:]

    def xmp(packet: bytes) -> bytes:
        return png(b"iTXtXML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet))

    mega, opening = zlib.compress(bytes(2**20), 9), b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>"
    tags = b"".join(struct.pack("<HHII", i, 2, 2**18, 8) for i in range(65535))
    yield "zTXt.png", png(*[b"zTXtk%d\0\0" % i + mega for i in range(5000)])
    yield "iTXt.png", png(*[b"iTXtk%d\0\1\0\0\0" % i + mega for i in range(5000)])
    yield "iCCP.png", png(*[b"iCCPp\0\0" + mega] * 5000)
    yield "tEXt.png", png(*[b"tEXta\0b"] * 200_000)
    yield "eXIf.png", png(b"eXIfII*\0\x08\0\0\0\xff\xff" + tags + bytes(4))
    yield "xmp-unclosed.png", xmp(b"<x:xmpmeta " * 95_000)
    yield "xmp-deep.png", xmp(opening + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</x:xmpmeta>")
    yield "xmp-unclosed.jpg", jpeg(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x:xmpmeta " * 5900, 200)
    yield "json-deep.png", png(b"tEXtprompt\0" + b"[" * 500_000)
    yield "json-number.png", png(b"tEXtprompt\0" + b"9" * 500_000)
    yield "segments.jpg", jpeg(0xEE, b"", 1_000_000)
    yield "DQT.jpg", jpeg(0xDB, (b"\0" + b"\1" * 64) * 1000, 60)
    yield "8BIM.jpg", jpeg(0xED, b"Photoshop 3.0\0" + b"8BIM\0\4\0\0\0\0\0\0" * 5400, 200)
    iptc = b"8BIM\4\4\0\0" + struct.pack(">I", 60_000) + b"\x1c\2\5\0\0" * 12_000
    yield "iptc.jpg", jpeg(0xED, b"Photoshop 3.0\0" + iptc, 200)
    yield "fill.jpg", b"\xff\xd8\xff" + b"\xff" * 5_000_000
    yield "blocks.gif", b"GIF89a\1\0\1\0\0\0\0" + (b"!\xfe" + b"\1a" * 60_000 + b"\0") * 200
    yield "directories.tif", b"II*\0\x08\0\0\0" + b"".join(struct.pack("<HI", 0, 14 + 6 * i) for i in range(200_000))
    side = int(MAX_PIXELS**0.5)
    for mode, kind in (("RGB", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("I;16", "PNG"), ("P", "GIF")):
        yield f"cap-{mode}.{kind.lower()}", saved((side, side), kind, mode)
    yield "cap.webp", saved((16_000, MAX_PIXELS // 20_000), "WEBP")
    yield "wide.png", saved((MAX_PIXELS // 8, 8), "PNG")
    yield "tall.png", saved((8, MAX_PIXELS // 8), "PNG")
    yield "one.png", saved((1, 1), "PNG")
    yield "a\udcff\u202e<b>.png", saved((64, 64), "PNG")  # a name that is no text


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
    honest, rng, made = sources(source), np.random.default_rng(0), []
    for i in range(n - len(given)):
        made.append(out / "mutated" / f"{i:04d}{('.jpg', '.png', '.webp', '')[rng.integers(4)]}")
        write_bytes(made[-1], mutate(honest, rng))
    return given + made


def judge(path: Path) -> str:
    """Return what became of one file, in a word; raise InvalidReport, or whatever gets past the checks."""
    from detector.errors import DetectorError

    try:
        return _judge()(path)
    except DetectorError:
        return "refused"


@cache
def _judge() -> Callable[[Path], str]:
    """Return what judges a file: `verify`, or each check."""
    if os.environ.get("CHECKS_ONLY"):
        return _check
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


def work(pipe: Connection, limit: float) -> None:
    """Judge the files that come through the pipe until it closes; answer what became of each."""
    os.environ["OMP_NUM_THREADS"] = "1"
    _judge()
    pipe.send(None)
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        start, what = time.process_time(), ""
        resource.setrlimit(resource.RLIMIT_CPU, (int(start + limit) + 1, resource.RLIM_INFINITY))
        try:
            word = judge(path)
        except InvalidReport as error:
            word, what = "invalid", str(error)
        except BaseException:
            word, what = "crash", traceback.format_exc()
        pipe.send((word, what, time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def run(paths: list[Path], jobs: int, limit: float) -> Iterator[dict[str, Any]]:
    """Yield what became of each file: word, what, CPU seconds, and the worker's peak memory so far in bytes.

    limit: CPU seconds, so that a busy machine makes no hangs; who sleeps is found after PATIENCE times as long.
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
                        yield {"path": task[0], "word": "hang", "what": "", "seconds": limit, "memory": 0}
                    else:
                        what = f"the process died ({process.exitcode})"
                        yield {"path": task[0], "word": "crash", "what": what, "seconds": 0.0, "memory": 0}
                    stop(pipe)
                    if queue:
                        start()
                    continue
                if task is not None:
                    word, what, seconds, memory = answer
                    yield {"path": task[0], "word": word, "what": what, "seconds": seconds, "memory": memory}
                if queue:
                    doing[pipe] = (queue.pop(), time.monotonic())
                    pipe.send(doing[pipe][0])  # type: ignore[index]
                else:
                    stop(pipe)
            elif task is not None and time.monotonic() - task[1] > PATIENCE * limit:
                yield {"path": task[0], "word": "hang", "what": "", "seconds": limit, "memory": 0}
                stop(pipe)
                if queue:
                    start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=10, help="CPU seconds a file")
    parser.add_argument("--checks", action="store_true", help="the checks alone, even if there is `verify`")
    given = parser.parse_args()
    if given.checks:
        os.environ["CHECKS_ONLY"] = "1"
    os.environ["DETECTOR_HOME"] = str(given.out.resolve() / "home")
    paths = collect(given.source, given.n, given.out)
    seen = []
    for row in run(paths, given.jobs, given.limit):
        seen.append(row)
        if row["what"]:
            print(f"{row['word']}: {row['path'].name!a}\n{row['what']}", file=sys.stderr, flush=True)
        if len(seen) % 100 == 0:
            print(f"{len(seen)}/{len(paths)}", file=sys.stderr, flush=True)

    counts = Counter(row["word"] for row in seen)
    slowest = sorted(seen, key=lambda row: -row["seconds"])[:5]
    largest = max(seen, key=lambda row: row["memory"])
    print(f"{len(seen)} files:", ", ".join(f"{n} {word}" for word, n in counts.most_common()))
    print(f"crashes {counts['crash']}, hangs over {given.limit:g} s {counts['hang']}, invalid {counts['invalid']}")
    print(f"median {np.median([row['seconds'] for row in seen]):.3f} s; slowest:")
    for row in slowest:
        print(f"  {row['seconds']:.2f} s  {row['path'].name!a}  ({row['word']})")
    print(f"peak memory {largest['memory'] / 2**20:.0f} MiB, first reached by the time of {largest['path'].name!a}")
    rows = [row | {"path": row["path"].name} for row in seen]
    write_text(given.out / "hostile.json", json.dumps(rows, indent=1) + "\n")
    bad = counts["crash"] + counts["hang"] + counts["invalid"]
    return int(bad > 0 or largest["memory"] > MEMORY)


if __name__ == "__main__":
    sys.exit(main())
