"""Properties of every generator: same seed, same bytes; shape, type and range; saving and loading."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, draw_picture
from safetensors.numpy import load_file

from detector import tasks
from detector.errors import CheckpointError, DetectorError
from detector.generators import GENERATORS, generator_options
from detector.scoring.checkpoint import read_tensors, write_checkpoint

TRAINABLE = [name for name in GENERATORS if {"sample", "fit"} <= set(dir(GENERATORS.get(name)))]
ALTERING = [name for name in GENERATORS if hasattr(GENERATORS.get(name), "alter")]
SMALL: dict[str, dict[str, Any]] = {
    "style": {"size": 32, "width": 16, "w_dim": 16, "z_dim": 16, "depth": 2},
    "crude": {"width": 8},
    "diffusion": {"size": 32, "width": 8, "levels": 3, "steps": 3},
}
SMALL_ALTERING: dict[str, dict[str, Any]] = {
    "reconstruct": {"size": 32, "width": 8, "seconds": 0.2},
    "latent": {"size": 32, "width": 8},
}
RATE = {"diffusion": "rate"}  # the name of an option of each, `rate_g` elsewhere
SHORT = {"pictures": 64, "batch": 8, "snapshot": 32}


def assert_same_state(whole: Path, again: Path) -> None:
    """The networks, their averages and the moments of the optimisers of two runs are equal but for rounding."""
    first, second = (load_file(folder / "resume.safetensors") for folder in (whole, again))
    assert first.keys() == second.keys()
    apart = {key: np.abs(second[key].astype(float) - value).max() for key, value in first.items()}
    assert {key: gap for key, gap in apart.items() if gap > 1e-4 * np.abs(first[key]).max()} == {}


def fitted(name: str, manifest: pd.DataFrame, folder: Path, seed: int = 0, **changes: Any) -> Any:
    options = generator_options(name, SHORT | changes)
    return GENERATORS.get(name)(**SMALL.get(name, {})).fit(manifest, seed=seed, folder=folder, **options)


@pytest.fixture(scope="module", params=TRAINABLE)
def trained(
    request: pytest.FixtureRequest, manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    thing = fitted(request.param, manifest, folder)
    thing.save(folder)
    return thing, folder


def test_samples_are_rgb_pictures(trained: tuple[Any, Path]) -> None:
    images = trained[0].sample(3, seed=0)
    assert images.shape == (3, trained[0].size, trained[0].size, 3)
    assert images.dtype == np.uint8
    assert len({image.tobytes() for image in images}) == 3


def test_crude_also_draws_in_colour_and_in_other_sizes(manifest: pd.DataFrame, tmp_path: Path) -> None:
    options = generator_options("crude", SHORT)
    thing = GENERATORS.get("crude")(width=4, size=64, colour=True).fit(manifest, seed=0, folder=tmp_path, **options)
    thing.save(tmp_path)
    images = type(thing).load(tmp_path).sample(2, seed=0)
    assert images.shape == (2, 64, 64, 3)
    assert (images[..., 0] != images[..., 1]).any()


def test_a_picture_depends_on_its_own_seed_alone(trained: tuple[Any, Path]) -> None:
    many = trained[0].sample(20, seed=5)
    assert np.array_equal(many[:4], trained[0].sample(4, seed=5))
    assert np.array_equal(many[17:], trained[0].sample(3, seed=22))


def test_a_checkpoint_can_be_saved_and_loaded(trained: tuple[Any, Path]) -> None:
    thing, folder = trained
    again = type(thing).load(folder)
    assert np.array_equal(again.sample(2, seed=1), thing.sample(2, seed=1))


def test_an_incomplete_checkpoint_is_refused(trained: tuple[Any, Path], tmp_path: Path) -> None:
    thing, folder = trained
    tensors = read_tensors(folder)
    tensors.pop(next(name for name in tensors if not name.startswith("d.")))
    write_checkpoint(tmp_path, tensors, {"generator": thing.name, "arguments": SMALL[thing.name]})
    with pytest.raises(CheckpointError, match="lacks 1 of"):
        type(thing).load(tmp_path)


def test_it_leaves_its_options_losses_and_grids(trained: tuple[Any, Path]) -> None:
    names = {p.relative_to(trained[1]).as_posix() for p in trained[1].rglob("*")}
    assert {"options.json", "losses.csv", "samples/00000032.png", "samples/00000064.png"} <= names
    losses = pd.read_csv(trained[1] / "losses.csv")
    assert losses.pictures.tolist() == [32, 64]
    assert np.isfinite(losses.to_numpy()).all()


def test_an_interrupted_run_ends_as_the_uninterrupted_one(
    trained: tuple[Any, Path], manifest: pd.DataFrame, tmp_path: Path
) -> None:
    whole, name = trained[0], trained[0].name

    class Killed(Exception):
        pass

    def kill(what: str, done: int, total: int) -> None:
        if what == "training" and done == 48:
            raise Killed

    options = generator_options(name, SHORT)
    with pytest.raises(Killed):
        GENERATORS.get(name)(**SMALL[name]).fit(manifest, seed=0, folder=tmp_path / "cut", progress=kill, **options)
    again = fitted(name, manifest, tmp_path / "cut")
    assert_same_state(trained[1], tmp_path / "cut")
    apart = np.abs(whole.sample(4, seed=0).astype(int) - again.sample(4, seed=0).astype(int))
    assert apart.max() <= 1


def test_another_recipe_is_not_mixed_into_a_run(
    trained: tuple[Any, Path], manifest: pd.DataFrame, tmp_path: Path
) -> None:
    name = trained[0].name
    shutil.copytree(trained[1], tmp_path / "run")
    with pytest.raises(CheckpointError, match="started with other options"):
        fitted(name, manifest, tmp_path / "run", **{RATE.get(name, "rate_g"): 0.1})


@pytest.mark.parametrize("name", TRAINABLE)
def test_no_weights_is_a_clear_error(name: str) -> None:
    with pytest.raises(CheckpointError, match="no weights yet"):
        GENERATORS.get(name)().sample(1, seed=0)


def test_both_losses_can_be_trained(manifest: pd.DataFrame, tmp_path: Path) -> None:
    for loss in ("logistic", "relativistic"):
        thing = fitted("style", manifest, tmp_path / loss, loss=loss, r1=0.1, r2=0.1, penalty_every=2)
        assert thing.sample(1, seed=0).shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    "name", ["learning/run", "generators/_adversarial", "generators/diffusion", "generators/latent"]
)
def test_every_option_has_a_comment(name: str) -> None:
    source = (ROOT / "detector" / f"{name}.py").read_text()
    fields = source.split("\nclass Length:" if name == "learning/run" else "\nclass Options(Length):")[1].split(
        "\n\n\n"
    )[0]
    lines = [line for line in fields.splitlines() if re.match(r"    \w+: \w+ = ", line)]
    assert len(lines) >= 3
    assert all("#" in line for line in lines)


def test_an_interrupted_autoencoder_ends_as_the_uninterrupted_one(manifest: pd.DataFrame, tmp_path: Path) -> None:
    kind, faces = GENERATORS.get("latent"), np.stack([draw_picture(i, size=32) for i in range(4)])

    def fit(folder: str, **changes: Any) -> Any:
        options = generator_options("latent", SHORT | changes)
        return kind(**SMALL_ALTERING["latent"]).fit(manifest, seed=0, folder=tmp_path / folder, **options)

    whole = fit("whole")
    fit("cut", pictures=40)  # ends between two snapshots, and is resumed
    again = fit("cut")
    assert_same_state(tmp_path / "whole", tmp_path / "cut")
    assert np.abs(whole.alter(faces, seed=0).astype(int) - again.alter(faces, seed=0)).max() <= 1
    with pytest.raises(CheckpointError, match="started with other options"):
        fit("cut", rate=0.5)


@pytest.fixture(scope="module", params=ALTERING)
def altering(request: pytest.FixtureRequest, manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Any:
    kind = GENERATORS.get(request.param)
    if not hasattr(kind, "fit"):
        return kind()
    folder = tmp_path_factory.mktemp(request.param)
    options = generator_options(request.param, SHORT) if GENERATORS.facts(request.param).get("options") else {}
    kind(**SMALL_ALTERING[request.param]).fit(manifest, seed=0, folder=folder, **options).save(folder)
    return kind.load(folder)


def test_altered_faces_keep_their_shape_and_depend_on_the_seed(altering: Any) -> None:
    faces = np.stack([draw_picture(i, size=64) for i in range(6)])
    first = altering.alter(faces, seed=0)
    assert first.shape == faces.shape
    assert first.dtype == np.uint8
    assert np.array_equal(altering.alter(faces, seed=0), first)
    assert not np.array_equal(altering.alter(faces, seed=1), first)
    assert not np.array_equal(first, faces)


def test_a_swap_only_changes_pixels_inside_its_mask() -> None:
    faces = np.stack([draw_picture(i, size=64) for i in range(20)])
    altered, masks = GENERATORS.get("swap")().alter_with_masks(faces, seed=3)
    assert masks.shape == (20, 64, 64)
    assert 0 <= masks.min() <= masks.max() <= 1
    apart = np.abs(altered.astype(int) - faces).max(3)
    kept = [apart[i][masks[i] < 1e-3] for i in range(20)]
    assert sum(k.size for k in kept) > 1000
    # one half keeps the surroundings, the other keeps the region
    assert sum(k.size > 0 and k.max() <= 1 for k in kept) >= 5


def test_altered_pictures_stay_with_their_originals(manifest: pd.DataFrame, tmp_path: Path) -> None:
    made = tasks.alter("swap", manifest, tmp_path, n=10, size=32)
    reals = manifest[manifest.label == 0].iloc[:10]
    assert made.group.tolist() == reals.group.tolist()
    assert made.split.tolist() == reals.split.tolist()
    assert set(made.generator) == {"swap"}
    with pytest.raises(DetectorError, match="--from"):
        tasks.generate("swap", 1, tmp_path)
