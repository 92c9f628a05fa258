"""Processes that judge one file after another and are killed when a file takes too long; what each file costs.

`judge_all` runs them side by side. Each answers with a `Row`: what became of the file, the CPU seconds that it took in
the process and in all that the process started, the highest memory of them together, and what was written to standard
error.
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

LARGE = 600 * 2**20  # bytes; after a file that took more, a new process judges the next, which is measured alone
PATIENCE = 60  # times the CPU seconds, after which a process that sleeps is stopped

Judge = Callable[[Path], str]


class InvalidReport(Exception):
    """An answer that does not keep its promise, such as a report that does not fit its schema."""


@dataclass(frozen=True)
class Row:
    """What became of one file, or of a folder whose files are judged in one batch.

    files: in it. word: what the judge answered, or `invalid`, `crash` or `hang`; what: why, for those. seconds: of CPU
    time. memory: bytes. noise: bytes written to standard error.
    """

    path: str
    files: int
    word: str
    what: str = ""
    seconds: float = 0.0
    memory: int = 0
    noise: int = 0


class Worker:
    """A process that judges files; one that crashed or was stopped is replaced before the next file."""

    def __init__(self, judge: Judge, limit: float, patience: float = PATIENCE) -> None:
        """judge: what answers for a path, a function of a module. limit: CPU seconds for each file.

        patience: times the limit, in seconds on the clock, after which it is stopped.
        """
        self._judge, self._limit, self._patience = judge, limit, patience
        self._start()

    def ask(self, path: Path) -> Row:
        """Return what became of a file."""
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
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=work, args=(theirs, self._judge), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it is ready; what it imported is not counted

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
    """Yield what became of each file, in order, from `jobs` workers. end: when, by `time.monotonic`, to stop."""
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
    """Judge the files that come through the pipe, each with its limit, until it closes; answer as `Row` has it."""
    os.environ["OMP_NUM_THREADS"] = "1"
    noise = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the process
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
    """Looks every few ms at the memory of this process and its decoders together; keeps the peak, in bytes."""

    peak = 0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, measure_memory())
            time.sleep(0.005)


def measure_memory() -> int:
    """Return the resident bytes of this process and of all that it started, together."""
    pages = 0
    for pid in (os.getpid(), *_list_decoders()):
        with contextlib.suppress(OSError, IndexError):  # it just ended
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def count_seconds() -> float:
    """Return the CPU seconds of this process and of all that it started."""
    dead, ticks = resource.getrusage(resource.RUSAGE_CHILDREN), 0
    for pid in _list_decoders():
        with contextlib.suppress(OSError):  # it just ended
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + dead.ru_utime + dead.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def _list_decoders() -> list[int]:
    """Return the processes that this one started and that still run."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]
