"""The custody log: one chain, also with several writers and after failures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import write_key
from hypothesis import given
from hypothesis import strategies as st

from detector import files
from detector.errors import DetectorError, MissingExtra
from detector.evidence import custody
from detector.evidence.custody import (
    FIRST,
    LOG,
    CustodyLog,
    canonical,
    check_chain,
    is_sealed,
    read_key,
    read_log,
    read_public_key,
    read_torn,
    seal,
)


def reseal(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with the hash that its content asks for, as a forger would write it."""
    return seal({key: value for key, value in entry.items() if key != "sha256"})


def test_a_log_that_was_edited_and_resealed_in_the_middle_is_found(tmp_path: Path) -> None:
    """The hash and the numbers of the entry are right; only `previous` of the next entry shows the change."""
    log = CustodyLog(tmp_path / LOG)
    entries = [log.append("received", {"path": name}) for name in "abc"]
    assert check_chain(entries) == []
    entries[1] = reseal(entries[1] | {"path": "x"})
    assert check_chain(entries) == ["entry 2 of the log does not follow the one before it"]


def test_an_entry_that_was_renumbered_or_moved_is_found(tmp_path: Path) -> None:
    log = CustodyLog(tmp_path / LOG)
    entries = [log.append("received", {"path": name}) for name in "abc"]
    renumbered = reseal(entries[2] | {"number": 7})
    assert check_chain([*entries[:2], renumbered]) == ["entry 2 of the log does not follow the one before it"]
    assert check_chain(entries[1:])[0] == "entry 0 of the log does not follow the one before it"


def test_nothing_is_appended_to_a_broken_chain(tmp_path: Path) -> None:
    log = tmp_path / LOG
    mine = CustodyLog(log)
    assert mine.append("one", {})["previous"] == FIRST
    log.write_bytes(log.read_bytes().replace(b'"one"', b'"two"'))
    before = log.read_bytes()
    with pytest.raises(DetectorError, match="was changed"):
        mine.append("three", {})
    with pytest.raises(DetectorError, match="was changed"):
        CustodyLog(log)
    assert log.read_bytes() == before


def test_what_another_writer_appended_is_checked_too(tmp_path: Path) -> None:
    mine = CustodyLog(tmp_path / LOG)
    mine.append("one", {})
    with (tmp_path / LOG).open("ab") as file:
        file.write(json.dumps(seal({"event": "two", "number": 1, "previous": FIRST}), sort_keys=True).encode() + b"\n")
    with pytest.raises(DetectorError, match="entry 1 of the log does not follow"):
        mine.append("three", {})


def test_two_writers_in_turn_keep_one_chain_and_an_open_log_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = CustodyLog(tmp_path / LOG), CustodyLog(tmp_path / LOG)
    for turn in range(3):
        first.append("mine", {"turn": turn})
        second.append("yours", {"turn": turn})
    entries = read_log(tmp_path / LOG)
    assert check_chain(entries) == []
    assert entries == second.entries
    assert [entry["event"] for entry in entries] == ["mine", "yours"] * 3
    monkeypatch.setattr(custody, "_parse", lambda data: pytest.fail("read again"))
    second.append("alone", {})


def test_processes_that_write_at_once_wait_for_each_other(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from detector.evidence.custody import CustodyLog, LOG\n"
        "log = CustodyLog(Path(LOG)); Path(sys.argv[1]).touch()\n"
        "while len(list(Path('.').glob('ready*'))) < 3: time.sleep(0.001)\n"
        "for i in range(40): log.append('received', {'path': sys.argv[1], 'i': i})"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, f"ready{n}"], cwd=tmp_path) for n in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    entries = read_log(tmp_path / LOG)
    assert check_chain(entries) == []
    assert len(entries) == 120
    for n in range(3):
        assert [e["i"] for e in entries if e["path"] == f"ready{n}"] == list(range(40))


def test_a_write_that_fails_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CustodyLog(tmp_path / LOG)
    log.append("one", {})
    before = (tmp_path / LOG).read_bytes()

    def full(handle: int) -> None:
        assert (tmp_path / LOG).stat().st_size > len(before)  # it was written in part
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(DetectorError, match=rf"{LOG} cannot be written: No space left on device"):
            log.append("two", {})
    assert (tmp_path / LOG).read_bytes() == before
    log.append("three", {})
    assert check_chain(read_log(tmp_path / LOG)) == []


@pytest.mark.parametrize("kept", [1, 100, -1])
def test_an_incomplete_last_line_is_torn_and_not_forged(tmp_path: Path, kept: int) -> None:
    log = CustodyLog(tmp_path / LOG)
    for event in ("one", "two"):
        log.append(event, {})
    whole = (tmp_path / LOG).read_bytes()
    start = whole.index(b"\n") + 1
    torn = whole[start:][:kept]
    (tmp_path / LOG).write_bytes(whole[:start] + torn)
    assert check_chain(read_log(tmp_path / LOG)) == []
    assert read_torn(tmp_path / LOG) == torn
    CustodyLog(tmp_path / LOG).append("three", {})
    entries = read_log(tmp_path / LOG)
    assert [entry["event"] for entry in entries] == ["one", "recovered", "three"]
    assert entries[1]["torn"]["bytes"] == len(torn)
    assert check_chain(entries) == []


def test_a_damaged_line_before_the_last_is_an_error(tmp_path: Path) -> None:
    log = CustodyLog(tmp_path / LOG)
    for event in ("one", "two"):
        log.append(event, {})
    first, second = (tmp_path / LOG).read_bytes().splitlines(keepends=True)
    (tmp_path / LOG).write_bytes(first[:-20] + b"\n" + second)
    with pytest.raises(DetectorError, match="entry 0"):
        CustodyLog(tmp_path / LOG)


@pytest.mark.parametrize("rest", [b"x", b"{} ", b'{"event": "two"}x', b"\xff", b" "], ids=range(5))
def test_what_is_not_the_beginning_of_an_entry_is_not_torn(tmp_path: Path, rest: bytes) -> None:
    CustodyLog(tmp_path / LOG).append("one", {})
    with (tmp_path / LOG).open("ab") as file:
        file.write(rest)
    assert check_chain(read_log(tmp_path / LOG)) == ["entry 1 of the log is not as it was written"]
    with pytest.raises(DetectorError, match="was changed"):
        CustodyLog(tmp_path / LOG)


def test_a_rewritten_log_is_found_by_its_signature(tmp_path: Path) -> None:
    key = read_key(write_key(tmp_path / "key.pem"))
    log = tmp_path / LOG
    CustodyLog(log, key=key).append("one", {"said": "yes"})
    assert check_chain(read_log(log)) == []
    forged = reseal(read_log(log)[0] | {"said": "no"})
    assert check_chain([forged]) == ["the signature of entry 0 of the log does not fit"]
    unsigned = {name: value for name, value in read_log(log)[0].items() if name != "public_key"}
    assert check_chain([unsigned]) == ["the signature of entry 0 of the log does not fit"]


def test_removed_signatures_are_found_where_a_report_names_its_key(tmp_path: Path) -> None:
    log = CustodyLog(tmp_path / LOG, key=read_key(write_key(tmp_path / "key.pem")))
    other = CustodyLog(tmp_path / "other.jsonl", key=read_key(write_key(tmp_path / "other.pem")))
    entry = log.append("reported", {"settings": {"sign": log.signer}})
    assert check_chain([entry]) == []
    wrong = ["entry 0 of the log names a key that it is not signed with"]
    for removed in (("signature",), ("signature", "public_key")):
        assert check_chain([{name: value for name, value in entry.items() if name not in removed}]) == wrong
    assert check_chain([other.append("reported", {"settings": {"sign": log.signer}})]) == wrong
    for number, settings in enumerate(("text", [1], {"sign": ""}, {})):
        unsigned = CustodyLog(tmp_path / f"{number}.jsonl")
        assert check_chain([unsigned.append("reported", {"settings": settings})]) == []


def test_once_an_entry_is_signed_unsigned_and_foreign_ones_are_errors(tmp_path: Path) -> None:
    mine, other = (read_key(write_key(tmp_path / name)) for name in ("mine.pem", "other.pem"))
    log = tmp_path / LOG
    CustodyLog(log).append("zero", {})  # a log may begin unsigned: the chain puts it under later signatures
    CustodyLog(log, key=mine).append("one", {})
    before = log.read_bytes()
    for key, how in ((None, "and this run is not"), (other, "with another key")):
        with pytest.raises(DetectorError, match=f"is signed, {how}; name its key with --sign"):
            CustodyLog(log, key=key)
    entries = read_log(log)
    assert check_chain(entries) == []
    two = seal({"number": 2, "event": "two", "previous": entries[-1]["sha256"]})
    assert check_chain([*entries, two]) == ["entry 2 of the log is not signed, and earlier ones are"]
    assert check_chain([two], entries) == ["entry 2 of the log is not signed, and earlier ones are"]
    signed = two | {"signature": "x", "public_key": CustodyLog(tmp_path / "other.jsonl", key=other).signer}
    assert check_chain([*entries, signed]) == ["entry 2 of the log is signed with another key than earlier ones"]
    assert log.read_bytes() == before


def test_a_log_that_is_signed_while_another_run_is_open_takes_no_unsigned_entry(tmp_path: Path) -> None:
    unsigned = CustodyLog(tmp_path / LOG)
    unsigned.append("one", {})
    CustodyLog(tmp_path / LOG, key=read_key(write_key(tmp_path / "key.pem"))).append("two", {})
    with pytest.raises(DetectorError, match="is signed"):
        unsigned.append("three", {})
    assert len(read_log(tmp_path / LOG)) == 2


def test_a_file_that_holds_no_key_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    for path in (tmp_path / "key.pem", tmp_path / "absent.pem"):
        with pytest.raises(DetectorError, match="openssl"):
            read_key(path)
        with pytest.raises(DetectorError, match="pubout"):
            read_public_key(path)
    with pytest.raises(DetectorError, match="pubout"):
        read_public_key(write_key(tmp_path / "private.pem"))


def test_a_public_key_is_named_as_entries_name_it(tmp_path: Path) -> None:
    write_key(tmp_path / "key.pem")
    log = CustodyLog(tmp_path / LOG, key=read_key(tmp_path / "key.pem"))
    assert log.append("one", {})["public_key"] == read_public_key(tmp_path / "key.pub") == log.signer


@pytest.mark.parametrize(
    "line",
    ["{}", "[]", "{", '{"event": 3}', '{"event": "x", "value": NaN}', '{"event": "x", "text": "\\ud800"}',
     '{"event":"x"}', "[" * 100_000, '{"event": "x", "n": ' + "9" * 5000 + "}"],
    ids=range(9),
)  # fmt: skip
def test_any_line_is_an_entry_or_none(tmp_path: Path, line: str) -> None:
    (tmp_path / LOG).write_text(line + "\n")
    assert check_chain(read_log(tmp_path / LOG)) == ["entry 0 of the log is not as it was written"]


def test_a_folder_in_the_place_of_the_log_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    with pytest.raises(DetectorError, match=f"{LOG} cannot be written"):
        CustodyLog(tmp_path / LOG).append("one", {})


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans() | st.none()))
def test_the_canonical_form_does_not_depend_on_order(record: dict[str, object]) -> None:
    assert canonical(record) == canonical(dict(reversed(record.items())))
    assert canonical(seal(record)) == canonical(record)
    assert is_sealed(seal(record))
    assert not is_sealed(seal(record) | {"more": 1})


def test_the_keys_of_an_entry_are_written_in_order(tmp_path: Path) -> None:
    CustodyLog(tmp_path / LOG).append("one", {"zebra": 1, "ant": 2})
    (line,) = (tmp_path / LOG).read_text().splitlines()
    assert list(json.loads(line)) == sorted(json.loads(line))


def test_a_key_without_the_extra_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)
    with pytest.raises(MissingExtra, match="checking a signature needs"):
        read_public_key(tmp_path / "key.pem")


def test_a_signed_log_without_the_extra_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_key(tmp_path / "key.pem")
    CustodyLog(tmp_path / LOG, key=read_key(tmp_path / "key.pem")).append("one", {})
    entries = read_log(tmp_path / LOG)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(MissingExtra, match="checking a signature needs"):
        check_chain(entries)
