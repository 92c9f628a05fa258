"""The notebooks run with the public functions alone, and are shipped with the outputs of their own code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import ROOT, unpack_fewer
from execute import execute, hash_code

import detector
from detector.dataset import embedded

MADE = {  # notebook -> a file that its last part writes
    "a-data-set-that-cheats": "a-data-set-that-cheats/second/report.html",
    "a-photograph-as-evidence": "a-photograph-as-evidence/case/index.html",
    "could-you-tell": "could-you-tell/quiz/report.html",
    "faces-and-styles": "faces-and-styles/mixing.png",
    "quickstart": "notebook/report/report.html",
}
IN_KERNEL = "could-you-tell"  # the notebook that runs in a Jupyter kernel; the others run in the process of the test
SHORTER = {"pictures=960": "pictures=32", '"style", 200': '"style", 60'}  # a shorter training, and fewer fakes
LARGEST = 500_000  # bytes of a notebook with its outputs


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", MADE)
def test_a_notebook_runs_with_the_public_functions_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = read(name)
    code = "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")
    assert not re.search(r"(from|import) detector\.|from detector ", code)
    assert set(re.findall(r"detector\.(\w+)", code)) <= set(detector.__all__)
    for cell in book.cells:
        for text, shorter in SHORTER.items():
            cell.source = cell.source.replace(text, shorter)
    if name == IN_KERNEL:
        execute(book, tmp_path)
    else:
        monkeypatch.chdir(tmp_path)
        if ".head(1)" not in code:  # which takes one photograph of each person
            monkeypatch.setattr(embedded, "unpack_faces", unpack_fewer)
        names: dict[str, object] = {}
        with pd.option_context("display.max_colwidth", 50):  # restored afterwards
            for cell in book.cells:
                exec(cell.source if cell.cell_type == "code" else "", names)
    assert (tmp_path / MADE[name]).is_file()


@pytest.mark.parametrize("name", MADE)
def test_a_notebook_has_the_outputs_of_its_own_code(name: str) -> None:
    book = read(name)
    assert book.metadata.executed == hash_code(book), "run notebooks/execute.py again"
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert any("image/png" in o.get("data", {}) or "text/plain" in o.get("data", {}) for o in outputs)
    assert (ROOT / "notebooks" / f"{name}.ipynb").stat().st_size < LARGEST


def test_no_photograph_of_a_person_is_shipped() -> None:
    """The embedded photographs are shown by one cell, whose outputs are not kept."""
    shown = {cell.source: cell.outputs for name in MADE for cell in read(name).cells
             if "photographs" in cell.metadata.get("tags", [])}  # fmt: skip
    assert len(shown) == 1
    assert not any(shown.values())
    assert "display(Image((here" in next(iter(shown))


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == set(MADE)
    assert all(json.loads(path.read_text())["nbformat"] == 4 for path in (ROOT / "notebooks").glob("*.ipynb"))
