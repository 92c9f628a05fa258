"""The queue and the workers: threads take waiting pictures from the database, one worker process each.

A picture that stops its worker costs itself and that process, which starts anew. A worker that ended for no known
reason gives its picture another attempt. The queue is in the database: what a killed service accepted is taken up by
the next one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from detector.errors import ImageError, ProcessDied
from detector.pictures.images import read
from detector.pictures.sandbox import Sandbox
from detector.service.meters import Meters
from detector.service.settings import Settings
from detector.service.store import Store, Taken

ATTEMPTS = 3  # number of attempts for a picture whose worker ended for no known reason
TRIES = 5  # number of attempts for a picture whose result could not be stored
PAUSE = 0.5  # seconds after which an idle thread queries the database for waiting pictures
TASK = "detector.service.worker"
log = logging.getLogger("detector.service")


class Runner:
    """Examines the waiting pictures of the store until it is stopped."""

    def __init__(self, store: Store, settings: Settings, meters: Meters) -> None:
        self.store, self.settings, self.meters = store, settings, meters
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._watchers: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}
        limits: dict[str, Any] = {name: getattr(settings, name) for name in ("memory", "seconds", "patience")}
        words = [] if settings.detector is None else [str(settings.detector)]
        self._sandboxes = [Sandbox(f"{TASK}:prepare", *words, **limits) for _ in range(settings.workers)]
        self._threads = [threading.Thread(target=self._work, args=(s,), daemon=True) for s in self._sandboxes]

    @property
    def running(self) -> bool:
        """Whether all threads run and none was asked to stop."""
        return not self._stopping.is_set() and all(thread.is_alive() for thread in self._threads)

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

    def _work(self, sandbox: Sandbox) -> None:
        with suppress(ImageError):  # the first picture starts the process again, and its result says what is wrong
            sandbox.start()
        taken: Taken | None = None
        while not self._stopping.is_set():
            try:
                if taken is not None:  # the last examination failed, and the database may not have answered since
                    self._put_away(taken)
                taken = self.store.take()
                if taken is None:
                    with self._changed:
                        self._changed.wait(PAUSE)
                    continue
                self._examine(taken, sandbox)
                taken = None
            except Exception:  # for example a full disk, or a database that does not answer
                log.exception("the queue failed")
                self._stopping.wait(1)

    def _put_away(self, taken: Taken) -> None:
        """Put back a picture whose result could not be stored, or give it up after `TRIES`."""
        if taken.attempts < TRIES:
            self.store.retry(taken)
        else:
            self.store.fail(taken, "internal-error", "The result could not be stored; the log of the service says why.")
            self._notify(taken)

    def _examine(self, taken: Taken, sandbox: Sandbox) -> None:
        """Examine one picture and store the result."""
        began, verdict = time.monotonic(), "error"
        try:
            known = self.store.finish_known(taken)
            verdict = known or self._ask(taken, sandbox)
        except ProcessDied as error:
            self.meters.deaths.inc()
            if self._stopping.is_set():
                self.store.put_back(taken)
                return
            if taken.attempts < ATTEMPTS:
                self.store.retry(taken)
                return
            self.store.fail(taken, "too-costly", f"{error.reason}: {error}")
        except ImageError as error:
            self.store.fail(taken, error.reason.replace(" ", "-").removesuffix("-to-decode"),
                            f"{error.reason}: {error}")  # fmt: skip
        took = time.monotonic() - began
        self.meters.pictures.labels(verdict).inc()
        self.meters.examination.observe(took)
        log.info("picture", extra={"request_id": taken.request_id, "job": taken.job_id, "position": taken.position,
                                   "sha256": taken.sha256, "verdict": verdict, "seconds": round(took, 3)})  # fmt: skip
        self._notify(taken)

    def _notify(self, taken: Taken) -> None:
        """Set the event of whoever waits for a picture that is done."""
        watcher = self._watchers.get(taken.job_id)
        if watcher is not None:
            with suppress(RuntimeError):  # the loop ended meanwhile
                watcher[0].call_soon_threadsafe(watcher[1].set)

    def _ask(self, taken: Taken, sandbox: Sandbox) -> str:
        """Return the opinion on a picture once its report is kept."""
        data = read(locate_picture(self.settings.folder, taken.sha256), max_bytes=self.settings.max_bytes)
        answer = sandbox.stream(f"{TASK}:examine", data, name=taken.name, max_pixels=self.settings.max_pixels)
        record, row, *rest = list(answer)
        drawings = [about | {"jpeg": jpeg} for about, jpeg in zip(rest[::2], rest[1::2], strict=True)]
        self.store.finish(taken, record, row, drawings)
        return str(row["opinion"])


def locate_picture(folder: Path, digest: str) -> Path:
    """Return where the bytes with that SHA-256 are kept."""
    return folder / "pictures" / digest[:2] / digest
