"""A convolutional classifier: any timm backbone with one logit, trained with torch, scored without it.

Half of each batch is real, half fake; `learning/pairs.py` says how the two are matched. Training ends by exporting
ONNX, which is checked against torch.
Source: Wang et al. 2020, arXiv:1912.11035 (a plain classifier, well augmented, generalises); Chen et al. 2025,
arXiv:2505.14359 (pairs); those of the networks stand in `_nets.py`.
"""

from __future__ import annotations

import copy
import inspect
import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from detector.dataset.manifest import read_crops
from detector.detectors import DETECTORS
from detector.errors import CheckpointError, ManifestError
from detector.files import write_text
from detector.pictures.faces import load_face, widen
from detector.scoring.checkpoint import read_card, read_tensors, write_checkpoint
from detector.scoring.runtime import Session
from detector.statistics.calibration import Calibration, fit_calibration
from detector.statistics.metrics import METRICS
from detector.statistics.sources import fit_over_sources
from detector.types import Images, Label, Opinion, Progress, Scores, silent

if TYPE_CHECKING:
    from torch import nn

    from detector.learning.squares import Squares


LOG = logging.getLogger("detector.training")  # one line at the end of each epoch
BLOCK = 256  # pictures that are held in memory while a detector is calibrated
SQUARES = 2  # side of the squares that training draws from, in sides of the network's face, at most


@DETECTORS.register(
    "cnn", summary="a small convolutional network, fine-tuned from ImageNet weights where they are installed"
)
class Cnn:
    """A timm backbone with one logit.

    backbone: any name timm knows. size: side of the face in pixels. window: side of the part of it that training shows,
    0 for all of it; from parts, poses and backgrounds are not learnt. stem_stride: 1 keeps fine detail
    at four times the cost. pretrained: start from ImageNet weights if the extra `imagenet` is installed.
    epochs: at most; patience: epochs without a better validation AUC before stopping, 0 for never, which keeps the last
    epoch: a validation split of learnt generators does not tell when others are told best. batch: pictures a step.
    rate: AdamW's peak step. smoothing: label smoothing. augmentation: strength, 0 for none. half_life: steps after
    which the exponential moving average of the weights has forgotten half.
    residual: whether a second, small branch looks at what high-pass filters leave, 11 pixels at a time.
    second: side in pixels of two parts whose logits are averaged: the whole face shrunk to that side, and its middle of
    that side at full resolution. 0: the face is seen once, whole.
    locates: whether scoring cuts out the largest face first. mirrored: score the mean of a face and its mirror image.
    widened: of a face that was cut tighter than the locator cuts, score the mean with it at the locator's scale.
    """

    name = "cnn"
    runtime = "onnx"  # of the session

    def __init__(
        self,
        backbone: str = "tf_efficientnet_lite0",
        *,
        size: int = 64,
        window: int = 0,
        stem_stride: int = 2,
        pretrained: bool = True,
        epochs: int = 12,
        patience: int = 4,
        batch: int = 32,
        rate: float = 1e-3,
        smoothing: float = 0.05,
        augmentation: float = 1.0,
        half_life: float = 20.0,
        residual: bool = False,
        second: int = 0,
        locates: bool = False,
        mirrored: bool = False,
        widened: bool = False,
    ) -> None:
        self.backbone, self.size, self.window = backbone, size, window
        self.stem_stride, self.pretrained = stem_stride, pretrained
        self.epochs, self.patience, self.batch, self.rate = epochs, patience, batch, rate
        self.smoothing, self.augmentation, self.half_life = smoothing, augmentation, half_life
        self.residual, self.second = residual, second
        self.locates, self.mirrored, self.widened = locates, mirrored, widened
        self.calibration: Calibration | None = None
        self._session: Session | None = None
        self._net: nn.Module | None = None

    def score(self, faces: Images) -> Scores:
        """Return calibrated log-odds (N,) of faces (N, size, size, 3)."""
        session, calibration = self._ready()
        return calibration.log_odds(self._raw(session, faces))

    @property
    def explains(self) -> bool:
        """Whether the network was exported with its score map."""
        return self._session is not None and self._session.mapped

    def explain(self, faces: Images) -> np.ndarray[Any, Any]:
        """Return log-odds (N, h, w) of the places of each face (N, size, size, 3); their mean is the face's score."""
        session, calibration = self._ready()
        maps = session.maps(faces)
        if self.mirrored:
            maps = (maps + session.maps(_mirror(faces))[:, :, ::-1]) / 2
        means = maps.mean((1, 2))
        maps = maps + (self._stepped_back(session, faces, means) - means)[:, None, None]
        return calibration.log_odds(maps.ravel()).reshape(maps.shape)

    def judge(self, scores: Scores) -> list[Opinion]:
        """Return the scores in words, by the thresholds on the card."""
        if self.calibration is None:
            raise CheckpointError("this detector has no weights yet; fit and save it, or load a checkpoint")
        return self.calibration.judge(scores)

    def fit(
        self,
        manifest: pd.DataFrame,
        *,
        seed: int,
        folder: Path,
        device: str | None = None,
        start: Path | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Learn from the training split, stop by the validation split, and return self; resumes what `folder` holds.

        start: folder of a trained detector of the same backbone, whose weights are the first ones.

        Raises ManifestError if either split lacks a class, CheckpointError if `start` does not fit.
        """
        import torch
        from torch.nn import functional as F

        from detector.learning import devices, state
        from detector.learning.pixels import load_pictures
        from detector.learning.seeds import seeded
        from detector.learning.squares import load_squares
        from detector.learning.steps import Replay, optimizer_step, update_ema

        rows = manifest[manifest.split.isin(["train", "val"])].reset_index(drop=True)
        for split in ("train", "val"):
            for label in Label:
                if not ((rows.split == split) & (rows.label == label)).any():
                    raise ManifestError(f"the {split} split has no {label.name.lower()} picture; a detector needs both")
        where = devices.pick_device(device)
        rank, _ = devices.join_world(where)
        squares = load_squares(rows, SQUARES * self.size, folder / "squares.bin", progress=progress)
        labels = rows.label.to_numpy()
        train, val = (np.flatnonzero(rows.split == s) for s in ("train", "val"))
        checked = rows.iloc[val].reset_index(drop=True)
        pixels = load_pictures(checked, self.size, folder / "pictures.npy", progress=progress)
        with seeded(seed):
            net: nn.Module = self._build().to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if start is not None:
            state.load_weights(net, read_tensors(start))
        average = copy.deepcopy(net).eval().requires_grad_(False)
        rate, decay, total = (torch.zeros((), device=where) for _ in range(3))
        optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.02, capturable=where.type == "cuda")
        parts: dict[str, Any] = {"net": net, "average": average, "optimiser": optimiser}
        steps = max(len(train) // self.batch, 1)
        done: dict[str, Any] = {"epoch": 0, "best": -1.0, "best_epoch": 0, "history": []}
        resume, best = folder / "resume.safetensors", folder / "best.safetensors"
        if resume.is_file():
            done = state.load_state(resume, parts)
        optimiser.param_groups[0]["lr"] = rate  # also where the run goes on
        side, batch = self.window or self._sizes()[0], self.batch // 2 * 2
        faces = torch.zeros((batch, side, side, 3), dtype=torch.uint8, device=where)
        target = torch.zeros(batch, device=where)

        def take() -> None:
            with devices.autocast(where, depthwise=True):
                logits = net(faces)
            loss = F.binary_cross_entropy_with_logits(logits.float(), target)
            optimizer_step(optimiser, loss, net)
            update_ema(average, net, decay)
            total.add_(loss.detach())

        replay = Replay(take, where)
        patience = self.patience or self.epochs
        while done["epoch"] < self.epochs and done["epoch"] - done["best_epoch"] < patience:
            epoch = done["epoch"]
            net.train()
            total.zero_()
            for step, (x, y) in enumerate(self._batches(squares, rows, train, steps, (seed, epoch, rank))):
                count = epoch * steps + step
                rate.fill_(self.rate * _ramp(count, 2 * steps, self.epochs * steps))
                decay.fill_(0.5 ** (1 / min(self.half_life, 1 + count / 4)))
                faces.copy_(torch.from_numpy(x))
                target.copy_(torch.from_numpy(y * (1 - self.smoothing) + self.smoothing / 2))
                replay()
                progress("training", count + 1, self.epochs * steps)
            auc = METRICS.get("auc")(labels[val], _logits(average, pixels))
            done["history"].append(
                {"epoch": epoch + 1, "loss": round(total.item() / steps, 5), "val_auc": round(auc, 5)}
            )
            done["epoch"] = epoch + 1
            with devices.leader_first() as leads:
                if auc > done["best"]:
                    done |= {"best": auc, "best_epoch": epoch + 1}
                    if leads:
                        state.save_state(best, {"average": average}, {})
                if leads:
                    write_text(folder / "history.json", json.dumps(done["history"], indent=1) + "\n")
                    LOG.info("epoch %d of at most %d: loss %.4g, validation AUC %.3f",
                             epoch + 1, self.epochs, total.item() / steps, auc)  # fmt: skip
                    state.save_state(resume, parts, done)
        if self.patience:
            state.load_state(best, {"average": average})
        self._net = average.cpu().float()
        raw = _logits(self._net, pixels)
        if self.mirrored:
            raw = (raw + _logits(self._net, pixels[:, :, ::-1])) / 2
        self.calibration = fit_calibration(raw, labels[val], rows.group.to_numpy()[val])
        return self

    def save(self, folder: Path, **facts: Any) -> None:
        """Write weights, ONNX and card. Raises CheckpointError if ONNX Runtime and torch disagree."""
        from detector.detectors._export import export
        from detector.learning import state

        if self._net is None or self.calibration is None:
            raise CheckpointError("this detector was not trained here; fit it first")
        export(self._net, self.size, folder)
        arguments = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        card = {"detector": self.name, "arguments": arguments, "calibration": self.calibration.to_json(), **facts}
        write_checkpoint(folder, state.state_to_numpy(self._net), card)
        self._session = Session(folder)

    def calibrate(self, manifest: pd.DataFrame) -> Self:
        """Set line, bounds and thresholds anew, so that they hold on every dataset of photographs, and return self.

        manifest: pictures that training did not see, with photographs of at least two datasets.
        """
        session = self._session
        if session is None:
            raise CheckpointError("this detector has no weights yet; fit and save it, or load a checkpoint")
        blocks = (manifest.iloc[i : i + BLOCK] for i in range(0, len(manifest), BLOCK))
        raw = np.concatenate([self._raw(session, self._faces(block)) for block in blocks])
        sources = np.where(manifest.label == Label.FAKE, manifest.generator, manifest.dataset)
        self.calibration = fit_over_sources(raw, manifest.label, sources, manifest.group)
        return self

    def _raw(self, session: Session, faces: Images) -> Scores:
        return self._stepped_back(session, faces, self._look(session, faces))

    def _look(self, session: Session, faces: Images) -> Scores:
        logits = session.logits(faces)
        return (logits + session.logits(_mirror(faces))) / 2 if self.mirrored else logits

    def _stepped_back(self, session: Session, faces: Images, logits: Scores) -> Scores:
        """Return the logits (N,) of faces, of those that were cut tightly the mean with what a wider square gives."""
        wide = {i: look for i, face in enumerate(faces) if self.widened and (look := widen(face)) is not None}
        if not wide:
            return logits
        mean, tight = logits.copy(), list(wide)
        mean[tight] = (logits[tight] + self._look(session, np.stack([*wide.values()]))) / 2
        return mean

    def _ready(self) -> tuple[Session, Calibration]:
        if self._session is None or self.calibration is None:
            raise CheckpointError("this detector has no weights yet; fit and save it, or load a checkpoint")
        return self._session, self.calibration

    def _faces(self, manifest: pd.DataFrame) -> Images:
        pairs = zip(manifest.path, read_crops(manifest), strict=True)
        return np.stack([load_face(path, self.size, crop) for path, crop in pairs])

    @classmethod
    def load(cls, folder: Path, *, runtime: str = "onnx") -> Self:
        """Return the detector kept in a folder, ready to score; torch is not imported. runtime: as `Session`."""
        card = read_card(folder, "detector")
        self = cls(**card["arguments"])
        self.calibration = Calibration.from_json(card["calibration"])
        self._session, self.runtime = Session(folder, runtime=runtime), runtime
        return self

    def _sizes(self) -> tuple[int, ...]:
        """Return the sides at which the network sees a face, smallest first."""
        return (self.second, self.size) if self.second else (self.size,)

    def _build(self) -> nn.Module:
        from detector.detectors import _nets

        return _nets.make(
            self.backbone, stem_stride=self.stem_stride, pretrained=self.pretrained, residual=self.residual,
            size=self.size, second=self.second,
        )  # fmt: skip

    def _batches(
        self, squares: Squares, rows: pd.DataFrame, train: np.ndarray[Any, Any], steps: int, key: tuple[int, ...]
    ) -> Iterator[tuple[Images, np.ndarray[Any, Any]]]:
        """Yield (faces, labels) of one epoch, prepared a few batches ahead in threads; fixed by the key alone."""
        from detector.learning.pairs import PairSampler

        workers = min(os.cpu_count() or 1, 4)
        samplers = [
            PairSampler(
                squares, rows, train, sizes=self._sizes(), window=self.window or None, augmentation=self.augmentation
            )
            for _ in range(workers)
        ]

        def prepare(step: int) -> tuple[Images, np.ndarray[Any, Any]]:
            return samplers[step % workers].batch(self.batch // 2, np.random.default_rng((*key, step)))

        with ThreadPoolExecutor(workers) as pool:
            ahead = [pool.submit(prepare, step) for step in range(min(workers, steps))]
            for step in range(steps):
                batch = ahead[step % workers].result()
                if step + workers < steps:
                    ahead[step % workers] = pool.submit(prepare, step + workers)
                yield batch


def _mirror(faces: Images) -> Images:
    return np.ascontiguousarray(faces[:, :, ::-1])


def _logits(net: nn.Module, pixels: Images) -> Scores:
    """Return the net's logits (N,) of faces, unaugmented, in float32."""
    import torch

    where = next(net.parameters()).device
    out = []
    with torch.no_grad():
        for i in range(0, len(pixels), 64):
            out.append(net(torch.from_numpy(np.array(pixels[i : i + 64])).to(where)).cpu().numpy())
    return np.concatenate(out).astype(np.float64)


def _ramp(count: int, warm: int, steps: int) -> float:
    """Return the share of the peak rate: linear up over a tenth of the warm-up, then a cosine down to a twentieth."""
    up = min(1.0, (count + 1) / max(warm / 4, 1))
    return float(up * (0.525 + 0.475 * np.cos(np.pi * min(count / max(steps, 1), 1.0))))
