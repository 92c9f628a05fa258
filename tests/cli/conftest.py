"""Shared by the tests of single commands: a drawn manifest and detectors trained on it through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import make_manifest, run_inside


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 80 drawn pictures and their `manifest.csv`; read only."""
    folder = tmp_path_factory.mktemp("drawn-for-commands")
    make_manifest(folder, n=40)
    return folder


@pytest.fixture(scope="session")
def spectrum(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained `spectrum`."""
    return _train("spectrum", drawn, tmp_path_factory.mktemp("spectrum"), "--size", 48)


@pytest.fixture(scope="session")
def cnn(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained `cnn`."""
    more = ("--size", 48, "--backbone", "resnet10t", "--epochs", 1)
    return _train("cnn", drawn, tmp_path_factory.mktemp("cnn"), *more)


def _train(name: str, drawn: Path, folder: Path, *more: object) -> Path:
    done = run_inside("train", "detector", name, "--manifest", drawn / "manifest.csv", "-o", folder, *more)
    assert done.returncode == 0, done.stderr
    return folder
