"""The application: routes, errors and what stands before them, around one store and one runner."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from detector import __version__
from detector.errors import DetectorError
from detector.evidence.custody import read_key
from detector.files import check_folder, locking
from detector.service import api, page, problems
from detector.service.access import Gate, Tracing
from detector.service.custody import require_signer
from detector.service.database import holding, name_database
from detector.service.meters import Meters
from detector.service.runner import Runner
from detector.service.settings import Settings
from detector.service.store import Store
from detector.tasks.examining import describe_settings


def make_app(settings: Settings) -> FastAPI:
    """Return the application; its workers run between the start and the end of its lifespan.

    Raises CheckpointError if there is no detector in the named folder, OSError if the state cannot be written,
    DetectorError for a key that cannot be read, or if the custody log is signed with another.
    """
    check_folder(settings.folder)
    url = name_database(settings.folder, settings.database)
    key = None if settings.sign is None else read_key(settings.sign)
    store, meters = Store(url, describe_settings(settings.detector), key), Meters()
    require_signer(store.engine, key)
    runner = Runner(store, settings, meters)

    @asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        with locking_state(settings, store.engine):
            store.note_basis()
            runner.start()
            try:
                yield
            finally:
                await run_in_threadpool(runner.stop)
                store.engine.dispose()

    app = FastAPI(title="detector", version=__version__, lifespan=live, docs_url=None, redoc_url=None)
    app.state.store, app.state.runner, app.state.meters, app.state.settings = store, runner, meters, settings
    problems.install(app)
    app.include_router(api.router)
    app.include_router(page.router)
    app.add_middleware(Gate, store=store, rate=settings.rate)
    app.add_middleware(Tracing, meters=meters)  # added last, it stands first
    return app


@contextmanager
def locking_state(settings: Settings, engine: Engine) -> Iterator[None]:
    """Hold the folder and the database for this process alone, and remove what a killed one was receiving.

    Raises DetectorError if another service uses one of them.
    """
    try:
        with locking(settings.folder / "lock", wait=False), holding(engine):
            incoming = settings.folder / "incoming"
            for path in incoming.iterdir() if incoming.is_dir() else ():
                path.unlink()
            yield
    except BlockingIOError:
        raise DetectorError(f"another service uses {settings.folder}; name another one with --folder") from None
