"""Workers that end early: what costs a picture an attempt, what does not, and what ends its attempts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_picture

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from sqlalchemy import text

from detector.errors import ProcessDied, ProcessKilled, TooCostly
from detector.files import sha256
from detector.pictures.images import encode
from detector.service import runner
from detector.service.meters import Meters
from detector.service.runner import ATTEMPTS, KILLS, Runner, locate_picture
from detector.service.settings import Settings
from detector.service.store import Store, Upload

ROW = {"verdict": "likely-real", "reason": "", "score": -2.0, "width": 64, "height": 64}
KILLED, CRASHED, COSTLY = ProcessKilled("it was killed"), ProcessDied("it crashed"), TooCostly("too long")


class Worker:
    """In place of a sandbox: judges everything, except for pictures with a plan.

    plan: SHA-256 -> the errors of its next attempts. starts: errors of the next starts. seen: pictures of each attempt.
    """

    plan: dict[str, list[Exception]]
    starts: list[Exception]
    seen: list[list[str]]

    def __init__(self, *_: str, **__: Any) -> None:
        pass

    def start(self) -> None:
        """Start, or fail as planned."""
        if self.starts:
            raise self.starts.pop()

    def stream(self, task: str, data: bytes, *, files: dict[str, str], **_: Any) -> Iterator[Any]:
        """Yield a judgement of each file, or fail as planned."""
        self.seen.append(list(files))
        for digest in files:
            if self.plan.get(digest):
                raise self.plan[digest].pop()
            yield {"sha256": digest, "opinion": "likely-real", "row": ROW, "declared": "", "faces": [], "phash": ""}
            yield b"jpeg"

    def close(self) -> None:
        """Do nothing."""


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, plans: list[list[Exception]], starts: int = 0) -> list[Any]:
    """Return (state, attempts, detail) of each picture, one for each plan, and the pictures of each attempt."""
    settings = Settings(folder=folder, workers=1)
    store = Store(f"sqlite:///{folder / 'service.sqlite'}", {"weights": "a" * 64})
    uploads, worker = [], type("Planned", (Worker,), {"plan": {}, "starts": [CRASHED] * starts, "seen": []})
    for number, plan in enumerate(plans):
        data = encode(draw_picture(number, size=32))
        path = locate_picture(folder, sha256(data))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        uploads.append(Upload(f"{number}.png", sha256(data), len(data)))
        worker.plan[sha256(data)] = list(plan)  # type: ignore[attr-defined]
    store.add_job("", uploads, priority=1, request_id="r")
    for name, value in {"Sandbox": worker, "BACKOFF": 1e-6, "REST": 0.05, "PAUSE": 0.01}.items():
        monkeypatch.setattr(runner, name, value)
    running = Runner(store, settings, Meters())
    running.start()
    end = time.monotonic() + 60
    while store.count_waiting():
        assert time.monotonic() < end
        time.sleep(0.01)
    running.stop()
    with store.engine.connect() as connection:
        rows = connection.execute(text("SELECT state, attempts, detail FROM pictures ORDER BY position")).all()
    store.engine.dispose()
    names = {upload.sha256: upload.name for upload in uploads}
    return [*rows, [[names[digest] for digest in seen] for seen in worker.seen]]  # type: ignore[attr-defined]


def test_a_worker_that_does_not_start_costs_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, seen = run(tmp_path, monkeypatch, [[]], starts=ATTEMPTS + 3)
    assert one == ("done", 1, "")
    assert seen == [["0.png"]]


def test_pictures_whose_worker_never_starts_fail_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GIVE_UP", 3)
    one, two, seen = run(tmp_path, monkeypatch, [[], []], starts=1000)
    assert one == two == ("failed", 1, "No worker starts; the log of the service says why.")
    assert seen == []


def test_the_next_pictures_are_taken_while_all_workers_are_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CHUNK", 1)
    takes, both, busy, at_once = list[Any](), threading.Event(), threading.Event(), list[bool]()
    take, stream, work = Store.take, Worker.stream, Runner._work

    def note(store: Store, most: int) -> list[Any]:
        found = take(store, most)
        takes.extend(found)
        if len(takes) == 2:
            both.set()
        return found

    def wait(worker: Worker, *words: Any, **options: Any) -> Iterator[Any]:
        busy.set()
        at_once.append(both.wait(30))
        return stream(worker, *words, **options)

    def begin(running: Runner, own: Any) -> None:
        if own is None:  # the thread that takes the next picture begins when the worker has the first one already
            assert busy.wait(30)
        work(running, own)

    monkeypatch.setattr(Store, "take", note)
    monkeypatch.setattr(Worker, "stream", wait)
    monkeypatch.setattr(Runner, "_work", begin)
    assert [row[0] for row in run(tmp_path, monkeypatch, [[], []])[:2]] == ["done", "done"]
    assert at_once == [True, True]


def test_the_service_is_not_ready_while_no_worker_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    down = type("Down", (Worker,), {"plan": {}, "starts": [CRASHED] * 1000, "seen": []})
    for name, value in {"Sandbox": down, "PAUSE": 0.01, "REST": 0.01}.items():
        monkeypatch.setattr(runner, name, value)
    store = Store(f"sqlite:///{tmp_path / 'service.sqlite'}", {"weights": "a" * 64})
    running = Runner(store, Settings(folder=tmp_path, workers=2), Meters())
    running.start()
    end = time.monotonic() + 60
    while running.running:
        assert time.monotonic() < end
        time.sleep(0.01)
    down.starts.clear()  # type: ignore[attr-defined]
    while not running.running:  # although no picture waits
        assert time.monotonic() < end
        time.sleep(0.01)
    running.stop()
    store.engine.dispose()


def test_somebody_who_kills_workers_does_not_break_a_photograph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, seen = run(tmp_path, monkeypatch, [[KILLED] * (KILLS - 1), [KILLED] * 4])
    assert (one, two) == (("done", KILLS, ""), ("done", 6, ""))
    assert seen[0] == ["0.png", "1.png"]
    assert all(len(names) == 1 for names in seen[1:])


def test_a_picture_whose_worker_is_always_killed_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = run(tmp_path, monkeypatch, [[KILLED] * 100])
    assert one == ("failed", KILLS, "too costly to decode: it was killed")


@pytest.mark.parametrize(("error", "attempts"), [(CRASHED, ATTEMPTS), (COSTLY, 2)])
def test_a_picture_that_ends_its_worker_is_given_up_and_its_neighbours_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, attempts: int
) -> None:
    *rows, seen = run(tmp_path, monkeypatch, [[], [error] * 100, [], []])
    assert [row.state for row in rows] == ["done", "failed", "done", "done"]
    assert rows[1].attempts == attempts
    assert seen[0] == ["0.png", "1.png", "2.png", "3.png"]
    assert sorted(seen[1:]) == sorted([["0.png"], ["2.png"], ["3.png"], *[["1.png"]] * (attempts - 1)])


def test_a_quarter_of_an_hour_lies_between_the_first_and_the_last_attempt() -> None:
    assert sum(runner.BACKOFF * 2 ** (attempt - 1) for attempt in range(1, KILLS)) > 1000
    assert runner.GIVE_UP * runner.REST >= 1000
