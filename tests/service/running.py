"""A service that listens, for tests, and what stands in place of its worker processes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Inline:
    """In place of a sandbox: examines in this process, which saves the tests a process that loads the detector."""

    process = None

    def __init__(self, *_: str, **__: Any) -> None:
        pass

    def start(self) -> None:
        """Load the detector, once for all tests."""
        from detector.service import worker

        if not worker._loaded:
            worker.prepare()

    def stream(self, task: str, data: bytes, **options: Any) -> Iterator[Any]:
        """Yield what the worker yields."""
        from detector.service import worker

        return iter(getattr(worker, task.partition(":")[2])(data, **options))

    def close(self) -> None:
        """Do nothing."""


@contextmanager
def listening(folder: Path, database: str = "") -> Iterator[str]:
    """Run a service with one worker and yield its address."""
    import uvicorn

    from detector.service.app import make_app
    from detector.service.settings import Settings

    app = make_app(Settings(folder=folder, database=database, workers=1, wait=240, drain=1, rate=1e9))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1))
    with socket.socket() as open_socket:
        open_socket.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([open_socket],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{open_socket.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
