"""Services in folders of their own and a PostgreSQL server, for tests that are skipped without the extra `serve`."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service.postgres import Cluster, find_binaries
from service.running import Inline, listening


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


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a service that listens and examines in this process."""
    from detector.service import runner

    monkeypatch.setattr(runner, "Sandbox", Inline)
    with listening(tmp_path / "state") as address:
        yield address


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running PostgreSQL server."""
    pytest.importorskip("pg8000", reason="the extra postgres is not installed")
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed (Debian package postgresql)")
    cluster = Cluster(binaries)
    try:
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'service.sqlite'}"
    return str(request.getfixturevalue("cluster").url(f"test-{tmp_path.name}"))


@pytest.fixture(autouse=True)
def _sockets(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect sockets that the PostgreSQL driver leaves open when a connection is refused, which warn then."""
    yield
    if not {"database", "cluster"} & set(request.fixturenames):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
