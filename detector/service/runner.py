"""The queue and the workers: threads take waiting pictures from the database and give them to worker processes.

There is one thread more than workers, so that no worker waits for the database. Pictures are judged several at a time,
and examined one at a time. If the worker of several ends early, each is taken alone after that, so that none fails
because of another. A picture that exceeds a limit fails at once. One whose worker crashed has `ATTEMPTS`; one whose
worker was killed from outside has `KILLS`, because it is rarely the reason. A worker that does not start costs no
attempt, but after `GIVE_UP` failed starts pictures fail. The queue is in the database: what a killed service accepted
is taken up by the next one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from detector.errors import ImageError, ProcessDied, ProcessKilled
from detector.pictures.images import read
from detector.pictures.sandbox import Sandbox
from detector.service.meters import Meters
from detector.service.settings import Settings
from detector.service.store import Store, Taken

CHUNK = 8  # number of pictures that are judged at a time
ATTEMPTS = 3  # number of attempts for a picture whose worker crashed
KILLS = 12  # number of attempts for a picture whose worker was killed from outside
BACKOFF = 0.5  # seconds before its second attempt; the time doubles with each, 17 minutes in all
STARTS = 3  # number of failed starts in a row after which a worker does not count as running
GIVE_UP = 200  # number of failed starts in a row after which the pictures of a worker fail, 17 minutes or more
REST = 5  # seconds after which a worker that did not start is started again
TRIES = 5  # number of attempts for a picture whose result could not be stored
PAUSE = 0.5  # seconds after which an idle thread queries the database for waiting pictures
TASK = "detector.service.worker"
log = logging.getLogger("detector.service")


class Runner:
    """Examines the waiting pictures of the store until it is stopped."""

    def __init__(self, store: Store, settings: Settings, meters: Meters) -> None:
        self.store, self.settings, self.meters = store, settings, meters
        self._stopping = threading.Event()
        self._begun = threading.Event()  # set as soon as one worker was started, or did not start
        self._changed = threading.Condition()
        self._watchers: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}
        limits: dict[str, Any] = {name: getattr(settings, name) for name in ("memory", "seconds", "patience")}
        words = [] if settings.detector is None else [str(settings.detector)]
        self._sandboxes = [Sandbox(f"{TASK}:prepare", *words, **limits) for _ in range(settings.workers)]
        self._free: SimpleQueue[Sandbox] = SimpleQueue()  # workers without pictures
        self._failed: Counter[Sandbox] = Counter()  # number of times in a row that a worker did not start
        owned = [*self._sandboxes, None]  # the worker that a thread starts
        self._threads = [threading.Thread(target=self._work, args=(one,), daemon=True) for one in owned]

    @property
    def running(self) -> bool:
        """Whether all threads run, none was asked to stop, and some worker starts, if not at the first attempts."""
        alive = not self._stopping.is_set() and all(thread.is_alive() for thread in self._threads)
        return alive and any(self._failed[sandbox] < STARTS for sandbox in self._sandboxes)

    def start(self) -> None:
        """Put back the unfinished pictures of an earlier service, and start the threads."""
        left = self.store.requeue()
        if left:
            log.info("resumed", extra={"pictures": left})
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no further pictures, wait `drain` seconds for running examinations, and put back unfinished ones."""
        self._stopping.set()
        self.wake()
        end = time.monotonic() + self.settings.drain
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))
        for sandbox in self._sandboxes:
            sandbox.close()
        for thread in self._threads:
            thread.join(10)

    def wake(self) -> None:
        """Wake the threads, because a picture waits."""
        with self._changed:
            self._changed.notify_all()

    def watch(self, job_id: str) -> asyncio.Event:
        """Return an event that is set when the picture of a job of one is done; `unwatch` ends that."""
        event = asyncio.Event()
        self._watchers[job_id] = (asyncio.get_running_loop(), event)
        return event

    def unwatch(self, job_id: str) -> None:
        """Forget the event of a job."""
        self._watchers.pop(job_id, None)

    def _work(self, own: Sandbox | None) -> None:
        """Start a worker, or wait for that of another thread, and take pictures until the runner stops."""
        if own is not None:
            self._start(own)
            self._free.put(own)
            self._begun.set()
        else:
            self._begun.wait()
        taken: list[Taken] = []
        while not self._stopping.is_set():
            try:
                if taken:  # the last examination failed, and the database may not have answered since
                    self._put_away(taken)
                taken = self.store.take(CHUNK)
                if taken:
                    self._handle(taken)
                    taken = []
                    continue
                with self._changed:
                    self._changed.wait(PAUSE)
                if self._failed and not self._stopping.wait(REST):
                    with self._borrow() as sandbox:
                        self._start(sandbox)
            except Exception:  # for example a full disk, or a database that does not answer
                log.exception("the queue failed")
                self._stopping.wait(1)

    @contextmanager
    def _borrow(self) -> Iterator[Sandbox]:
        """Wait for a worker that has no pictures, and keep others from using it."""
        sandbox = self._free.get()
        try:
            yield sandbox
        finally:
            self._free.put(sandbox)

    def _start(self, sandbox: Sandbox) -> bool:
        """Return whether a worker runs, after starting it if there is none."""
        try:
            sandbox.start()
        except ProcessDied as error:
            self._failed[sandbox] += 1
            log.error("a worker does not start", extra={"detail": str(error)})
            return False
        del self._failed[sandbox]
        return True

    def _put_away(self, taken: Sequence[Taken]) -> None:
        """Put back pictures whose result could not be stored, or give one up after `TRIES`."""
        if taken[0].attempts < TRIES:
            self.store.retry(taken)
        else:
            self._give_up(
                taken[0], "internal-error", "The result could not be stored; the log of the service says why."
            )

    def _handle(self, taken: Sequence[Taken]) -> None:
        """Judge pictures, or examine one, and store the results."""
        known = self.store.finish_known(taken)
        self._report([t for t in taken if t.sha256 in known], known, time.monotonic())
        taken = [t for t in taken if t.sha256 not in known]
        if not taken:
            return
        with self._borrow() as sandbox:
            if self._stopping.is_set():
                self.store.put_back(taken)
                return
            if not self._start(sandbox):
                self._wait_for_start(taken, sandbox)
                return
            began = time.monotonic()
            try:
                answer = self._examine(taken[0], sandbox) if taken[0].full else self._judge(taken, sandbox)
            except ImageError as error:
                if not self._retry(taken, error):
                    self._give_up(taken[0], name_problem(error.reason), f"{error.reason}: {error}", began)
                return
        keep = self._keep_report if taken[0].full else self._keep_judgements
        self._report(taken, keep(taken, answer), began)

    def _wait_for_start(self, taken: Sequence[Taken], sandbox: Sandbox) -> None:
        """Put back pictures whose worker did not start, or give them up after `GIVE_UP` starts, and wait."""
        if self._failed[sandbox] < GIVE_UP:
            self.store.put_back(taken)
        else:
            for each in taken:
                self._give_up(each, "internal-error", "No worker starts; the log of the service says why.")
        self._stopping.wait(REST)

    def _retry(self, taken: Sequence[Taken], error: ImageError) -> bool:
        """Put pictures back for another attempt after an error; return False if a picture had its last one."""
        attempts = taken[0].attempts
        if isinstance(error, ProcessDied):
            self.meters.deaths.inc()
            if self._stopping.is_set():  # this service ended the worker
                self.store.put_back(taken)
                return True
        if len(taken) > 1:  # any of them may be the reason; from now on each is taken alone
            self.store.retry(taken)
        elif isinstance(error, ProcessKilled) and attempts < KILLS:
            self.store.retry(taken, BACKOFF * 2 ** (attempts - 1))
        elif isinstance(error, ProcessDied) and attempts < ATTEMPTS:
            self.store.retry(taken)
        else:
            return False
        return True

    def _give_up(self, taken: Taken, slug: str, detail: str, began: float | None = None) -> None:
        self.store.fail(taken, slug, detail)
        self._report([taken], {taken.sha256: "error"}, began)

    def _report(self, taken: Sequence[Taken], verdicts: Mapping[str, str], began: float | None) -> None:
        """Count and log pictures that are done, and set the events of those who wait for them."""
        took = 0.0 if began is None else time.monotonic() - began
        for each in taken:
            verdict = verdicts[each.sha256]
            self.meters.pictures.labels(verdict).inc()
            self.meters.examination.observe(took)
            log.info("picture", extra={"request_id": each.request_id, "job": each.job_id, "position": each.position,
                                       "sha256": each.sha256, "verdict": verdict, "seconds": round(took, 3),
                                       "examination": "full" if each.full else "quick"})  # fmt: skip
            watcher = self._watchers.get(each.job_id)
            if watcher is not None:
                with suppress(RuntimeError):  # the loop ended meanwhile
                    watcher[0].call_soon_threadsafe(watcher[1].set)

    def _judge(self, taken: Sequence[Taken], sandbox: Sandbox) -> list[Any]:
        """Return what the worker yields for pictures."""
        files = {t.sha256: str(locate_picture(self.settings.folder, t.sha256).resolve()) for t in taken}
        limits = {name: getattr(self.settings, name) for name in ("max_bytes", "max_pixels")}
        return list(sandbox.stream(f"{TASK}:judge", b"", files=files, **limits))

    def _keep_judgements(self, taken: Sequence[Taken], answer: Sequence[Any]) -> dict[str, str]:
        """Store what `_judge` returned; return the verdicts on the pictures by SHA-256."""
        judged = [item | {"jpeg": jpeg} for item, jpeg in zip(answer[::2], answer[1::2], strict=True)]
        failed = {item["sha256"]: item["row"]["reason"] for item in judged if item["opinion"] == "error"}
        self.store.judge([t for t in taken if t.sha256 not in failed],
                         {item["sha256"]: item for item in judged if item["sha256"] not in failed})  # fmt: skip
        for each in taken:
            if each.sha256 in failed:
                self.store.fail(each, name_problem(failed[each.sha256].partition(": ")[0]), failed[each.sha256])
        return {item["sha256"]: item["opinion"] for item in judged}

    def _examine(self, taken: Taken, sandbox: Sandbox) -> list[Any]:
        """Return what the worker yields for the examination of a picture."""
        data = read(locate_picture(self.settings.folder, taken.sha256), max_bytes=self.settings.max_bytes)
        answer = sandbox.stream(f"{TASK}:examine", data, name=taken.name, max_pixels=self.settings.max_pixels)
        return list(answer)

    def _keep_report(self, taken: Sequence[Taken], answer: Sequence[Any]) -> dict[str, str]:
        """Store what `_examine` returned; return the opinion on the picture by SHA-256."""
        record, row, *rest = answer
        drawings = [about | {"jpeg": jpeg} for about, jpeg in zip(rest[::2], rest[1::2], strict=True)]
        self.store.finish(taken[0], record, row, drawings)
        return {taken[0].sha256: str(row["opinion"])}


def name_problem(reason: str) -> str:
    """Return the end of the type of a problem document, for the reason of an ImageError."""
    return reason.replace(" ", "-").removesuffix("-to-decode")


def locate_picture(folder: Path, digest: str) -> Path:
    """Return where the bytes with that SHA-256 are kept."""
    return folder / "pictures" / digest[:2] / digest
