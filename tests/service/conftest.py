"""A service in a folder of its own with one worker, for tests that are skipped without the extra `serve`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running service without keys; its worker starts with the first picture."""
    from starlette.testclient import TestClient

    from detector.service.app import make_app
    from detector.service.settings import Settings

    settings = Settings(folder=tmp_path_factory.mktemp("service"), workers=1, wait=240, max_pictures=8)
    with TestClient(make_app(settings)) as client:
        yield client


@pytest.fixture
def closed(tmp_path: Path) -> Any:
    """A service with small limits that is not running: nothing it accepts is examined."""
    from starlette.testclient import TestClient

    from detector.service.app import make_app
    from detector.service.settings import Settings

    settings = Settings(folder=tmp_path / "closed", workers=1, max_bytes=20_000, max_body=50_000, max_pixels=1_000_000,
                        max_pictures=3, max_waiting=4, wait=0.1, rate=5)  # fmt: skip
    return TestClient(make_app(settings))
