"""The validation of a detector: figures of its model card, and results on pictures not used for calibration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detector.errors import CheckpointError
from detector.statistics.calibration import Calibration
from detector.statistics.intervals import measure
from detector.statistics.metrics import METRICS
from detector.statistics.proportions import clopper_pearson, effective_count

VALIDATION = "validation.json"  # file beside the weights with results on pictures not used for calibration
POINTS = 60  # largest number of points of a curve that are kept


def read_backing(folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the validation of a detector: figures of its model card, and the content of VALIDATION if it exists."""
    kept = ("calibration", "false_alarms", "false_alarms_by_source", "domain", "data", "limits", "recipe", "version")
    backing = {"detector": card["detector"]} | {key: card[key] for key in kept if key in card}
    path = folder / VALIDATION
    if not path.is_file():
        return backing
    try:
        return backing | {"validation": json.loads(path.read_text())}
    except ValueError:
        raise CheckpointError(f"{path} is not JSON; restore it, or delete it to go without") from None


def summarise_validation(scores: pd.DataFrame, calibration: Calibration) -> dict[str, Any]:
    """Return the content of VALIDATION, computed on pictures that were not used for calibration.

    scores: columns generator ("" for real pictures), score (log-odds) and, where pictures belong together, group.
    intervals: 95 % of the figure of that name; a class of one group has none. Curves are lists of points [x, y]: ROC as
    (false-positive rate, true-positive rate), Tippett as (log10 likelihood ratio, share of pictures above it).
    """
    real, fakes = scores[scores.generator == ""], scores[scores.generator != ""]
    labels = (scores.generator != "").to_numpy(int)
    kinds = {str(name): rows.score for name, rows in fakes.groupby("generator")}
    groups = (scores.group if "group" in scores else pd.Series(range(len(scores)))).to_numpy()
    missed = {name: round(float((s <= calibration.fake_above).mean()), 4) for name, s in kinds.items()}
    auc = METRICS.get("auc")
    areas = {
        name: round(auc(np.repeat([0, 1], [len(real), len(s)]), np.concatenate([real.score, s])), 4)
        for name, s in kinds.items()
    }
    clipped = calibration.log10_lr(scores.score) * np.log(10)
    at = np.linspace(calibration.low, calibration.high, POINTS)
    levels = np.quantile(scores.score, np.linspace(1, 0, POINTS))
    worst, share = max(missed.items(), key=lambda item: item[1])
    whole = measure(labels, clipped, groups, ["cllr", "cllr_min"], seed=0)
    called = (scores.score > calibration.fake_above).to_numpy(float)
    kind = scores.generator.to_numpy()
    return {
        "real": len(real),
        "fake": {name: len(s) for name, s in kinds.items()},
        "auc": areas,
        "apcer_worst": (worst, share),
        "false_alarms": [int((real.score > calibration.fake_above).sum()), len(real)],
        "cllr": round(whole["cllr"].value, 4),
        "cllr_min": round(whole["cllr_min"].value, 4),
        "intervals": {
            "false_alarms": _share_interval(called[kind == ""], groups[kind == ""]),
            "apcer_worst": _share_interval(1 - called[kind == worst], groups[kind == worst]),
            **{name: [round(e.low, 4), round(e.high, 4)] for name, e in whole.items() if e.low == e.low},
        },
        "roc": [[round(float((s.score >= t).mean()), 4) for s in (real, fakes)] for t in levels],
        "tippett": {
            which: [[round(float(x), 3), round(float((calibration.log10_lr(s.score) >= x).mean()), 4)] for x in at]
            for which, s in (("H2", real), ("H1", fakes))
        },
    }


def describe_validation(found: Mapping[str, Any]) -> str:
    """Return the error rates of a validation in whole sentences, with their intervals."""
    alarms, photographs = found["false_alarms"]
    worst, missed = found["apcer_worst"]
    kept = found.get("intervals", {})

    def interval(name: str, form: str) -> str:
        return f" [{kept[name][0]:{form}}, {kept[name][1]:{form}}]" if name in kept else ""

    return (
        f"Called likely-fake: {alarms} of {photographs} photographs{interval('false_alarms', '.1%')}. Worst generator: "
        f"{worst}, of which {missed:.0%}{interval('apcer_worst', '.0%')} are not called likely-fake. Cllr "
        f"{found['cllr']:.3f}{interval('cllr', '.3f')}, after the best recalibration "
        f"{found['cllr_min']:.3f}{interval('cllr_min', '.3f')}."
    )


def _share_interval(hits: NDArray[np.float64], groups: NDArray[Any]) -> list[float]:
    """Return the 95 % Clopper-Pearson interval of a share; the groups decide the effective number of pictures."""
    count = effective_count(hits, groups)
    return [round(end, 4) for end in clopper_pearson(float(hits.mean()) * count, count)]
