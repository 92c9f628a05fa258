"""The gathering of open faces: the listed objects of a repository become pictures and rows, and the uses stay apart."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture
from open_faces import DATASETS, LISTED, gather

from detector.dataset.manifest import validate
from detector.evaluation.suites import read_suite
from detector.files import sha256
from detector.pictures.images import encode, load

SUITES = LISTED.parents[2] / "suites"
USES = {"train", "calibrate", "evaluate", "confirm"}


def write_clone(out: Path, files: dict[str, bytes]) -> list[str]:
    """Write the clone of some/site with these files below `out`, and return the objects that hold them."""
    work = out / "work"
    for name, data in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(data)
    git = ["git", "-C", str(work)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    hashing = [*git, "hash-object", "-w", *files]
    blobs = subprocess.run(hashing, check=True, capture_output=True, text=True).stdout.split()
    shutil.copytree(work / ".git", out / "repositories" / "some+site.git")
    return blobs


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_listed_objects_become_pictures_and_missing_ones_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"team/{number}.jpg": encode(draw_picture(number, size=64), "JPEG") for number in range(3)}
    blobs = write_clone(tmp_path / "out", files)[:2]
    datasets = ["jupyter", "stable-diffusion-3", "jupyter"]
    listed = pd.DataFrame({
        "repository": "some/site", "blob": [*blobs, "0" * 40], "dataset": datasets,
        "person": [f"{name}-1" for name in datasets], "crop": "0 0 64 64",
    })  # fmt: skip

    table = validate(gather(tmp_path / "out", listed))
    assert list(table.sha256) == [sha256(data) for data in list(files.values())[:2]]
    assert [Path(path).read_bytes() for path in table.path] == list(files.values())[:2]
    assert list(table.label) == [0, 1]
    assert list(table.generator) == ["", "stable-diffusion-3"]
    assert list(table.group) == ["jupyter-1", "stable-diffusion-3-1"]
    assert list(table.licence) == [DATASETS[name].licence for name in datasets[:2]]
    assert f"some/site: the clone lacks {'0' * 40}" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_tiles_of_a_sheet_become_pictures_of_their_own(tmp_path: Path) -> None:
    sheet = draw_picture(0, size=128)
    [blob] = write_clone(tmp_path / "out", {"sheet.png": encode(sheet, "PNG")})
    listed = pd.DataFrame({
        "repository": "some/site", "blob": blob, "dataset": "styleswin",
        "person": ["styleswin-1", "styleswin-2"], "crop": ["0 0 64 64", "64 32 128 96"],
    })  # fmt: skip
    table = validate(gather(tmp_path / "out", listed))
    assert list(table.crop) == ["0 0 64 64"] * 2
    assert np.array_equal(load(table.path[0]), sheet[:64, :64])
    assert np.array_equal(load(table.path[1]), sheet[32:96, 64:])
    assert [sha256(Path(path).read_bytes()) for path in table.path] == list(table.sha256)


def test_the_list_names_no_person_and_every_dataset_has_one_use() -> None:
    listed = pd.read_csv(LISTED)
    assert set(listed.dataset) == set(DATASETS)
    assert {dataset.use for dataset in DATASETS.values()} == USES
    generators = {use: {d.generator for d in DATASETS.values() if d.use == use and d.generator} for use in USES}
    assert not generators["train"] & set().union(*(generators[use] for use in USES - {"train"}))
    sheets = listed.dataset.map(lambda name: DATASETS[name].sheets)
    assert listed.blob[~sheets].is_unique
    assert not listed.duplicated(["blob", "crop"]).any()
    assert set(listed.blob[sheets]).isdisjoint(listed.blob[~sheets])
    assert listed.blob.str.fullmatch("[0-9a-f]{40}").all()
    assert all(re.fullmatch(r"[a-z0-9-]+-\d+", person) for person in listed.person)  # a number, not a name
    use = listed.dataset.map(lambda name: DATASETS[name].use)
    assert listed.assign(use=use).groupby("person").use.nunique().max() == 1  # splits never share a person
    left, top, right, bottom = (listed.crop.str.split(expand=True)[i].astype(int) for i in range(4))
    assert (right - left == bottom - top).all()
    assert ((left >= 0) & (top >= 0)).all()


def test_the_suites_confirm_and_alarms_have_photographs_of_no_other_use() -> None:
    photographs = {name for name, d in DATASETS.items() if d.use == "confirm" and not d.generator}
    fakes = {name: d.generator for name, d in DATASETS.items() if d.use == "evaluate" and d.generator}
    confirm, alarms = (read_suite(SUITES / f"{name}.toml") for name in ("confirm", "alarms"))
    assert set(confirm.keep["dataset"]) == photographs | set(fakes)
    assert set(confirm.pairs) == {(generator, name) for generator in fakes.values() for name in photographs}
    assert photographs < set(alarms.keep["dataset"]) < photographs | set(fakes)


def test_the_suites_kinds_and_celebrities_have_fakes_of_no_other_use() -> None:
    photographs = {name for name, d in DATASETS.items() if d.use == "confirm" and not d.generator}
    fakes = {name: d.generator for name, d in DATASETS.items() if d.use == "confirm" and d.generator}
    confirm, kinds, celebrities = (read_suite(SUITES / f"{n}.toml") for n in ("confirm", "kinds", "celebrities"))
    assert set(fakes.values()).isdisjoint(d.generator for d in DATASETS.values() if d.use != "confirm")
    assert kinds.manifests == confirm.manifests[:1]
    assert set(kinds.pairs) == {(generator, name) for generator in fakes.values() for name in photographs}
    seen = {"celeba-hq", "ffhq-50"}  # photographs that look like these fakes
    assert set(celebrities.keep["dataset"]) == seen | set(fakes)
    assert set(celebrities.pairs) == {(generator, name) for generator in fakes.values() for name in seen}
