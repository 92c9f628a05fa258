"""The task `train`: folders of earlier runs, devices, several processes, progress."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import run_inside

from detector import tasks
from detector.errors import CheckpointError, DetectorError
from detector.learning.backbones import make_backbone
from detector.learning.devices import pick_device


def test_a_folder_trained_with_other_settings_is_refused_and_the_differences_are_named(
    tmp_path: Path, manifest: pd.DataFrame
) -> None:
    tasks.train("detector", "spectrum", manifest, tmp_path, arguments={"size": 32})
    card = (tmp_path / "card.json").read_bytes()
    tasks.train("detector", "spectrum", manifest, tmp_path, arguments={"size": 32})
    tasks.train("detector", "spectrum", manifest, tmp_path, arguments={"size": 32, "bins": 32})  # the default
    assert (tmp_path / "card.json").read_bytes() == card
    for changes, words in (
        ({"arguments": {"size": 48}}, "size: 32 then, 48 now"),
        ({"arguments": {"size": 32}, "seed": 1}, "seed: 0 then, 1 now"),
    ):
        with pytest.raises(CheckpointError, match=words):
            tasks.train("detector", "spectrum", manifest, tmp_path, **changes)
    with pytest.raises(CheckpointError, match="pictures of the manifest"):
        tasks.train("detector", "spectrum", manifest[5:], tmp_path, arguments={"size": 32})
    with pytest.raises(CheckpointError, match="detector: spectrum then, cnn now"):
        tasks.train("detector", "cnn", manifest, tmp_path)
    assert (tmp_path / "card.json").read_bytes() == card


def test_a_folder_in_which_a_run_failed_at_once_takes_other_settings(tmp_path: Path, manifest: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="empty"):
        tasks.train("detector", "spectrum", manifest, tmp_path, arguments={"size": 32, "bins": 0})
    assert [path.name for path in tmp_path.iterdir()] == ["training.json"]
    tasks.train("detector", "spectrum", manifest, tmp_path, arguments={"size": 32, "bins": 16})
    assert (tmp_path / "card.json").is_file()


def test_leftovers_of_a_killed_training_are_removed(tmp_path: Path, manifest: pd.DataFrame) -> None:
    (tmp_path / ".resume.1234567.tmp.safetensors").touch()
    tasks.train("detector", "spectrum", manifest, tmp_path, arguments={"size": 32})
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["cuda:7", "gpu", "tpu:x", ""])
def test_an_absent_device_is_one_sentence(name: str) -> None:
    with pytest.raises(DetectorError, match="there is no device"):
        pick_device(name)
    assert pick_device("cpu").type == "cpu"


def test_a_backbone_that_timm_does_not_know_is_named_beside_the_nearest() -> None:
    with pytest.raises(DetectorError, match="no backbone named 'resnet500'; did you mean 'resnet50"):
        make_backbone("resnet500")
    with pytest.raises(DetectorError) as error:
        make_backbone("?")
    assert len(str(error.value)) < 2000


def test_a_detector_that_uses_no_device_takes_none(tmp_path: Path, manifest: pd.DataFrame) -> None:
    with pytest.raises(DetectorError, match="leave out --device"):
        tasks.train("detector", "spectrum", manifest, tmp_path, device="meta")


BOTH = """
import runpy, sys
words = sys.argv[1:]
for out, *length in (("pictures", "--pictures", "64"), ("minutes", "--minutes", "0.02")):
    sys.argv = ["detector", *words, "-o", out, *length]
    try:
        runpy.run_module("detector", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        assert not ended.code, ended.code
"""


def test_two_processes_train_one_generator(tmp_path: Path, manifest: pd.DataFrame) -> None:
    """One training run of a number of pictures and one of a time, in the same two processes."""
    (tmp_path / "both.py").write_text(BOTH)
    words = ["train", "generator", "crude", "--manifest", Path(manifest.path[0]).parent / "manifest.csv",
             "--device", "cpu"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "both.py",
         *map(str, words)],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=tmp_path, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "trained: pictures\ntrained: minutes\n"
    for out in ("pictures", "minutes"):
        losses = pd.read_csv(tmp_path / out / "losses.csv")
        assert np.isfinite(losses.to_numpy()).all()
        assert out != "pictures" or losses.pictures.tolist() == [64]
        assert tasks.generate("crude", 1, tmp_path / f"{out} made", weights=tmp_path / out, label=False).shape[0] == 1


def test_training_prints_its_progress_without_a_terminal(tmp_path: Path, manifest: pd.DataFrame) -> None:
    table = Path(manifest.path[0]).parent / "manifest.csv"
    done = run_inside("train", "generator", "crude", "--manifest", table, "--pictures", 64, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(r"64 of 64 pictures, \d+ s: loss_d [-.\de]+, loss_g .*", line)
