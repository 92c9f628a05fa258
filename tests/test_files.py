"""Files: names as text, locks, leftovers, and outputs that cannot be written."""

from __future__ import annotations

import multiprocessing
import os
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import files

NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: not {0, ord("/")} & set(name))


@given(st.text())
def test_control_characters_and_direction_marks_are_escaped(text: str) -> None:
    shown = files.printable(text)
    left = {unicodedata.category(c) for c in shown if c not in files.JOINERS}
    assert not left & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert files.printable(shown) == shown
    shown.encode()


@pytest.mark.parametrize("name", ["Zoë 2.jpg", "日本 語.png", "می‌خواهم.jpg", "\U0001f469‍\U0001f680.jpg"])
def test_names_in_any_language_are_shown_as_they_are(name: str) -> None:
    assert files.printable(name) == name


@given(NAMES)
def test_a_name_of_any_bytes_can_be_restored_from_its_text(name: bytes) -> None:
    text = files.as_text(os.fsdecode(name))
    text.encode()
    there = {name}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os.path, "lexists", lambda path: os.fsencode(path) in there)
        assert os.fsencode(files.from_text(text)) == name


def test_text_that_only_resembles_an_escape_is_unchanged(tmp_path: Path) -> None:
    (tmp_path / "a\\xe9").touch()
    (tmp_path / os.fsdecode(b"a\xe9")).touch()
    assert files.from_text(f"{tmp_path}/a\\xe9") == f"{tmp_path}/a\\xe9"


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_no_path_begins_a_formula_and_every_one_leads_to_its_file(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"{first}1").touch()
    cell = files.as_cell(f"{first}1")
    assert cell.startswith("./")
    assert Path(cell).is_file()


def test_harmless_paths_are_unchanged() -> None:
    assert [files.as_cell(n) for n in ("a=b.jpg", "/-1.jpg", "1.jpg")] == ["a=b.jpg", "/-1.jpg", "1.jpg"]


def test_leftovers_of_dead_processes_are_swept_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=int)
    child.start()
    child.join()
    names = {f".scores.{child.pid}.tmp.csv": False, f".card.{os.getppid()}.tmp.json": True, ".x.tmp": True,
             f".own.{os.getpid()}.tmp": False, "kept.csv": True}  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    files.sweep(tmp_path, tmp_path / "absent")
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_a_lock_is_not_waited_for_if_that_is_asked(tmp_path: Path) -> None:
    with files.locking(tmp_path / "x"), pytest.raises(BlockingIOError), files.locking(tmp_path / "x", wait=False):
        pass


def test_a_file_removed_while_it_was_waited_for_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with files.locking(path) as first:
        first.write(b"first")
        path.unlink()
        with files.locking(path, wait=False) as second:
            second.write(b"second")
    assert path.read_bytes() == b"second"


def test_outputs_that_cannot_be_written_are_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError):
        files.check_output(tmp_path)
    with pytest.raises(OSError, match="file"):
        files.check_output(tmp_path / "file" / "scores.csv")
    files.check_output(tmp_path / "new" / "scores.csv")
    assert {p.name for p in tmp_path.rglob("*")} == {"file", "new"}


def test_text_that_utf8_cannot_write_is_escaped(tmp_path: Path) -> None:
    files.write_text(tmp_path / "x", "a\udce9")
    assert (tmp_path / "x").read_text() == "a\\udce9"


def test_two_threads_may_write_one_file(tmp_path: Path) -> None:
    together = threading.Barrier(2)

    def write(text: str) -> None:
        with files.replacing(tmp_path / "copy.txt") as temporary:
            temporary.write_text(text)
            together.wait(10)  # both have written before either is renamed

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ("one", "two")))
    assert (tmp_path / "copy.txt").read_text() in ("one", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["copy.txt"]


def test_an_error_without_a_file_name_names_the_file_that_was_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as full, files.replacing(tmp_path / "a.csv"):
        raise OSError(28, "No space left on device")
    assert full.value.filename == str(tmp_path / "a.csv")
    with pytest.raises(PermissionError) as other, files.replacing(tmp_path / "a.csv"):
        raise PermissionError(13, "Permission denied", "b.csv")
    assert other.value.filename == "b.csv"
