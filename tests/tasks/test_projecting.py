"""Projections, grids and sheets of directions, with files: what is written, what is left out, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture
from safetensors.numpy import load_file, save_file

from detector import tasks
from detector.dataset.listing import LeftOut
from detector.dataset.manifest import read_manifest
from detector.errors import CheckpointError, DetectorError
from detector.files import write_bytes
from detector.generators._style_nets import Net
from detector.generators.style import Style
from detector.learning import seeds
from detector.pictures.faces import locate_faces
from detector.pictures.images import encode, load, resize
from detector.tasks import mixing, projecting
from detector.tasks.projecting import cut_face, measure_margin, read_codes

SHIPPED = Path(projecting.__file__).parents[1] / "weights" / "style-128"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small generator that was never trained."""
    thing, folder = Style(32, width=16, w_dim=16, z_dim=16, depth=2), tmp_path_factory.mktemp("style")
    with seeds.seeded(0):
        thing.net = Net(32, 3, 16, 16, 2, 16)
    thing.save(folder)
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pictures of faces (drawn by the shipped generator) and one without a face."""
    folder = tmp_path_factory.mktemp("photographs")
    for i, face in enumerate(Style.load(SHIPPED).sample(2, seed=0)):
        picture = np.full((300, 400, 3), 128, np.uint8)
        picture[60:240, 100 + 50 * i : 280 + 50 * i] = resize(face, 180, 180)
        write_bytes(folder / f"{i}.png", encode(picture))
    write_bytes(folder / "2.png", encode(draw_picture(0, size=64)))
    write_bytes(folder / "3.png", b"\x89PNG damaged")
    return folder


@pytest.fixture(scope="module")
def projected(weights: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("out") / "projected"
    left_out = LeftOut()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Style.project, "__kwdefaults__", Style.project.__kwdefaults__ | {"steps": 4})
        table = tasks.project("style", photographs, folder, weights=weights, label=False, left_out=left_out)
    assert {Path(path).name: reason for path, reason in left_out.pictures.items()}.keys() == {"2.png", "3.png"}
    assert left_out.pictures[str(photographs / "2.png")] == "no face was found"
    return folder, table


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Style.project, "__kwdefaults__", Style.project.__kwdefaults__ | {"steps": 4})


def test_a_projection_is_a_fake_in_the_group_of_its_photograph(projected: tuple[Path, pd.DataFrame]) -> None:
    folder, table = projected
    written = read_manifest(folder / "manifest.csv")
    assert written.generator.tolist() == ["style", "style"]
    assert written.label.tolist() == [1, 1]
    assert len(set(written.group)) == 2
    assert written.group.tolist() == table.group.tolist()
    assert np.allclose(written.distance, table.distance)
    assert written.distance.between(0, 4).all()
    assert written.psnr.between(3, 60).all()
    assert [load(path).shape for path in written.path] == [(32, 32, 3)] * 2
    assert {path.name for path in folder.iterdir()} == {
        "00000000.png",
        "00000001.png",
        "codes.safetensors",
        "manifest.csv",
    }


def test_the_sheet_has_photograph_and_projection_side_by_side(projected: tuple[Path, pd.DataFrame]) -> None:
    folder, table = projected
    sheet = load(folder.parent / "projected-sheet.png")
    assert sheet.shape == (24 + 2 * 96 + 2, 2 * 96 + 2, 3)  # faces of 32 pixels are enlarged to 96
    assert np.array_equal(sheet[24:120:3, 98::3], load(table.path[0]))


def test_the_codes_draw_the_projections_again(projected: tuple[Path, pd.DataFrame], weights: Path) -> None:
    folder, table = projected
    style = Style.load(weights)
    faces = style.draw(list(read_codes(folder / "codes.safetensors", style)))
    assert all(np.array_equal(face, load(path)) for face, path in zip(faces, table.path, strict=True))


def test_a_manifest_gives_groups_splits_and_crops(photographs: Path, weights: Path, tmp_path: Path) -> None:
    real = tasks.index(photographs, tmp_path / "real.csv", label=projecting.Label.REAL, group_by="folder")
    real = real.assign(split="val", licence="ours", crop=["", "100 0 400 300", "", ""])
    real.to_csv(tmp_path / "real.csv", index=False)
    made = tasks.project("style", tmp_path / "real.csv", tmp_path / "made", weights=weights, label=False)
    assert made.group.tolist() == real.group.tolist()[:2]
    assert made.split.unique().tolist() == ["val"]
    assert made.licence.unique().tolist() == ["ours"]
    assert "crop" not in made


def test_the_same_seed_gives_the_same_files(
    projected: tuple[Path, pd.DataFrame], photographs: Path, weights: Path, tmp_path: Path
) -> None:
    again = tasks.project("style", photographs, tmp_path / "again", weights=weights, label=False)
    other = tasks.project("style", photographs / "0.png", tmp_path / "other", weights=weights, label=False, seed=9)
    assert again.sha256.tolist() == projected[1].sha256.tolist()
    assert other.sha256[0] != again.sha256[0]


def test_edited_projections_keep_the_codes_and_the_errors(
    projected: tuple[Path, pd.DataFrame], photographs: Path, weights: Path, tmp_path: Path
) -> None:
    folder, table = projected
    for amount in (0.0, 6.0):
        made = tasks.project("style", photographs, tmp_path / f"{amount}", weights=weights, label=False,
                             edit={"coarse-1": amount})  # fmt: skip
        assert (made.sha256.tolist() == table.sha256.tolist()) == (amount == 0)
        assert made.distance.tolist() == table.distance.tolist()
        codes = [load_file(place / "codes.safetensors")["codes"] for place in (folder, tmp_path / f"{amount}")]
        assert np.array_equal(*codes)
        assert load(tmp_path / f"{amount}-sheet.png").shape[1] == 3 * 96 + 4


def test_a_grid_takes_seeds_photographs_and_codes(
    projected: tuple[Path, pd.DataFrame], photographs: Path, weights: Path, tmp_path: Path
) -> None:
    codes = projected[0] / "codes.safetensors"
    by_photograph, by_code = tmp_path / "a.png", tmp_path / "b.png"
    tasks.mix("style", [1, photographs / "0.png"], [2], by_photograph, weights=weights, label=False)
    tasks.mix("style", [codes], [2, 3], by_code, weights=weights, label=False)
    size = 24 + 96 * 7 + 3 * 16, 24 + 96 * 2 + 16
    assert load(by_photograph).shape == (*size, 3)
    assert load(by_code).shape == (size[0], size[1] + 96, 3)
    heads = [
        load(by_photograph)[24 + 96 + 16 + 96 :, 24:][:96:3, :96:3],
        load(by_code)[24 + 96 + 16 :, 24:][:96:3, :96:3],
    ]
    assert np.array_equal(*heads)  # the same photograph with the same seed, found anew and read from the file
    assert np.array_equal(heads[0], load(projected[1].path[0]))


def test_faces_are_cut_as_large_as_the_generator_draws_them(photographs: Path) -> None:
    shipped = Style.load(SHIPPED)
    margin = measure_margin(shipped)
    assert 1.0 < margin < 1.3
    face = cut_face(photographs / "0.png", 128, margin)
    assert face is not None
    ((left, top, right, bottom),) = locate_faces(face)
    assert max(right - left, bottom - top) / 128 == pytest.approx(1 / margin, abs=0.08)
    whole = cut_face(photographs / "0.png", 128, 2 * margin)
    assert not np.array_equal(whole, face)
    assert cut_face(photographs / "2.png", 128, margin) is None


def test_a_sheet_of_directions_shows_the_face_in_the_middle(weights: Path, tmp_path: Path) -> None:
    tasks.show_directions("style", tmp_path / "d.png", seed=4, weights=weights, label=False, truncation=0.5)
    sheet = load(tmp_path / "d.png")
    assert sheet.shape == (24 + 6 * 98 - 2, 24 + 5 * 98 - 2, 3)  # 32 pixels are enlarged, and have no fine layers
    style = Style.load(weights)
    cells = [[sheet[24 + 98 * row :, 24 + 98 * column :][:96:3, :96:3] for column in range(5)] for row in range(6)]
    for row, direction in enumerate(["coarse-1", "coarse-2", "coarse-3", "middle-1", "middle-2", "middle-3"]):
        assert np.array_equal(cells[row][2], style.sample(1, seed=4, truncation=0.5)[0])
        assert np.array_equal(cells[row][4], style.draw([4], truncation=0.5, edit={direction: 3.0})[0])
        assert not np.array_equal(cells[row][4], cells[row][2])


@pytest.mark.parametrize(
    ("tensors", "facts", "why"),
    [
        ({"codes": np.zeros((1, 8, 16), np.float32)}, {"generator": "crude"}, "no codes of faces of style"),
        ({"codes": np.zeros((8, 16), np.float32)}, {"generator": "style"}, "no codes of faces of style"),
        ({"codes": np.zeros((0, 8, 16), np.float32)}, {"generator": "style"}, "no codes of faces of style"),
        ({"codes": np.full((1, 8, 16), np.nan, np.float32)}, {"generator": "style"}, "not finite"),
        ({"w": np.zeros((1, 8, 16), np.float32)}, {"generator": "style"}, "no codes of faces"),
        ({"codes": np.zeros((1, 9, 16), np.float32)}, {"generator": "style"}, "this generator's are"),
        (None, {}, "no codes of faces"),
    ],
)
def test_other_files_than_codes_are_refused(
    tensors: dict[str, Any] | None, facts: dict[str, str], why: str, weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "codes.safetensors"
    if tensors is None:
        path.write_bytes(b"no safetensors")
    else:
        save_file(tensors, path, facts)
    with pytest.raises(CheckpointError, match=why):
        tasks.mix("style", [path], [1], tmp_path / "grid.png", weights=weights, label=False)
    assert not (tmp_path / "grid.png").exists()


def test_what_cannot_be_done_is_refused_before_any_work(photographs: Path, weights: Path, tmp_path: Path) -> None:
    grid = tmp_path / "grid.png"
    for refused, why in {
        lambda: tasks.project("crude", photographs, tmp_path / "x"): "crude cannot draw photographs; these can: style",
        lambda: tasks.mix("stylegan", [1], ["a.png"], grid): "stylegan cannot draw photographs; these can: style",
        lambda: tasks.mix("crude", [1], ["a.png"], grid): "crude has no styles to mix",
        lambda: tasks.show_directions("stylegan", grid): "stylegan has no directions of styles; these have: style",
        lambda: tasks.mix("style", ["a.png"], ["b.png"], grid, truncation=0.5): "leave out --truncation",
        lambda: tasks.mix("style", ["absent.png"], [1], grid, weights=weights): "absent.png: .*name another photograph",
        lambda: tasks.mix(
            "style", [photographs / "2.png"], [1], grid, weights=weights
        ): "2.png: no face was found; name a",
        lambda: tasks.project(
            "style", photographs / "2.png", tmp_path / "x", weights=weights
        ): "2.png: no face was found; name",
        lambda: tasks.project("style", photographs, tmp_path / "x", seed=2**32): "together at most",
        lambda: tasks.project("style", photographs, tmp_path / "x", weights=weights, edit={"a": 1}): "directions are",
        lambda: tasks.project(
            "style", photographs, tmp_path / "x", weights=weights, edit={"fine-1": 1}
        ): "no fine layers",
    }.items():
        with pytest.raises(DetectorError, match=why):
            refused()
    assert not grid.exists()
    assert not (tmp_path / "x" / "manifest.csv").exists()


def test_a_grid_that_is_too_large_is_refused_before_it_is_drawn(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="more than the 50 of a sheet"):
        tasks.mix("style", range(64), range(64), tmp_path / "grid.png", weights=weights, label=False)
    assert mixing.LAYERS == ("coarse", "middle", "fine")
