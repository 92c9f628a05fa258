"""Inputs of the command line, and exit statuses."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import draw_picture, make_manifest

from detector import __main__, cli, tasks
from detector.cli import app
from detector.pictures.images import encode


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tasks.train("detector", "spectrum", make_manifest(folder / "in", n=30), folder / "w", arguments={"size": 32})
    return folder / "w"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in").mkdir()
    for i, name in enumerate(("a.png", "b.png")):
        (tmp_path / "in" / name).write_bytes(encode(draw_picture(i)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code or 0


def feed(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_score_ends_with_a_summary(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", "in", "--detector", weights) == 0
    assert capsys.readouterr().err.splitlines()[-1].startswith("2 scored: ")
    for name in ("a.svg", "b.SVG", "c.psd", "torn.png"):
        (folder / "in" / name).write_text("x")
    assert run("score", "in", "--detector", weights, "-o", "s.csv") == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("3 scored: ")
    assert "1 error; 3 left out: 2 .svg, 1 .psd" in last
    assert last.endswith("; status 3")


def test_a_picture_on_standard_input(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (folder / "in" / "a.png").read_bytes()
    feed(data, monkeypatch)
    assert run("score", "--stdin", "in/a.png", "--detector", weights, "-o", "s.csv") == 0
    table = pd.read_csv("s.csv")
    assert table.path.tolist() == ["in/a.png", "standard input"]
    assert table.score[0] == table.score[1]
    feed(data, monkeypatch)
    assert run("score", "-", "--detector", weights) == 2
    assert "--stdin" in capsys.readouterr().err
    feed(b"", monkeypatch)
    assert run("score", "--stdin", "--detector", weights) == 3


@pytest.mark.parametrize(
    "data", [b"in/a.png\0in/b.png\0", "in/a.png\nin/b.png\n".encode("utf-16"), b"\xef\xbb\xbfin/a.png\r\nin/b.png\r\n"]
)
def test_lists_on_standard_input(data: bytes, folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(data, monkeypatch)
    assert run("score", "-", "--detector", weights, "-o", "s.csv") == 0
    assert pd.read_csv("s.csv").path.tolist() == ["in/a.png", "in/b.png"]


def test_control_characters_in_names_are_escaped(
    folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [b"\x1b]0;owned\x07\x1b[2K\x1b[1A.png", "\u202egnp.png".encode(), b"caf\xe9.png", b"\xc2\x9b2K.png"]
    for name in names:
        Path("in", os.fsdecode(name)).write_bytes((folder / "in" / "a.png").read_bytes())
    assert run("score", "in", "--detector", weights) == 0
    out, err = capsys.readouterr()
    assert not {"\x1b", "\x07", "\u202e", "\x9b", "\udce9"} & set(out + err)
    assert all(text in out for text in ("\\x1b]0;owned\\x07", "\\u202egnp", "caf\\xe9.png", "\\x9b2K"))
    assert run("score", "\x1b[2K", "--detector", "\x1b[1A") == 2
    assert "\x1b" not in capsys.readouterr().err


def test_index_leaves_out_unreadable_pictures_and_reports_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "in" / "empty.jpg").touch()
    assert run("index", "in", "--label", "real", "-o", "m.csv") == 3
    assert "empty.jpg: the file is empty" in capsys.readouterr().err
    assert len(pd.read_csv("m.csv")) == 2
    (folder / "in" / "empty.jpg").unlink()
    (folder / "in" / "LICENCE.txt").touch()
    assert run("index", "in", "--label", "real", "-o", "m.csv") == 0
    assert "1 left out: 1 .txt" in capsys.readouterr().err


def test_a_table_of_another_tool_is_evaluated_by_the_names_of_its_columns(folder: Path) -> None:
    table = make_manifest(folder / "set", n=20)
    theirs = pd.DataFrame({"Datei": table.path, "Klasse": table.label.map({0: "real", 1: "fake"}),
                           "Wert": table.label * 4.0 - 2 + table.index * 1e-3})  # fmt: skip
    theirs[["Datei", "Klasse"]].to_csv("m.csv", index=False, sep=";", encoding="utf-16")
    theirs[["Datei", "Wert"]].to_csv("s.csv", index=False)
    columns = [word for name in ("path=Datei", "label=Klasse", "score=Wert") for word in ("--column", name)]
    assert run("evaluate", "m.csv", "--scores", "s.csv", *columns, "--no-audit", "-o", "out") == 0
    assert run("evaluate", "m.csv", "--scores", "s.csv", "--no-audit", "-o", "out") == 2


def test_probabilities_of_others_are_evaluated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = make_manifest(folder / "set", n=10)
    theirs = pd.DataFrame({"path": table.path, "prediction": 0.2 + 0.5 * table.label + table.index * 1e-3})
    theirs.to_csv("s.csv", index=False)
    words = ["evaluate", "set/manifest.csv", "--scores", "s.csv", "--column", "score=prediction", "--no-audit"]
    assert run(*words, "-o", "out", "--probabilities") == 0
    assert "as probabilities do" not in (folder / "out" / "report.md").read_text()
    theirs.assign(prediction=100 * theirs.prediction).to_csv("s.csv", index=False)
    capsys.readouterr()
    assert run(*words, "-o", "out", "--probabilities") == 2
    assert "s.csv, row 0 " in capsys.readouterr().err


def test_labels_in_words_are_read_wherever_a_manifest_is(folder: Path) -> None:
    table = make_manifest(folder / "set", n=4)
    table.assign(label=table.label.map({0: "real", 1: "fake"}))[["path", "label"]].to_csv("words.csv", index=False)
    assert run("mix", "words.csv", "-o", "mixed.csv", "--no-audit", "--format", "png") == 0
    assert sorted(pd.read_csv("mixed.csv").label) == [0] * 4 + [1] * 4
    with open("in/metadata.jsonl", "w") as file:
        file.write('{"file_name": "a.png", "label": "photograph"}\n{"file_name": "b.png", "label": "fake"}\n')
    assert run("index", "in", "--layout", "jsonl", "-o", "m.csv") == 0
    assert pd.read_csv("m.csv").label.tolist() == [0, 1]


@pytest.mark.parametrize(
    "words",
    ["score in/a.png -o taken.csv", "score in/a.png -o file/s.csv", "index in --label real -o taken.csv",
     "index in --label real -o file/m.csv", "generate style -n 1 -o file", "generate style -n 1 -o file/sub",
     "evaluate set/manifest.csv -o file", "audit set/manifest.csv --fix file"],
)  # fmt: skip
def test_an_output_that_cannot_be_written_is_one_line(
    words: str, folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file").touch()
    (folder / "taken.csv").mkdir()
    make_manifest(folder / "set", n=4)
    more = ["--detector", weights] if words.split()[0] in ("score", "evaluate") else []
    assert run(*words.split(), *more) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "file" in err or "taken.csv" in err


IMPORT = ImportError("initialization failed")  # what an interrupted import of a compiled module raises
IMPORT.__cause__ = KeyboardInterrupt()


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [(OSError(28, "No space left on device"), 2, "No space left on device"),
     (PermissionError(13, "Permission denied", "x\x1b"), 2, "x\\x1b: Permission denied"),
     (KeyboardInterrupt(), 130, "interrupted"), (IMPORT, 130, "interrupted"),
     (RuntimeError("a mistake"), 70, "Traceback")],
)  # fmt: skip
def test_exit_statuses(
    error: BaseException, status: int, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(tasks, "score_inputs", fail)
    assert run("score", "in") == status
    out, err = capsys.readouterr()
    assert words in err
    assert status == 70 or len(err.splitlines()) == 1
    assert out == ""


def test_help_and_version_exit_with_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert run("score", "--help") == 0
    assert run("--version") == 0
    assert app is not None
    assert "Traceback" not in capsys.readouterr().err


def heed_interrupts() -> None:
    """Undo that a shell makes what it starts in the background ignore Ctrl-C, which children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_before_the_command_line_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("builtins.__import__", interrupt)
        with pytest.raises(SystemExit) as ended:
            __main__.run()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "detector: interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_is_one_line(folder: Path, weights: Path) -> None:
    os.mkfifo("list")
    with open(os.open("list", os.O_RDWR)) as held:  # a list that never ends
        process = subprocess.Popen([sys.executable, "-m", "detector", "score", "-", "--detector", weights],
                                   stdin=held, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   preexec_fn=heed_interrupts)  # fmt: skip
        time.sleep(1)
        for _ in range(60):
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGINT)
            time.sleep(2)
        else:
            process.kill()
        out, err = process.communicate()
    assert (process.returncode, out) in ((130, ""), (-2, ""))
    assert len(err.splitlines()) == 1 or process.returncode == -2


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor")
def test_a_closed_output_is_no_error() -> None:
    words = shlex.join([sys.executable, "-m", "detector", "list"])
    for closed in (">&-", ">&- 2>&-"):
        done = subprocess.run(f"{words} {closed}", shell=True, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
