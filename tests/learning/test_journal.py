"""The figures of a training run: a line for people, numbers for TensorBoard."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from detector import cli, tasks
from detector.errors import UnknownName
from detector.learning import journal
from detector.learning.processes import is_first

TABLE = "manifest.csv"


def read_events(folder: Path) -> dict[str, dict[int, float]]:
    """Return name -> step -> figure."""
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / journal.EVENTS)).Reload()
    return {name: {event.step: event.value for event in found.Scalars(name)} for name in found.Tags()["scalars"]}


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code or 0


def test_tensorboard_gets_the_losses_and_the_samples_of_a_generator(tmp_path: Path, manifest: pd.DataFrame) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    table = Path(manifest.path[0]).parent / TABLE
    words = ["train", "generator", "crude", "--manifest", table, "-o", tmp_path, "--pictures", 64, "--set", "width=8"]
    assert run(*words, "--set", "snapshot=32", "--log", "tensorboard", "--quiet") == 0
    losses = pd.read_csv(tmp_path / "losses.csv", index_col="pictures").drop(columns="seconds")
    found = read_events(tmp_path)
    assert set(found) == set(losses)
    for name in losses:
        assert found[name] == pytest.approx(losses[name].to_dict(), rel=1e-5)
    assert [e.step for e in EventAccumulator(str(tmp_path / journal.EVENTS)).Reload().Images("samples")] == [32, 64]


def test_every_epoch_of_a_detector_is_a_line_and_a_point(
    tmp_path: Path, manifest: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    words = ["train", "detector", "cnn", "--manifest", Path(manifest.path[0]).parent / TABLE, "-o", tmp_path,
             "--backbone", "resnet10t", "--size", 32, "--epochs", 2, "--set", "pretrained=no"]  # fmt: skip
    assert run(*words, "--log", "tensorboard") == 0
    lines = capsys.readouterr().err.splitlines()
    found = read_events(tmp_path)
    assert set(found) == {"loss", "validation AUC"}
    assert set(found["loss"]) == {1, 2}
    assert lines == [
        f"epoch {epoch} of at most 2: loss {found['loss'][epoch]:.4g}, validation AUC {auc:.3f}"
        for epoch, auc in found["validation AUC"].items()
    ]


def test_what_has_no_epochs_says_how_it_went_as_well(
    tmp_path: Path, manifest: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "detector.training")
    tasks.train("detector", "spectrum", manifest, tmp_path / "a", arguments={"size": 32})
    tasks.train("generator", "reconstruct", manifest, tmp_path / "b", arguments={"size": 32, "seconds": 0.05})
    first, *others = caplog.messages
    assert first.startswith("validation AUC ")
    assert [line.split(":")[0] for line in others] == ["nearest", "transposed", "shuffle", "bilinear", "haar"]


def test_without_the_extra_it_is_one_line_and_nothing_is_trained(
    tmp_path: Path, manifest: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    words = ["train", "detector", "spectrum", "--manifest", Path(manifest.path[0]).parent / TABLE, "-o", tmp_path]
    assert run(*words, "--log", "tensorboard") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "[tensorboard]" in line
    assert not list(tmp_path.iterdir())


def test_another_log_is_unknown(tmp_path: Path, manifest: pd.DataFrame) -> None:
    with pytest.raises(UnknownName, match="tensorboard"):
        tasks.train("detector", "spectrum", manifest, tmp_path, log="tensorbord")


def test_only_the_first_of_several_processes_notes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "detector.training")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        journal.note(f"by process {rank}", step=1, values={"loss": np.nan})
        assert is_first() == (rank == "0")
    assert caplog.messages == ["by process 0"]
    monkeypatch.delenv("RANK")
    assert is_first()
