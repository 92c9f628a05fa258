"""Warnings for readers of a report: scores on another scale or inverted, classes of a single group."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from detector.evaluation.measuring import ALL
from detector.types import Label

INVERTED = 0.3  # mean AUC over generators below which scores are most likely inverted
SCALES = (
    (1, "between 0 and 1, as probabilities do (--probabilities reads them as such)"),
    (100, "between 0 and 100, as percentages do"),
)


def warn_of_scores(joined: pd.DataFrame, results: pd.DataFrame) -> list[str]:
    """Return the warnings, in whole sentences.

    joined: as `joining.join_scores`. results: as `measuring.measure_scores`.
    """
    plain = joined[joined.perturbation == "none"]
    return [*_warn_of_groups(plain), *_warn_of_scale(plain), *_warn_of_direction(results)]


def _warn_of_groups(plain: pd.DataFrame) -> Iterator[str]:
    """Yield the datasets and generators without an interval, with the reason."""
    read = plain[plain.score.notna()]
    name = read.generator.where(read.label == Label.FAKE, read.dataset)
    groups = read.assign(name=name).groupby(["label", "name"]).group.nunique()
    for label, name in groups[groups == 1].index:
        what = "photographs" if label == Label.REAL else "fakes"
        yield (
            f"all {what} of {name} belong to one group, which says nothing about others, so no interval is given; name "
            "the person, video or seed of each picture in the column group"
        )


def _warn_of_scale(plain: pd.DataFrame) -> Iterator[str]:
    for name, part in plain.groupby("detector", sort=False):
        scores = part.score.dropna()
        if len(scores) > 1 and scores.nunique() == 1:
            yield f"the scores of {name} are all {scores.iloc[0]:g}: it distinguishes nothing"
            continue
        lie = next((words for top, words in SCALES if scores.between(0, top).all()), "")
        if not lie and ((scores >= 0).all() or (scores <= 0).all()):
            lie = "on one side of 0"
        if lie:
            yield (
                f"the scores of {name} all lie {lie}; balanced accuracy and whatever rests on probabilities take "
                "log-odds, with 0 for undecided"
            )


def _warn_of_direction(results: pd.DataFrame) -> Iterator[str]:
    auc = results[(results.metric == "auc") & (results.perturbation == "none") & (results.real == ALL)]
    for name, part in auc.groupby("detector", sort=False):
        if part.value.max() < 0.5 and part.value.mean() < INVERTED:
            yield (
                f"the AUC of {name} is far below 0.5 ({part.value.mean():.2f} on average): its scores may be turned "
                "round; here a larger score means more fake"
            )
