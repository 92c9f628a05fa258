"""Engines that score pictures in threads of this process, in processes of this machine, or on a Ray cluster.

Every engine gives the results of `engine.score_pictures`, in the order of the targets: a worker runs the same function
on a few pictures at a time. Engines do not write files, and do not know which results an interrupted run already has.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Protocol

from detector.errors import DetectorError, MissingExtra
from detector.scoring.engine import Judged, Opener, score_pictures, untouched
from detector.scoring.targets import Target
from detector.types import Detector, Transform

CHUNK = 16  # number of pictures that are sent to a worker at a time
AHEAD = 2  # number of chunks per worker that are sent before their results are read
NAMES = ("threads", "process", "ray")

Judgements = list[list[Judged]]  # results of each picture of a chunk, one for each transform
Submit = Callable[[list[Target]], Callable[[], Judgements]]  # sends a chunk to a worker, returns a function that waits


class Engine(Protocol):
    """A function that scores targets in their order."""

    def __call__(
        self, targets: Iterable[Target], detector: Detector, *, transforms: Sequence[Transform] = (untouched,),
        opener: Opener | None = None,
    ) -> Iterator[list[Judged]]:  # fmt: skip
        """Yield the results of each target, one for each transform; errors are those of `engine.score_pictures`."""
        ...


@dataclass(frozen=True)
class Work:
    """What a worker needs to score pictures; it is sent to each worker once.

    load: function that returns the detector, which runs on one thread, because there is a worker for each core.
    transforms, opener: arguments of `engine.score_pictures`.
    """

    load: Callable[[], Detector]
    transforms: Sequence[Transform]
    opener: Opener | None

    def start(self) -> Callable[[list[Target]], Judgements]:
        """Load the detector, and return a function that scores a chunk."""
        detector = self.load()

        def score(chunk: list[Target]) -> Judgements:
            found = score_pictures(chunk, detector, transforms=self.transforms, opener=self.opener, threads=1)
            return list(found)

        return score


def find_engine(name: str, load: Callable[[], Detector], workers: int | None = None) -> Engine:
    """Return an engine by its name in NAMES.

    load: function that returns the detector in a worker; other processes must be able to import it, and to unpickle its
    arguments. workers: number of workers; None takes one for each core (of the cluster).

    Raises DetectorError for another name, MissingExtra if Ray is not installed.
    """
    if name == "threads":
        return score_pictures
    if name == "process":
        return partial(_score_in_processes, load, workers or count_cores())
    if name == "ray":
        return partial(_score_on_ray, _import_ray(), load, workers)
    raise DetectorError(f"there is no engine {name!r}; there are {', '.join(NAMES)}")


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _score_in_processes(
    load: Callable[[], Detector], workers: int, targets: Iterable[Target], detector: Detector, *,
    transforms: Sequence[Transform] = (untouched,), opener: Opener | None = None,
) -> Iterator[list[Judged]]:  # fmt: skip
    """Score in worker processes, which are spawned and not forked, because this process may have threads."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (Work(load, transforms, opener),))
    try:
        yield from _in_order(targets, lambda chunk: pool.submit(_score, chunk).result, AHEAD * workers)
    except BrokenProcessPool:
        raise DetectorError("a worker process was killed; the memory may be too small for --workers") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_scorers: list[Callable[[list[Target]], Judgements]] = []  # in a worker process, the function that `_start` made


def _start(work: Work) -> None:
    """Prepare a worker process; it ends when the main process ends, even if that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the main process, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _scorers[:] = [work.start()]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _score(chunk: list[Target]) -> Judgements:
    return _scorers[0](chunk)


def _in_order(targets: Iterable[Target], submit: Submit, most: int) -> Iterator[list[Judged]]:
    """Yield the results in the order of the targets; at most `most` chunks are submitted ahead."""
    remaining = iter(targets)
    waiting: deque[Callable[[], Judgements]] = deque()
    while chunk := list(islice(remaining, CHUNK)):
        waiting.append(submit(chunk))
        if len(waiting) >= most:
            yield from waiting.popleft()()
    while waiting:
        yield from waiting.popleft()()


def _import_ray() -> Any:
    """Return Ray, with its reports of usage over the network switched off; MissingExtra if it is not installed."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    try:
        import ray
    except ImportError:
        raise MissingExtra("ray is optional: pip install 'face-forgery-detector[distributed]'") from None
    return ray


def _score_on_ray(
    ray: Any, load: Callable[[], Detector], workers: int | None, targets: Iterable[Target], detector: Detector, *,
    transforms: Sequence[Transform] = (untouched,), opener: Opener | None = None,
) -> Iterator[list[Judged]]:  # fmt: skip
    """Score in actors of the cluster that RAY_ADDRESS names, or of a local one, which is shut down at the end."""
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", configure_logging=False)
        except Exception as error:  # for example a cluster that does not answer, or a machine that is too busy
            raise DetectorError(f"Ray does not start: {' '.join(str(error).split())}") from None
    actor = ray.remote(num_cpus=1)(_Worker)
    count = workers or int(ray.cluster_resources().get("CPU", 1))
    work = ray.put(Work(load, transforms, opener))
    actors = deque(actor.remote(work) for _ in range(count))

    def submit(chunk: list[Target]) -> Callable[[], Judgements]:
        actors.rotate(1)
        return partial(ray.get, actors[0].score.remote(chunk))

    try:
        yield from _in_order(targets, submit, AHEAD * count)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayActorError as error:
        raise DetectorError(f"a worker of Ray ended: {str(error).strip().splitlines()[-1].strip()}") from None
    finally:
        for worker in actors:
            ray.kill(worker)
        if started:
            ray.shutdown()


class _Worker:
    """A Ray actor, which has one detector and scores one chunk at a time."""

    def __init__(self, work: Work) -> None:
        self._score = work.start()

    def score(self, chunk: list[Target]) -> Judgements:
        return self._score(chunk)
