"""What a detector's numbers rest on: its card's figures, and how it did on pictures that set nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from detector.errors import CheckpointError
from detector.statistics.calibration import Calibration
from detector.statistics.metrics import METRICS

VALIDATION = "validation.json"  # beside a detector's weights: how it did on pictures that set nothing
POINTS = 60  # most points of a curve that are kept


def read_backing(folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a detector's numbers rest on: its card's figures, and its validation where that was kept."""
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
    """Return what VALIDATION holds, from pictures that were not used for calibration.

    scores: columns generator ("" for real pictures) and score, log-odds. Curves are lists of points [x, y]: ROC as
    (false-positive rate, true-positive rate), Tippett as (log10 likelihood ratio, share of pictures above it).
    """
    real, fakes = scores[scores.generator == ""], scores[scores.generator != ""]
    labels = (scores.generator != "").to_numpy(int)
    kinds = {str(name): rows.score for name, rows in fakes.groupby("generator")}
    missed = {name: round(float((s <= calibration.fake_above).mean()), 4) for name, s in kinds.items()}
    auc = METRICS.get("auc")
    areas = {
        name: round(auc(np.repeat([0, 1], [len(real), len(s)]), np.concatenate([real.score, s])), 4)
        for name, s in kinds.items()
    }
    clipped = calibration.log10_lr(scores.score) * np.log(10)
    at = np.linspace(calibration.low, calibration.high, POINTS)
    levels = np.quantile(scores.score, np.linspace(1, 0, POINTS))
    return {
        "real": len(real),
        "fake": {name: len(s) for name, s in kinds.items()},
        "auc": areas,
        "apcer_worst": max(missed.items(), key=lambda item: item[1]),
        "false_alarms": [int((real.score > calibration.fake_above).sum()), len(real)],
        "cllr": round(METRICS.get("cllr")(labels, clipped), 4),
        "cllr_min": round(METRICS.get("cllr_min")(labels, clipped), 4),
        "roc": [[round(float((s.score >= t).mean()), 4) for s in (real, fakes)] for t in levels],
        "tippett": {
            which: [[round(float(x), 3), round(float((calibration.log10_lr(s.score) >= x).mean()), 4)] for x in at]
            for which, s in (("H2", real), ("H1", fakes))
        },
    }
