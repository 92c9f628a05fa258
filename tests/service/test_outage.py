"""The service with PostgreSQL, also while the server is away."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_picture
from service.postgres import Cluster
from service.running import Inline, listening

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import httpx

from detector.files import sha256
from detector.pictures.images import encode

PICTURE = encode(draw_picture(3, size=96))


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_picture_is_finished_although_the_database_was_away(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from detector.service import runner

    began, go = threading.Event(), threading.Event()

    class Halting(Inline):
        def stream(self, task: str, data: bytes, **options: Any) -> Iterator[Any]:
            began.set()
            go.wait(240)
            return super().stream(task, data, **options)

    monkeypatch.setattr(runner, "Sandbox", Halting)
    with listening(tmp_path / "state", cluster.url("outage")) as address, caplog.at_level(logging.ERROR):
        client = httpx.Client(base_url=address, timeout=240)
        place = client.post("/v1/jobs?examination=full", files={"p": ("a\\0.png", PICTURE)}).headers["location"]
        assert began.wait(240)
        cluster.stop()
        for path in ("/readyz", "/", place):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert answer.json()["type"].endswith(":database-unavailable")
        go.set()
        while "the queue failed" not in caplog.text:
            time.sleep(0.1)
        cluster.start()
        while (job := client.get(place).json())["status"] != "done":
            time.sleep(0.1)
        assert [picture["state"] for picture in job["pictures"]] == ["done"]
        assert client.get("/readyz").status_code == 200
        assert client.get("/v1/jobs/%00").status_code == 404
        digest = sha256(PICTURE)
        assert client.get(f"/v1/reports/{digest}.pdf").content.startswith(b"%PDF")
        given = client.post("/v1/feedback", json={"sha256": digest, "label": "fake", "note": "a\0b"})
        assert given.status_code == 201
        client.close()
    caplog.clear()  # its tracebacks hold connections that the server broke, whose sockets pg8000 does not close
    gc.collect()


def test_a_picture_whose_result_cannot_be_stored_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from detector.service import runner

    class Failing(Inline):
        tries = 0

        def start(self) -> None:
            """Load nothing."""

        def stream(self, task: str, data: bytes, **options: Any) -> Iterator[Any]:
            Failing.tries += 1
            raise ValueError("not an error of the picture")

    monkeypatch.setattr(runner, "Sandbox", Failing)
    monkeypatch.setattr(runner, "TRIES", 2)
    with listening(tmp_path / "state") as address:
        answer = httpx.post(f"{address}/v1/images", content=PICTURE, timeout=240)
    assert (answer.status_code, answer.json()["title"]) == (500, "Internal error")
    assert Failing.tries == 2
