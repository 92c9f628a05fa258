"""The custody log of the examinations: what it names, and which changes of the database show in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import run_inside, write_key

pytest.importorskip("fastapi", reason="the extra serve is not installed")


from service.test_database import finish, judge, upload
from sqlalchemy import text

from detector.errors import DetectorError
from detector.evidence.custody import name_key, read_key
from detector.service.custody import check_custody, require_signer
from detector.service.store import Store


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """A store with two reports and a picture that could not be examined, and one that was only judged."""
    store = Store(database, {"weights": "a" * 64})
    store.add_job("a", [upload(i) for i in range(3)], priority=1, request_id="r", full=True)
    store.add_job("a", [upload(3)], priority=1, request_id="r")
    for _ in range(2):
        finish(store, store.take()[0])
    store.fail(store.take()[0], "too-costly", "it takes too long")
    judge(store, store.take())
    yield store
    store.engine.dispose()


def read(store: Store) -> list[dict[str, Any]]:
    with store.engine.connect() as connection:
        return [json.loads(row.entry) for row in connection.execute(text("SELECT entry FROM custody ORDER BY number"))]


def test_every_examination_is_in_the_log(store: Store) -> None:
    entries = read(store)
    assert [entry["event"] for entry in entries] == ["received"] * 3 + ["reported"] * 2 + ["failed"]
    assert [entry["exhibit"] for entry in entries] == [upload(i).sha256 for i in (0, 1, 2, 0, 1, 2)]
    assert entries[-1]["statement"] == "it takes too long"
    problems, state = check_custody(store.engine)
    assert problems == []
    assert state == f"entries 6, reports 2, exhibits 2, head {entries[-1]['sha256']}"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE reports SET record = '{}' WHERE sha256 = '{0}'", "the report of entry 3 is gone"),
        ("UPDATE reports SET record = replace(record, 'detector', 'someone') WHERE sha256 = '{0}'",
         "the report of entry 3 is not as it was made"),
        ("DELETE FROM drawings; DELETE FROM reports WHERE sha256 = '{0}'", "the report of entry 3 is gone"),
        ("UPDATE custody SET entry = replace(entry, '2.png', '9.png')", "entry 2 of the log is not as it was written"),
        ("DELETE FROM custody WHERE number = 1", "entry 1 of the log does not follow the one before it"),
    ],
)  # fmt: skip
def test_changes_of_the_database_show(store: Store, change: str, problem: str) -> None:
    with store.engine.begin() as connection:
        for statement in change.replace("{0}", upload(0).sha256).split("; "):
            connection.execute(text(statement))
    problems, _ = check_custody(store.engine)
    assert problems[0] == problem


def test_a_report_that_the_log_does_not_name_is_counted(store: Store) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE reports SET settings = 'other', record = 'x' WHERE judgement != ''"))
    assert check_custody(store.engine)[1].endswith("; 1 reports are not in the log, as those from before there was one")


def test_workers_that_finish_at_the_same_time_append_one_after_another(database: str) -> None:
    store = Store(database, {"weights": "a" * 64})
    store.add_job("a", [upload(i) for i in range(24)], priority=1, request_id="r", full=True)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: finish(store, store.take()[0]), range(24)))
    problems, state = check_custody(store.engine)
    assert (problems, state.partition(", head")[0]) == ([], "entries 48, reports 24, exhibits 24")
    store.engine.dispose()


def test_the_command_line_checks_the_log(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'service.sqlite'}", {"weights": "a" * 64})
    store.add_job("a", [upload(0)], priority=1, request_id="r", full=True)
    finish(store, store.take()[0])
    done = run_inside("serve", "--folder", tmp_path, "--check")
    assert (done.returncode, done.stdout.partition(", head")[0]) == (
        0, "consistent: entries 2, reports 1, exhibits 1",
    )  # fmt: skip
    with store.engine.begin() as connection:
        connection.execute(text("DELETE FROM custody WHERE number = 0"))
    store.engine.dispose()
    done = run_inside("serve", "--folder", tmp_path, "--check")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("changed: entries 1, ")
    assert run_inside("serve", "--folder", tmp_path, "--check", "--port", 8000).returncode == 2


def test_a_signed_log_goes_on_with_the_same_key_alone(database: str, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="the extra evidence is not installed")
    mine, other = (read_key(write_key(tmp_path / name)) for name in ("mine.pem", "other.pem"))
    store = Store(database, {"weights": "a" * 64})
    store.add_job("a", [upload(0)], priority=1, request_id="r", full=True)
    require_signer(store.engine, mine)  # what came before the first signature is covered by it
    signing = Store(database, {"weights": "a" * 64}, mine)
    finish(signing, signing.take()[0])
    signing.add_job("a", [upload(1)], priority=1, request_id="r", full=True)
    signing.fail(signing.take()[0], "too-costly", "it takes too long")
    problems, state = check_custody(store.engine, name_key(mine))
    assert problems == []
    assert state.endswith(f"; signed with the key {name_key(mine)}")
    assert ["signature" in entry for entry in read(store)] == [False, True, True, True]
    assert check_custody(store.engine, name_key(other))[0] == ["the log is signed with another key"]
    require_signer(store.engine, mine)
    for key, why in ((other, "with another key"), (None, "and this service has no key")):
        with pytest.raises(DetectorError, match=why):
            require_signer(store.engine, key)
    store.add_job("a", [upload(2)], priority=1, request_id="r", full=True)
    assert check_custody(store.engine)[0] == ["entry 4 of the log is not signed, and earlier ones are"]
    store.engine.dispose()
    signing.engine.dispose()


def test_the_command_line_signs_and_wants_a_signature(tmp_path: Path) -> None:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization",
                                        reason="the extra evidence is not installed")  # fmt: skip
    key = read_key(write_key(tmp_path / "key.pem"))
    (tmp_path / "public.pem").write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    store = Store(f"sqlite:///{tmp_path / 'service.sqlite'}", {"weights": "a" * 64})
    store.add_job("a", [upload(0)], priority=1, request_id="r", full=True)
    done = run_inside("serve", "--folder", tmp_path, "--check", "--key", tmp_path / "public.pem")
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, "the log is not signed")
    store = Store(str(store.engine.url), {"weights": "a" * 64}, key)
    finish(store, store.take()[0])
    store.engine.dispose()
    assert run_inside("serve", "--folder", tmp_path, "--check", "--key", tmp_path / "public.pem").returncode == 0
    done = run_inside("serve", "--folder", tmp_path)
    assert (done.returncode, "name its key with --sign" in done.stderr) == (2, True)
    assert run_inside("serve", "--folder", tmp_path, "--key", tmp_path / "public.pem").returncode == 2
