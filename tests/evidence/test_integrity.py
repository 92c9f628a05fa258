"""`detector verify --check`: each way to forge a case, and each valid state of a case."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_picture, write_key
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from detector import tasks
from detector.cli import app
from detector.evidence.custody import FIRST, LOG, CustodyLog, read_key, read_log, seal
from detector.evidence.folders import file_index
from detector.evidence.integrity import REPORT, CaseCheck, _check_exhibit, check_report
from detector.files import sha256
from detector.pictures.images import encode

Forge = Callable[[Path], None]


def check(*arguments: object) -> tuple[int, str]:
    """Return exit status and output of `detector verify --check ...`."""
    done = CliRunner().invoke(app, ["verify", "--check", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return 2, str(done.exception)  # `cli.main` prints it
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two exhibits and a case on them, once unsigned and once signed; read only."""
    home = tmp_path_factory.mktemp("made")
    for seed, name in enumerate(("first", "second")):
        (home / f"{name}.png").write_bytes(encode(draw_picture(seed, size=64)))
    write_key(home / "key.pem")
    write_key(home / "other.pem")
    inputs = [home / "first.png", home / "second.png"]
    tasks.verify(inputs, home / "plain")
    tasks.verify(inputs, home / "signed", key=home / "key.pem")
    return home


@pytest.fixture
def case(made: Path, tmp_path: Path) -> Path:
    """A copy of the unsigned case, with its exhibits beside it, at another place."""
    return copy(made, tmp_path / "moved") / "plain"


def copy(made: Path, target: Path) -> Path:
    shutil.copytree(made, target)
    return target


def report_on(case: Path, name: str = "second") -> Path:
    return next(case.glob(f"{name}-*")) / "report.json"


def rewrite(case: Path, entries: Sequence[dict[str, Any]], key: Path | None = None) -> None:
    """Write a log anew, so that its chain fits, unsigned or signed with another key."""
    (case / LOG).unlink()
    log = CustodyLog(case / LOG, key=None if key is None else read_key(key))
    for entry in entries:
        kept = {k: v for k, v in entry.items() if k not in ("number", "at", "event", "previous", "sha256")}
        kept |= {"settings": kept["settings"] | {"sign": log.signer}} if "settings" in kept else {}
        log.append(entry["event"], {k: v for k, v in kept.items() if k not in ("signature", "public_key")})


def forge_report(case: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """Reverse what a report says, seal it again, and return its entry of the log with the hash of the new file."""
    path = case / entry["folder"] / "report.json"
    record = json.loads(path.read_text())
    record["conclusion"]["statement"] = "The face is a photograph."
    path.write_text(json.dumps(seal({k: v for k, v in record.items() if k != "sha256"})))
    return entry | {"files": entry["files"] | {"report.json": sha256(path.read_bytes())}}


def last_report(entries: Sequence[dict[str, Any]]) -> int:
    return max(i for i, entry in enumerate(entries) if entry["event"] == "reported")


def append_unsigned(case: Path) -> None:
    entries = read_log(case / LOG)
    entry = forge_report(case, entries[last_report(entries)])
    kept = {k: v for k, v in entry.items() if k not in ("sha256", "signature", "public_key")}
    kept |= {"number": len(entries), "previous": entries[-1]["sha256"]}
    with (case / LOG).open("ab") as file:
        file.write(json.dumps(seal(kept), sort_keys=True, ensure_ascii=False).encode() + b"\n")


def rewrite_forged(case: Path, key: Path | None = None) -> None:
    entries = read_log(case / LOG)
    at = last_report(entries)
    rewrite(case, [*entries[:at], forge_report(case, entries[at]), *entries[at + 1 :]], key)


def sign_anew(case: Path) -> None:
    rewrite_forged(case, case.parent / "other.pem")


def drop_last_exhibit(case: Path) -> None:
    shutil.rmtree(report_on(case).parent)
    entries = [entry for entry in read_log(case / LOG) if "second" not in json.dumps(entry)]
    rewrite(case, [entry for entry in entries if entry["event"] != "indexed"])
    file_index(CustodyLog(case / LOG))


def plant_log(case: Path) -> None:
    entries = read_log(case / LOG)
    entry = forge_report(case, entries[last_report(entries)])
    kept = {k: v for k, v in entry.items() if k not in ("sha256", "signature", "public_key")}
    line = json.dumps(seal(kept | {"number": 0, "previous": FIRST}), sort_keys=True, ensure_ascii=False)
    (case / entry["folder"] / LOG).write_text(line + "\n")


def list_no_files(case: Path) -> None:
    entries = read_log(case / LOG)
    at = last_report(entries)
    rewrite(case, [*entries[:at], forge_report(case, entries[at]) | {"files": {}}, *entries[at + 1 :]])


def list_fewer_files(case: Path) -> None:
    entries = read_log(case / LOG)
    at = last_report(entries)
    files = {k: v for k, v in entries[at]["files"].items() if k != "report.pdf"}
    report_on(case).with_name("report.pdf").write_bytes(b"%PDF- forged")
    rewrite(case, [*entries[:at], entries[at] | {"files": files}, *entries[at + 1 :]])


def replace_index(case: Path) -> None:
    (case / "index.html").write_text("<p>nothing to see")


def report_twice(case: Path) -> None:
    """A second entry on the same folder, that fits a forged report; the first one would not."""
    entries = read_log(case / LOG)
    at = last_report(entries)
    rewrite(case, [*entries[: at + 1], forge_report(case, entries[at]), *entries[at + 1 :]])


def exchange_exhibit(case: Path) -> None:
    """The log and the record disagree on what was examined."""
    entries = read_log(case / LOG)
    at = last_report(entries)
    rewrite(case, [*entries[:at], entries[at] | {"exhibit": "0" * 64}, *entries[at + 1 :]])


def add_a_file(case: Path) -> None:
    report_on(case).with_name("note.txt").write_text("The examiner agrees.")


@pytest.mark.parametrize(
    "forge", [plant_log, list_no_files, list_fewer_files, replace_index, report_twice, exchange_exhibit, add_a_file]
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_forgery_is_found_without_a_key(case: Path, forge: Forge, whole: bool) -> None:
    forge(case)
    status, output = check(case / LOG if whole else report_on(case))
    assert status == 1
    assert "changed: " in output
    assert "consistent" not in output


def test_a_report_has_one_entry_that_lists_its_files(case: Path) -> None:
    """Two are an error even where both fit."""
    entries = read_log(case / LOG)
    at = last_report(entries)
    rewrite(case, [*entries[: at + 1], entries[at], *entries[at + 1 :]])
    for target in (case, report_on(case)):
        assert f"the log names {entries[at]['folder']} twice" in check(target)[1]
    rewrite(case, [*entries[:at], entries[at] | {"files": {}}, *entries[at + 1 :]])
    assert "does not list the files of a report" in check(report_on(case))[1]


def test_the_hash_in_a_report_is_compared_also_where_the_log_agrees(case: Path) -> None:
    entries = read_log(case / LOG)
    at = last_report(entries)
    path = report_on(case)
    path.write_text(path.read_text().replace("No opinion", "An opinion"))
    files = entries[at]["files"] | {"report.json": sha256(path.read_bytes())}
    rewrite(case, [*entries[:at], entries[at] | {"files": files}, *entries[at + 1 :]])
    assert check(path)[1].startswith(f"the hash in {path.parent.name}/report.json does not fit it")


def test_an_unsigned_entry_in_a_signed_log_is_found_without_a_key(made: Path, tmp_path: Path) -> None:
    case = copy(made, tmp_path / "moved") / "signed"
    append_unsigned(case)
    status, output = check(report_on(case))
    assert status == 1
    assert "is not signed, and earlier ones are" in output


@pytest.mark.parametrize("forge", [rewrite_forged, sign_anew])
def test_a_log_that_was_written_anew_is_found_by_the_key(made: Path, tmp_path: Path, forge: Forge) -> None:
    case = copy(made, tmp_path / "moved") / "signed"
    forge(case)
    status, output = check(report_on(case))
    assert status == 0  # nothing else can tell, so the answer must not promise more
    assert output.startswith("consistent: ")
    assert "untouched" not in output
    assert ("no entry is signed" in output) == (forge is rewrite_forged)
    status, output = check(report_on(case), "--key", made / "key.pub")
    assert status == 1
    assert "of key.pub" in output
    assert "consistent" not in output


def test_a_cut_off_end_is_found_by_the_head_and_shows_in_the_numbers(case: Path) -> None:
    head = read_log(case / LOG)[-1]["sha256"]
    before = check(case / LOG, "--head", head)
    assert before[0] == 0
    assert f"reports 2, exhibits 2, head {head}" in before[1]
    drop_last_exhibit(case)
    status, output = check(case / LOG)
    assert status == 0
    assert "reports 1, exhibits 1, head " in output
    status, output = check(case / LOG, "--head", head)
    assert status == 1
    assert "does not hold the given head" in output


def test_an_earlier_head_of_the_log_fits(case: Path) -> None:
    entries = read_log(case / LOG)
    status, output = check(case, "--head", entries[1]["sha256"].upper())
    assert status == 0
    assert f"{len(entries) - 2} entries were added after it" in output
    assert check(case, "--head", "12345678")[0] == 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 8), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_changed_byte_is_found(
    made: Path, tmp_path_factory: pytest.TempPathFactory, which: int, at: float, by: int
) -> None:
    case = copy(made, tmp_path_factory.mktemp("changed") / "moved") / "plain"
    exhibit = case.parent / "second.png"
    paths = [case / LOG, case / "index.html", exhibit, *sorted(report_on(case).parent.iterdir())]
    path = paths[which % len(paths)]
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= by
    path.write_bytes(data)
    assert check(case, "--exhibit", case.parent)[0] == 1


def test_an_unchanged_case_is_consistent_and_a_key_proves_its_signer(made: Path) -> None:
    for target in (made / "plain", made / "plain" / LOG, report_on(made / "plain"), report_on(made / "plain").parent):
        status, output = check(target)
        assert status == 0
        assert output.startswith("consistent: entries 5, reports 2, exhibits 2, head ")
        assert "no entry is signed" in output
    status, output = check(made / "signed")
    assert (status, "give it as --key" in output) == (0, True)
    status, output = check(made / "signed", "--key", made / "key.pub")
    assert (status, "signed with the key of key.pub" in output) == (0, True)
    status, output = check(made / "plain", "--key", made / "key.pub")
    assert (status, "not signed" in output) == (1, True)


def test_a_moved_case_finds_its_exhibits_or_reports_that_they_are_missing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for name in ("first.png", "second.png"):
        shutil.copy(made / name, there / name)
    tasks.verify([there / "first.png", there / "second.png"], there / "case")
    here = there.rename(tmp_path / "here")
    assert check(here / "case")[0] == 0
    assert check(report_on(here / "case"))[0] == 0
    apart = tmp_path / "apart" / "pictures"
    apart.mkdir(parents=True)
    (here / "second.png").rename(apart / "second.png")
    status, output = check(here / "case")
    assert status == 3
    assert "second.png is not here, and was not compared" in output
    assert "consistent, as far as it is here" in output
    assert check(report_on(here / "case"), "--exhibit", apart / "second.png")[0] == 0
    assert check(report_on(here / "case"), "--exhibit", apart)[0] == 0
    (apart / "second.png").write_bytes(b"another")
    status, output = check(report_on(here / "case"), "--exhibit", apart / "second.png")
    assert status == 1
    assert "its hash differs" in output
    for name, words in (("absent.png", "there is no"), ("second.png", "name the folder of all exhibits")):
        status, output = check(here / "case", "--exhibit", apart / name)
        assert status == 2
        assert words in output


def test_a_torn_last_line_is_a_note(case: Path) -> None:
    with (case / LOG).open("ab") as file:
        file.write(b'{"at": "2026-')
    status, output = check(case)
    assert status == 0
    assert "is torn" in output


def test_a_folder_that_is_not_a_case_is_one_clear_error(made: Path, tmp_path: Path) -> None:
    assert check(tmp_path)[0] == 2
    assert "is not there" in check(tmp_path / "absent")[1]
    alone = tmp_path / "case" / "report"
    shutil.copytree(report_on(made / "plain").parent, alone)
    (alone / LOG).write_bytes((made / "plain" / LOG).read_bytes())  # beside a report no log counts
    status, output = check(alone / "report.json")
    assert status == 2
    assert f"there is no {LOG}" in output


def test_a_report_without_an_entry_in_the_log_is_found(case: Path) -> None:
    shutil.copytree(report_on(case).parent, case / "forged")
    status, output = check(case / "forged")
    assert (status, "does not know forged" in output) == (1, True)
    status, output = check(case)
    assert (status, "forged is not in the log" in output) == (1, True)


@pytest.mark.parametrize(
    "change",
    [
        {"folder": "../elsewhere"}, {"folder": 3}, {"files": []}, {"files": None}, {"path": None}, {"exhibit": None},
        {"path": "a\0b"}, {"path": "x" * 5000}, {"files": dict.fromkeys(("report.json", "report.html"), None)},
    ],
    ids=range(9),
)  # fmt: skip
def test_any_forged_log_gets_an_answer(case: Path, change: dict[str, Any]) -> None:
    entries = read_log(case / LOG)
    at = last_report(entries)
    rewrite(case, [*entries[:at], entries[at] | change, *entries[at + 1 :]])
    assert check(case)[0] == 1


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"sha256": 3}', "[" * 100_000, '{"exhibit": {"path": NaN}}'], ids=range(5)
)
def test_any_report_gets_an_answer(case: Path, text: str) -> None:
    report_on(case).write_text(text)
    assert check(case)[0] == 1


def test_an_option_without_effect_is_an_error(case: Path) -> None:
    for options in (["--case", "x"], ["--sign", "k"], [case.parent / "first.png"], ["--fail-on", "likely-fake"]):
        status, output = check(case, *options)
        assert status == 2
        assert "--check examines nothing" in output
    done = CliRunner().invoke(app, ["verify", str(case.parent / "first.png"), "--head", "0" * 64])
    assert "need --check" in str(done.exception)


@pytest.mark.parametrize("parts", [1, 2, 4, 5])
def test_an_exhibit_is_found_by_the_last_four_parts_of_its_path(tmp_path: Path, parts: int) -> None:
    path = Path("/old/a/b/c/d/exhibit.png")
    kept = tmp_path / "kept" / Path(*path.parts[-parts:])
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"bytes")
    entry = {"path": str(path), "exhibit": sha256(b"bytes"), "folder": "exhibit-1"}
    found = CaseCheck([], None, [])
    _check_exhibit(found, entry, tmp_path / "case", tmp_path / "kept")
    assert (found.missing == []) is (parts <= 4)
    assert found.problems == []


def test_with_a_folder_of_exhibits_the_old_place_is_not_searched(tmp_path: Path) -> None:
    old = tmp_path / "old" / "exhibit.png"
    old.parent.mkdir()
    old.write_bytes(b"bytes")
    (tmp_path / "empty").mkdir()
    entry = {"path": str(old), "exhibit": sha256(b"bytes"), "folder": "exhibit-1"}
    found = CaseCheck([], None, [])
    _check_exhibit(found, entry, tmp_path / "case", tmp_path / "empty")
    assert len(found.missing) == 1


def test_an_index_that_is_gone_and_one_that_was_changed_are_distinguished(case: Path) -> None:
    (case / "index.html").write_text("another")
    assert "index.html is not as it was written" in check(case)[1]
    (case / "index.html").unlink()
    assert "index.html is gone" in check(case)[1]


def test_an_entry_lists_all_files_of_a_report_and_no_others(case: Path) -> None:
    """The summary is optional, because it needs an extra; every other file is part of a report."""
    entry = next(e for e in read_log(case / LOG) if e.get("event") == "reported")
    files = entry["files"]
    complaint = f"entry {entry['number']} of the log does not list the files of a report"
    for listed in (files, {name: files[name] for name in REPORT}):
        assert complaint not in check_report(case, entry | {"files": listed})
    for name in REPORT:
        assert check_report(case, entry | {"files": {n: h for n, h in files.items() if n != name}}) == [complaint]
    assert check_report(case, entry | {"files": files | {"another.txt": "0" * 64}}) == [complaint]


def test_a_report_that_is_not_there_is_named(case: Path) -> None:
    for absent in (case / "none" / "report.json", case / "none" / "custody.jsonl", case / "none" / "other.json"):
        status, output = check(absent)
        assert status == 2
        assert f"{absent} is not there" in output
    other = case / "other.json"
    other.write_text("{}")
    assert "is not there; name a" in check(other)[1]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\\b", "a\0"])
def test_a_folder_outside_the_case_is_not_the_folder_of_a_report(case: Path, name: str) -> None:
    entry = next(e for e in read_log(case / LOG) if e.get("event") == "reported")
    assert "does not list the files of a report" in check_report(case, entry | {"folder": name})[0]


def test_an_index_that_was_not_written_is_missing_from_a_case_and_a_note_on_a_report(case: Path) -> None:
    rewrite(case, [entry for entry in read_log(case / LOG) if entry["event"] != "indexed"])
    status, output = check(case)
    assert (status, "index.html was not compared" in output) == (3, True)
    status, output = check(report_on(case))
    assert (status, "index.html was not compared" in output) == (0, True)


def test_an_exhibit_whose_name_is_no_text_is_found(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/lat\xe9in.png"
    with open(name, "wb") as file:
        file.write(encode(draw_picture(0, size=64)))
    tasks.verify(os.fsdecode(name), tmp_path / "case")
    assert check(tmp_path / "case")[0] == 0
    os.rename(name, name + b".moved")
    assert check(tmp_path / "case")[0] == 3


def test_a_log_without_its_signatures_is_found_if_its_settings_name_the_key(made: Path, tmp_path: Path) -> None:
    case = copy(made, tmp_path / "moved") / "signed"
    entries = read_log(case / LOG)
    kept = [{k: v for k, v in entry.items() if k not in ("signature", "public_key")} for entry in entries]
    lines = [json.dumps(entry, sort_keys=True, ensure_ascii=False) + "\n" for entry in kept]
    (case / LOG).write_text("".join(lines))
    status, output = check(case)
    assert status == 1
    assert "names a key that it is not signed with" in output
