"""The options `--config`, `--json` and `--quiet`, at any place of the command line, and `doctor`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import typer

from detector import cli
from detector.cli import rendering
from detector.cli.settings import read_config, split_arguments
from detector.errors import DetectorError
from detector.pictures import sandbox
from detector.tasks import diagnosing

ROOT = Path(__file__).parents[2]


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Return status, standard output and standard error of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_sets_options_and_the_command_line_overrules_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "run.toml").write_text('[score]\noutput = "of-the-file.csv"\n[train.detector]\nseed = 3\n')
    assert run(["score", str(diagnosing.SAMPLE), "--config", "run.toml"], capsys)[0] == 0
    assert (place / "of-the-file.csv").is_file()
    assert run(["--config=run.toml", "score", str(diagnosing.SAMPLE), "-o", "named.csv"], capsys)[0] == 0
    assert (place / "named.csv").is_file()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[score]\ncolour = "red"', "score has no option 'colour'"),
        ('[scoer]\noutput = "s.csv"', "there is no command 'scoer'"),
        ("[train.detectr]\nseed = 1", "there is no command 'train.detectr'"),
        ('output = "s.csv"', "there is no command 'output'"),
        ("[score]\noutput = true", "output of score is text, a number or a list"),
        ('[score]\nstdin = "yes"', "stdin of score is true or false"),
        ("[score", "is not a TOML file"),
        ("[score]\nworkers = 2", "the engine threads has none"),  # an option without effect, as on the command line
        ("[score]\nworkers = 0", "workers"),
    ],
)
def test_invalid_settings_are_one_line(text: str, why: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "run.toml").write_text(text)
    status, out, err = run(["score", "a.jpg", "--config", "run.toml"], capsys)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert why in err


def test_config_names_one_existing_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--config"], ["--config", "a", "--config=b"], ["--config="], ["--config", "absent.toml"]):
        status, _, err = run(["list", *words], capsys)
        assert (status, len(err.splitlines())) == (2, 1), words
    assert split_arguments(["a", "--", "--json"]) == (["a", "--", "--json"], set(), None)


def test_every_option_of_every_command_can_be_set(place: Path) -> None:
    app: object = typer.main.get_command(cli.app)

    def walk(group: object, above: tuple[str, ...]) -> None:
        for name, command in group.commands.items():  # type: ignore[attr-defined]
            if hasattr(command, "commands"):
                walk(command, (*above, name))
                continue
            for thing in command.params:
                options = [option[2:] for option in thing.opts if option.startswith("--")]
                if options:
                    value = "true" if thing.is_flag else "1"
                    (place / "run.toml").write_text(f"[{'.'.join((*above, name))}]\n{options[0]} = {value}\n")
                    settings = read_config(place / "run.toml", app)
                    for part in (*above, name):
                        settings = settings[part]
                    assert list(settings) == [thing.name]

    walk(app, ())


def test_json_prints_one_object_per_row_and_quiet_prints_nothing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--json", "score", "absent.png"], ["score", "absent.png", "--json"]):
        status, out, err = run(words, capsys)
        (row,) = map(json.loads, out.splitlines())
        assert (row["verdict"], row["score"], status) == ("error", None, 3)
        assert "1 scored" in err
    assert run(["score", "absent.png", "--quiet"], capsys) == (3, "", "")
    status, out, _ = run(["list", "--json"], capsys)
    assert any(json.loads(line).get("detectors") == "cnn" for line in out.splitlines())
    assert run(["list", "--quiet"], capsys) == (0, "", "")
    assert "cnn" in run(["list"], capsys)[1]  # the next command prints again
    assert (rendering.OUTPUT.json, rendering.OUTPUT.quiet) == (False, False)


def test_doctor_lists_extras_and_broken_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(diagnosing.EXTRAS) == set(declared)
    status, out, _ = run(["doctor", "--json"], capsys)
    states = {row["what"]: row["state"] for row in map(json.loads, out.splitlines())}
    assert status == 0
    assert states["self-test"] == states["process with limits"] == "ok"

    def fail(self: object) -> None:
        raise DetectorError("no process can be started")

    monkeypatch.setattr(sandbox.Sandbox, "start", fail)
    monkeypatch.setattr(diagnosing, "find_spec", lambda name: None)
    status, out, _ = run(["doctor"], capsys)
    assert status == 1
    assert "no process can be started" in out
    assert "pip install 'face-forgery-detector[serve]'" in out
    assert run(["doctor", "--detector", "absent"], capsys)[0] == 1
