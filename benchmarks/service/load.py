"""Load `detector serve` on loopback: pictures per second, latency, and that nothing is lost or doubled.

    python benchmarks/service/load.py --minutes 2 --pictures 200 --workers 2

Runs five parts one after another and ends with status 1 if a promise of the service is broken:

- score: `detector score --engine process` on the same pictures and as many processes, for comparison;
- capacity: all pictures as jobs at once; pictures per second until the last is judged;
- latency: single pictures at random times (Poisson) at `--share` of that capacity for `--minutes`;
- hostile: jobs in which 1 picture in `--one-in` is hostile, while a worker is killed every `--kill` seconds;
- crash: the service is killed (SIGKILL) in the middle of a job and started again, `--crashes` times.

Pictures are judged, not examined: only then does the service do the work of `detector score`.

The pictures are those of `benchmarks/speed/score_speed.py`. Seconds are on the clock, so rates and latencies need a
machine without other work; the load is printed. CPU seconds, of a program and all that it started, need it less.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))

import crafted
import score_speed
from driving import Broken, Picture, Service, children_cpu, find_workers, serving
from sqlalchemy import create_engine, text

from detector.files import sha256

JOB = 10  # pictures of one job
HEALTH = 1  # seconds between two health checks
HOSTILE_SECONDS = 10  # CPU seconds that one examination may use in the parts with hostile files


def write_pictures(folder: Path, number: int) -> list[Picture]:
    """Return different JPEGs of 1024 x 1024 pixels with a face each, which are also written to a folder."""
    score_speed.PICTURES = number
    folder.mkdir()
    for path in score_speed.write_pictures(None, folder.parent):
        path.rename(folder / path.name)
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]


def make_hostile() -> list[bytes]:
    """Return hostile files: no picture, torn ones, and such that cost far more than their bytes."""
    plain = crafted.saved((400, 300), "PNG")
    return [
        b"no picture at all", plain[: len(plain) // 2], crafted.saved((64, 64), "JPEG")[:200] + bytes(5000),
        crafted.tiff_of_strips(60_000), crafted.png_with(b"tEXtprompt\0" + b"[" * 500_000),
        crafted.jpeg_of_scans(7000, 400),
    ]  # fmt: skip


def vary(pictures: list[Picture], word: str) -> list[Picture]:
    """Return the pictures with a comment, so that they are other bytes and are examined again."""
    comment = word.encode()
    mark = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return [(name, data[:2] + mark + data[2:]) for name, data in pictures]


def measure_score(folder: Path, workers: int) -> tuple[float, float]:
    """Return pictures per second of `detector score` once it runs, and its CPU seconds per picture.

    The time of a run on one picture is subtracted.
    """
    names, took, used = sorted(folder.iterdir()), [], []
    for paths in (names[:1], names):
        with tempfile.TemporaryDirectory() as temporary:
            (Path(temporary) / "in").mkdir()
            for path in paths:
                os.link(path, Path(temporary) / "in" / path.name)
            cpu, began = children_cpu(), time.monotonic()
            subprocess.run([sys.executable, "-m", "detector", "score", f"{temporary}/in", "--engine", "process",
                            "--workers", str(workers), "-o", f"{temporary}/scores.csv"], check=True,
                           capture_output=True)  # fmt: skip
            took.append(time.monotonic() - began)
            used.append(children_cpu() - cpu)
    return (len(names) - 1) / (took[1] - took[0]), (used[1] - used[0]) / (len(names) - 1)


def measure_capacity(folder: Path, pictures: list[Picture], workers: int) -> tuple[float, float]:
    """Return pictures per second of the service with a full queue, and its CPU seconds per picture."""
    with serving(folder, workers) as service:
        service.wait([service.send_job(vary(pictures[:workers], "warm up"))])  # until all workers are loaded
        began = time.monotonic()
        addresses = [service.send_job(part) for part in split(pictures)]
        jobs = service.wait(addresses)
        took = time.monotonic() - began
    check_jobs(jobs, pictures, hostile=set())
    check_log(service, len(pictures) + workers)
    with serving(folder.with_suffix(".idle"), workers) as idle:
        idle.wait([idle.send_job(vary(pictures[:workers], "warm up"))])
    return len(pictures) / took, (service.cpu - idle.cpu) / len(pictures)


def measure_both(place: Path, pictures: list[Picture], workers: int, turn: int) -> tuple[float, float, float, float]:
    """Return what `measure_score` and `measure_capacity` return, measured one after the other."""
    score = show("score", lambda: measure_score(place / "pictures", workers))
    capacity = show("capacity", lambda: measure_capacity(place / f"one-{turn}", pictures, workers))
    return (*score, *capacity)


def measure_latency(
    folder: Path, pictures: list[Picture], workers: int, rate: float, minutes: float
) -> tuple[list[float], int]:
    """Return the seconds that single pictures took, and how many were sent, at random times at a rate per second."""
    draw = random.Random(0)
    times: list[float] = []
    with serving(folder, workers) as service, ThreadPoolExecutor(64) as pool:
        service.wait([service.send_job(vary(pictures[:workers], "warm up"))])

        def send(number: int) -> float:
            ((name, data),) = vary([pictures[number % len(pictures)]], f"latency {number}")
            began = time.monotonic()
            answer = service.client.post("/v1/images", params={"name": name}, content=data)
            took = time.monotonic() - began
            if answer.status_code not in (200, 202) or (answer.status_code == 200) != ("opinion" in answer.json()):
                raise Broken(f"a picture was refused: {answer.status_code} {answer.text}")
            if answer.status_code == 202:
                service.wait([answer.headers["location"]])
                took = time.monotonic() - began
            return took

        waiting, end = [], time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            waiting.append(pool.submit(send, len(waiting)))
            time.sleep(draw.expovariate(rate))
        times = sorted(future.result() for future in waiting)
    check_log(service, len(waiting) + workers)
    return times, len(waiting)


def run_hostile(folder: Path, pictures: list[Picture], workers: int, one_in: int, kill: float) -> dict[str, int]:
    """Return counts of a run with hostile files whose workers are killed, after checking that nothing was lost."""
    crafted_files, sent, hostile = make_hostile(), list(pictures), set()
    for number, at in enumerate(range(one_in // 2, len(sent), one_in)):
        data = crafted_files[number % len(crafted_files)]
        sent[at] = (f"hostile-{number}.png", data)
        hostile.add(f"hostile-{number}.png")
    counts: Counter[str] = Counter(sent=len(sent), hostile=len(hostile))
    with serving(folder, workers, SECONDS=HOSTILE_SECONDS) as service:
        done, faults = threading.Event(), list[str]()

        def disturb() -> None:
            draw = random.Random(0)
            while not done.wait(kill):
                found = find_workers(service.process.pid)
                if found:
                    os.kill(draw.choice(found), signal.SIGKILL)
                    counts["workers killed"] += 1

        def watch() -> None:
            while not done.wait(HEALTH):
                counts["health checks"] += 1
                faults.extend(filter(None, [service.find_fault()]))

        threads = [threading.Thread(target=run) for run in (disturb, watch)]
        for thread in threads:
            thread.start()
        try:
            jobs = service.wait([service.send_job(part) for part in split(sent)])
        finally:
            done.set()
            for thread in threads:
                thread.join()
    check_jobs(jobs, sent, hostile)
    check_log(service, len(sent))
    if faults:
        raise Broken(f"{len(faults)} of {counts['health checks']} health checks failed; the first: {faults[0]}")
    return counts


def run_crashes(folder: Path, pictures: list[Picture], workers: int, crashes: int) -> dict[str, int]:
    """Return counts of a run whose service is killed in the middle of jobs, after checking that nothing was lost."""
    with serving(folder, workers) as service:
        addresses = [service.send_job(part) for part in split(pictures)]
        open_before = []
        for number in range(crashes):
            enough = len(pictures) * (number + 1) // (crashes + 2)
            while count_done(service, addresses) < enough:
                time.sleep(0.2)
            open_before.append(len(pictures) - count_done(service, addresses))
            service.end(signal.SIGKILL)
            service.start()
        if not min(open_before):
            raise Broken("all pictures were judged before a crash, which then tested nothing; send more --pictures")
        jobs = service.wait(addresses)
    check_jobs(jobs, pictures, hostile=set())
    check_log(service, len(pictures), crashed=True)
    resumed = sum(line["event"] == "resumed" for line in service.read_log())
    return {"sent": len(pictures), "crashes": crashes, "open at the first crash": open_before[0],
            "times that running pictures were put back": resumed}  # fmt: skip


def count_done(service: Service, addresses: list[str]) -> int:
    """Return how many pictures of some jobs are done."""
    counts = [service.read_job(address)["counts"] for address in addresses]
    return sum(count["pictures"] - count["open"] for count in counts)


def split(pictures: list[Picture]) -> list[list[Picture]]:
    """Return the pictures in parts of `JOB`."""
    return [pictures[start : start + JOB] for start in range(0, len(pictures), JOB)]


def check_jobs(jobs: list[dict[str, Any]], sent: list[Picture], hostile: set[str]) -> None:
    """Check that every picture that was sent has its own answer, and every photograph its verdict."""
    answers = [picture for job in jobs for picture in sorted(job["pictures"], key=lambda p: p["position"])]
    if [answer["name"] for answer in answers] != [name for name, _ in sent]:
        raise Broken("the pictures of the jobs are not those that were sent")
    for answer, (name, data) in zip(answers, sent, strict=True):
        if answer["state"] not in ("done", "failed"):
            raise Broken(f"{name} is {answer['state']} in a job that is done")
        if answer["state"] == "done" and answer["verdict"]["sha256"] != sha256(data):
            raise Broken(f"{name} has the verdict on other bytes")
        if answer["state"] == "failed" and name not in hostile:
            raise Broken(f"{name} has no verdict: {answer['problem']}")


def check_log(service: Service, accepted: int, *, crashed: bool = False) -> None:
    """Check the log and the database of a service that ended: each picture was finished once, each report kept once.

    crashed: whether a service was killed, perhaps between storing a result and writing its line.
    """
    finished = Counter((line["job"], line["position"]) for line in service.read_log() if line["event"] == "picture")
    if max(finished.values()) > 1 or (len(finished) != accepted and not crashed):
        raise Broken(
            f"{accepted} pictures were accepted; {sum(finished.values())} examinations of {len(finished)} ended"
        )
    engine = create_engine(f"sqlite:///{service.folder / 'state' / 'service.sqlite'}")
    with engine.connect() as connection:
        rows, open_ = connection.execute(text(
            "SELECT COUNT(*), SUM(state NOT IN ('done', 'failed')) FROM pictures")).one()  # fmt: skip
        done = connection.scalar(text("SELECT COUNT(DISTINCT sha256) FROM pictures WHERE state = 'done'"))
        reports = connection.scalar(text("SELECT COUNT(*) FROM reports"))
    engine.dispose()
    if (rows, open_, reports) != (accepted, 0, done):
        raise Broken(f"{accepted} pictures accepted, {rows} kept, {open_} open; {reports} reports on {done} pictures")


def show(what: str, run: Callable[[], Any]) -> Any:
    """Run one part and print the load before it and its time."""
    load, began = os.getloadavg()[0], time.monotonic()
    print(f"{what} (load before {load:.1f}) ...", flush=True)
    result = run()
    print(f"  {time.monotonic() - began:.0f} s", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2, help="length of the part that measures latency")
    parser.add_argument("--pictures", type=int, default=200, help="pictures of each other part")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--turns", type=int, default=2, help="times that score and capacity are measured; the best count"
    )
    parser.add_argument("--share", type=float, default=0.7, help="load of the part that measures latency")
    parser.add_argument("--one-in", type=int, default=20, help="one picture in so many is hostile")
    parser.add_argument("--kill", type=float, default=5, help="seconds between the kills of a worker")
    parser.add_argument("--crashes", type=int, default=2)
    parser.add_argument(
        "--only", nargs="+", choices=["speed", "hostile", "crash"], default=["speed", "hostile", "crash"]
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        pictures = write_pictures(place / "pictures", given.pictures)
        try:
            if "speed" in given.only:
                turns = [measure_both(place, pictures, given.workers, turn) for turn in range(given.turns)]
                score, score_cpu, rate, cpu = (
                    choose(column) for choose, column in zip((max, min) * 2, zip(*turns, strict=True), strict=True)
                )
                print(f"  service: {rate:.2f} pictures/s, {cpu:.2f} CPU s for each")
                print(f"  score: {score:.2f} pictures/s, {score_cpu:.2f} CPU s for each")
                print(
                    f"  the service reaches {rate / score:.0%} of the rate; {score_cpu / cpu:.0%} by CPU seconds",
                    flush=True,
                )
                times, sent = show("latency", lambda: measure_latency(place / "two", pictures, given.workers,
                                                                      given.share * rate, given.minutes))  # fmt: skip
                half, most = times[len(times) // 2], times[min(len(times) * 99 // 100, len(times) - 1)]
                print(f"  {sent} pictures at {given.share:.0%}: p50 {half:.2f} s, p99 {most:.2f} s", flush=True)
            if "hostile" in given.only:
                counts = show("hostile", lambda: run_hostile(place / "three", pictures, given.workers, given.one_in,
                                                             given.kill))  # fmt: skip
                print(f"  {dict(counts)}", flush=True)
            if "crash" in given.only:
                counts = show("crash", lambda: run_crashes(place / "four", pictures, given.workers, given.crashes))
                print(f"  {counts}", flush=True)
        except Broken as error:
            raise SystemExit(f"broken: {error}") from None
    print("nothing was lost, nothing was doubled")


if __name__ == "__main__":
    main()
