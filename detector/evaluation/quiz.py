"""A quiz for people: a page that shows photographs and fakes, and the file of answers that the page saves.

The page is one HTML file that needs no network; each picture lies in it. What the pictures are is in the page only if
it gives feedback. The answers are a CSV file, one row a picture:

| column | meaning |
|---|---|
| sha256 | of the picture |
| answer | -3 certainly a photograph, -2 probably, -1 a guess; 1, 2 and 3 the same for synthetic; never 0 |
| seconds | until the answer |
| feedback | 1 if the page showed after each answer whether it was right, else 0 |
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from detector.dataset.foreign import read_table
from detector.errors import ScoresError
from detector.files import open_templates

CERTAIN = 3  # the absolute value of the most confident answer


def make_page(pictures: pd.DataFrame, *, feedback: bool, seed: int) -> str:
    """Return the HTML of a quiz.

    pictures: a manifest of JPEG files. feedback: say after each answer whether it was right. seed: of their order.
    """
    order = np.random.default_rng(seed).permutation(len(pictures))
    questions = []
    for row in pictures.iloc[order].to_dict("records"):
        data = base64.b64encode(Path(row["path"]).read_bytes()).decode()
        question = {"sha256": row["sha256"], "src": f"data:image/jpeg;base64,{data}"}
        questions.append(question | ({"fake": row["label"]} if feedback else {}))
    template = open_templates(Path(__file__).parent).get_template("quiz.html.jinja")
    return template.render(questions=questions, feedback=feedback)


def read_answers(path: Path, pictures: pd.DataFrame, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return a person's answers beside the rows of the manifest: its columns and `answer`, `seconds` and `feedback`.

    columns: our name of a column -> its name in the file.

    Raises ManifestError for a file that is no table, ScoresError if it is not of this quiz, an answer is none of those
    that the page offers, or a picture was answered twice.
    """
    table = read_table(path, columns)
    for column in ("sha256", "answer"):
        if column not in table:
            raise ScoresError(f"{path.name} has no column {column!r}; name the file that the page of the quiz saved")
    answers = pd.to_numeric(table.answer, errors="coerce")
    wrong = table[~answers.isin([a for a in range(-CERTAIN, CERTAIN + 1) if a])]
    if len(wrong):
        first = str(wrong.answer.iloc[0])
        raise ScoresError(f"{path.name}: row {wrong.index[0]}: the answer {first!r} is none of -3, -2, -1, 1, 2 and 3")
    if table.sha256.duplicated().any():
        raise ScoresError(f"{path.name} answers a picture twice: {table.sha256[table.sha256.duplicated()].iloc[0]}")
    foreign = table[~table.sha256.isin(pictures.sha256)]
    if len(foreign):
        raise ScoresError(f"{path.name} answers {len(foreign)} pictures that are not of this quiz; name its own folder")
    more = {
        name: pd.to_numeric(table[name], errors="coerce").fillna(0) if name in table else 0
        for name in ("seconds", "feedback")
    }
    given = table[["sha256"]].assign(answer=answers.astype(int), **more)
    return pictures.merge(given, on="sha256", how="inner", validate="one_to_one")
