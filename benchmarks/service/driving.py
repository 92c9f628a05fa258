"""`detector serve` in a process of its own, for `load.py`: start it, send jobs, read its log, kill it."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

Picture = tuple[str, bytes]  # name and bytes
POLL = 0.25  # seconds between two requests for the state of a job


class Broken(Exception):
    """A promise that the service did not keep."""


class Service:
    """`detector serve` in a process of its own, with its state in a folder."""

    def __init__(self, folder: Path, workers: int, **settings: object) -> None:
        self.folder, self.log = folder, folder / "log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._settings = {"WORKERS": workers, "FOLDER": folder / "state", "PORT": self.port, "RATE": 1e9} | settings
        fresh = httpx.Limits(max_keepalive_connections=0)  # a kept one may be closed by the service as it is used again
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=600, limits=fresh)
        self.cpu = 0.0  # CPU seconds of all processes of this service that have ended
        self.start()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        settings = {f"DETECTOR_SERVE_{name}": str(value) for name, value in self._settings.items()}
        self._before = children_cpu()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "detector", "serve"], stderr=log,
                                            env=os.environ | settings)  # fmt: skip
        while self.find_fault():
            if self.process.poll() is not None:
                raise Broken(f"the service ended: {self.log.read_text()[-2000:]}")
            time.sleep(0.2)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the process with a signal."""
        workers = find_workers(self.process.pid)
        self.process.send_signal(number)
        self.process.wait()
        while any(map(is_running, workers)):
            time.sleep(0.1)
        self.cpu += children_cpu() - self._before

    def find_fault(self) -> str:
        """Return why the service is not ready; empty if it is."""
        try:
            answer = self.client.get("/readyz")
        except httpx.HTTPError as error:
            return repr(error)
        return "" if answer.status_code == 200 else answer.text

    def send_job(self, pictures: list[Picture]) -> str:
        """Send pictures as one job and return its address."""
        files = [("picture", (name, data, "application/octet-stream")) for name, data in pictures]
        answer = self.client.post("/v1/jobs", files=files)
        if answer.status_code != 202:
            raise Broken(f"a job was refused: {answer.status_code} {answer.text}")
        return str(answer.headers["location"])

    def read_job(self, address: str) -> dict[str, Any]:
        """Return the present state of a job."""
        job: dict[str, Any] = self.client.get(address).raise_for_status().json()
        return job

    def wait(self, addresses: list[str]) -> list[dict[str, Any]]:
        """Return jobs once they are done."""
        jobs = []
        for address in addresses:
            while (job := self.read_job(address))["status"] != "done":
                time.sleep(POLL)
            jobs.append(job)
        return jobs

    def read_log(self) -> list[dict[str, Any]]:
        """Return the lines of the log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@contextmanager
def serving(folder: Path, workers: int, **settings: object) -> Iterator[Service]:
    """Run a service with an empty state, and end it."""
    folder.mkdir()
    service = Service(folder, workers, **settings)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.end()


def children_cpu() -> float:
    """Return the CPU seconds of all children of this process that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def is_running(process: int) -> bool:
    """Return whether a process runs; one that ended may stay in the table of processes until somebody collects it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def find_workers(service: int) -> list[int]:
    """Return the numbers of the worker processes of a service."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_text().rpartition(")")[2].split()[1]
            words = (path.parent / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if int(parent) == service and b"detector.pictures.sandbox" in words:
            found.append(int(path.parent.name))
    return found
