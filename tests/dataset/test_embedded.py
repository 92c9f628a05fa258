"""The real faces that come with the installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.dataset import embedded
from detector.errors import ManifestError
from detector.pictures.images import load


def test_forty_people_split_by_person(tmp_path: Path) -> None:
    table = embedded.unpack_faces(tmp_path)
    assert len(table) == 400
    assert table.group.nunique() == 40
    assert (table.groupby("group").size() == 10).all()
    assert (table.groupby("group").split.nunique() == 1).all()
    assert table.groupby("split").group.nunique().to_dict() == {"train": 24, "val": 6, "test": 10}
    assert load(table.path[0]).shape == (112, 92, 3)


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "PACKAGE", "numpy")
    with pytest.raises(ManifestError, match="name a folder of photographs with --real"):
        embedded.unpack_faces(tmp_path)
