"""The database: the same rules in SQLite and in PostgreSQL, migrations, and what a second service may not do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from detector.errors import DetectorError, MissingExtra
from detector.files import sha256
from detector.service.database import holding, open_database
from detector.service.store import KeyReused, Store, Upload
from detector.service.tables import Base

DETECTOR = {"check": "detector", "details": {"faces": []}}


def upload(number: int) -> Upload:
    return Upload(f"{number}.png", sha256(b"%d" % number), 1)


def finish(store: Store, taken: Any, phash: str = "") -> None:
    row = {"opinion": "likely-fake", "log10_lr": 1.5, "others": [], "statement": "Why.\0\ud800", "jpeg": "",
           "phash": phash}  # fmt: skip
    record = {"findings": [DETECTOR], "text": "\0\ud800"}
    store.finish(taken, record, row, [{"caption": "c", "width": 1, "height": 1, "jpeg": b"\0\xff"}])


def test_every_picture_is_taken_once_and_single_ones_first(database: str) -> None:
    store = Store(database, "s" * 64)
    store.add_job("", [upload(i) for i in range(20)], priority=1, request_id="r")
    store.add_job("", [upload(20)], priority=0, request_id="r")
    first = store.take()
    assert first is not None
    assert (first.name, first.attempts) == ("20.png", 1)

    def work(_: int) -> list[str]:
        names = []
        while (taken := store.take()) is not None:
            names.append(taken.name)
            finish(store, taken)
        return names

    with ThreadPoolExecutor(4) as pool:
        names = [name for part in pool.map(work, range(4)) for name in part]
    assert sorted(names) == sorted(f"{i}.png" for i in range(20))
    assert store.count_waiting() == 1
    assert store.requeue() == 1
    again = store.take()
    assert again is not None
    assert (again.name, again.attempts) == ("20.png", 2)
    store.engine.dispose()


def test_a_report_is_kept_once_and_found_by_its_owner(database: str) -> None:
    store = Store(database, "s" * 64)
    job, new = store.add_job("a", [upload(1), upload(1)], priority=1, request_id="r", idempotency_key="k")
    assert new
    assert store.add_job("a", [upload(1), upload(1)], priority=1, request_id="q", idempotency_key="k") == (job, False)
    with pytest.raises(KeyReused):
        store.add_job("a", [upload(2)], priority=1, request_id="q", idempotency_key="k")
    one, two = store.take(), store.take()
    assert one is not None
    assert two is not None
    finish(store, one)
    finish(store, two)
    digest = upload(1).sha256
    report = store.read_report("a", digest)
    assert report is not None
    assert report.score is None
    assert store.read_report("b", digest) is None
    assert [d.jpeg for d in store.read_drawings(digest)] == [b"\0\xff"]
    found = store.read_job("a", job)
    assert found is not None
    assert [picture.state for picture, _ in found[1]] == ["done", "done"]
    store.give_feedback(owner="a", sha256=digest, answer="confirm", label="fake", opinion="likely-fake", note="")
    assert [(row["verdict"], row["answer"]) for row in store.list_queue("a")] == [("likely-fake", "confirm")]
    store.engine.dispose()


def test_near_duplicates_of_one_owner_are_found_the_closest_first(database: str) -> None:
    store = Store(database, "s" * 64)
    hashes = ["00" * 32, "00" * 31 + "0f", "00" * 31 + "01", "ff" * 32, "", ""]
    store.add_job("a", [upload(i) for i in range(6)], priority=1, request_id="r")
    store.add_job("b", [upload(6)], priority=1, request_id="r")
    while (taken := store.take()) is not None:  # jobs of one second come in any order
        finish(store, taken, [*hashes, hashes[0]][int(taken.name.removesuffix(".png"))])
    report = store.read_report("a", upload(0).sha256)
    assert report is not None
    near = store.list_similar("a", report)
    assert [(row["name"], row["share"]) for row in near] == [("2.png", 1 / 256), ("1.png", 4 / 256)]
    assert near[0]["report"].opinion == "likely-fake"
    plain = store.read_report("a", upload(4).sha256)
    assert plain is not None
    assert store.list_similar("a", plain) == []
    store.engine.dispose()


def test_the_migrations_make_the_tables_of_this_version(database: str) -> None:
    engine = open_database(database)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()
    open_database(database).dispose()


def test_a_database_from_before_the_migrations_keeps_its_rows(database: str) -> None:
    engine = open_database(database)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO reports VALUES ('a', 's', 'o', 1, NULL, NULL, '', '{}', '', 'x')"))
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(text("ALTER TABLE reports DROP COLUMN phash"))
    engine.dispose()
    engine = open_database(database)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT sha256, phash FROM reports")).all() == [("a", "")]
    assert "alembic_version" in inspect(engine).get_table_names()
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused(database: str) -> None:
    engine = open_database(database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v9999'"))
    engine.dispose()
    with pytest.raises(DetectorError, match="newer version"):
        open_database(database)


def test_a_second_service_may_not_use_a_postgresql_database(cluster: Any) -> None:
    one, two = (open_database(cluster.url("held")) for _ in range(2))
    with holding(one), pytest.raises(DetectorError, match="another service uses") as error, holding(two):
        pass
    assert "p%25w" not in str(error.value)
    with holding(two):
        pass
    for engine in (one, two):
        engine.dispose()


@pytest.mark.parametrize(
    ("url", "error", "match"),
    [
        ("mysql://u@h/x", DetectorError, "SQLite or PostgreSQL"),
        ("nothing", DetectorError, "cannot be read"),
        ("postgresql://u@h:port/x", DetectorError, "cannot be read"),
        ("sqlite:////nowhere/at/all.sqlite", DetectorError, "cannot be opened"),
        ("postgresql+psycopg2://u@h/x", MissingExtra, r"\[postgres\]"),
    ],
)
def test_a_database_that_cannot_be_used_gives_one_line(url: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as found:
        open_database(url)
    assert "\n" not in str(found.value)


def test_a_url_of_postgresql_needs_no_driver_and_its_password_is_not_shown() -> None:
    pytest.importorskip("pg8000", reason="the extra postgres is not installed")
    with pytest.raises(DetectorError, match="cannot be opened") as found:
        open_database("postgresql://user:secret@127.0.0.1:1/x")
    assert "secret" not in str(found.value)
