"""--set can set every hyper-parameter of every generator and detector that is trained."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
from conftest import run_inside

from detector.detectors import DETECTORS
from detector.generators import GENERATORS
from detector.scoring.checkpoint import read_card
from detector.tasks import list_settings, read_settings
from detector.types import Trainable

PLUGINS = [("generator", name) for name in GENERATORS if issubclass(GENERATORS.get(name), Trainable)]
PLUGINS += [("detector", name) for name in DETECTORS if issubclass(DETECTORS.get(name), Trainable)]


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_every_hyper_parameter_can_be_set_to_its_default(kind: str, name: str) -> None:
    registry = GENERATORS if kind == "generator" else DETECTORS
    known = list_settings(kind, name)
    arguments = set(inspect.signature(registry.get(name)).parameters)
    declared = registry.facts(name).get("options")
    options = set() if declared is None else {field.name for field in fields(declared)}
    assert set(known) == arguments | options
    made = read_settings(kind, name, [f"{key}={default}" for key, (_, default) in known.items()], {})
    assert {**made[0], **made[1]} == {key: default for key, (_, default) in known.items()}
    assert set(made[0]) == arguments


def test_settings_are_used_in_training(tmp_path: Path, manifest: pd.DataFrame) -> None:
    table = Path(manifest.path[0]).parent / "manifest.csv"
    done = run_inside("train", "generator", "crude", "--manifest", table, "--pictures", 32, "-o", tmp_path / "crude",
                       "--set", "width=8", "--set", "batch=16", "--set", "rate_g=0.01", "--set", "flip=no")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_card(tmp_path / "crude")["arguments"]["width"] == 8
    options = json.loads((tmp_path / "crude" / "options.json").read_text())
    assert (options["batch"], options["rate_g"], options["flip"]) == (16, 0.01, False)
    done = run_inside("train", "detector", "spectrum", "--manifest", table, "-o", tmp_path / "spectrum",
                       "--size", 32, "--set", "bins=8")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_card(tmp_path / "spectrum")["arguments"] == {"size": 32, "bins": 8, "strength": 1.0}


def test_a_setting_that_a_library_refuses_is_one_line(tmp_path: Path, manifest: pd.DataFrame) -> None:
    table = Path(manifest.path[0]).parent / "manifest.csv"
    done = run_inside("train", "generator", "crude", "--manifest", table, "-o", tmp_path, "--set", "batch=0")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "--set batch=0" in done.stderr
