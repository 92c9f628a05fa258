"""The command `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from detector.cli.options import DetectorFolder, refuse
from detector.cli.rendering import say


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default. Any other needs an API key.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 8000 by default.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder for pictures and database; ./service by default.")] = None,
    database: Annotated[
        str | None, typer.Option(help="Use the database at this SQLAlchemy URL instead of SQLite in the folder.")
    ] = None,
    detector: DetectorFolder = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Number of worker processes; one per core by default.")
    ] = None,
    sign: Annotated[Path | None, typer.Option(help="Sign the custody log with this Ed25519 key (PEM).")] = None,
    new_key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print a new API key with this name, and exit.")
    ] = None,
    revoke_key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Revoke the API key with this name, and exit.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Check the custody log and its reports, and exit; status 1 if something was changed."
        ),
    ] = False,
    key: Annotated[
        Path | None, typer.Option(help="With --check: public key (PEM) that must verify the signatures of the log.")
    ] = None,
) -> None:
    """Serve an HTTP interface and a page for examining pictures (extra `serve`).

    Options and limits can also be set by environment variables such as DETECTOR_SERVE_MAX_BYTES; see docs/service.md.
    """
    serving, settings = _read(host=host, port=port, folder=folder, database=database, detector=detector,
                              workers=workers, sign=sign)  # fmt: skip
    if check:
        refuse("the log is checked, and nothing is served", host=host, port=port, detector=detector, workers=workers,
               sign=sign, new_key=new_key, revoke_key=revoke_key)  # fmt: skip
        problems, state = serving.check(settings, key)
        for line in [*problems, f"{'changed' if problems else 'consistent'}: {state}"]:
            say(line)
        raise typer.Exit(1 if problems else 0)
    refuse("it is used with --check", key=key)
    if new_key is None and revoke_key is None:
        serving.serve(settings)
        return
    refuse("a key is made or revoked, and nothing is served", host=host, port=port, detector=detector, workers=workers,
           sign=sign)  # fmt: skip
    if new_key is not None:
        refuse("a command makes a key or revokes one, not both", revoke_key=revoke_key)
        say(serving.make_key(settings, new_key))
    else:
        serving.revoke_key(settings, str(revoke_key))


def _read(**options: Any) -> tuple[Any, Any]:
    """Return the module that serves, and the settings by these options and the environment."""
    from detector.errors import DetectorError, MissingExtra

    try:
        from pydantic import ValidationError

        from detector.service import serving
        from detector.service.settings import Settings
    except ImportError as error:
        fix = "pip install 'face-forgery-detector[serve]'"
        raise MissingExtra(f"serve needs {error.name}, which is not installed: {fix}") from None
    try:
        return serving, Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise DetectorError(f"DETECTOR_SERVE_{'_'.join(map(str, first['loc'])).upper()}: {first['msg']}") from None
