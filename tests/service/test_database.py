"""The database: the same rules in SQLite and in PostgreSQL, migrations, and what a second service may not do."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from detector.errors import DetectorError, MissingExtra
from detector.evidence.custody import seal
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
    record = seal({"findings": [DETECTOR], "text": "\0"})
    store.finish(taken, record, row, [{"caption": "c", "width": 1, "height": 1, "jpeg": b"\0\xff"}])


def judge(store: Store, taken: list[Any], verdict: str = "likely-fake", declared: str = "") -> None:
    row = {"verdict": verdict, "reason": "", "score": 2.5, "width": 640, "height": 480}
    face = {"box": "1 2 30 40", "score": 2.5, "verdict": verdict, "reason": ""}
    item = {"opinion": "declared-generated" if declared else verdict, "row": row, "faces": [face], "jpeg": b"\0\xff",
            "declared": declared, "phash": ""}  # fmt: skip
    store.judge(taken, {each.sha256: item for each in taken})


def test_every_picture_is_taken_once_and_single_ones_first(database: str) -> None:
    store = Store(database, {"weights": "a" * 64})
    store.add_job("", [upload(i) for i in range(20)], priority=1, request_id="r")
    store.add_job("", [upload(20)], priority=0, request_id="r")
    (first,) = store.take()
    assert (first.name, first.attempts) == ("20.png", 1)

    def work(_: int) -> list[str]:
        names = []
        while taken := store.take(3):
            names += [each.name for each in taken]
            judge(store, taken)
        return names

    with ThreadPoolExecutor(4) as pool:
        names = [name for part in pool.map(work, range(4)) for name in part]
    assert sorted(names) == sorted(f"{i}.png" for i in range(20))
    assert store.count_waiting() == 1
    assert store.requeue() == 1
    (again,) = store.take()
    assert (again.name, again.attempts) == ("20.png", 2)
    store.engine.dispose()


def test_jobs_of_one_second_are_taken_in_the_order_in_which_they_came(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detector.service.store.now", lambda: "2026-01-01T00:00:00+00:00")
    store = Store(database, {"weights": "a" * 64})
    for number in range(30):
        store.add_job("", [upload(number)], priority=1, request_id="r")
    taken = [each.name for _ in range(4) for each in store.take(8)]
    assert taken == [f"{number}.png" for number in range(30)]
    assert [row["name"] for row in store.list_queue("", order="new")] == taken[::-1]
    store.engine.dispose()


def test_a_picture_is_taken_alone_if_it_was_tried_before_or_is_examined(database: str) -> None:
    store = Store(database, {"weights": "a" * 64})
    store.add_job("", [upload(i) for i in range(3)], priority=1, request_id="r")
    store.add_job("", [upload(3)], priority=1, request_id="r", full=True)
    store.add_job("", [upload(4)], priority=1, request_id="r")
    together = store.take(16)
    assert [each.name for each in together] == ["0.png", "1.png", "2.png"]
    store.retry(together[1:])
    judge(store, together[:1])
    assert [(each.name, each.attempts) for each in store.take(16)] == [("1.png", 2)]
    assert [(each.name, each.attempts) for each in store.take(16)] == [("2.png", 2)]
    assert [(each.name, each.full) for each in store.take(16)] == [("3.png", True)]
    (last,) = store.take(16)
    store.put_back([last])
    assert [(each.name, each.attempts) for each in store.take(16)] == [("4.png", 1)]
    store.engine.dispose()


def test_a_picture_that_waits_for_another_attempt_is_taken_when_it_is_due(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(database, {"weights": "a" * 64})
    store.add_job("", [upload(0)], priority=1, request_id="r")
    store.retry(store.take(), 60)
    assert store.take() == []
    later = time.time() + 61
    monkeypatch.setattr("detector.service.store.time.time", lambda: later)
    assert len(store.take()) == 1
    store.engine.dispose()


def test_a_judgement_becomes_a_report_once_somebody_asks_for_it(database: str) -> None:
    store = Store(database, {"weights": "a" * 64})
    digest = upload(1).sha256
    store.add_job("a", [upload(1)], priority=1, request_id="r")
    assert store.ask("a", upload(2).sha256, "q") is None
    assert store.ask("b", digest, "q") is None
    judge(store, store.take(), declared="The file declares that it was generated: so.")
    report = store.read_report("a", digest)
    assert report is not None
    assert (report.opinion, report.record, report.log10_lr) == ("declared-generated", "", None)
    assert report.statement == (
        "The file declares that it was generated: so. The detector alone: The score lies above the upper threshold."
    )
    asked, again = store.ask("a", digest, "q"), store.ask("a", digest, "q")
    assert asked is not None
    assert again is not None
    assert asked.job_id == again.job_id
    (taken,) = store.take(16)
    assert store.finish_known([taken]) == {}
    finish(store, taken)
    report = store.read_report("a", digest)
    assert report is not None
    assert (report.opinion, report.log10_lr) == ("likely-fake", 1.5)
    assert report.record
    assert report.judgement
    assert [row["name"] for row in store.list_queue("a")] == ["1.png"]
    store.add_job("a", [upload(1)], priority=1, request_id="r", full=True)
    assert store.finish_known(store.take()) == {digest: "likely-fake"}
    store.engine.dispose()


def test_the_verdict_of_earlier_weights_is_shown_until_there_is_one_of_the_present(database: str) -> None:
    first, second = (Store(database, {"detector": "1.0", "weights": name * 64}) for name in "ab")
    first.note_basis()
    first.add_job("", [upload(1), upload(2)], priority=1, request_id="r")
    judge(first, first.take(2))
    second.note_basis()
    third = Store(database, {"detector": "1.1", "weights": "c" * 64})
    third.note_basis()
    told = "version 1.0 with the weights aaaaaaaaaaaa"
    assert [(row["verdict"], row["earlier"]) for row in third.list_queue("")] == [("likely-fake", told)] * 2
    report = third.read_report("", upload(1).sha256)
    assert report is not None
    assert third.name_earlier(report.settings) == told

    job_id, _ = second.add_job("", [upload(1)], priority=1, request_id="r")
    (again,) = second.take()
    assert second.finish_known([again]) == {}
    assert {row["name"]: row["verdict"] for row in second.list_queue("")} == {
        "1.png": "waiting",
        "2.png": "likely-fake",
    }
    judge(second, [again], "likely-real")
    assert {row["name"]: row["verdict"] for row in third.list_queue("")} == {
        "1.png": "likely-real",
        "2.png": "likely-fake",
    }
    found = third.read_job("", job_id)
    assert found is not None
    assert [report and third.name_earlier(report.settings) for _, report in found[1]] == [
        told.replace("a" * 12, "b" * 12)
    ]
    assert {row["name"]: row["verdict"] for row in first.list_queue("")} == {
        "1.png": "likely-fake",
        "2.png": "likely-fake",
    }
    for store in (first, second, third):
        store.engine.dispose()


def test_a_failed_examination_is_not_asked_for_again_until_the_picture_is_sent_again(database: str) -> None:
    store = Store(database, {"weights": "a" * 64})
    store.add_job("a", [upload(1)], priority=1, request_id="r")
    judge(store, store.take())
    store.ask("a", upload(1).sha256, "q")
    store.fail(store.take()[0], "too-costly", "it takes too long")
    failed = store.ask("a", upload(1).sha256, "q")
    assert failed is not None
    assert (failed.state, failed.slug) == ("failed", "too-costly")
    assert [row["verdict"] for row in store.list_queue("a")] == ["likely-fake"]
    store.add_job("a", [upload(1)], priority=1, request_id="r", full=True)
    again = store.ask("a", upload(1).sha256, "q")
    assert again is not None
    assert again.state == "waiting"
    store.engine.dispose()


def test_a_report_is_kept_once_and_found_by_its_owner(database: str) -> None:
    store = Store(database, {"weights": "a" * 64})
    job, new = store.add_job("a", [upload(1), upload(1)], priority=1, request_id="r", idempotency_key="k")
    assert new
    assert store.add_job("a", [upload(1), upload(1)], priority=1, request_id="q", idempotency_key="k") == (job, False)
    with pytest.raises(KeyReused):
        store.add_job("a", [upload(2)], priority=1, request_id="q", idempotency_key="k")
    with pytest.raises(KeyReused):
        store.add_job("a", [upload(1), upload(1)], priority=1, request_id="q", idempotency_key="k", full=True)
    one, two = store.take(2)
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
    store = Store(database, {"weights": "a" * 64})
    hashes = ["00" * 32, "00" * 31 + "0f", "00" * 31 + "01", "ff" * 32, "", ""]
    store.add_job("a", [upload(i) for i in range(6)], priority=1, request_id="r")
    store.add_job("b", [upload(6)], priority=1, request_id="r")
    for taken, phash in zip(store.take(7), [*hashes, hashes[0]], strict=True):
        finish(store, taken, phash)
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
        connection.execute(text("INSERT INTO reports VALUES ('a', 's', 'o', 1, NULL, NULL, '', '{}', '', '', 'x')"))
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(text("DROP INDEX ix_jobs_number"))
        connection.execute(text("DROP TABLE custody"))
        connection.execute(text("DROP TABLE bases"))
        for column in ("reports.phash", "reports.judgement", "jobs.number", "jobs.full", "pictures.due"):
            table, _, name = column.partition(".")
            connection.execute(text(f'ALTER TABLE {table} DROP COLUMN "{name}"'))
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
