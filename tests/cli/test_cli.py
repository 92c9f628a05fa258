"""The command line as a user meets it: real processes, exit statuses, what is on which stream."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture, make_manifest, png_header, run_command
from PIL import Image

from detector import __version__
from detector.evaluation.suites import SHIPPED
from detector.pictures.images import decode, encode
from detector.scoring.checkpoint import read_card, read_tensors, write_checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a drawn manifest and two detectors trained on it through the command line."""
    folder = tmp_path_factory.mktemp("cli")
    make_manifest(folder / "in", n=40)
    manifest = folder / "in" / "manifest.csv"
    for name, more in (("spectrum", ["--size", 48]), ("cnn", ["--size", 48, "--backbone", "resnet10t", "--epochs", 1])):
        done = run_command("train", "detector", name, "--manifest", manifest, "-o", folder / name, *more)
        assert done.returncode == 0, done.stderr
    return folder


def test_version_and_module_form() -> None:
    assert run_command("--version").stdout == f"detector {__version__}\n"


def test_list_names_every_kind() -> None:
    text = run_command("list").stdout
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
    done = run_command(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_index_then_score_a_mixed_folder(tmp_path: Path, data: Path) -> None:
    """200 photographs, a text file, a truncated JPEG, a bomb and an empty file: 204 rows, 4 errors, status 3."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for i in range(200):
        (folder / f"{i:03d}.jpg").write_bytes(encode(draw_picture(i, size=256), "JPEG"))
    (folder / "text.jpg").write_text("This is not a picture.")
    (folder / "torn.jpg").write_bytes(encode(draw_picture(1, size=256), "JPEG")[:2000])
    (folder / "bomb.png").write_bytes(png_header(20_000, 20_000))
    (folder / "empty.jpg").touch()
    code = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    out = tmp_path / "scores.csv"
    words = [
        sys.executable,
        "-c",
        code,
        sys.executable,
        "-m",
        "detector",
        "score",
        folder,
        "--detector",
        data / "cnn",
        "-o",
        out,
    ]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert int(done.stdout) < 600 * 1024  # kB
    table = pd.read_csv(out, keep_default_na=False)
    names = ["path", "sha256", "width", "height", "score", "probability", "verdict", "reason", "faces"]
    assert table.columns.tolist() == names
    assert len(table) == 204
    assert table.path.tolist() == sorted(str(p) for p in folder.iterdir())
    bad = table[table.verdict == "error"]
    assert sorted(Path(p).name for p in bad.path) == ["bomb.png", "empty.jpg", "text.jpg", "torn.jpg"]
    assert bad.reason.str.len().min() > 10


def test_standard_input_and_the_table(data: Path) -> None:
    table = pd.read_csv(data / "in" / "manifest.csv")
    paths = [str(data / "in" / p) for p in table.path[:3]]
    done = run_command("score", "-", "--detector", data / "spectrum", stdin="\n".join(paths))
    assert done.returncode == 0, done.stderr
    assert all(p in done.stdout for p in paths)
    assert done.stderr.count("\n") == 1


def test_scoring_imports_no_torch(data: Path) -> None:
    for name in ("cnn", "spectrum"):
        code = (
            f"import sys; from detector import tasks; tasks.score([r'{data / 'in'}'], detector=r'{data / name}');"
            "heavy = {'torch', 'timm', 'albumentations', 'sklearn', 'matplotlib'} & set(sys.modules);"
            "assert not heavy, heavy"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_evaluate_writes_its_report(tmp_path: Path, data: Path) -> None:
    words = ["evaluate", data / "in" / "manifest.csv", "--detector", data / "spectrum", "-o", tmp_path / "out"]
    done = run_command(*words, "--by", "dataset")
    assert done.returncode == 0, done.stderr
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"report.json", "report.md", "report.html", "roc.png", "det.png"} <= names
    assert "spectrum" in done.stdout
    metadata = json.loads((tmp_path / "out" / "report.json").read_text())["metadata"]
    assert {row["group"] for row in metadata["fairness"]["rows"]} == set(
        pd.read_csv(data / "in" / "manifest.csv").dataset
    )
    assert {row["generator"] for row in metadata["aligned"]} == {"one", "two"}
    assert "aligned AUC" in {finding["name"] for finding in metadata["audit"]}
    assert run_command(*words, "--by", "datase").returncode == 2
    done = run_command(*words, "--no-audit")
    metadata = json.loads((tmp_path / "out" / "report.json").read_text())["metadata"]
    assert (done.returncode, metadata["aligned"], metadata["audit"]) == (0, [], [])


def test_scores_of_another_tool_are_evaluated(tmp_path: Path, data: Path) -> None:
    table = pd.read_csv(data / "in" / "manifest.csv")
    scores = pd.DataFrame({"path": table.path, "score": table.label * 2.0 - 1 + np.arange(len(table)) * 1e-3})
    scores.to_csv(data / "in" / "scores.csv", index=False)
    done = run_command(
        "evaluate", data / "in" / "manifest.csv", "--scores", data / "in" / "scores.csv", "-o", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    assert "1.000" in done.stdout


def test_a_single_class_is_one_clear_error(tmp_path: Path, data: Path) -> None:
    table = pd.read_csv(data / "in" / "manifest.csv", keep_default_na=False)
    table[table.label == 0].to_csv(data / "in" / "reals.csv", index=False)
    done = run_command("evaluate", data / "in" / "reals.csv", "--detector", data / "spectrum", "-o", tmp_path)
    assert done.returncode == 2
    assert "fake" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_generate_and_mix_with_a_trained_generator(tmp_path: Path, data: Path) -> None:
    weights = tmp_path / "g"
    words = [
        "train",
        "generator",
        "style",
        "--manifest",
        data / "in" / "manifest.csv",
        "-o",
        weights,
        "--size",
        32,
        "--pictures",
        32,
    ]
    assert run_command(*words).returncode == 0
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        done = run_command(
            "generate", "style", "-n", 3, "--seed", 7, "-o", folder, "--weights", weights, "--truncation", 0.5,
            "--no-label",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "home").exists()
    a, b = ([p.read_bytes() for p in sorted(f.glob("*.png"))] for f in folders)
    assert len(a) == 3
    assert a == b
    table = pd.read_csv(folders[0] / "manifest.csv")
    assert table.generator.unique().tolist() == ["style"]
    assert table.group.tolist() == ["style/seed-7", "style/seed-8", "style/seed-9"]
    grid = tmp_path / "grid.png"
    done = run_command("generate", "style", "--mix", "1-2", "5,6,7", "-o", grid, "--weights", weights)
    assert done.returncode == 0, done.stderr
    with Image.open(grid) as picture:
        assert min(picture.size) > 32 * 3
        assert b"trainedAlgorithmicMedia" in grid.read_bytes()
    done = run_command("generate", "style", "-n", 1, "-o", tmp_path, "--weights", weights, "--sign-with", grid)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "private key" in done.stderr
    assert run_command("generate", "crude", "-n", 1, "--weights", weights).returncode == 2


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_killed_scoring_is_resumed_to_the_same_file(tmp_path: Path, data: Path) -> None:
    for i in range(400):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{i:03d}.png").write_bytes(encode(draw_picture(i, size=300)))
    words = ["score", tmp_path / "in", "--detector", data / "cnn", "-o"]
    assert run_command(*words, tmp_path / "whole.csv").returncode == 0
    out = tmp_path / "cut.csv"
    process = subprocess.Popen([sys.executable, "-m", "detector", *map(str, words), str(out)])
    partial = tmp_path / ".cut.csv.partial"
    while process.poll() is None and not (partial.exists() and partial.stat().st_size > 20_000):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert partial.exists()
    assert run_command(*words, out).returncode == 0
    whole, cut = pd.read_csv(tmp_path / "whole.csv"), pd.read_csv(out)
    assert np.abs(whole.score - cut.score).max() < 1e-6
    assert whole.path.equals(cut.path)
    assert not partial.exists()


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_killed_training_is_resumed(tmp_path: Path, data: Path) -> None:
    words = [
        "train",
        "detector",
        "cnn",
        "--manifest",
        data / "in" / "manifest.csv",
        "--size",
        48,
        "--backbone",
        "resnet10t",
        "--epochs",
        3,
    ]
    out = tmp_path / "cut"
    process = subprocess.Popen([sys.executable, "-m", "detector", *map(str, words), "-o", str(out)])
    while process.poll() is None and not (out / "resume.safetensors").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "card.json").exists()
    for folder in (out, tmp_path / "whole"):
        done = run_command(*words, "-o", folder)
        assert done.returncode == 0, done.stderr
        assert not list(folder.glob(".*"))
    histories = [(f / "history.json").read_text() for f in (out, tmp_path / "whole")]
    assert histories[0] == histories[1]


def test_index_of_a_tree_and_of_another_layout(tmp_path: Path) -> None:
    for i in range(8):
        folder = tmp_path / "set" / ("real" if i % 2 else "fake/gan")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(encode(draw_picture(i, size=16)))
    done = run_command("index", tmp_path / "set", "-o", tmp_path / "a.csv")
    assert done.returncode == 0, done.stderr
    done = run_command("index", tmp_path / "set", "--layout", "folders", "-o", tmp_path / "b.csv")
    assert done.returncode == 0, done.stderr
    tables = [pd.read_csv(tmp_path / name, keep_default_na=False) for name in ("a.csv", "b.csv")]
    assert tables[0].label.tolist() == tables[1].label.tolist()
    assert set(tables[0].generator) == {"", "gan"}


def test_audit_finds_a_planted_shortcut(tmp_path: Path) -> None:
    for name, format in (("clean", "PNG"), ("planted", "JPEG")):
        for i in range(120):
            folder = tmp_path / name / ("real" if i % 2 else "fake/gan")
            folder.mkdir(parents=True, exist_ok=True)
            picture = decode(encode(draw_picture(i, size=32), "JPEG"))  # what was never a JPEG would show even then
            data = encode(picture, "PNG" if i % 2 else format)
            (folder / f"{i}.png").write_bytes(data)
        assert run_command("index", tmp_path / name, "-o", tmp_path / f"{name}.csv").returncode == 0
    clean, planted = (run_command("audit", tmp_path / f"{name}.csv") for name in ("clean", "planted"))
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert planted.returncode == 1, planted.stdout + planted.stderr
    assert "file format" in planted.stdout
    fixed = run_command("audit", tmp_path / "planted.csv", "--fix", tmp_path / "fixed", "--size", 32)
    assert fixed.returncode == 1
    assert run_command("audit", tmp_path / "fixed" / "manifest.csv").returncode == 0


def test_the_smoke_suite_passes_its_gate_and_a_worse_detector_does_not(tmp_path: Path) -> None:
    words = ["evaluate", "--suite", "smoke", "--baseline", "smoke", "-o"]
    done = run_command(*words, tmp_path / "same", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gate: passed" in done.stdout
    assert (tmp_path / "same" / "junit.xml").is_file()
    metadata = json.loads((tmp_path / "same" / "report.json").read_text())["metadata"]
    assert {"aligned AUC", "file format", "twins across splits"} <= {finding["name"] for finding in metadata["audit"]}
    assert metadata["aligned"]
    worse = tmp_path / "spectrum"
    shutil.copytree(SHIPPED / "spectrum", worse)
    tensors = read_tensors(worse)
    tensors["slope"] = tensors["slope"] * np.random.default_rng(0).normal(0, 1, tensors["slope"].shape)
    write_checkpoint(worse, tensors, read_card(worse, "detector"))
    done = run_command(*words, tmp_path / "worse", "--detector", worse, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "gate: failed" in done.stdout


def test_cards_are_shown() -> None:
    done = run_command("list", "--card", "style-64")
    assert done.returncode == 0, done.stderr
    assert "FairFace" in done.stdout
    assert run_command("list", "--card", "absent").returncode == 2
