"""Worker processes that process one file after another, are killed if a file takes too long, and measure its costs.

`judge_all` runs several of them in parallel. Each returns a `Row`: the outcome of the file, the CPU seconds of the
worker and of its child processes, their largest memory together, and the number of bytes written to standard error.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import resource
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

LARGE = 600 * 2**20  # bytes; a worker that used more is replaced, so that it does not distort the next measurement
PATIENCE = 60  # limit of the time on the clock, as a multiple of the limit of CPU seconds

Judge = Callable[[Path], str]  # processes a file and returns the outcome in one word


class InvalidReport(Exception):
    """A result that is not valid, such as a report that does not conform to its schema."""


@dataclass(frozen=True)
class Row:
    """The result of one file, or of a folder whose files are processed in one batch.

    files: number of files. word: outcome that the judge returned, or `invalid`, `crash` or `hang`. what: reason of
    these three. seconds: CPU time. memory: largest memory, bytes. noise: number of bytes written to standard error.
    """

    path: str
    files: int
    word: str
    what: str = ""
    seconds: float = 0.0
    memory: int = 0
    noise: int = 0


class Worker:
    """A process that runs a judge on files; it is replaced after a crash or a timeout."""

    def __init__(self, judge: Judge, limit: float, patience: float = PATIENCE) -> None:
        """Start the process.

        judge: a function that the process can import. limit: CPU seconds for each file. patience: limit of the time on
        the clock, as a multiple of `limit`.
        """
        self._judge, self._limit, self._patience = judge, limit, patience
        self._start()

    def ask(self, path: Path) -> Row:
        """Process a file, or a folder, and return the result."""
        files = len(list(path.iterdir())) if path.is_dir() else 1
        limit = self._limit * files
        self._pipe.send((path, limit))
        if not self._pipe.poll(self._patience * limit):
            self._restart()
            return Row(str(path), files, "hang", f"no answer after {self._patience * limit:g} s on the clock", limit)
        try:
            row = Row(str(path), files, *self._pipe.recv())
            if row.memory > LARGE:
                self._restart()
            return row
        except (EOFError, ConnectionError):
            code = self._restart()
        if code == -signal.SIGXCPU:
            return Row(str(path), files, "hang", f"more than {limit:g} CPU seconds", limit)
        return Row(str(path), files, "crash", f"the process died ({code})")

    def stop(self) -> int | None:
        """End the process and return its exit code."""
        self._pipe.close()
        self._process.join(1)
        self._process.kill()
        self._process.join()
        return self._process.exitcode

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, end_of_worker = spawn.Pipe()
        self._process = spawn.Process(target=work, args=(end_of_worker, self._judge), daemon=True)
        self._process.start()
        end_of_worker.close()
        self._pipe.recv()  # waits until the worker is ready, so that its imports are not measured

    def _restart(self) -> int | None:
        code = self.stop()
        self._start()
        return code


def judge_all(
    paths: Sequence[Path],
    judge: Judge,
    limit: float,
    *,
    jobs: int = 2,
    end: float = math.inf,
    patience: float = PATIENCE,
) -> Iterator[Row]:
    """Yield the result of each file, in order, from `jobs` workers. end: `time.monotonic` at which to stop."""
    if not paths or time.monotonic() > end:
        return
    workers = [Worker(judge, limit, patience) for _ in range(min(jobs, len(paths)))]
    free: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def ask(path: Path) -> Row | None:
        if time.monotonic() > end:
            return None
        worker = free.get()
        try:
            return worker.ask(path)
        finally:
            free.put(worker)

    with ThreadPoolExecutor(len(workers)) as pool:
        yield from (row for row in pool.map(ask, paths) if row is not None)
    for worker in workers:
        worker.stop()


def work(pipe: Connection, judge: Judge) -> None:
    """Process the files that the pipe sends, each with its limit, and send back the last fields of `Row`."""
    os.environ["OMP_NUM_THREADS"] = "1"
    noise = tempfile.TemporaryFile()  # noqa: SIM115, it stays open until the process ends
    os.dup2(noise.fileno(), 2)
    watch = Watch(daemon=True)
    watch.start()
    pipe.send(None)
    while True:
        try:
            path, limit = pipe.recv()
        except EOFError:
            return
        start, what, before, watch.peak = count_seconds(), "", os.fstat(2).st_size, measure_memory()
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + limit) + 1, resource.RLIM_INFINITY))
        try:
            word = judge(path)
        except InvalidReport as error:
            word, what = "invalid", str(error)
        except BaseException:
            word, what = "crash", traceback.format_exc()
        pipe.send((word, what, count_seconds() - start, watch.peak, os.fstat(2).st_size - before))


class Watch(threading.Thread):
    """A thread that measures the memory of this process and its decoders every few ms; `peak` is the maximum, bytes."""

    peak = 0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, measure_memory())
            time.sleep(0.005)


def measure_memory() -> int:
    """Return the resident memory of this process and of its child processes together, bytes."""
    pages = 0
    for pid in (os.getpid(), *_list_decoders()):
        with contextlib.suppress(OSError, IndexError):  # the process has just ended
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def count_seconds() -> float:
    """Return the CPU seconds of this process and of its child processes together."""
    dead, ticks = resource.getrusage(resource.RUSAGE_CHILDREN), 0
    for pid in _list_decoders():
        with contextlib.suppress(OSError):  # the process has just ended
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + dead.ru_utime + dead.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def _list_decoders() -> list[int]:
    """Return the ids of the child processes that are running."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]
