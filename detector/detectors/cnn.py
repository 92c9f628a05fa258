"""A convolutional classifier: any timm backbone with one logit, trained with torch, scored without it.

Half of each batch is real, half fake; `learning/pairs.py` says how the two are matched. Training ends by exporting
ONNX, which is checked against torch.
Source: Wang et al. 2020, arXiv:1912.11035 (a plain classifier, well augmented, generalises); Chen et al. 2025,
arXiv:2505.14359 (pairs); the sources of the networks are in `_nets.py`.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from detector.dataset.manifest import read_crops
from detector.detectors import DETECTORS
from detector.errors import CheckpointError, DetectorError, ManifestError
from detector.pictures.colour import remove_tone
from detector.pictures.faces import load_face, widen
from detector.scoring.checkpoint import read_card, read_tensors, write_checkpoint
from detector.scoring.runtime import Session
from detector.statistics.calibration import Calibration, fit_calibration
from detector.statistics.metrics import METRICS
from detector.statistics.sources import fit_over_sources
from detector.types import Images, Label, Opinion, Progress, Scores, Transform, silent

if TYPE_CHECKING:
    from torch import nn


BLOCK = 256  # number of pictures in memory at a time while a detector is calibrated
SQUARES = 2  # largest side of the cached face squares, as a multiple of the side of the network's input


@DETECTORS.register(
    "cnn", summary="a small convolutional network, fine-tuned from ImageNet weights where they are installed"
)
class Cnn:
    """A timm backbone with one logit.

    backbone: any name that timm knows, or several joined by +, whose logits are averaged. The sides of faces and
        windows must suit it: those of a vision transformer are multiples of its patches, such as 16 pixels.
    size: side of the face, pixels.
    window: side of the part of the face that a training example shows, pixels; 0 for all of it. From parts, neither
        poses nor backgrounds can be learned.
    second: side of two parts whose logits are averaged, pixels: the whole face shrunk to that side, and its middle of
        that side at full resolution. 0: the whole face is the only input. For a single backbone.
    views: what each of several backbones sees, joined by +: how much of the middle of the face, pixels, and after a
        colon the side to which that is shrunk, such as 160+448:140; or whole for all of it.
    depth: number of blocks of a vision transformer; 0 for as many as timm gives it, and for other networks. Several
        numbers, such as 7,8: as many blocks as the last one, and the last layer sees the class token after each of
        them. Of several backbones, what is said of each is joined by +, such as 0+11+7,8.
    stem_stride: stride of the first convolution; 1 keeps fine detail at four times the cost.
    pretrained: start from ImageNet weights if the extra `imagenet` is installed.
    epochs: epochs at most.
    patience: epochs without a better validation AUC before training stops. 0: no early stopping, keep the last epoch;
        the validation split holds only known generators, so it cannot pick the best epoch for unseen ones.
    batch: pictures a step.
    rate: peak learning rate of AdamW.
    layer_decay: factor on the learning rate of each block of a transformer for every block between it and the logit;
        of other networks only 1 is accepted.
    smoothing: label smoothing.
    augmentation: strength, 0 for none.
    half_life: steps after which a weight's share in the exponential moving average has halved.
    adversarial: change each training picture by up to this many grey levels so that its loss rises, 0 for none; the
        network becomes harder to evade by invisible changes, and worse on pictures that nobody changed.
    residual: add a small second branch whose input is high-pass residuals; its receptive field is 11 pixels wide.
    locates: find the faces before scoring.
    mirrored: score the mean of a face and its mirror image.
    widened: score tight crops twice and average: once as given, once padded by reflection so that the face fills the
        same share of the frame as the faces that the network was trained on.
    """

    name = "cnn"

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
        layer_decay: float = 1.0,
        smoothing: float = 0.05,
        augmentation: float = 1.0,
        half_life: float = 20.0,
        adversarial: float = 0.0,
        residual: bool = False,
        second: int = 0,
        views: str = "whole",
        depth: str = "0",
        locates: bool = False,
        mirrored: bool = False,
        widened: bool = False,
    ) -> None:
        self.backbone, self.size, self.window = backbone, size, window
        self.stem_stride, self.pretrained = stem_stride, pretrained
        self.epochs, self.patience, self.batch, self.rate = epochs, patience, batch, rate
        self.smoothing, self.augmentation, self.half_life = smoothing, augmentation, half_life
        self.layer_decay, self.adversarial = layer_decay, adversarial
        self.residual, self.second, self.views, self.depth = residual, second, views, depth
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
        """Return log-odds (N, h, w) at each position of faces (N, size, size, 3); their mean is the score of a face."""
        session, calibration = self._ready()
        faces = _remove_tones(faces)
        maps = session.maps(faces)
        if self.mirrored:
            maps = (maps + session.maps(_mirror(faces))[:, :, ::-1]) / 2
        means = maps.mean((1, 2))
        maps = maps + (self._average_widened(session, faces, means) - means)[:, None, None]
        return calibration.log_odds(maps.ravel()).reshape(maps.shape)

    def judge(self, scores: Scores) -> list[Opinion]:
        """Return the verdict of each score, by the thresholds on the card."""
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

        start: folder of a trained detector of the same backbone, whose weights the training starts from.

        Raises ManifestError if either split lacks a class, CheckpointError if `start` does not fit, and DetectorError
        for `layer_decay` with a network that is no vision transformer.
        """
        import torch

        from detector.detectors._fitting import Fitting, Schedule, group_by_depth, score_faces
        from detector.learning import devices, state
        from detector.learning.batches import Batches
        from detector.learning.pairs import PairSampler
        from detector.learning.pixels import load_pictures
        from detector.learning.seeds import seeded
        from detector.learning.squares import load_squares

        rows = _select_splits(manifest)
        where = devices.pick_device(device)
        rank, _ = devices.join_world(where)
        with seeded(seed):
            net: nn.Module = self._build().to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.layer_decay != 1 and len(group_by_depth(net)) == 1:
            raise DetectorError(f"leave out layer_decay: {self.backbone} has no blocks of a vision transformer")
        squares = load_squares(rows, SQUARES * self.size, folder / "squares.bin", progress=progress)
        train, val = (np.flatnonzero(rows.split == split) for split in ("train", "val"))
        checked = rows.iloc[val].reset_index(drop=True)
        pixels = load_pictures(checked, self.size, folder / "pictures.npy", progress=progress)
        if start is not None:
            state.load_weights(net, read_tensors(start))
        schedule = Schedule(
            self.epochs, self.patience, max(len(train) // self.batch, 1), self.batch // 2 * 2, self.rate,
            self.smoothing, self.half_life, self.adversarial, self.layer_decay,
        )  # fmt: skip
        fitting = Fitting(net, self.window or self._sizes()[0], schedule, folder, where)
        sampler = PairSampler(
            squares, rows, train, sizes=self._sizes(), window=self.window or None, augmentation=self.augmentation
        )
        self._net = fitting.run(
            Batches(sampler, schedule.batch // 2, (seed, rank)),
            lambda average: METRICS.get("auc")(checked.label, score_faces(average, pixels)),
            progress,
        )
        raw = score_faces(self._net, pixels)
        if self.mirrored:
            raw = (raw + score_faces(self._net, pixels[:, :, ::-1])) / 2
        self.calibration = fit_calibration(raw, checked.label.to_numpy(), checked.group.to_numpy())
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

    def calibrate(self, manifest: pd.DataFrame, *, alter: Transform | None = None) -> Self:
        """Fit the calibration again, so that its thresholds hold on every dataset of photographs, and return self.

        manifest: pictures that training did not see, with photographs of at least two datasets. alter: a change of each
        face, such as a compression; the thresholds hold for the changed faces, too.
        """
        session = self._session
        if session is None:
            raise CheckpointError("this detector has no weights yet; fit and save it, or load a checkpoint")
        sources = np.where(manifest.label == Label.FAKE, manifest.generator, manifest.dataset)
        raw: list[Scores] = []
        altered: list[Scores] = []
        for first in range(0, len(manifest), BLOCK):
            block = manifest.iloc[first : first + BLOCK]
            faces = self._faces(block)
            raw.append(self._raw(session, faces))
            if alter is not None:
                changed = [alter(face, key) for face, key in zip(faces, block.sha256, strict=True)]
                altered.append(self._raw(session, np.stack(changed)))
        self.calibration = fit_over_sources(
            np.concatenate(raw), manifest.label, sources, manifest.group,
            altered=np.concatenate(altered) if altered else None,
        )  # fmt: skip
        return self

    def _raw(self, session: Session, faces: Images) -> Scores:
        faces = _remove_tones(faces)
        return self._average_widened(session, faces, self._logits(session, faces))

    def _logits(self, session: Session, faces: Images) -> Scores:
        """Return the logits (N,) of faces, averaged with those of their mirror images if `mirrored`."""
        logits = session.logits(faces)
        return (logits + session.logits(_mirror(faces))) / 2 if self.mirrored else logits

    def _average_widened(self, session: Session, faces: Images, logits: Scores) -> Scores:
        """Return the logits (N,) of faces; those of tight crops are averaged with the logits of the widened face."""
        wide = {i: face for i, crop in enumerate(faces) if self.widened and (face := widen(crop)) is not None}
        if not wide:
            return logits
        mean, tight = logits.copy(), list(wide)
        mean[tight] = (logits[tight] + self._logits(session, np.stack([*wide.values()]))) / 2
        return mean

    def _ready(self) -> tuple[Session, Calibration]:
        if self._session is None or self.calibration is None:
            raise CheckpointError("this detector has no weights yet; fit and save it, or load a checkpoint")
        return self._session, self.calibration

    def _faces(self, manifest: pd.DataFrame) -> Images:
        pairs = zip(manifest.path, read_crops(manifest), strict=True)
        return np.stack([load_face(path, self.size, crop) for path, crop in pairs])

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> Self:
        """Return the detector that `save` wrote to a folder; torch is not imported.

        threads: passed to `Session`.
        """
        card = read_card(folder, "detector")
        self = cls(**card["arguments"])
        self.calibration = Calibration.from_json(card["calibration"])
        self._session = Session(folder, threads=threads)
        return self

    def network(self, folder: Path) -> nn.Module:
        """Return the torch network with the weights of a folder, in evaluation mode: what an attacker computes with."""
        from detector.learning import state

        net = self._build()
        state.load_weights(net, read_tensors(folder))
        return net.eval()

    def _sizes(self) -> tuple[int, ...]:
        """Return the sides to which the network's input is resized, smallest first."""
        return (self.second, self.size) if self.second else (self.size,)

    def _build(self) -> nn.Module:
        from detector.detectors import _nets

        return _nets.make(
            self.backbone, stem_stride=self.stem_stride, pretrained=self.pretrained, residual=self.residual,
            size=self.size, second=self.second, views=self.views,
            depth=str(self.depth),  # a number in the cards of earlier versions
        )  # fmt: skip


def _remove_tones(faces: Images) -> Images:
    return np.stack([remove_tone(face) for face in faces]) if len(faces) else faces


def _mirror(faces: Images) -> Images:
    return np.ascontiguousarray(faces[:, :, ::-1])


def _select_splits(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the training and validation splits. Raises ManifestError if either split lacks a class."""
    rows = manifest[manifest.split.isin(["train", "val"])].reset_index(drop=True)
    for split in ("train", "val"):
        for label in Label:
            if not ((rows.split == split) & (rows.label == label)).any():
                raise ManifestError(f"the {split} split has no {label.name.lower()} picture; a detector needs both")
    return rows
