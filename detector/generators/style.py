"""The style-based generator: one vector w a layer decides the face, coarse layers first.

Source: Karras, Laine, Aila 2019, arXiv:1812.04948 (mapping network, styles, noise, truncation, style mixing);
Karras et al. 2020, arXiv:1912.04958 (modulation and demodulation, skip connections to RGB, no progressive growing).

Modulating each picture's weights needs grouped convolutions, which a CPU runs slowly. The same sum is had by scaling
the activations: conv(x, w * s) = conv(x * s, w), then dividing by the norm of w * s (1912.04958, eq. 1-3).
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from detector import learning
from detector.errors import CheckpointError, UnknownName
from detector.generators import GENERATORS, _adversarial
from detector.scoring.checkpoint import read_card, read_tensors, write_checkpoint
from detector.types import Images, Progress, silent

GAIN = math.sqrt(2)  # a leaky ReLU of slope 0.2 halves the variance, about; folded into weights, since it commutes


class Linear(nn.Module):
    """A fully connected layer whose weights are N(0, 1) and scaled at run time ("equalised learning rate")."""

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale, self.rate = gain * rate / math.sqrt(inputs), gain * rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class Conv(nn.Module):
    """A plain convolution, equalised likewise."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain, self.scale, self.padding = gain, gain / math.sqrt(inputs * kernel**2), kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias * self.gain, padding=self.padding)


class Styled(nn.Module):
    """A convolution steered by w: scale the inputs, convolve, undo the change of variance, add noise, activate."""

    def __init__(self, inputs: int, outputs: int, w_dim: int) -> None:
        super().__init__()
        self.style = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.scale = 1 / math.sqrt(inputs * 9)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        weight, style = self.weight * self.scale, self.style(w)  # style: (N, inputs)
        norm = GAIN * (style.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()  # (N, outputs)
        x = F.conv2d(x * style[:, :, None, None].to(x.dtype), weight, padding=1)
        x = torch.addcmul(self.bias[None, :, None, None].to(x.dtype), x, norm[:, :, None, None].to(x.dtype))
        if noise is not None:
            x = x + (0.1 * self.noise_strength * noise).to(x.dtype)  # 0.1: else it outruns the styles early on
        return F.leaky_relu(x, 0.2)


class ToRGB(nn.Module):
    """A 1x1 convolution to colours, steered by w and not demodulated."""

    def __init__(self, inputs: int, colours: int, w_dim: int) -> None:
        super().__init__()
        self.style = Linear(w_dim, inputs, bias=1.0)
        self.conv = Conv(inputs, colours, 1)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        out: Tensor = self.conv(x * self.style(w)[:, :, None, None].to(x.dtype))
        return out


class Mapping(nn.Module):
    """z -> w: a few layers learning a hundred times slower than the rest."""

    def __init__(self, z_dim: int, w_dim: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Linear(z_dim if i == 0 else w_dim, w_dim, rate=0.01, gain=GAIN) for i in range(depth)
        )

    def forward(self, z: Tensor) -> Tensor:
        x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        return x


class Synthesis(nn.Module):
    """Styles -> picture: a learned 4x4 constant, doubled until it is `size`; two styled convolutions a scale."""

    def __init__(self, size: int, colours: int, w_dim: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.size, self.layers = size, 2 * len(widths)  # w has one row a styled convolution
        # Numbered from the coarsest, so that a trained 32-pixel net starts a 64-pixel one under the same names.
        self.constant = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        before = [widths[0], *widths[:-1]]
        self.first = nn.ModuleList(Styled(a, b, w_dim) for a, b in zip(before, widths, strict=True))
        self.second = nn.ModuleList(Styled(b, b, w_dim) for b in widths)
        self.to_rgb = nn.ModuleList(ToRGB(b, colours, w_dim) for b in widths)

    def forward(self, w: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Return pictures (N, colours, size, size), about -1..1, from styles (N, layers, w_dim)."""
        x = self.constant.expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        picture = None
        for i, (first, second, to_rgb) in enumerate(zip(self.first, self.second, self.to_rgb, strict=True)):
            x = first(x, w[:, 2 * i], self._noise(x, noise))
            if i > 0:
                x = _double(x)
            x = second(x, w[:, 2 * i + 1], self._noise(x, noise))
            rgb = to_rgb(x, w[:, 2 * i + 1])
            picture = rgb if picture is None else _double(picture) + rgb
        assert isinstance(picture, Tensor)
        return picture

    def _noise(self, x: Tensor, source: torch.Generator | None) -> Tensor | None:
        shape = (len(x), 1, x.shape[2], x.shape[3])
        return None if source is None else torch.randn(shape, generator=source, device=source.device).to(x.device)


class Discriminator(nn.Module):
    """Picture -> one logit: residual blocks that halve the size, then a look at how the batch varies.

    Source: Karras et al. 2020, arXiv:1912.04958, fig. 7; the batch's spread, Karras et al. 2017, arXiv:1710.10196,
    sec. 3. Blocks are numbered from the coarsest, as in the generator.
    """

    def __init__(self, size: int, colours: int, widths: Sequence[int]) -> None:
        super().__init__()
        pairs = list(zip(widths[1:], widths[:-1], strict=True))  # a block narrows the picture and widens the stack
        self.from_rgb = nn.ModuleDict({str(size): Conv(colours, widths[-1], 1, gain=GAIN)})
        self.first = nn.ModuleList(Conv(a, a, 3, gain=GAIN) for a, _ in pairs)
        self.second = nn.ModuleList(Conv(a, b, 3) for a, b in pairs)  # its gain and that of the sum cancel
        self.skip = nn.ModuleList(Conv(a, b, 1, gain=1 / GAIN) for a, b in pairs)
        self.last = Conv(widths[0] + 1, widths[0], 3, gain=GAIN)
        self.hidden = Linear(widths[0] * 16, widths[0], gain=GAIN)
        self.logit = Linear(widths[0], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N,), larger = more real, from pictures (N, colours, size, size)."""
        x = F.leaky_relu(self.from_rgb[str(x.shape[-1])](x), 0.2)
        for i in reversed(range(len(self.first))):
            short = self.skip[i](_halve(x))
            x = _halve(F.leaky_relu(self.first[i](x), 0.2))
            x = F.leaky_relu(self.second[i](x), 0.2) + short
        spread = x.float().std(0, unbiased=False).mean().to(x.dtype).expand(len(x), 1, *x.shape[2:])
        x = F.leaky_relu(self.last(torch.cat([x, spread], 1)), 0.2)
        x = F.leaky_relu(self.hidden(x.flatten(1)), 0.2)
        logit: Tensor = self.logit(x)
        return logit.squeeze(1)


def _to_colours(name: str, tensor: NDArray[Any], colours: int) -> NDArray[Any]:
    """Return a tensor of a colour net for a grey one: the mean of what is drawn, the sum of what is looked at."""
    if colours == 1 and ".to_rgb." in name and ".conv." in name:
        return np.asarray(tensor.mean(0, keepdims=True))
    if colours == 1 and ".from_rgb." in name and tensor.ndim == 4:
        return np.asarray(tensor.sum(1, keepdims=True) / math.sqrt(3))  # the scale counts the inputs
    return tensor


def _double(x: Tensor) -> Tensor:
    """Return pictures of twice the side, bilinear: every new row is three parts of the nearer and one of the other."""
    if not x.is_cuda:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    for dim in (2, 3):  # the same in sums alone: a GPU's gradient of `interpolate` waits for itself
        n = x.shape[dim]
        before = torch.cat([x.narrow(dim, 0, 1), x.narrow(dim, 0, n - 1)], dim)
        after = torch.cat([x.narrow(dim, 1, n - 1), x.narrow(dim, n - 1, 1)], dim)
        x = torch.stack([torch.lerp(x, before, 0.25), torch.lerp(x, after, 0.25)], dim + 1).flatten(dim, dim + 1)
    return x.contiguous(memory_format=torch.channels_last)


def _halve(x: Tensor) -> Tensor:
    """Return pictures of half the side, each pixel the mean of four."""
    if x.is_cuda:
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)  # the same, a CPU's faster gradient


class Net(nn.Module):
    """Mapping and synthesis together, and the mean of w that truncation moves towards."""

    w_mean: Tensor

    def __init__(self, size: int, colours: int, z_dim: int, w_dim: int, depth: int, width: int) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.mapping = Mapping(z_dim, w_dim, depth)
        self.synthesis = Synthesis(size, colours, w_dim, widths(size, width))
        self.register_buffer("w_mean", torch.zeros(w_dim))

    def make(self, n: int, rng: torch.Generator) -> Tensor:
        """Return n training pictures (N, C, H, W), half of them mixing the styles of two faces (sec. 3.1)."""
        z = torch.randn(2, n, self.z_dim, generator=rng, device=rng.device).to(self.w_mean.device)
        layers = self.synthesis.layers
        cross = torch.randint(1, 2 * layers, (n, 1, 1), generator=rng, device=rng.device).to(z.device)
        w = self.mapping(z.flatten(0, 1)).unflatten(0, (2, n))[:, :, None]  # (2, N, 1, w_dim)
        if self.training:
            self.w_mean.lerp_(w.detach().float().mean((0, 1, 2)), 0.005)
        w = torch.where(torch.arange(layers, device=z.device)[None, :, None] < cross, w[0], w[1])
        return self.synthesis(w, rng)  # type: ignore[no-any-return]


def widths(size: int, width: int) -> list[int]:
    """Return the channels from 4 pixels up to `size`: at most `width`, and about 12 * width / pixels.

    >>> widths(64, 128)
    [128, 128, 96, 48, 24]
    """
    return [min(width, max(12 * width // (4 * 2**i), 4)) for i in range(int(math.log2(size)) - 1)]


@GENERATORS.register("style", year=2019, summary="style-based: mixes the styles of faces, layer by layer")
class Style:
    """A style-based generator of faces, trained from scratch or from a smaller one.

    size: side of the picture in pixels, a power of two, 32 to 256.
    colours: 3, or 1 for grey.
    z_dim, w_dim: length of the latent vectors. depth: layers of the mapping network.
    width: most channels of a layer; 96 learns most from an hour of CPU, a GPU takes 256.
    truncation: psi of sec. B; 1 varies most, 0 is the average face.
    """

    name = "style"

    def __init__(self, size: int = 64, *, colours: int = 3, z_dim: int = 128, w_dim: int = 128, depth: int = 4,
                 width: int = 96, truncation: float = 0.7) -> None:  # fmt: skip
        self.size, self.colours, self.z_dim, self.w_dim = size, colours, z_dim, w_dim
        self.depth, self.width, self.truncation = depth, width, truncation
        self.net: Net | None = None

    def sample(self, n: int, *, seed: int, truncation: float | None = None) -> Images:
        """Return n faces, RGB (n, size, size, 3); face i is that of seed + i, whatever n is."""
        return np.concatenate([self._paint(w, chunk, truncation) for chunk, w in self._styles(range(seed, seed + n))])

    def mix(self, sources: Sequence[int], destinations: Sequence[int], *, layers: str = "coarse",
            truncation: float | None = None) -> Images:  # fmt: skip
        """Return the faces of the destination seeds (columns) wearing the source seeds' (rows) styles at some layers.

        layers: "coarse" (4-8 pixels: pose, shape), "middle" (16-32: features, hair) or "fine" (above: colours).
        The result is (len(sources), len(destinations), size, size, 3). Source: arXiv:1812.04948, fig. 3.
        """
        taken = layer_range(layers, self._net().synthesis.layers)
        from_source = np.concatenate([w.numpy() for _, w in self._styles(sources)])
        into = np.concatenate([w.numpy() for _, w in self._styles(destinations)])
        grid = []
        for row in from_source:
            mixed = into.copy()
            mixed[:, taken] = row[taken]
            grid.append(self._paint(torch.from_numpy(mixed), list(destinations), truncation))
        return np.stack(grid)

    def fit(
        self,
        manifest: pd.DataFrame,
        *,
        seed: int,
        folder: Path,
        options: _adversarial.Options | None = None,
        start: Path | None = None,
        device: str | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Learn the faces of a manifest's training split (label real) and return self; resumes what `folder` holds.

        start: a checkpoint of a smaller or equal `style`, whose weights begin this one.
        """
        where = learning.pick_device(device)
        learning.join_world(where)
        pixels = _adversarial.reals(manifest, self.size, folder, progress)
        if self.colours == 1:
            pixels = pixels.mean(3, keepdims=True).astype(np.uint8)
        with learning.seeded(seed):
            net = self._build()
            critic = Discriminator(self.size, self.colours, widths(self.size, self.width))
        if start is not None:
            tensors = {name: _to_colours(name, t, self.colours) for name, t in read_tensors(start).items()}
            learning.borrow_weights(net, tensors, "g.")
            learning.borrow_weights(critic, tensors, "d.")
        game = _adversarial.Game(net, critic, Net.make, self._show)
        average = _adversarial.play(
            game, pixels, options or _adversarial.Options(), folder=folder, seed=seed, device=where, progress=progress
        )
        self.net, self._critic = average.cpu(), critic.cpu()  # type: ignore[assignment]
        return self

    def save(self, folder: Path, **facts: Any) -> None:
        """Write the averaged weights (and the critic's, if just trained, for a warm start) and the card."""
        tensors = learning.numbers(self._net(), "g.")
        if getattr(self, "_critic", None) is not None:
            tensors |= learning.numbers(self._critic, "d.")
        arguments = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        write_checkpoint(folder, tensors, {"generator": self.name, "arguments": arguments, **facts})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the generator kept in a folder."""
        self = cls(**read_card(folder, "generator")["arguments"])
        self.net = self._build()
        learning.fill(self.net, read_tensors(folder), "g.")
        return self

    def _build(self) -> Net:
        return Net(self.size, self.colours, self.z_dim, self.w_dim, self.depth, self.width)

    def _net(self) -> Net:
        if self.net is None:
            raise CheckpointError("this generator has no weights yet; fit it or load a checkpoint")
        return self.net

    @torch.no_grad()
    def _styles(self, seeds: Sequence[int]) -> list[tuple[list[int], Tensor]]:
        """Return (seeds, styles (n, layers, w_dim)) in small batches; a face depends on its own seed alone."""
        net, chunks = self._net().eval(), [list(seeds[i : i + 16]) for i in range(0, len(seeds), 16)]
        z = [torch.stack([torch.randn(self.z_dim, generator=learning.source(s)) for s in c]) for c in chunks]
        return [(c, net.mapping(x)[:, None].repeat(1, net.synthesis.layers, 1)) for c, x in zip(chunks, z, strict=True)]

    @torch.no_grad()
    def _paint(self, w: Tensor, seeds: Sequence[int], truncation: float | None) -> Images:
        net, psi = self._net().eval(), self.truncation if truncation is None else truncation
        w = net.w_mean + psi * (w - net.w_mean)
        pictures = [net.synthesis(w[i : i + 1], learning.source(s, 1)) for i, s in enumerate(seeds)]
        return _adversarial.to_pixels(torch.cat(pictures))

    def _show(self, net: nn.Module) -> Images:
        shown = copy.copy(self)
        shown.net = net  # type: ignore[assignment]
        return shown.sample(64, seed=0)


def layer_range(name: str, layers: int) -> list[int]:
    """Return the rows of w of the coarse (4-8 pixels), middle (16-32) or fine (64 and up) layers.

    >>> layer_range("middle", 10)
    [4, 5, 6, 7]
    """
    edges = {"coarse": (0, 4), "middle": (4, 8), "fine": (8, layers)}
    if name not in edges:
        raise UnknownName("set of layers", name, edges)
    start, stop = edges[name]
    return list(range(start, min(stop, layers)))
