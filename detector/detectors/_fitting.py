"""The training loop of `cnn`: AdamW on the binary cross-entropy, and an exponential moving average of the weights.

After every epoch the average is measured on the validation split, and the state that a resumed run needs is saved.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from detector.detectors._nets import find_transformers
from detector.files import write_text
from detector.learning import devices, journal, state
from detector.learning.attacks import raise_loss
from detector.learning.batches import Batch, Batches, prepared_ahead
from detector.learning.steps import Replay, optimizer_step, update_ema
from detector.types import Images, Progress

WEIGHT_DECAY = 0.02  # weight decay of AdamW
WARMUP = 0.5  # epochs over which the learning rate rises to its peak
LAST_RATE = 0.05  # learning rate of the last step, as a share of the peak


@dataclass(frozen=True)
class Schedule:
    """Length and hyper-parameters of a training run.

    epochs: largest number of epochs. patience: epochs without a better validation AUC before training stops, 0 for
    never. steps: number of steps in an epoch. batch: pictures in a step. rate: peak learning rate of AdamW. smoothing:
    label smoothing. half_life: steps after which a weight's share in the exponential moving average has halved.
    adversarial: largest change of a pixel by which each training picture is made harder, grey levels; 0 for none.
    layer_decay: factor on the learning rate for every block of a transformer between a weight and the logit.
    """

    epochs: int
    patience: int
    steps: int
    batch: int
    rate: float
    smoothing: float
    half_life: float
    adversarial: float = 0.0
    layer_decay: float = 1.0


class Fitting:
    """One training run in one folder; a run that was interrupted is resumed from the folder.

    net: network, on its device. side: side of the faces that training shows, pixels.
    """

    def __init__(self, net: nn.Module, side: int, schedule: Schedule, folder: Path, device: torch.device) -> None:
        self.net, self.schedule, self.folder, self.device = net, schedule, folder, device
        self.average = copy.deepcopy(net).eval().requires_grad_(False)
        self.depthwise = any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in net.modules())
        self.decay, self.total = (torch.zeros((), device=device) for _ in range(2))
        groups = group_by_depth(net) if schedule.layer_decay != 1 else {0: list(net.parameters())}
        self.rates = [(schedule.layer_decay**depth, torch.zeros((), device=device)) for depth in groups]
        self.optimiser = torch.optim.AdamW(
            [{"params": weights, "lr": rate} for weights, (_, rate) in zip(groups.values(), self.rates, strict=True)],
            weight_decay=WEIGHT_DECAY, capturable=device.type == "cuda",
        )  # fmt: skip
        self.faces = torch.zeros((schedule.batch, side, side, 3), dtype=torch.uint8, device=device)
        self.targets = torch.zeros(schedule.batch, device=device)
        self.done: dict[str, Any] = {"epoch": 0, "best": -1.0, "best_epoch": 0, "history": []}
        if (folder / "resume.safetensors").is_file():
            self.done = state.load_state(folder / "resume.safetensors", self._parts())
        for group, (_, rate) in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate  # a resumed run has loaded another object
        self._replay = Replay(self._step, device)

    def run(self, batches: Batches, measure: Callable[[nn.Module], float], progress: Progress) -> nn.Module:
        """Train until the schedule ends, and return the averaged network (with patience, that of the best epoch).

        measure: returns the validation AUC of a network.
        """
        schedule, done = self.schedule, self.done
        patience = schedule.patience or schedule.epochs
        steps = range(done["epoch"] * schedule.steps, schedule.epochs * schedule.steps)
        ready = prepared_ahead(batches, steps)
        while done["epoch"] < schedule.epochs and done["epoch"] - done["best_epoch"] < patience:
            loss = self._train_epoch(itertools.islice(ready, schedule.steps), progress)
            self._keep(loss, measure(self.average))
        if schedule.patience:
            state.load_state(self.folder / "best.safetensors", {"average": self.average})
        return self.average.cpu().float()

    def _train_epoch(self, batches: Iterable[Batch], progress: Progress) -> float:
        """Take the steps of one epoch and return their mean loss."""
        schedule, all_steps = self.schedule, self.schedule.epochs * self.schedule.steps
        self.net.train()
        self.total.zero_()
        for step, (faces, labels) in enumerate(batches):
            count = self.done["epoch"] * schedule.steps + step
            ramp = schedule.rate * _ramp(count, schedule.steps, all_steps)
            for factor, rate in self.rates:
                rate.fill_(ramp * factor)
            self.decay.fill_(0.5 ** (1 / min(schedule.half_life, 1 + count / 4)))  # a short half-life in early steps
            self.faces.copy_(faces)
            self.targets.copy_(labels * (1 - schedule.smoothing) + schedule.smoothing / 2)
            self._replay()
            progress("training", count + 1, all_steps)
        return self.total.item() / schedule.steps

    def _step(self) -> None:
        faces, radius = self.faces, self.schedule.adversarial
        with devices.autocast(self.device, depthwise=self.depthwise):
            if radius:
                faces = raise_loss(self.net, faces, self.targets, radius=radius, steps=1)
            logits = self.net(faces)
        loss = F.binary_cross_entropy_with_logits(logits.float(), self.targets)
        optimizer_step(self.optimiser, loss, self.net)
        update_ema(self.average, self.net, self.decay)
        self.total.add_(loss.detach())

    def _keep(self, loss: float, auc: float) -> None:
        """Record a finished epoch, and save the state that a resumed run needs."""
        done, epoch = self.done, self.done["epoch"] + 1
        done["history"].append({"epoch": epoch, "loss": round(loss, 5), "val_auc": round(auc, 5)})
        done["epoch"] = epoch
        with devices.leader_first() as leads:
            if auc > done["best"]:
                done |= {"best": auc, "best_epoch": epoch}
                if leads:
                    state.save_state(self.folder / "best.safetensors", {"average": self.average}, {})
            if leads:
                write_text(self.folder / "history.json", json.dumps(done["history"], indent=1) + "\n")
                line = f"epoch {epoch} of at most {self.schedule.epochs}: loss {loss:.4g}, validation AUC {auc:.3f}"
                journal.note(line, step=epoch, values={"loss": loss, "validation AUC": auc})
                state.save_state(self.folder / "resume.safetensors", self._parts(), done)

    def _parts(self) -> dict[str, Any]:
        return {"net": self.net, "average": self.average, "optimiser": self.optimiser}


def group_by_depth(net: nn.Module) -> dict[int, list[nn.Parameter]]:
    """Return the weights of a network by the number of blocks of a transformer between them and the logit.

    It is 0 for a transformer's last layers, and for all weights of other networks.
    """
    depths: dict[nn.Parameter, int] = dict.fromkeys(net.parameters(), 0)
    for transformer in find_transformers(net):
        blocks = transformer.blocks
        parts = [*enumerate(blocks), (-1, transformer.patch_embed)]
        depths |= {weight: len(blocks) - i for i, part in parts for weight in part.parameters()}
        depths |= {weight: len(blocks) + 1 for weight in transformer.parameters(recurse=False)}  # tokens and positions
    return {d: [weight for weight, depth in depths.items() if depth == d] for d in sorted(set(depths.values()))}


def score_faces(net: nn.Module, faces: Images) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the network's logits (N,) of faces (N, H, W, 3), unaugmented, in float32."""
    device = next(net.parameters()).device
    with torch.no_grad():
        logits = [net(torch.from_numpy(np.array(faces[i : i + 64])).to(device)).cpu() for i in range(0, len(faces), 64)]
    return torch.cat(logits).numpy().astype(np.float64)


def _ramp(count: int, epoch: int, steps: int) -> float:
    """Return the share of the peak learning rate: a linear rise over the warm-up, then a cosine down to LAST_RATE."""
    rise = min(1.0, (count + 1) / max(WARMUP * epoch, 1))
    middle, half = (1 + LAST_RATE) / 2, (1 - LAST_RATE) / 2
    return float(rise * (middle + half * np.cos(np.pi * min(count / max(steps, 1), 1.0))))
