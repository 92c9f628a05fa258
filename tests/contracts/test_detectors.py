"""Properties of every detector: one finite score per face in any batch and order; saving and loading keep it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture

from detector.detectors import DETECTORS
from detector.errors import CheckpointError, ManifestError
from detector.types import Detector, Opinion

SMALL: dict[str, dict[str, Any]] = {"cnn": {"size": 48, "backbone": "resnet10t", "epochs": 2}, "spectrum": {"size": 48}}
FACES = np.stack([draw_picture(i, fake=i % 2 == 1) for i in range(9)])


@pytest.fixture(scope="module", params=list(DETECTORS))
def trained(
    request: pytest.FixtureRequest, manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    thing = DETECTORS.get(request.param)(**SMALL[request.param]).fit(manifest, seed=0, folder=folder)
    thing.save(folder)
    return thing, folder


def test_it_is_a_detector(trained: tuple[Any, Path]) -> None:
    assert isinstance(trained[0], Detector)


def test_one_finite_score_a_face(trained: tuple[Any, Path]) -> None:
    extremes = np.stack([np.zeros((48, 48, 3), np.uint8), np.full((48, 48, 3), 255, np.uint8)])
    scores = trained[0].score(np.concatenate([FACES, extremes]))
    assert scores.shape == (11,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


def test_scores_do_not_depend_on_batch_or_order(trained: tuple[Any, Path]) -> None:
    whole = trained[0].score(FACES)
    for n in (1, 2, 4, 5):
        assert np.concatenate([trained[0].score(FACES[i : i + n]) for i in range(0, 9, n)]).tolist() == whole.tolist()
    assert trained[0].score(FACES[::-1].copy()).tolist() == whole[::-1].tolist()


def test_save_and_load_change_nothing(trained: tuple[Any, Path]) -> None:
    thing, folder = trained
    again = type(thing).load(folder)
    assert np.allclose(again.score(FACES), thing.score(FACES), atol=1e-6)
    assert again.judge(np.array([-50.0, 50.0])) == [Opinion.LIKELY_REAL, Opinion.LIKELY_FAKE]


def test_the_same_seed_trains_the_same_detector(
    trained: tuple[Any, Path], manifest: pd.DataFrame, tmp_path: Path
) -> None:
    thing = type(trained[0])(**SMALL[trained[0].name]).fit(manifest, seed=0, folder=tmp_path)
    thing.save(tmp_path)
    assert np.allclose(thing.score(FACES), trained[0].score(FACES), atol=1e-3)


def test_the_card_rebuilds_it(trained: tuple[Any, Path]) -> None:
    import json

    card = json.loads((trained[1] / "card.json").read_text())
    assert card["detector"] == trained[0].name
    assert card["calibration"]["n_real"] > 0
    assert type(trained[0])(**card["arguments"]).size == trained[0].size


@pytest.mark.parametrize("name", list(DETECTORS))
def test_one_class_is_refused(name: str, manifest: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="needs both"):
        DETECTORS.get(name)(**SMALL[name]).fit(manifest[manifest.label == 0], seed=0, folder=tmp_path)


@pytest.mark.parametrize("name", list(DETECTORS))
def test_no_weights_is_a_clear_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights yet"):
        DETECTORS.get(name)().score(FACES)
    with pytest.raises(CheckpointError, match=r"holds no card\.json"):
        DETECTORS.get(name).load(tmp_path)
