"""A real process: what was accepted outlives SIGKILL, and SIGTERM ends the service in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import draw_picture, run_command

from detector.pictures.images import encode

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi", reason="the extra serve is not installed")


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "detector", "serve", "--folder", folder / "state", "--workers", "1", "--port",
             str(port)], stderr=log,
        )  # fmt: skip


def ask(port: int, path: str, seconds: float = 240) -> dict[str, object]:
    end = time.monotonic() + seconds
    while True:
        try:
            return dict(httpx.get(f"http://127.0.0.1:{port}{path}", timeout=30).raise_for_status().json())
        except httpx.HTTPError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_accepted_job_is_kept_after_sigkill_and_nothing_is_doubled(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = start(tmp_path, port)
    try:
        ask(port, "/readyz")
        files = [("p", (f"{i}.png", encode(draw_picture(i, size=64)), "image/png")) for i in range(3)]
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/jobs", files=files, timeout=60)
        assert answer.status_code == 202
        while ask(port, answer.headers["location"])["pictures"][0]["state"] == "waiting":  # type: ignore[index]
            time.sleep(0.05)
        service.send_signal(signal.SIGKILL)
        service.wait()
        service = start(tmp_path, port)
        ask(port, "/readyz")
        second = run_command("serve", "--folder", tmp_path / "state", "--port", port)
        assert (second.returncode, "another service uses" in second.stderr) == (2, True)
        job: dict[str, object] = {}
        for _ in range(600):
            job = ask(port, answer.headers["location"])
            if job["status"] == "done":
                break
            time.sleep(0.3)
        assert [p["state"] for p in job["pictures"]] == ["done"] * 3  # type: ignore[attr-defined]
        service.send_signal(signal.SIGTERM)
        service.wait(60)
    finally:
        service.kill()
        service.wait()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert any(line["event"] == "resumed" for line in lines)
    done = [line["position"] for line in lines if line["event"] == "picture"]
    assert sorted(done) == [0, 1, 2]
