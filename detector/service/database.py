"""Open the service's database, bring its tables up to date, and keep a second service away from it.

It is SQLite in WAL mode or PostgreSQL. In SQLite every transaction takes the write lock at its start, so that none
fails half-way; in PostgreSQL rows are locked one by one. `migrations/` has the steps from each version of the tables to
the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError

from detector.errors import DetectorError, MissingExtra

MIGRATIONS = Path(__file__).with_name("migrations")
FIRST = "v0001"  # version of the tables in databases from before there were migrations
# PostgreSQL: numbers of advisory locks in this database
SERVICE_LOCK, MIGRATION_LOCK, CUSTODY_LOCK = 0x64657465, 0x64657466, 0x64657467
DRIVERS = {"sqlite": "sqlite", "postgres": "postgresql+pg8000", "postgresql": "postgresql+pg8000"}
OPTIONS: dict[str, dict[str, Any]] = {
    "sqlite": {"connect_args": {"timeout": 60}},
    # A pool for the threads that answer requests and those of the workers; a connection that broke is opened again.
    "postgresql": {"pool_pre_ping": True, "pool_size": 10, "max_overflow": 40, "pool_timeout": 60},
}


def name_database(folder: Path, url: str) -> str:
    """Return the URL of the database: the given one, or SQLite in the folder."""
    return url or f"sqlite:///{(folder / 'service.sqlite').resolve()}"


def open_database(url: str) -> Engine:
    """Return the engine of a database whose tables are those of this version; missing ones are created.

    Raises DetectorError if there is no such database or if a newer version made it, MissingExtra without its driver.
    """
    parsed = _parse(url)
    shown = parsed.render_as_string(hide_password=True)
    try:
        engine = create_engine(parsed, **OPTIONS[parsed.get_backend_name()])
    except ModuleNotFoundError as error:
        fix = "name no driver in the URL, and pip install 'face-forgery-detector[postgres]'"
        raise MissingExtra(f"{shown} needs {error.name}, which is not installed: {fix}") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            _migrate(connection)
    except DBAPIError as error:
        engine.dispose()
        raise DetectorError(f"the database {shown} cannot be opened: {' '.join(str(error.orig).split())}") from None
    except CommandError as error:
        engine.dispose()
        raise DetectorError(f"the database {shown} was made by a newer version of detector: {error}") from None
    return engine


@contextmanager
def holding(engine: Engine) -> Iterator[None]:
    """Keep other services away from a PostgreSQL database; one in SQLite belongs to its folder, which has a lock.

    Raises DetectorError if another service holds it.
    """
    if engine.dialect.name != "postgresql":
        yield
        return
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # it is closed in the end and not used again, which releases the lock
        if not connection.scalar(select(func.pg_try_advisory_lock(SERVICE_LOCK))):
            shown = engine.url.render_as_string(hide_password=True)
            raise DetectorError(f"another service uses {shown}; name another database with --database")
        yield


def _parse(url: str) -> URL:
    """Return a URL with the driver that is used here, unless it names one."""
    scheme, separator, rest = url.partition("://")
    try:
        parsed = make_url(DRIVERS.get(scheme, scheme) + separator + rest)
    except (ArgumentError, ValueError):
        raise DetectorError("the URL of the database cannot be read; it is like postgresql://user@host/name") from None
    if parsed.get_backend_name() not in OPTIONS:
        raise DetectorError(f"the database is SQLite or PostgreSQL, not {parsed.get_backend_name()}")
    return parsed


def _migrate(connection: Connection) -> None:
    """Bring the tables up to date in the transaction of a connection."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    tables = inspect(connection).get_table_names()
    if "jobs" in tables and "alembic_version" not in tables:
        command.stamp(config, FIRST)
    command.upgrade(config, "head")


def _set_up(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the listener above begins transactions explicitly
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
