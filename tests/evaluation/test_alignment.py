"""The aligned AUC: that of a detector of file formats falls to chance, that of a detector of pixels stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture, make_manifest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.dataset.findings import Severity
from detector.errors import ManifestError
from detector.evaluation.alignment import COLUMNS, MARGIN, align, compare_aligned, find_coarsest, find_losses
from detector.pictures.faces import prepare
from detector.pictures.headers import describe
from detector.pictures.images import encode, load, read, resize
from detector.types import Images, Scores


class Fine:
    """Scores how much neighbouring columns differ."""

    name, size = "fine", 48

    def score(self, faces: Images) -> Scores:
        return np.abs(np.diff(faces.astype(float), axis=2)).mean((1, 2, 3))


def test_copies_are_alike_and_know_what_they_were(tmp_path: Path) -> None:
    table = make_manifest(tmp_path, n=6, size=60)
    Path(table.path[0]).write_bytes(encode(draw_picture(1, size=90), "WEBP"))
    Path(table.path[1]).write_bytes(b"no picture")
    copies = align(table, Fine(), tmp_path / "aligned")
    assert set(copies.original) == set(table.sha256) - {table.sha256[1]}
    assert set(copies["crop"]) == {"0 0 48 48"}
    assert {load(path).shape for path in copies.path} == {(48, 48, 3)}
    assert {Path(path).suffix for path in copies.path} == {".jpg"}
    assert not copies.sha256.isin(table.sha256).any()


def test_all_become_as_coarse_as_the_coarsest_but_a_twentieth(tmp_path: Path) -> None:
    table = make_manifest(tmp_path, n=20, size=40)
    assert find_coarsest(table) == (40, 95)
    for path in table.path[:1]:
        Path(path).write_bytes(encode(draw_picture(1, size=20), "JPEG", quality=20))
    assert find_coarsest(table) == (40, 95)  # one of forty
    for path in table.path[:3]:
        Path(path).write_bytes(encode(draw_picture(1, size=30), "JPEG", quality=70))
    assert find_coarsest(table) == (30, 70)
    assert find_coarsest(table.assign(crop="0 0 25 25")) == (25, 70)
    for path in table.path[:3]:
        Path(path).write_bytes(encode(draw_picture(1, size=30), "JPEG", quality=20))
    assert find_coarsest(table) == (30, 50)
    copies = align(table, Fine(), tmp_path / "aligned")
    assert set(copies.saved) == {"30 px, JPEG 50"}
    assert {load(path).shape for path in copies.path} == {(30, 30, 3)}
    assert {describe(read(path)).quality for path in copies.path} == {50}


def test_a_detector_that_locates_gets_faces_or_nothing(tmp_path: Path) -> None:
    table = make_manifest(tmp_path, n=4)
    locating = Fine()
    locating.locates = True  # type: ignore[attr-defined]
    with pytest.raises(ManifestError, match="not one of"):  # blobs are no faces
        align(table, locating, tmp_path / "aligned")
    cut = table.assign(crop=["0 0 40 40", *[""] * 7])
    assert align(cut, locating, tmp_path / "aligned").original.tolist() == [table.sha256[0]]


def draw(loss: float, n: int = 150, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Plain scores of two generators, and scores after alignment; the fakes of "one" score lower by `loss` there."""
    rng = np.random.default_rng(seed)
    generator = np.repeat(["", "one", "two"], n)
    score = rng.normal(np.where(generator == "", -1, 1))
    joined = pd.DataFrame({
        "detector": "d", "perturbation": "none", "severity": 0, "generator": generator, "score": score,
        "label": (generator != "").astype(int), "group": range(3 * n), "sha256": [f"{i:x}" for i in range(3 * n)],
    })  # fmt: skip
    again = score + rng.normal(0, 0.1, 3 * n) - loss * (generator == "one")
    return joined, pd.DataFrame({"original": joined.sha256, "saved": "24 px, JPEG 95", "score": again})


def test_a_loss_is_serious_and_names_its_generator() -> None:
    joined, again = draw(1.5)
    table = compare_aligned(joined, {"d": again}).set_index("generator")
    assert table.difference["one"] < -0.1 < table.difference["two"]
    assert table.p["one"] < 0.001 < 0.5 < table.p["two"]
    (finding,) = find_losses(table.reset_index())
    assert finding.severity is Severity.SERIOUS
    assert "on one when every picture" in finding.summary
    assert finding.value == table.aligned["one"]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000))
def test_no_loss_is_no_finding(seed: int) -> None:
    joined, again = draw(0.0, seed=seed)
    table = compare_aligned(joined, {"d": again})
    assert list(table) == COLUMNS
    assert (table.difference.abs() < MARGIN).all()
    (finding,) = find_losses(table)
    assert finding.severity is Severity.OK


def test_only_pictures_with_both_scores_count() -> None:
    joined, again = draw(0.0)
    joined.loc[0, "score"] = np.nan
    again = again.iloc[:-10].drop(5)
    table = compare_aligned(joined, {"d": again}).set_index("generator")
    assert table.n_real.tolist() == [148, 148]
    assert table.n_fake.to_dict() == {"one": 150, "two": 140}
    assert compare_aligned(joined, {}).empty
    assert find_losses(compare_aligned(joined, {})) == []


@pytest.mark.parametrize(("shortcut", "severity"), [("size", "serious"), ("quality", "serious"), ("none", "ok")])
def test_an_auc_due_to_files_is_lost_and_that_of_a_clean_set_stays(
    tmp_path: Path, shortcut: str, severity: str
) -> None:
    """Fakes that differ from photographs in size alone, in JPEG quality alone, or in a checkerboard alone."""
    rows = []
    for i in range(120):
        fake = i % 2 == 1
        image = draw_picture(i, size=48, fake=fake and shortcut == "none")
        if fake and shortcut == "size":
            image = resize(image, 24, 24)
        data = encode(image, "JPEG", quality=50 if fake and shortcut == "quality" else 95)
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(data)
        rows.append((str(path), f"{i:064x}", int(fake), "g" if fake else "", f"{i}", "test", "d", ""))
    table = pd.DataFrame(rows, columns=["path", "sha256", "label", "generator", "group", "split", "dataset", "licence"])
    detector, sign = Fine(), 1 if shortcut == "none" else -1

    def score(paths: pd.Series) -> Scores:
        return sign * detector.score(np.stack([prepare(load(path), detector.size) for path in paths]))

    joined = table.assign(score=score(table.path), detector="fine", perturbation="none", severity=0)
    copies = align(table, detector, tmp_path / "aligned")
    comparison = compare_aligned(joined, {"fine": copies.assign(score=score(copies.path))})
    assert comparison.plain[0] > 0.85
    (finding,) = find_losses(comparison)
    assert finding.severity == severity
