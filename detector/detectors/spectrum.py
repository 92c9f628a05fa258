"""The baseline: logistic regression on the radial power spectrum of a face.

Source: Durall, Keuper, Keuper 2020, arXiv:2003.01826 (up-convolutions do not reproduce natural spectra).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detector.dataset.manifest import read_crops
from detector.detectors import DETECTORS
from detector.errors import CheckpointError, DetectorError, ManifestError
from detector.learning import journal
from detector.pictures.faces import load_face
from detector.pictures.features import radial_spectrum
from detector.scoring.checkpoint import read_card, read_tensors, write_checkpoint
from detector.statistics.calibration import Calibration, fit_calibration
from detector.statistics.metrics import METRICS
from detector.types import Images, Label, Opinion, Progress, Scores, silent


@DETECTORS.register("spectrum", summary="radial power spectrum and logistic regression: the baseline to beat")
class Spectrum:
    """Logistic regression on the log power at each spatial frequency.

    size: side of the face in pixels. bins: number of frequencies from 0 to Nyquist. strength: inverse of the weight of
    the L2 penalty.
    """

    name = "spectrum"

    def __init__(self, *, size: int = 64, bins: int = 32, strength: float = 1.0) -> None:
        self.size, self.bins, self.strength = size, bins, strength
        self.calibration: Calibration | None = None
        self._weights: dict[str, NDArray[np.float64]] = {}

    def score(self, faces: Images) -> Scores:
        """Return calibrated log-odds (N,) of faces (N, size, size, 3)."""
        if self.calibration is None:
            raise CheckpointError("this detector has no weights yet; fit it or load a checkpoint")
        return self.calibration.log_odds(self._logits(radial_spectrum(faces, self.bins)))

    def judge(self, scores: Scores) -> list[Opinion]:
        """Return the verdict of each score, by the thresholds on the card."""
        if self.calibration is None:
            raise CheckpointError("this detector has no weights yet; fit it or load a checkpoint")
        return self.calibration.judge(scores)

    def fit(
        self, manifest: pd.DataFrame, *, seed: int, folder: Path, progress: Progress = silent, device: str | None = None
    ) -> Self:
        """Learn from the training split, calibrate on the validation split, and return self.

        Raises ManifestError if either split lacks a class, DetectorError for a device other than the CPU.
        """
        if device not in (None, "cpu"):
            raise DetectorError("spectrum learns on the CPU alone; leave out --device")
        from sklearn.linear_model import LogisticRegression

        parts = {}
        for split in ("train", "val"):
            rows = manifest[manifest.split == split]
            if set(rows.label) != {Label.REAL, Label.FAKE}:
                raise ManifestError(f"the {split} split has pictures of one class only; a detector needs both")
            spectra = []
            for i, (path, crop) in enumerate(zip(rows.path, read_crops(rows), strict=True)):
                spectra.append(radial_spectrum(load_face(path, self.size, crop)[None], self.bins)[0])
                progress(f"reading {split}", i + 1, len(rows))
            parts[split] = (np.stack(spectra), rows.label.to_numpy(), rows.group.to_numpy())
        x, y, _ = parts["train"]
        mean, spread = x.mean(0), x.std(0) + 1e-6
        line = LogisticRegression(C=self.strength, class_weight="balanced", max_iter=2000).fit((x - mean) / spread, y)
        self._weights = {"mean": mean, "spread": spread, "slope": line.coef_[0], "offset": line.intercept_}
        x, y, groups = parts["val"]
        raw = self._logits(x)
        auc = float(METRICS.get("auc")(y, raw))
        journal.note(f"validation AUC {auc:.3f}", step=1, values={"validation AUC": auc})
        self.calibration = fit_calibration(raw, y, groups)
        return self

    def save(self, folder: Path, **facts: Any) -> None:
        """Write weights and card."""
        if self.calibration is None:
            raise CheckpointError("this detector was not trained; fit it first")
        arguments = {"size": self.size, "bins": self.bins, "strength": self.strength}
        card = {"detector": self.name, "arguments": arguments, "calibration": self.calibration.to_json(), **facts}
        write_checkpoint(folder, self._weights, card)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the detector that `save` wrote to a folder."""
        card = read_card(folder, "detector")
        self = cls(**card["arguments"])
        self.calibration = Calibration.from_json(card["calibration"])
        self._weights = read_tensors(folder)
        return self

    def _logits(self, spectra: NDArray[np.float64]) -> Scores:
        w = self._weights
        # A sum along each row: a matrix product rounds a row differently when there are more of them.
        return np.asarray(((spectra - w["mean"]) / w["spread"] * w["slope"]).sum(1) + w["offset"], np.float64)
