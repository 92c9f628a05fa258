from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import DetectorError
from detector.evidence import custody
from detector.evidence.custody import (
    FIRST,
    LOG,
    CustodyLog,
    canonical,
    check_case,
    check_chain,
    name_folder,
    read_key,
    read_log,
    seal,
)
from detector.files import sha256


def write_key(path: Path) -> Path:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def write_case(folder: Path) -> Path:
    """Return the report.json of a small case."""
    exhibit, home = folder / "photo.jpg", folder / "out" / "photo-1"
    home.mkdir(parents=True)
    exhibit.write_bytes(b"a photograph")
    record = seal({"exhibit": {"path": str(exhibit), "sha256": sha256(b"a photograph")}, "case": "é"})
    (home / "report.json").write_text(json.dumps(record))
    (home / "report.html").write_text("<p>page")
    files = {name: sha256((home / name).read_bytes()) for name in ("report.json", "report.html")}
    log = CustodyLog(folder / "out" / LOG)
    log.append("received", {})
    log.append("reported", {"folder": home.name, "files": files})
    return home / "report.json"


def test_an_untouched_case_has_no_problems(tmp_path: Path) -> None:
    report = write_case(tmp_path)
    assert check_case(report) == []
    assert check_case(report.parent) == []


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["report.json", "report.html", "log", "exhibit"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 255),
)
def test_any_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, which: str, at: float, by: int) -> None:
    report = write_case(tmp_path_factory.mktemp("case"))
    path = {"log": report.parent.parent / LOG, "exhibit": report.parent.parent.parent / "photo.jpg"}.get(
        which, report.parent / which
    )
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= by
    path.write_bytes(data)
    assert check_case(report)


@pytest.mark.parametrize("change", ["last line gone", "a line gone", "two swapped", "cut short", "a line added"])
def test_a_log_that_was_cut_or_reordered_is_found(tmp_path: Path, change: str) -> None:
    report = write_case(tmp_path)
    log = tmp_path / "out" / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join({
        "last line gone": lines[:-1], "a line gone": lines[1:], "two swapped": lines[::-1],
        "cut short": [*lines[:-1], lines[-1][:-5]], "a line added": [*lines, b"{}\n"],
    }[change]))  # fmt: skip
    assert check_case(report)


def test_nothing_is_appended_to_a_broken_chain(tmp_path: Path) -> None:
    log = tmp_path / LOG
    mine = CustodyLog(log)
    assert mine.append("one", {})["previous"] == FIRST
    log.write_bytes(log.read_bytes().replace(b'"one"', b'"two"'))
    before = log.read_bytes()
    for opened in (mine, CustodyLog(log)):
        with pytest.raises(DetectorError, match="was changed"):
            opened.append("three", {})
    assert log.read_bytes() == before


def test_two_writers_in_turn_keep_one_chain_and_an_open_log_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = CustodyLog(tmp_path / LOG), CustodyLog(tmp_path / LOG)
    for turn in range(3):
        first.append("mine", {"turn": turn})
        second.append("yours", {"turn": turn})
    entries = read_log(tmp_path / LOG)
    assert check_chain(entries) == []
    assert [entry["event"] for entry in entries] == ["mine", "yours"] * 3
    monkeypatch.setattr(custody, "read_log", lambda path: pytest.fail("read again"))
    second.append("alone", {})


def test_a_rewritten_log_is_found_by_its_signature(tmp_path: Path) -> None:
    key = read_key(write_key(tmp_path / "key.pem"))
    log = tmp_path / LOG
    CustodyLog(log, key=key).append("one", {"said": "yes"})
    assert check_chain(read_log(log)) == []
    entry = read_log(log)[0] | {"said": "no"}
    forged = seal({k: v for k, v in entry.items() if k != "sha256"})
    assert check_chain([forged]) == ["the signature of entry 0 of the log does not fit"]


def test_a_missing_exhibit_or_log_is_told(tmp_path: Path) -> None:
    report = write_case(tmp_path)
    (tmp_path / "photo.jpg").unlink()
    assert check_case(report) == ["the exhibit photo.jpg is gone from where it was"]
    (tmp_path / "out" / LOG).unlink()
    with pytest.raises(DetectorError, match=r"no custody\.jsonl"):
        check_case(report)
    with pytest.raises(DetectorError, match="is not there"):
        check_case(tmp_path / "other")


def test_a_file_that_holds_no_key_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    for path in (tmp_path / "key.pem", tmp_path / "absent.pem"):
        with pytest.raises(DetectorError, match="openssl"):
            read_key(path)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans() | st.none()))
def test_the_canonical_form_does_not_depend_on_order(record: dict[str, object]) -> None:
    assert canonical(record) == canonical(dict(reversed(record.items())))
    assert canonical(seal(record)) == canonical(record)


@given(st.text(max_size=80))
def test_a_folder_s_name_is_harmless(stem: str) -> None:
    name = name_folder(Path("x") / f"{stem.replace('/', '')}.jpg", "0" * 64)
    assert name.isascii()
    assert not set(name) & set("/\\<>:\"'|?* ")
    assert name[0] != "."
