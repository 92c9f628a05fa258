"""The gallery: figures are computed when the page is made, and photographs get the resolution of the fakes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture

from detector import tasks
from detector.errors import DetectorError
from detector.evaluation import gallery
from detector.pictures.images import decode, encode
from detector.tasks import exhibiting


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gallery")
    with pytest.MonkeyPatch.context() as patch:
        entries = [entry for entry in exhibiting.list_entries() if entry[2] in ("crude", "style-64")]
        patch.setattr(exhibiting, "list_entries", lambda: entries)
        record = tasks.make_gallery(folder / "gallery.html", n=20)
    return folder, record


def test_generators_come_oldest_and_smallest_first() -> None:
    names = [name for _, _, name, _, _ in exhibiting.list_entries()]
    assert names[:3] == ["crude", "style-64", "style-128"]


def test_the_page_shows_the_figures_that_were_computed(made: tuple[Path, dict[str, Any]]) -> None:
    folder, record = made
    assert json.loads((folder / "gallery.json").read_text()) == record
    page = (folder / "gallery.html").read_text()
    assert not re.search(r"(src|href)=.?https?:", page)
    assert page.count("data:image/jpeg") == 2
    for entry in record["rungs"]:
        assert 0 <= entry["auc"]["low"] <= entry["auc"]["value"] <= entry["auc"]["high"] <= 1
        assert f"{entry['auc']['value']:.2f} [{entry['auc']['low']:.2f}, {entry['auc']['high']:.2f}]" in page
        assert entry["auc"]["n_fake"] == entry["auc"]["n_real"] == 20
        assert entry["kid_x1000"] is None or f"{entry['kid_x1000']:.0f} ± {entry['kid_error']:.0f}" in page
    assert [row["learned"] for row in record["ageing"]] == ["crude", "style-64"]
    assert all(0 <= cell["value"] <= 1 for row in record["ageing"] for cell in row["tested"])
    assert page.count('<td class="own">') == 2  # the diagonal
    assert "All faces are grey" in page


def test_photographs_get_the_resolution_and_the_grey_of_the_fakes(tmp_path: Path) -> None:
    squares = [draw_picture(i, size=96) for i in range(4)]
    rows = pd.DataFrame({"group": list("abcd"), "split": ["train", "train", "val", "test"]})
    fakes = np.stack([gallery.as_grey(draw_picture(9 + i, size=32)) for i in range(4)])
    table = gallery.write_matched(gallery.Entry("g", "g", 2014, fakes), rows, squares, tmp_path)
    assert table.split.tolist() == [*rows.split, *rows.split]
    for path in table.path:
        image = decode(Path(path).read_bytes())
        assert image.shape == (gallery.SIDE, gallery.SIDE, 3)
        assert (image == image[..., :1]).all()
    fine = gallery.write_matched(gallery.Entry("g", "g", 2014, np.stack(squares)), rows, squares, tmp_path / "fine")
    sharpness = [np.abs(np.diff(decode(Path(t.path[0]).read_bytes()).mean(-1))).mean() for t in (table, fine)]
    assert sharpness[0] < sharpness[1]


def test_too_few_photographs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(encode(draw_picture(1, size=96)))
    with pytest.raises(DetectorError, match="in 0 photographs"):
        tasks.make_gallery(tmp_path / "gallery.html", photographs=tmp_path / "in", n=20)


def test_the_first_generator_can_draw(tmp_path: Path) -> None:
    table = tasks.generate("crude", 3, tmp_path, label=False)
    assert len(table) == 3
    assert decode(Path(table.path[0]).read_bytes()).shape == (32, 32, 3)
