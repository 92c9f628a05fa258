"""Test whether a score follows the source of the pictures instead of the face; measure false alarms of each source.

A source is a dataset. Photographs of two sources should score alike; if the AUC between them is far from 0.5, the
detector reads sharpness, framing or style, and its AUC on fakes of another source may be owed to those.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from detector.dataset.findings import AuditFinding, Severity
from detector.evaluation.joining import KEYS
from detector.evaluation.pairs import Pair, Role
from detector.statistics.fairness import called_fake
from detector.statistics.sources import false_alarms
from detector.types import Label

MAX_AUC = 0.7  # largest AUC between two sources, in either direction; the whole 95 % interval beyond it is serious
MIN_GROUPS = 10  # smallest number of people (leakage groups) of a source that is compared with another
EXAMPLES = 4  # number of example pictures shown of each of two sources
QUESTIONS = {Role.PHOTOGRAPHS: "source of the photographs", Role.FAKES: "source of the fakes"}
FIX = "train with every source of photographs beside every source of fakes; believe matched pairs only"
NAMES = {"source": "real", "share": "rate", "alarms": "called"}  # column in `sources.false_alarms` -> column here
COLUMNS = ["detector", "real", "perturbation", "severity", "rate", "low", "high", "called", "n"]


def find_source_effects(pairs: pd.DataFrame, joined: pd.DataFrame) -> list[tuple[str, AuditFinding]]:
    """Return (detector, finding) per detector and control: serious if the score follows the source of the pictures.

    pairs: as `pairs.measure_pairs`. joined: as `joining.join_scores`; serious findings take their examples from it.
    If all photographs come from one source the control cannot be made: a note, of no detector ("").
    """
    plain, shown = pairs[pairs.perturbation == "none"], joined[joined.perturbation == "none"]
    findings = [("", finding) for finding in _find_lone_source(shown)]
    for role, question in QUESTIONS.items():
        for detector, part in plain[plain.role == role].groupby("detector", sort=False):
            finding = _judge_control(str(detector), question, part, shown[shown.detector == detector])
            findings.append((str(detector), finding))
    return sorted(findings, key=lambda found: -list(Severity).index(found[1].severity))


def count_false_alarms(joined: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Return the share of photographs called likely-fake, one row per detector, dataset and condition (COLUMNS).

    low, high: Clopper-Pearson bounds for as many unrelated pictures as the dataset is worth
    (`sources.false_alarms`). called, n: pictures. Where there are no verdicts, a score above 0 is called fake.
    """
    photographs = joined[joined.score.notna() & (joined.label == Label.REAL)]
    parts: list[pd.DataFrame] = []
    keys: Any
    for keys, part in photographs.groupby(KEYS, sort=False):
        sources, groups = part.dataset.to_numpy(), part.group.to_numpy()
        counts = false_alarms(called_fake(part), sources, groups, 0.5, level=level)
        parts.append(counts.assign(**dict(zip(KEYS, keys, strict=True))).rename(columns=NAMES))
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def is_beyond(low: Any, high: Any, groups: Any) -> Any:
    """Return whether the score separates two sources of enough people: the whole interval of the AUC exceeds MAX_AUC.

    low, high, groups: of one pair or of a column of them, as `pairs.measure_pairs`.
    """
    return (groups >= MIN_GROUPS) & ((low > MAX_AUC) | (high < 1 - MAX_AUC))


def _find_lone_source(joined: pd.DataFrame) -> Iterator[AuditFinding]:
    datasets = joined.dataset[joined.label == Label.REAL].unique()
    if len(datasets) == 1:
        yield AuditFinding(
            QUESTIONS[Role.PHOTOGRAPHS], Severity.NOTE,
            f"all photographs come from one source, {datasets[0]}: nothing can be said about whether the score follows "
            "the source", "add photographs of other sources, each named in the column dataset",
        )  # fmt: skip


def _judge_control(detector: str, question: str, pairs: pd.DataFrame, joined: pd.DataFrame) -> AuditFinding:
    """Return the finding on the control pairs of one detector; the one farthest from 0.5 is named."""
    pairs = pairs[pairs.groups >= MIN_GROUPS]
    if pairs.empty:
        few = f"{detector}: no two sources have {MIN_GROUPS} people each, so nothing can be said"
        return AuditFinding(question, Severity.NOTE, few, "add pictures of more people to the sources")
    sure = is_beyond(pairs.low, pairs.high, pairs.groups)
    ranked = pairs.assign(sure=sure, distance=(pairs.auc - 0.5).abs()).sort_values(["sure", "distance"])
    worst = ranked.iloc[-1]
    names, figures = (worst["first"], worst.second), (worst.auc, worst.low, worst.high)
    if worst.auc < 0.5:  # name the source that scores higher first
        names, figures = names[::-1], (1 - worst.auc, 1 - worst.high, 1 - worst.low)
    seen = "pictures of {} score above those of {}: AUC {:.3f} [{:.3f}, {:.3f}]".format(*names, *figures)
    if not sure.any():
        severity = Severity.NOTE if worst.distance > MAX_AUC - 0.5 else Severity.OK
        summary = f"{detector}: {seen}" + (f", the farthest from 0.5 of {len(pairs)} pairs" if len(pairs) > 1 else "")
        return AuditFinding(question, severity, summary, "", *figures)
    summary = f"the score of {detector} follows the {question}: {seen}"
    summary += f"; so in {sure.sum()} of {len(pairs)} pairs" if sure.sum() > 1 else ""
    examples = tuple(_pick_examples(worst, joined))
    return AuditFinding(question, Severity.SERIOUS, summary, FIX, *figures, examples)


def _pick_examples(pair: pd.Series, joined: pd.DataFrame) -> Iterator[str]:
    """Yield the paths of the pictures nearest to the median score of either set."""
    sets = Pair(Role(pair.role), pair["first"], pair.second, pair.generator, pair.kind).split(joined)
    for rows in sets:
        nearest = (rows.score - rows.score.median()).abs().sort_values(kind="stable").index[:EXAMPLES]
        yield from rows.path[nearest]
