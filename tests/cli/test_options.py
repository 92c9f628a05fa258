"""No option is silently ignored: each combination that would have no effect is one line and status 2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.models import OptionInfo

from detector import cli
from detector.cli import generating, making, measuring, showing, training, verifying

REFUSED = [  # command, option without effect, part of the message
    ("evaluate --suite smoke", "--split test", "the suite defines it"),
    ("evaluate --suite smoke", "--scores s.csv", "the suite defines it"),
    ("evaluate --suite smoke", "--by dataset", "the suite defines it"),
    ("evaluate --suite smoke", "--seed 0", "the suite defines it"),
    ("evaluate --suite smoke", "--column path=x", "the suite defines it"),
    ("evaluate --suite smoke", "--probabilities", "the suite defines it"),
    ("evaluate m.csv", "--probabilities", "--scores"),
    ("evaluate m.csv", "--baseline b.json", "only a --suite has"),
    ("evaluate m.csv", "--update-baseline", "only a --suite has"),
    ("evaluate --suite smoke", "--update-baseline", "--baseline"),
    ("generate swap --from m.csv", "--size 64", "the generator decides it"),
    ("generate swap --from m.csv", "--format png", "the generator decides it"),
    ("generate swap --from m.csv", "--truncation 0.5", "the generator decides it"),
    ("generate style --mix 1 2", "-n 3", "the seeds that --mix names"),
    ("generate style --mix 1 2", "--seed 3", "the seeds that --mix names"),
    ("generate style --mix 1 2", "--from m.csv", "the seeds that --mix names"),
    ("generate style --mix 1 2", "--format jpg", "the seeds that --mix names"),
    ("generate style --mix 1 2", "--edit coarse-1=2", "the seeds that --mix names"),
    ("generate style --mix 1 2", "--project", "the seeds that --mix names"),
    ("generate style --mix 1 2", "--directions", "the seeds that --mix names"),
    ("generate style --mix a.jpg b.jpg", "--truncation 0.5", "photographs are not truncated"),
    ("generate style --project a.jpg", "-n 3", "as large as the generator draws"),
    ("generate style --project a.jpg", "--from m.csv", "as large as the generator draws"),
    ("generate style --project a.jpg", "--format png", "as large as the generator draws"),
    ("generate style --project a.jpg", "--size 64", "as large as the generator draws"),
    ("generate style --project a.jpg", "--truncation 0.5", "as large as the generator draws"),
    ("generate style --project a.jpg", "--directions", "as large as the generator draws"),
    ("generate style --project a.jpg", "--column path=x", "as large as the generator draws"),
    ("generate style a.jpg", "", "with --project"),
    ("generate style a.jpg --mix 1 2", "", "with --project"),
    ("generate style", "--project", "name photographs after --project"),
    ("generate crude", "--project a.jpg", "crude cannot draw photographs; these can: style"),
    ("generate crude", "--edit coarse-1=2", "crude takes no edit; leave out --edit"),
    ("generate style --directions", "-n 3", "one face that --seed names"),
    ("generate style --directions", "--from m.csv", "one face that --seed names"),
    ("generate style --directions", "--format png", "one face that --seed names"),
    ("generate style --directions", "--edit coarse-1=2", "one face that --seed names"),
    ("generate style --directions", "--size 64", "style takes no size"),
    ("generate crude", "--directions", "crude has no directions of styles; these have: style"),
    ("generate swap --from m.csv", "--edit coarse-1=2", "the generator decides it"),
    ("generate style --no-label", "--sign-with key.pem", "--no-label"),
    ("generate crude", "--truncation 0.5", "crude takes no truncation"),
    ("generate style", "--size 64", "style takes no size"),
    ("generate style --mix 1 2", "--size 64", "style takes no size"),
    ("generate style", "--column path=x", "--from"),
    ("generate swap --from {manifest}", "--weights w", "takes no weights"),
    ("index folder --layout folders", "--label real", "the layout already gives it"),
    ("index folder --layout folders", "--generator x", "the layout already gives it"),
    ("index folder --layout folders", "--group folder", "the layout already gives it"),
    ("mix a.csv b.csv --format png", "--quality 80", "PNG is lossless"),
    ("quiz --answers a.csv", "-n 4", "exists already"),
    ("quiz --answers a.csv", "--generator style", "exists already"),
    ("quiz --answers a.csv", "--weights w", "exists already"),
    ("quiz --answers a.csv", "--feedback", "exists already"),
    ("quiz --answers a.csv", "--seed 1", "exists already"),
    ("quiz --answers a.csv", "a.jpg", "not both"),
    ("quiz a.jpg", "--detector w", "--answers"),
    ("score a.jpg", "--column path=x", "no input is a table"),
    ("score a.jpg", "--faces f.csv", "-o"),
    ("score a.jpg", "--frames 4", "no video among the inputs"),
    ("score a.jpg", "--frames-out f.jsonl", "no video among the inputs"),
    ("score a.jpg", "--workers 2", "the engine threads has none"),
    ("score - --stdin", "", "either a list (-) or one picture"),
    ("audit m.csv", "--size 64", "--fix"),
    ("verify a.jpg", "--key k.pem", "--check"),
    ("verify a.jpg", "--head 00", "--check"),
    ("verify a.jpg", "--exhibit a.jpg", "--check"),
    ("verify --check ev", "--sign k.pem", "--check examines nothing"),
    ("verify --check ev", "--fail-on likely-fake", "--check examines nothing"),
    ("verify --check ev a.jpg", "", "--check examines nothing"),
    ("feedback --export m.csv", "--note x", "not exported"),
    ("feedback r.json --label real", "--split test", "--export"),
    ("feedback r.json --label real", "--seed 0", "--export"),
    ("train detector spectrum --manifest {manifest} -o w", "--device meta", "leave out --device"),
    (
        "train detector spectrum --manifest {manifest} -o w",
        "--backbone x",
        "spectrum takes no backbone; leave out --backbone",
    ),
    (
        "train detector spectrum --manifest {manifest} -o w",
        "--epochs 1",
        "spectrum takes no epochs; leave out --epochs",
    ),
    ("train generator reconstruct --manifest {manifest} -o w", "--minutes 1", "leave out --minutes"),
    ("train generator reconstruct --manifest {manifest} -o w", "--loss logistic", "leave out --loss"),
    ("train generator reconstruct --manifest {manifest} -o w", "--pictures 9", "leave out --pictures"),
    ("train generator diffusion --manifest {manifest} -o w", "--loss logistic", "leave out --loss"),
    ("train generator crude --manifest {manifest} -o w", "--start w", "leave out --start"),
]
ALWAYS = {  # options that have an effect whatever else is given
    "evaluate": {"detector", "output", "no_audit", "suite"},
    "generate": {"output", "mix", "no_label"},
    "index": {"output", "dataset", "licence", "layout", "phash", "seed"},
    "mix": {"output", "size", "format", "crop", "no_audit", "column", "seed"},
    "quiz": {"output", "answers"},
    "gallery": {"output", "n", "detector", "no_ageing", "seed"},
    "score": {"detector", "stdin", "output", "engine", "shard"},
    "audit": {"fix", "column", "seed"},
    "verify": {"output", "case", "examiner", "detector", "known", "trust", "check"},
    "feedback": {"label", "export"},
    "train_detector": {"manifest", "output", "seed", "column", "size", "set", "log"},
    "train_generator": {"manifest", "output", "seed", "column", "device", "size", "pictures", "start", "set", "log"},
}
VALUES = [
    ("score a.jpg", "--runtime tpu", ""),
    ("score a.jpg", "--engine spark", "there are threads"),
    ("score a.jpg", "--shard 2", "such as 1/4"),
    ("score a.jpg", "--shard 0/2", "no shard"),
    ("score a.jpg", "--shard 2/2", "is empty"),
    ("generate crude", "--seed -1", "--seed"),
    ("generate crude", "--seed 99999999999999999999", "--seed"),
    ("generate crude", "-n 0", "-n"),
    ("generate crude", "-n 99999999999", "-n"),
    ("generate crude -n 16", "--seed 4294967295", "together"),
    ("generate style", "--mix 1-99999999999 2", "at most"),
    ("generate style", "--mix 8-5 2", "seeds are numbers"),
    ("generate style", "--mix 99999999999 2", "seeds are numbers"),
    ("generate style", "--mix absent.jpg 2", "absent.jpg: "),
    ("generate style", "--mix absent.safetensors 2", "holds no codes of faces"),
    ("generate style", "--size 100000", "--size"),
    ("generate style", "--edit coarse-1", "such as coarse-1=2"),
    ("generate style", "--edit coarse-1=much", "such as coarse-1=2"),
    ("generate style", "--edit coarse-1=nan", "such as coarse-1=2"),
    ("generate style", "--edit smile=2", "directions are coarse-1 to coarse-128"),
    ("generate style", "--edit coarse-1=2 --edit coarse-1=3", "chosen twice"),
    ("generate style", "--project absent.jpg", "absent.jpg: "),
    ("generate style", "--project folder", "there is no picture"),
    ("audit m.csv --fix f", "--size 0", "--size"),
    ("train detector cnn --manifest m.csv -o w", "--epochs 0", "--epochs"),
    ("train detector cnn --manifest m.csv -o w", "--size 99999999", "--size"),
    ("train generator style --manifest m.csv -o w", "--pictures -5", "--pictures"),
    ("train detector cnn --manifest m.csv -o w", "--set batch", "such as batch=16"),
    ("train detector cnn --manifest m.csv -o w", "--set batsh=3", "did you mean 'batch'"),
    ("train detector cnn --manifest m.csv -o w", "--set batch=many", "batch is a whole number, not 'many'"),
    ("train detector cnn --manifest m.csv -o w", "--set rate=-1", "rate is at least 0"),
    ("train detector cnn --manifest m.csv -o w", "--set rate=nan", "rate is at least 0"),
    ("train detector spectrum --manifest m.csv -o w", "--set size=1025", "size is at most 1024 pixels"),
    ("train detector spectrum --manifest m.csv -o w", "--size 1025", "1024"),
    ("train detector cnn --manifest m.csv -o w", "--set residual=perhaps", "residual is true or false"),
    ("train detector cnn --manifest m.csv -o w", "--set batch=2 --set batch=3", "chosen twice"),
    ("train detector cnn --manifest m.csv -o w", "--size 64 --set size=48", "size is chosen twice"),
    ("train generator crude --manifest m.csv -o w", "--set rate=2", "no hyper-parameter of crude named 'rate'"),
    ("train generator crude --manifest m.csv -o w", "--set KEY=?", "z_dim=64"),
    ("score", "", "name pictures"),
    ("score a.jpg", "--colunm path=x", "--column"),
    ("score t.csv", "--column path", "NAME=COLUMN"),
    ("scoer", "", "score"),
    ("quiz", "", "name photographs"),
    ("quiz a.jpg", "-n 1", "-n"),
    ("quiz --answers a.csv", "-o absent", "holds no quiz"),
    ("index absent", "", "no folder absent"),
]


def complain(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that has to fail with status 2 and one line, and return the line."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, ""), err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("detector: ")
    return err


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: object) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(("words", "option", "why"), REFUSED)
def test_an_option_without_effect_is_refused(
    words: str, option: str, why: str, place: Path, capsys: pytest.CaptureFixture[str], manifest: object
) -> None:
    table = Path(manifest.path[0]).parent / "manifest.csv"  # type: ignore[attr-defined]
    message = complain(f"{words.format(manifest=table)} {option}", capsys)
    assert why in message
    assert not [p.name for p in place.iterdir() if p.name not in ("folder", "w", "home")]


@pytest.mark.parametrize(("words", "option", "why"), VALUES)
def test_an_invalid_value_is_one_line(
    words: str, option: str, why: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why in complain(f"{words} {option}", capsys)


def test_every_option_is_tested_or_always_has_an_effect() -> None:
    commands = [making.index, generating.generate, making.mix, measuring.score, measuring.evaluate, measuring.audit,
                showing.gallery, showing.quiz, verifying.verify, verifying.feedback, training.train_detector,
                training.train_generator]  # fmt: skip
    walked = {name: set(always) for name, always in ALWAYS.items()}
    for words, option, _ in REFUSED:
        name = "_".join(words.split()[:2]) if words.startswith("train") else words.split()[0]
        walked[name] |= set(re.findall(r"--?([a-z][a-z-]*)", f"{words} {option}"))
    for command in commands:
        hints = typer.main.get_params_from_function(command)
        known = {part.replace("-", "_") for part in walked[command.__name__]}
        for name, hint in hints.items():
            if isinstance(hint.default, OptionInfo):
                names = {name, *(d.lstrip("-").replace("-", "_") for d in hint.default.param_decls or ())}
                assert names & known, f"{command.__name__} --{name}: in which company has it no effect?"


@pytest.mark.parametrize("command", [
    "generate crude -n 1", "index .", "mix a.csv b.csv", "score .", "evaluate a.csv", "gallery", "quiz a.csv",
    "quickstart", "train detector spectrum a.csv", "train generator crude a.csv", "verify a.jpg",
])  # fmt: skip
@pytest.mark.parametrize("output", ["", "-"])
def test_an_output_without_a_name_is_refused(
    command: str, output: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty word is often a variable of the shell that is not set, and would mean the working folder."""
    before = sorted(place.iterdir())
    with pytest.raises(SystemExit) as ended:
        cli.main([*command.split(), "-o", output])
    assert ended.value.code == 2
    assert f"{output!r} is no file or folder" in capsys.readouterr().err
    assert sorted(place.iterdir()) == before
