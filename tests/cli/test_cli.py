"""The command line as a user meets it: exit statuses, what is on which stream."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import run_command, run_inside

from detector import __version__


def test_a_process_prints_and_ends_as_the_command_does() -> None:
    done = run_command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"detector {__version__}\n", "")
    done = run_command("score", "x.jpg", "--detector", "absent")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("detector: absent holds no card.json")


def test_list_names_every_kind() -> None:
    text = run_inside("list").stdout
    assert all(word in text for word in ("crude", "style", "cnn", "spectrum", "auc", "tpr_at_fpr_1"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "x.jpg", "--detector", "absent"], "absent holds no card.json"),
        (["generate", "stile", "-n", 1], "did you mean 'style'"),
        (["train", "detector", "cnn", "--manifest", "absent.csv", "-o", "o"], "there is no file absent.csv"),
        (["evaluate", "absent.csv", "--scores", "s.csv"], "there is no file absent.csv"),
        (["generate", "style", "--mix", "1-x", "2"], "seeds are numbers such as 1,2,5-8"),
        (["score", "x.jpg", "--faces", "faces.csv"], "name that table too, with -o"),
        (["score", "x.jpg", "-o", "s.csv", "--faces", "./s.csv"], "name two files"),
        (["score", "x.jpg", "-o", "s.csv", "--faces", "faces.txt"], "faces.txt: scores are written as .csv"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path: Path, words: list[object], message: str) -> None:
    done = run_inside(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_cards_are_shown() -> None:
    done = run_inside("list", "--card", "style-64")
    assert done.returncode == 0, done.stderr
    assert "FairFace" in done.stdout
    assert run_inside("list", "--card", "absent").returncode == 2
    shown = run_inside("list", "--card", "default").stdout
    assert "split train, label 0, dataset " in shown
    assert "{'" not in shown
