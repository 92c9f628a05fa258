"""Run the service, or make and revoke its keys."""

from __future__ import annotations

import logging
from pathlib import Path

import uvicorn

from detector.errors import DetectorError
from detector.evidence.custody import read_public_key
from detector.files import check_folder
from detector.service import keys
from detector.service.access import JsonLines
from detector.service.app import locking_state, make_app
from detector.service.custody import check_custody
from detector.service.database import name_database, open_database
from detector.service.settings import Settings, is_loopback


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then no new picture is taken, and running examinations are finished.

    Raises DetectorError if others could reach the service and there is no key, or nothing can listen there.
    """
    app = make_app(settings)
    if not is_loopback(settings.host) and not keys.count_keys(app.state.store.engine):
        raise DetectorError(
            f"others can reach {settings.host}, and there is no key; make one with --new-key NAME, or leave out --host"
        )
    with locking_state(settings, app.state.store.engine):
        pass  # refuse a second service on the same state before it listens
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name, level in (("detector.service", logging.INFO), ("uvicorn.error", logging.INFO),
                        ("sqlalchemy.pool", logging.WARNING)):  # fmt: skip
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers, logger.propagate = [handler], False
    config = uvicorn.Config(
        app, host=settings.host, port=settings.port, log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=int(settings.drain + settings.wait), lifespan="on",
    )  # fmt: skip
    try:
        listening = config.bind_socket()
    except SystemExit:
        raise DetectorError(
            f"nothing can listen at {settings.host}, port {settings.port}; choose another --port"
        ) from None
    uvicorn.Server(config).run([listening])


def check(settings: Settings, key: Path | None = None) -> tuple[list[str], str]:
    """Return what contradicts the custody log, and the size of the log with its head; the service may run.

    key: public key (PEM) with which the log has to be signed.
    """
    signer = "" if key is None else read_public_key(key)
    check_folder(settings.folder)
    return check_custody(open_database(name_database(settings.folder, settings.database)), signer)


def make_key(settings: Settings, name: str) -> str:
    """Return a new API key, which is shown only now."""
    check_folder(settings.folder)
    return keys.make_key(open_database(name_database(settings.folder, settings.database)), name)


def revoke_key(settings: Settings, name: str) -> None:
    """Revoke the API key of that name."""
    check_folder(settings.folder)
    keys.revoke_key(open_database(name_database(settings.folder, settings.database)), name)
