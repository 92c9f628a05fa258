"""The folder of a case: reports that are reused, exhibits that are examined again, and interrupted runs."""

from __future__ import annotations

import functools
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, draw_picture, write_key
from hypothesis import given
from hypothesis import strategies as st

from detector import tasks
from detector.errors import DetectorError
from detector.evidence import folders, record
from detector.evidence.custody import LOG, CustodyLog, read_log, seal
from detector.evidence.folders import file_index, file_report, find_report, name_folder, open_case, receive
from detector.evidence.integrity import check_case
from detector.files import sha256
from detector.pictures.images import encode
from detector.tasks import verifying

SETTINGS = {"case": "", "trust": ""}


def make_record(path: str = "/x/photo.jpg", digest: str = "a" * 64, statement: str = "No opinion.") -> dict[str, Any]:
    """Return the least that a record on a picture without a face holds."""
    detector = {"check": "detector", "outcome": "not-applicable", "summary": "", "limits": "", "reference": "",
                "details": {"faces": []}}  # fmt: skip
    conclusion = {"statement": statement, "opinion": "not-applicable", "log10_lr": None, "interval": None,
                  "bounds": None, "in_domain": False, "reasons": [], "posteriors": [], "alternatives": []}  # fmt: skip
    exhibit = {"path": path, "sha256": digest, "bytes": 1, "width": None, "height": None}
    return seal({"case": "", "examiner": "", "exhibit": exhibit, "propositions": {}, "conclusion": conclusion,
                 "findings": [detector], "backing": {}, "verbal_scale": [], "limits": [], "components": {},
                 "made": {"at": "2026-01-01T00:00:00Z", "command": "detector"}})  # fmt: skip


@pytest.fixture(autouse=True)
def _no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the PDFs, which take most of the time and are not tested here."""
    monkeypatch.setattr(folders, "make_pdf", lambda record, pictures: b"%PDF-" + record["sha256"].encode())


def file_one(log: CustodyLog, settings: dict[str, str] = SETTINGS, **facts: str) -> dict[str, Any]:
    record = make_record(**facts)
    receive(log, {"exhibit": record["exhibit"]["sha256"], "path": record["exhibit"]["path"]})
    return file_report(log, record, None, settings)


def events(out: Path) -> list[str]:
    return [entry["event"] for entry in read_log(out / LOG)]


def check(out: Path) -> list[str]:
    """Return the problems of a whole case whose exhibits do not exist."""
    return check_case(out / LOG).problems


def write_picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(draw_picture(seed, size=64)))
    return path


def test_the_whole_hash_is_compared_and_the_name_carries_16_digits_of_it(tmp_path: Path) -> None:
    """A few junk bytes give two pictures the same first digits: the second must not get the first one's report."""
    log = open_case(tmp_path)
    first, second = "a" * 16 + "0" * 48, "a" * 16 + "1" * 48
    assert name_folder(Path("photo.jpg"), first) == name_folder(Path("photo.jpg"), second) == "photo-" + "a" * 16
    one = file_one(log, digest=first)
    assert find_report(log, {"exhibit": second, "path": "/x/photo.jpg"}, SETTINGS).entry is None
    two = file_one(log, digest=second)
    assert [one["folder"], two["folder"]] == ["photo-" + "a" * 16, "photo-" + "a" * 16 + "-2"]
    file_index(log)
    assert check(tmp_path) == []
    assert find_report(log, {"exhibit": second, "path": "/x/photo.jpg"}, SETTINGS).entry == two


def test_exhibits_of_one_name_have_folders_of_their_own() -> None:
    assert name_folder(Path("photo.jpg"), "a" * 64) != name_folder(Path("photo.jpg"), "b" * 64)


@given(st.text(max_size=80))
def test_folder_names_have_safe_characters(stem: str) -> None:
    name = name_folder(Path("x") / f"{stem.replace('/', '')}.jpg", "0" * 64)
    assert name.isascii()
    assert not set(name) & set("/\\<>:\"'|?* ")
    assert name[0] != "."


def test_other_settings_are_another_examination_and_both_reports_stay(tmp_path: Path) -> None:
    log = open_case(tmp_path)
    source = {"exhibit": "a" * 64, "path": "/x/photo.jpg"}
    first = file_one(log)
    assert find_report(log, source, SETTINGS) == (first, "", False)
    other = SETTINGS | {"trust": "list"}
    found = find_report(log, source, other)
    assert found.entry is None
    assert not found.changed
    assert found.why == f"examined again, with another trust; the earlier report was kept in {first['folder']}"
    receive(log, source, found.why)
    second = file_report(log, make_record(statement="Another."), None, other, found.why)
    file_index(log)
    assert events(tmp_path) == ["received", "reported", "reopened", "reported", "indexed"]
    assert second["folder"] == first["folder"] + "-2"
    assert find_report(log, source, SETTINGS).entry == first
    assert find_report(log, source, other).entry == second
    for entry in (first, second):  # each report is compared with its own entry
        assert check_case(tmp_path / entry["folder"]).problems == []
    path = tmp_path / first["folder"] / "report.json"
    shutil.copy(tmp_path / second["folder"] / "report.json", path)
    assert check_case(path).problems == [f"{first['folder']}/report.json is not as it was written"]


def test_the_same_bytes_at_another_path_are_another_exhibit(tmp_path: Path) -> None:
    log = open_case(tmp_path)
    one, two = file_one(log), file_one(log, path="/y/photo.jpg")
    assert one["folder"] != two["folder"]
    assert events(tmp_path).count("received") == 2


@pytest.mark.parametrize("change", ["edited", "edited and sealed", "gone", "rendering", "added"])
def test_a_report_that_was_changed_is_not_used_again(tmp_path: Path, change: str) -> None:
    log = open_case(tmp_path)
    entry = file_one(log)
    folder = tmp_path / entry["folder"]
    report = folder / "report.json"
    record = json.loads(report.read_text())
    record["conclusion"]["statement"] = "Forged."
    if change == "edited":
        report.write_text(json.dumps(record))
    elif change == "edited and sealed":
        report.write_text(json.dumps(seal({k: v for k, v in record.items() if k != "sha256"})))
    elif change == "gone":
        report.unlink()
    elif change == "rendering":
        (folder / "report.pdf").write_bytes(b"%PDF-")
    else:
        (folder / LOG).write_text("")
    kept = {p: p.read_bytes() for p in folder.iterdir()}
    found = find_report(log, {"exhibit": "a" * 64, "path": "/x/photo.jpg"}, SETTINGS)
    assert (found.entry, found.changed) == (None, True)
    assert "was changed" in found.why
    again = file_report(log, make_record(), None, SETTINGS, found.why)
    assert again["folder"] != entry["folder"]
    assert {p: p.read_bytes() for p in folder.iterdir()} == kept  # what was changed is kept as it is


def test_an_edited_report_affects_neither_the_rows_nor_the_index(tmp_path: Path) -> None:
    picture, out = write_picture(tmp_path / "photo.png"), tmp_path / "out"
    (first,) = tasks.verify([picture], out)
    for name in ("report.json", "summary.json"):
        path = out / first["folder"] / name
        path.write_text(path.read_text().replace("No opinion", "Forged words"))
    (again,) = tasks.verify([picture], out)
    assert again["changed"]
    assert "was changed" in again["note"]
    assert again["statement"] == first["statement"]
    page = (out / "index.html").read_text()
    assert "Forged words" not in page
    assert "summary.json was changed since it was written" in page
    assert not tasks.verify([picture], out)[0]["changed"]  # the new report holds


def test_each_option_that_decides_a_report_makes_another_examination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the checks find is the same each time here, so that they need to run but once."""
    examine, found = record.examine, list[Any]()
    monkeypatch.setattr(record, "examine", lambda *a, **k: found or found.extend(examine(*a, **k)) or found)
    monkeypatch.setattr(verifying, "load_detector", functools.cache(verifying.load_detector))
    picture, out, known = write_picture(tmp_path / "photo.png"), tmp_path / "out", tmp_path / "known.csv"
    known.write_text(f"sha256,label\n{'0' * 64},fake\n")
    key, trust = write_key(tmp_path / "key.pem"), tmp_path / "trust"
    trust.mkdir()
    (trust / "root.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    options: dict[str, Any] = {}
    notes = []
    for change in ({}, {"case": "7"}, {"examiner": "E."}, {"known": known}, {"trust": trust}, {"key": key}):
        options |= change
        notes.append(tasks.verify([picture], out, **options)[0]["note"])
        assert tasks.verify([picture], out, **options)[0]["note"] == ""
    known.write_text(f"sha256,label\n{'1' * 64},fake\n")  # the same option, another list
    notes.append(tasks.verify([picture], out, **options)[0]["note"])
    assert notes[0] == ""
    words = [note.partition("with another ")[2].partition(";")[0] for note in notes[1:]]
    assert words == ["case", "examiner", "known", "trust", "sign", "known"]
    assert len(list(out.glob("photo-*"))) == 7
    assert (out / "index.html").read_text().count("/report.html") == 7
    found = check_case(out, key=tmp_path / "key.pub")
    assert found.problems == []
    with pytest.raises(DetectorError, match="name its key with --sign"):
        tasks.verify([picture], out)


def test_the_index_lists_the_whole_case_by_priority(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for seed in range(3):
        tasks.verify([write_picture(tmp_path / f"p{seed}.png", seed), tmp_path / "absent.png"], out)
    page = (out / "index.html").read_text()
    assert [page.count(f">p{seed}.png<") for seed in range(3)] == [1, 1, 1]
    assert page.count("No such file") == 1
    assert events(out).count("unreadable") == 1
    assert page.count("data:image/jpeg") == 3
    write_picture(tmp_path / "absent.png", 3)
    tasks.verify([tmp_path / "absent.png"], out)
    assert "No such file" not in (out / "index.html").read_text()
    assert check(out) == []


def test_an_index_that_was_changed_is_replaced_and_that_is_logged(tmp_path: Path) -> None:
    log = open_case(tmp_path)
    file_one(log)
    file_index(log)
    page = (tmp_path / "index.html").read_bytes()
    file_index(log)
    assert events(tmp_path).count("indexed") == 1
    (tmp_path / "index.html").write_text("forged")
    file_index(log)
    assert (tmp_path / "index.html").read_bytes() == page
    assert log.entries[-1]["instead_of"] == sha256(b"forged")
    (tmp_path / "index.html").unlink()
    file_index(log)
    assert (tmp_path / "index.html").read_bytes() == page
    assert check(tmp_path) == []


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.parametrize("event", ["received", "reported", "indexed"])
@pytest.mark.parametrize("after", [False, True])
def test_a_killed_run_is_resumed_and_leaves_no_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: str, after: bool
) -> None:
    """Killed at each entry of the second exhibit: earlier reports check out, and the end is that of an unbroken run."""
    out, unbroken = tmp_path / "out", tmp_path / "unbroken"
    append = CustodyLog.append

    def run(folder: Path, digest: str) -> dict[str, Any]:
        log = open_case(folder)
        entry = find_report(log, {"exhibit": digest * 64, "path": "/x/photo.jpg"}, SETTINGS).entry
        entry = entry or file_one(log, digest=digest * 64)
        file_index(log)
        return entry

    def die(self: CustodyLog, what: str, facts: Any) -> Any:
        if what != event:
            return append(self, what, facts)
        if after:
            append(self, what, facts)
        raise Killed

    for digest in "ab":
        run(unbroken, digest)
    first = run(out, "a")
    with monkeypatch.context() as patch:
        patch.setattr(CustodyLog, "append", die)
        with pytest.raises(Killed):
            run(out, "b")
    (out / ".index.123.tmp.html").write_text("torn")
    if "reported" not in events(out)[2:]:  # killed while it wrote the report
        folder = out / name_folder(Path("photo.jpg"), "b" * 64)
        folder.mkdir(exist_ok=True)
        (folder / ".report.123.tmp.pdf").write_text("torn")
    assert check_case(out / first["folder"]).problems == []
    assert check(out) == []
    run(out, "b")
    assert check(out) == []
    assert check_case(out).notes == []
    assert events(out) == events(unbroken)
    names = [sorted(str(p.relative_to(f)) for p in f.rglob("*")) for f in (out, unbroken)]
    assert names[0] == names[1]


def test_a_full_disk_is_one_sentence_and_earlier_reports_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_case(tmp_path)
    first = file_one(log)
    file_index(log)

    def full(path: Path, data: bytes, *, durable: bool = False) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(folders, "write_bytes", full)
        with pytest.raises(DetectorError, match="cannot be written: No space left"):
            file_one(log, digest="b" * 64)
    assert check_case(tmp_path / first["folder"]).problems == []
    assert check(tmp_path) == []
    file_one(log, digest="b" * 64)
    file_index(log)
    assert check(tmp_path) == []


def test_two_runs_at_once_file_each_exhibit_once(tmp_path: Path) -> None:
    """The same exhibits, and others, by two runs that began before either had written."""
    logs = [open_case(tmp_path) for _ in range(2)]
    barrier, failed = threading.Barrier(2), []

    def work(log: CustodyLog, digests: str) -> None:
        try:
            barrier.wait()
            for digest in digests:
                file_one(log, digest=digest * 64)
            file_index(log)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(logs, ("abc", "abd"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert sorted(e["exhibit"][0] for e in read_log(tmp_path / LOG) if e["event"] == "reported") == list("abcd")
    assert check(tmp_path) == []
    assert (tmp_path / "index.html").read_text().count("/report.html") == 4


def test_reports_without_their_log_are_not_written_over(tmp_path: Path) -> None:
    log = open_case(tmp_path)
    file_one(log)
    (tmp_path / LOG).unlink()
    with pytest.raises(DetectorError, match="restore it, or name another folder"):
        open_case(tmp_path)


def test_a_list_that_cannot_be_read_is_named_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "examine", lambda *args, **more: pytest.fail("examined"))
    for option in ("known", "trust"):
        with pytest.raises(DetectorError, match=f"absent cannot be read.*--{option}"):
            tasks.verify([write_picture(tmp_path / "p.png")], tmp_path / "out", **{option: tmp_path / "absent"})
    assert not (tmp_path / "out").exists()


def test_the_index_grows_with_each_exhibit_and_the_log_names_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[int] = []
    refresh = folders.refresh_index

    def count_rows(log: CustodyLog) -> None:
        refresh(log)
        pages.append((tmp_path / "out" / "index.html").read_text().count("<tr><td>"))
        assert check_case(tmp_path / "out").problems == []

    monkeypatch.setattr(folders, "refresh_index", count_rows)
    inputs = [write_picture(tmp_path / f"{seed}.png", seed) for seed in range(3)]
    tasks.verify([*inputs, tmp_path / "absent.png"], tmp_path / "out")
    assert pages == [1, 2, 3, 4]
    assert events(tmp_path / "out").count("indexed") == 1
    before = (tmp_path / "out" / "index.html").read_bytes()
    (tmp_path / "out" / "index.html").write_text("forged")
    with monkeypatch.context() as patch:  # a run that adds nothing leaves the index to the end, where it is compared
        patch.setattr(folders, "refresh_index", refresh)
        tasks.verify(inputs, tmp_path / "out")
    assert (tmp_path / "out" / "index.html").read_bytes() == before
    assert open_case(tmp_path / "out").entries[-1]["instead_of"] == sha256(b"forged")


def test_two_exhibits_of_one_name_get_different_names(tmp_path: Path) -> None:
    inputs = [write_picture(tmp_path / day / "in" / "photo.png", seed) for seed, day in enumerate(("mon", "tue"))]
    inputs.append(write_picture(tmp_path / "mon" / "in" / "other.png", 3))
    rows = tasks.verify([*inputs, tmp_path / "mon" / "in" / "absent.png"], tmp_path / "out")
    assert {row["name"] for row in rows} == {"mon/in/photo.png", "tue/in/photo.png", "other.png", "absent.png"}
    page = (tmp_path / "out" / "index.html").read_text()
    assert ">mon/in/photo.png<" in page
    assert ">tue/in/photo.png<" in page
    assert folders.tell_apart([{"name": "p", "path": "/p"}, {"name": "p", "path": "/a/p"}])[0]["name"] == "/p"


def test_words_of_the_index_do_not_break_into_letters_on_a_small_screen() -> None:
    page = (ROOT / "detector" / "evidence" / "triage.html.jinja").read_text()
    wide, narrow = page.split("@media (max-width: 48rem)")
    assert "overflow-wrap: anywhere" not in narrow
    assert [rule.split("{")[0].strip() for rule in wide.splitlines() if "overflow-wrap: anywhere" in rule] == [".path"]
    assert "table, tbody, tr, td { display: block;" in narrow
    report = (ROOT / "detector" / "evidence" / "evidence.html.jinja").read_text()
    assert "dl { grid-template-columns: 1fr;" in report.split("@media (max-width: 48rem)")[1].splitlines()[0]
