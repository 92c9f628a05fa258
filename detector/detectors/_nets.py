"""The networks of `cnn`: a timm backbone with one logit, several, a branch for high-pass residuals, and two scales.

Source: Gragnaniello et al. 2021, arXiv:2104.02617 (no down-sampling in the first layer: `stem_stride=1`); after Zhou et
al. 2018, arXiv:1805.04953, fig. 4 (a branch whose input is the residuals of steganalysis filters); Zhou et al. 2016,
arXiv:1512.04150 (the score map: the classifier applied at every position before pooling).
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from detector.errors import DetectorError
from detector.learning import backbones

WHOLE = "whole"  # value of `views` with which each backbone sees the whole face


class Net(nn.Module):
    """RGB uint8 (N, H, W, 3) -> logits (N,); the network itself scales pixels to -1..1, so that no caller must."""

    def __init__(self, backbone: nn.Module, branch: nn.Module | None) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.branch = branch

    def forward(self, faces: Tensor) -> Tensor:
        return self.classify(self.scale(faces))

    def classify(self, scaled: Tensor) -> Tensor:
        """Return the logits (N,) of faces (N, 3, H, W) in -1..1."""
        logits: Tensor = self.backbone(scaled).squeeze(1)
        return logits if self.branch is None else logits + self.branch(scaled).mean((1, 2))

    @staticmethod
    def scale(faces: Tensor) -> Tensor:
        return faces.permute(0, 3, 1, 2).float() / 127.5 - 1

    def maps(self, faces: Tensor) -> Tensor:
        """Return the logit of every position before pooling (N, h, w); for most backbones, their mean is the logit."""
        return self.places(self.scale(faces))

    def places(self, scaled: Tensor) -> Tensor:
        """Return the logit of every position (N, h, w) of faces (N, 3, H, W) in -1..1.

        The logit of a class token belongs to no position, so all of them get it alike.
        """
        x = self.backbone.forward_features(scaled)
        if getattr(self.backbone, "global_pool", "") == "token":
            return self.backbone.forward_head(x)[:, :, None]  # type: ignore[no-any-return]
        if x.ndim == 3:  # tokens (N, prefix + h w, C) of a vision transformer
            patch = self.backbone.patch_embed.patch_size
            height, width = scaled.shape[2] // patch[0], scaled.shape[3] // patch[1]
            x = x[:, -height * width :].transpose(1, 2).unflatten(2, (height, width))
        last = self.backbone.get_classifier()
        places: Tensor = torch.einsum("nchw,c->nhw", x, last.weight[0]) + last.bias
        if self.branch is not None:
            fine = self.branch(scaled)
            blocks = int(fine.shape[1]) // int(places.shape[1])
            places = places + F.avg_pool2d(fine[:, None], blocks)[:, 0]
        return places


class Residual(nn.Module):
    """Pictures (N, 3, H, W) in -1..1 -> the logit of every position (N, H / 4, W / 4), from high-pass residuals."""

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([[0, 0, 0], [1, -2, 1], [0, 0, 0]]) / 2
        square = torch.tensor([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
        self.register_buffer("filters", torch.stack([line, line.T, square])[:, None].repeat(3, 1, 1, 1))
        layers: list[nn.Module] = []
        for before, after, stride in ((9, 16, 1), (16, 32, 2), (32, 32, 2)):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers, self.last = nn.Sequential(*layers), nn.Conv2d(32, 1, 1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        rest = F.conv2d(x, self.filters, padding=1, groups=3)  # three residuals of each colour
        return self.last(self.layers(rest.clamp(-0.2, 0.2) * 5)).squeeze(1)  # type: ignore[no-any-return]


class TwoScales(nn.Module):
    """The mean logit that one network gives to the whole face, shrunk to `side` pixels, and to its unreduced middle.

    Both parts are `side` pixels wide, so they form one batch. A picture of another size than `size` is passed to the
    network unchanged, because training uses windows of the face.
    """

    shrink: Tensor

    def __init__(self, net: Net, size: int, side: int) -> None:
        super().__init__()
        self.net, self.size, self.side = net, size, side
        self.first = (size - side) // 2  # left and top edge of the middle
        self.register_buffer("shrink", torch.from_numpy(_shrink(size, side)), persistent=False)

    def forward(self, faces: Tensor) -> Tensor:
        if faces.shape[1] != self.size:
            logits: Tensor = self.net(faces)
            return logits
        whole, middle = self.net.classify(self.parts(faces)).chunk(2)
        return (whole + middle) / 2

    def parts(self, faces: Tensor) -> Tensor:
        """Return the whole of each face and then the middle of each (2 N, 3, side, side), scaled to -1..1."""
        x, last = self.net.scale(faces), self.first + self.side
        return torch.cat([_resample(x, self.shrink), x[:, :, self.first : last, self.first : last]])

    def maps(self, faces: Tensor) -> Tensor:
        """Return the logit of every position of the face (N, h, w); their mean is the logit."""
        whole, middle = self.net.places(self.parts(faces)).chunk(2)
        inside = _surround(middle, self.size, self.side)
        return (_stretch(whole, int(inside.shape[1])) + inside) / 2


class View(nn.Module):
    """The logit that a network gives to the middle of a face, `width` of its `size` pixels, shrunk to `side` pixels.

    What is at least twice as large is first averaged over whole blocks, as `images.resize` does. A picture of another
    size than `size` is passed to the network unchanged, because training uses windows of the face.
    """

    shrink: Tensor

    def __init__(self, net: Net, size: int, width: int, side: int) -> None:
        super().__init__()
        self.net, self.size, self.width, self.side = net, size, width, side
        self.first = (size - width) // 2  # left and top edge of the part
        self.block = next(block for block in range(width // side, 0, -1) if width % block == 0)
        self.register_buffer("shrink", torch.from_numpy(_shrink(width // self.block, side)), persistent=False)

    def forward(self, faces: Tensor) -> Tensor:
        return self.net.classify(self.part(faces))

    def part(self, faces: Tensor) -> Tensor:
        """Return what the network sees of each face (N, 3, side, side), scaled to -1..1."""
        x, last = self.net.scale(faces), self.first + self.width
        if faces.shape[1] != self.size:
            return x
        x = x[:, :, self.first : last, self.first : last]
        if self.block > 1:
            x = F.avg_pool2d(x, self.block)
        return x if x.shape[2] == self.side else _resample(x, self.shrink)

    def maps(self, faces: Tensor) -> Tensor:
        """Return the logit of every position of the face (N, h, w), 0 outside the part; their mean is the logit."""
        return _surround(self.net.places(self.part(faces)), self.size, self.width)


class Several(nn.Module):
    """The mean logit of several networks: RGB uint8 (N, H, W, 3) -> logits (N,)."""

    def __init__(self, nets: list[nn.Module]) -> None:
        super().__init__()
        self.nets: Any = nn.ModuleList(nets)

    def forward(self, faces: Tensor) -> Tensor:
        return torch.stack([net(faces) for net in self.nets]).mean(0)

    def maps(self, faces: Tensor) -> Tensor:
        """Return the logit of every position of the face (N, h, h), as fine as the finest of the networks' maps."""
        maps = [net.maps(faces) for net in self.nets]
        finest = max(int(places.shape[1]) for places in maps)
        return torch.stack([_stretch(places, finest) for places in maps]).mean(0)


def make(
    backbone: str, *, stem_stride: int, pretrained: bool, residual: bool, size: int, second: int, views: str, depth: str
) -> nn.Module:
    """Return a network with initial weights for faces of `size` pixels; its logits are 0.

    second: side of the two parts of `TwoScales`, pixels; 0 for a network without them. The rest is as in `cnn.Cnn`. The
    branch for residuals is that of the first of several backbones.

    Raises UnknownName for a backbone that timm does not have, DetectorError for `views` with one backbone, for `second`
    with several, for a depth of what is no vision transformer, and for views or depths that do not fit.
    """
    branch = Residual() if residual else None  # built first: its weights do not depend on the backbone
    names = backbone.split("+")
    alone = len(names) == 1
    if views != WHOLE and alone:
        raise DetectorError("leave out views: they are what several backbones see, and there is one")
    if second and not alone:
        raise DetectorError("leave out second: it is what a single backbone sees; views is for several")
    seen = read_views(views, len(names), size)
    depths = read_depths(depth, len(names))
    built = [_begin(name, stem_stride, pretrained, blocks) for name, blocks in zip(names, depths, strict=True)]
    nets = [Net(part, None if i else branch) for i, part in enumerate(built)]
    if alone:
        return TwoScales(nets[0], size, second) if second else nets[0]
    return Several([View(net, size, width, side) for net, (width, side) in zip(nets, seen, strict=True)])


def read_views(text: str, number: int, size: int) -> list[tuple[int, int]]:
    """Return (width, side) of the part of the face that each backbone sees, pixels, from a text such as "160+448:140".

    text: as `views` of `cnn.Cnn`. number: of backbones. Raises DetectorError if it is no such text, names another
    number of parts, or has a width outside of the face or a side above its width.
    """
    if text == WHOLE:
        return [(size, size)] * number
    try:
        pairs = [[int(length) for length in part.split(":")] for part in text.split("+")]
        views = [(pair[0], pair[-1]) for pair in pairs]
        fits = len(views) == number and all(len(pair) < 3 for pair in pairs)
    except ValueError:
        fits = False
    if not fits or any(not 0 < side <= width <= size for width, side in views):
        example = "+".join([f"{size}:{size // 2}"] * number)
        raise DetectorError(f"views names {number} parts of a face of {size} pixels, such as {example}, not {text!r}")
    return views


def read_depths(text: str, number: int) -> list[tuple[int, ...]]:
    """Return the numbers of blocks of each backbone, none for as many as timm gives it, from a text such as "0+11+7,8".

    text: as `depth` of `cnn.Cnn`. number: of backbones. Raises DetectorError if it is no such text.
    """
    parts = [part.split(",") for part in (text.split("+") if text != "0" else ["0"] * number)]
    if len(parts) == number and all(block.isdecimal() for part in parts for block in part):
        depths = [tuple(map(int, part)) for part in parts]
        if all(blocks == (0,) or (0, *blocks) == tuple(sorted({0, *blocks})) for blocks in depths):
            return [() if blocks == (0,) else blocks for blocks in depths]
    example = "+".join(["6"] * number)
    raise DetectorError(
        f"depth is a number for each backbone, or several that rise, with commas, such as {example}, not {text!r}"
    )


def fix_size(net: Any, size: int) -> Any:
    """Return a copy of a network that is fit for ONNX: the positions of vision transformers fit faces of `size` pixels.

    Otherwise they are resampled for every picture, which ONNX cannot do. Attention is computed in single steps, which
    become fewer operations there.
    """
    fixed = copy.deepcopy(net)
    for part in fixed.nets if isinstance(fixed, Several) else [fixed]:
        side = getattr(part, "side", size)
        for module in part.modules():
            if getattr(module, "dynamic_img_size", False):
                module.set_input_size(img_size=(side, side))
            if hasattr(module, "fused_attn"):
                module.fused_attn = False
    return fixed


def find_transformers(net: nn.Module) -> list[Any]:
    """Return the parts of a network that are vision transformers with blocks."""
    return [module for module in net.modules() if hasattr(module, "patch_embed") and hasattr(module, "blocks")]


def _begin(name: str, stem_stride: int, pretrained: bool, blocks: tuple[int, ...]) -> nn.Module:
    backbone: Any = backbones.make_backbone(name, blocks)
    if blocks and not find_transformers(backbone):
        raise DetectorError(f"the depth of {name} is 0: it is no vision transformer")
    if pretrained:
        backbones.start_from_imagenet(backbone, name)
    nn.init.zeros_(backbone.get_classifier().weight)  # all logits begin at 0; those of timm's weights are far from it
    if stem_stride == 1:
        first = next(m for m in backbone.modules() if isinstance(m, nn.Conv2d))
        first.stride = (1, 1)
    return backbone  # type: ignore[no-any-return]


def _shrink(size: int, smaller: int) -> NDArray[np.float32]:
    """Return weights (smaller, size) that shrink a line of pixels as `images.resize` does: Lanczos, antialiased.

    Source: Duchon 1979, doi:10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2, three lobes, as in Pillow.
    """
    scale = size / smaller
    centres = (np.arange(smaller) + 0.5) * scale
    far = np.abs(np.arange(size) + 0.5 - centres[:, None]) / scale
    weights = np.where(far < 3, np.sinc(far) * np.sinc(far / 3), 0)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]


def _surround(places: Tensor, size: int, width: int) -> Tensor:
    """Return the map of the middle of a face (N, h, h) as a map of the whole face with the same mean, 0 around it.

    size, width: side of the face and of its middle, pixels.
    """
    cells = int(places.shape[1])
    across = round(cells * size / width)  # positions of the middle's width across the face
    before = (across - cells) // 2
    after = across - cells - before
    return F.pad(places * (across / cells) ** 2, (before, after, before, after))


def _stretch(places: Tensor, side: int) -> Tensor:
    """Return maps (N, h, h) with `side` rows and columns and the same means."""
    if places.shape[1] == side:
        return places
    return _resample(places, torch.from_numpy(_overlaps(int(places.shape[1]), side)))


def _resample(x: Tensor, weights: Tensor) -> Tensor:
    """Return squares (..., n, n) resampled by weights (m, n) along rows and columns, (..., m, m)."""
    return torch.matmul(torch.matmul(weights, x), weights.T)


def _overlaps(cells: int, places: int) -> NDArray[np.float32]:
    """Return weights (places, cells) that stretch a row of cells to more places and keep its mean."""
    edges, starts = np.arange(cells + 1) / cells, np.arange(places)[:, None] / places
    shared = np.clip(np.minimum(edges[1:], starts + 1 / places) - np.maximum(edges[:-1], starts), 0, None)
    return (shared * places).astype(np.float32)  # type: ignore[no-any-return]
