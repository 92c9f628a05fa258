"""Every notebook runs, with the public functions alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT

import detector


@pytest.mark.parametrize(
    ("name", "made"),
    [("quickstart", "notebook/report/report.html"), ("could-you-tell", "could-you-tell/quiz/report.html")],
)
def test_a_notebook_runs_with_the_public_functions_alone(name: str, made: str, tmp_path: Path) -> None:
    import nbclient
    import nbformat

    book = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells)
    code = "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")
    assert not re.search(r"(from|import) detector\.|from detector ", code)
    assert set(re.findall(r"detector\.(\w+)", code)) <= set(detector.__all__)
    for cell in book.cells:
        cell.source = cell.source.replace("seconds=10)", "seconds=2)")  # of training
    nbclient.NotebookClient(book, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / made).is_file()


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == {"quickstart", "could-you-tell"}
