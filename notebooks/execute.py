"""Run the notebooks from top to bottom and keep their outputs: `python notebooks/execute.py [NAME...]`.

Outputs of cells with the tag `photographs` are not kept: no picture of a person enters the repository. The hash of the
code that was run is kept beside the outputs, so that a test notices a notebook that was changed afterwards.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat

HERE = Path(__file__).parent
PATIENCE = 1800  # seconds that a cell may take, also on a busy machine


def hash_code(book: nbformat.NotebookNode) -> str:
    """Return the hash of the code of a notebook."""
    code = "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()


def execute(book: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook in a folder and return it with its outputs."""
    client = nbclient.NotebookClient(
        book, timeout=PATIENCE, record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


def keep_outputs(path: Path) -> None:
    """Run a notebook in a folder of its own and write it with its outputs."""
    book = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        execute(book, Path(folder))
    for cell in book.cells:
        if "photographs" in cell.metadata.get("tags", []):
            cell.outputs = []
    book.metadata = {"kernelspec": book.metadata.kernelspec, "executed": hash_code(book)}
    nbformat.write(book, path)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.ipynb")):
        keep_outputs(HERE / f"{name}.ipynb")
