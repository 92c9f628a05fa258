"""The whole line at tiny size, and the control that an honest line fails."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from detector import quickstart, tasks
from detector.dataset.manifest import read_manifest
from detector.scoring import tables
from detector.statistics.metrics import METRICS


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, quickstart.Made]:
    folder = tmp_path_factory.mktemp("quickstart")
    patch = pytest.MonkeyPatch()
    patch.setattr(quickstart, "OPTIONS", {"crude": {"pictures": 1_600}, "style": {"pictures": 128}})
    small_cnn = {"size": 64, "epochs": 1, "backbone": "resnet10t"}
    patch.setattr(quickstart, "ARGUMENTS", quickstart.ARGUMENTS | {"cnn": small_cnn})
    made = quickstart.run(folder, progress=lambda what, done, total: None)
    patch.undo()
    return folder, made


def test_it_leaves_what_it_promises(small: tuple[Path, quickstart.Made]) -> None:
    _, made = small
    assert all(path.exists() for path in made.paths.values())
    assert set(made.results.detector) == {"cnn", "spectrum"}
    assert set(made.results.generator) == {"crude", "style"}
    assert len(made.scored) == 3


def test_the_page_shows_every_picture_it_names_and_the_measured_figures(small: tuple[Path, quickstart.Made]) -> None:
    folder, made = small
    page = made.paths["page"].read_text()
    pictures = re.findall(r'src="([^"]+)"', page)
    assert len(pictures) == 5
    assert all((folder / name).is_file() for name in pictures)
    assert all((folder / name).is_file() for name in re.findall(r'href="([^"]+)"', page))
    for value in made.results[made.results.metric == "auc"].value:
        assert f"<td>{value:.3f}</td>" in page


def test_training_is_bounded_by_pictures_so_that_a_busy_machine_gives_the_same_result() -> None:
    assert all(options["pictures"] > 0 and "seconds" not in options for options in quickstart.OPTIONS.values())


def test_splits_share_no_person_and_no_seed(small: tuple[Path, quickstart.Made]) -> None:
    table = read_manifest(small[0] / "manifest.csv")
    assert (table.groupby("group").split.nunique() == 1).all()
    assert set(table.generator) == {"", "crude", "style"}
    assert {Path(p).suffix for p in table.path} == {".jpg"}


def test_a_second_run_is_instant_and_the_same(small: tuple[Path, quickstart.Made]) -> None:
    folder, made = small
    before = {p: p.stat().st_mtime_ns for p in (folder / "weights").rglob("*") if p.is_file()}
    again = quickstart.run(folder, progress=lambda what, done, total: None)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    pd.testing.assert_frame_equal(again.results, made.results)


def test_permuted_labels_teach_nothing(tmp_path: Path, small: tuple[Path, quickstart.Made]) -> None:
    """Give half of the training groups of each class the other label: what is then measured is leakage or luck.

    Luck is large in one run, since real against fake is the strongest direction in the pictures and any net leans one
    way along it; so it is averaged over several permutations.
    """
    table = read_manifest(small[0] / "manifest.csv")
    test = table[table.split == "test"]
    learnt = table[table.split != "test"]
    aucs = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        turned: set[str] = set()
        for _, rows in learnt.groupby(["split", "generator"]):
            groups = rng.permutation(rows.group.unique())
            turned |= set(groups[: len(groups) // 2])
        drawn = table.assign(label=np.where(table.group.isin(turned), 1 - table.label, table.label))
        drawn["generator"] = np.where(drawn.label == 1, "permuted", "")
        drawn["dataset"] = "permuted"  # photographs are drawn evenly over datasets, which would tell the true labels
        arguments = {"size": 32, "epochs": 2, "backbone": "resnet10t"}
        thing = tasks.train("detector", "cnn", drawn, tmp_path / str(seed), seed=seed, arguments=arguments)
        scores = tables.score_manifest(test, thing, "cnn", tmp_path / f"{seed}.csv")
        aucs.append(METRICS.get("auc")(test.label.to_numpy(), scores.score.to_numpy()))
    assert 0.35 <= np.mean(aucs) <= 0.65, aucs
