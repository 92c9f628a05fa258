"""Measure how well people and a detector distinguish fakes from photographs, on the same pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from detector.errors import ScoresError
from detector.files import open_templates
from detector.statistics.intervals import measure
from detector.statistics.metrics import roc
from detector.statistics.proportions import clopper_pearson
from detector.statistics.sensitivity import measure_sensitivity
from detector.types import Label

SHOWN = 12  # largest number of wrongly answered pictures that the report shows for one person


@dataclass(frozen=True)
class Published:
    """The accuracy that a study reports, with its 95 % interval, as shares."""

    study: str
    accuracy: float
    low: float
    high: float


# Nightingale and Farid 2022, doi:10.1073/pnas.2120481119: 315 and 219 people, StyleGAN2 faces and photographs.
PUBLISHED = (
    Published("Nightingale and Farid 2022", 0.482, 0.471, 0.492),
    Published("Nightingale and Farid 2022, after training and with feedback", 0.590, 0.577, 0.604),
)


@dataclass(frozen=True)
class Observer:
    """The results of one observer. Pairs of numbers are the ends of 95 % intervals.

    accuracy: share of right answers. auc: AUC of the confidence of the answers; it has no interval if all pictures of a
    class are from one group, such as one person. d_prime, criterion: as in `sensitivity.Sensitivity`. found: number of
    fakes that were called fake. accused: number of photographs that were called fake.
    """

    name: str
    feedback: bool
    reals: int
    fakes: int
    found: int
    accused: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    auc: float
    auc_interval: tuple[float, float] | None
    d_prime: float
    d_prime_interval: tuple[float, float]
    criterion: float


def measure_observer(
    name: str, labels: ArrayLike, confidence: ArrayLike, groups: ArrayLike | None = None, *, feedback: bool = False
) -> Observer:
    """Return the measures of an observer's answers.

    labels: (N,), 0 real and 1 fake. confidence: (N,), larger is more fake; an answer above 0 counts as "fake". groups:
    (N,), pictures of one group belong together.

    Raises ScoresError if the pictures are of one class only.
    """
    fake = np.asarray(labels) == Label.FAKE
    called = np.asarray(confidence, np.float64) > 0
    if fake.all() or not fake.any():
        raise ScoresError(f"{name}: there are answers to pictures of one class only; both are needed")
    reals, fakes = int((~fake).sum()), int(fake.sum())
    found, accused = int(called[fake].sum()), int(called[~fake].sum())
    right = found + reals - accused
    auc = measure(labels, confidence, groups, ["auc"], seed=0)["auc"]
    sensitivity = measure_sensitivity(found, fakes, accused, reals)
    return Observer(
        name=name,
        feedback=feedback,
        reals=reals,
        fakes=fakes,
        found=found,
        accused=accused,
        accuracy=right / len(fake),
        accuracy_interval=clopper_pearson(right, len(fake)),
        auc=auc.value,
        auc_interval=None if np.isnan(auc.low) else (auc.low, auc.high),
        d_prime=sensitivity.value,
        d_prime_interval=(sensitivity.low, sensitivity.high),
        criterion=sensitivity.criterion,
    )


def draw_observers(answers: dict[str, pd.DataFrame]) -> bytes:
    """Return a PNG with the ROC of each observer. answers: name -> table with `label` and `answer`."""
    from detector.evaluation import plots

    (ax,) = plots.new_axes(width=5.2, height=5.2)
    curves = {name: roc(table.label, table.answer)[:2] for name, table in answers.items()}
    return plots.to_png(plots.draw_roc(curves, ax).figure)


def describe_mistakes(name: str, answers: pd.DataFrame, scores: pd.Series, folder: Path) -> dict[str, Any]:
    """Return the pictures that a person got wrong, the most confident mistakes first, as the report shows them.

    scores: sha256 -> the detector's score. folder: that of the report.
    """
    wrong = answers[(answers.answer > 0) != (answers.label == Label.FAKE)]
    wrong = wrong.loc[wrong.answer.abs().sort_values(ascending=False, kind="stable").index]
    rows = [
        {"src": Path(row["path"]).relative_to(folder.resolve()).as_posix(), "label": Label(row["label"]).name.lower(),
         "answer": row["answer"], "score": scores.get(row["sha256"])}
        for row in wrong.head(SHOWN).to_dict("records")
    ]  # fmt: skip
    return {"name": name, "count": len(wrong), "rows": rows}


def make_record(observers: Sequence[Observer], detector: str, unjudged: int) -> dict[str, Any]:
    """Return the report as JSON: the observers, the published figures, and how many pictures no score was given."""
    return {
        "observers": [asdict(observer) for observer in observers],
        "published": [asdict(study) for study in PUBLISHED],
        "detector": detector,
        "unjudged": unjudged,
    }


def make_report(record: dict[str, Any], figure: bytes, mistakes: Sequence[dict[str, Any]]) -> str:
    """Return the HTML of a report. record: as `make_record`. figure: PNG. mistakes: as `describe_mistakes`."""
    template = open_templates(Path(__file__).parent).get_template("observers.html.jinja")
    return template.render(**record, figure=base64.b64encode(figure).decode(), mistakes=mistakes)
