"""A PostgreSQL server for tests: a new cluster in a temporary folder, run by a user without rights."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

PASSWORD = "p%w/d@:"  # with characters that a URL escapes


class Cluster:
    """A running server. url: of its database, with a user and a password."""

    def __init__(self, binaries: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="detector-pg-"))
        self._binaries, self._data = binaries, self.folder / "data"
        password = self.folder / "password"
        password.write_text(PASSWORD)
        self._user = pwd.getpwuid(os.geteuid()) if os.geteuid() else find_user()
        os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        os.chown(password, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-D", self._data, "-U", "owner", "--pwfile", password, "-A", "scram-sha-256", "-E", "UTF8",
                  "--locale", "C", "--no-sync")  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c fsync=off -k {self.folder}"
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "120", "-l", self.folder / "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop the server at once; what it committed stays."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def remove(self) -> None:
        """Stop the server and remove the cluster."""
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database, which is created if it is not there."""
        import sqlalchemy

        base = sqlalchemy.URL.create("postgresql+pg8000", "owner", PASSWORD, "127.0.0.1", self.port, "postgres")
        engine = sqlalchemy.create_engine(base, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            found = connection.scalar(sqlalchemy.text("SELECT 1 FROM pg_database WHERE datname = :n"), {"n": database})
            if not found:
                connection.exec_driver_sql(f'CREATE DATABASE "{database}"')
        engine.dispose()
        url = base.set(drivername="postgresql", database=database)
        return url.render_as_string(hide_password=False)

    def _run(self, program: str, *words: object) -> None:
        who = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []} if not os.geteuid() else {}
        with open(self.folder / "output", "ab") as output:
            done = subprocess.run(
                [self._binaries / program, *map(str, words)], cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, check=False, **who,  # type: ignore[call-overload]
            )  # fmt: skip
        assert done.returncode == 0, (self.folder / "output").read_text()


def find_binaries() -> Path | None:
    """Return the folder of initdb and pg_ctl; None if there is no server on this machine."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
    return next((folder for folder in folders if (folder / "pg_ctl").is_file()), None)


def find_user() -> pwd.struct_passwd:
    """Return the user that runs the server if the tests run as root, which PostgreSQL refuses."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
