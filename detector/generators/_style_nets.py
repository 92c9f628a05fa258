"""The networks of `style`: mapping, synthesis and discriminator.

Modulating each picture's weights needs grouped convolutions, which a CPU runs slowly. Scaling the activations gives the
same result: conv(x, w * s) = conv(x * s, w), then dividing by the norm of w * s (arXiv:1912.04958, eq. 1-3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from detector.learning.seeds import seeded_generator

GAIN = math.sqrt(2)  # compensates a leaky ReLU of slope 0.2, which about halves the variance; multiplied into weights


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
    """A convolution with an equalised learning rate."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain, self.scale, self.padding = gain, gain / math.sqrt(inputs * kernel**2), kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias * self.gain, padding=self.padding)


class Styled(nn.Module):
    """A convolution modulated by w: scale the inputs, convolve, demodulate, add noise, activate."""

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
            # The factor 0.1 slows the learning of the noise strength, which would otherwise outrun that of the styles.
            x = x + (0.1 * self.noise_strength * noise).to(x.dtype)
        return F.leaky_relu(x, 0.2)


class ToRGB(nn.Module):
    """A 1x1 convolution to colours, modulated by w and not demodulated."""

    def __init__(self, inputs: int, colours: int, w_dim: int) -> None:
        super().__init__()
        self.style = Linear(w_dim, inputs, bias=1.0)
        self.conv = Conv(inputs, colours, 1)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        out: Tensor = self.conv(x * self.style(w)[:, :, None, None].to(x.dtype))
        return out


class Mapping(nn.Module):
    """z -> w: a few layers whose learning rate is a hundredth of the others'."""

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
    """Styles -> picture: a learned 4x4 constant, doubled up to `size`, with two styled convolutions at each scale."""

    def __init__(self, size: int, colours: int, w_dim: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.size, self.layers = size, 2 * len(widths)  # w has one row for each styled convolution
        # Blocks are numbered from the coarsest, so that a 64-pixel network shares the tensor names of a 32-pixel one.
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

    def _noise(self, x: Tensor, rng: torch.Generator | None) -> Tensor | None:
        shape = (len(x), 1, x.shape[2], x.shape[3])
        return None if rng is None else torch.randn(shape, generator=rng, device=rng.device).to(x.device)


class Discriminator(nn.Module):
    """Picture -> one logit: residual blocks that halve the size, then the standard deviation over the batch.

    Source: Karras et al. 2020, arXiv:1912.04958, fig. 7; the batch's spread, Karras et al. 2017, arXiv:1710.10196,
    sec. 3. Blocks are numbered from the coarsest, as in the generator.
    """

    def __init__(self, size: int, colours: int, widths: Sequence[int]) -> None:
        super().__init__()
        pairs = list(zip(widths[1:], widths[:-1], strict=True))  # channels (before, after) of a block, coarsest first
        self.from_rgb = nn.ModuleDict({str(size): Conv(colours, widths[-1], 1, gain=GAIN)})
        self.first = nn.ModuleList(Conv(a, a, 3, gain=GAIN) for a, _ in pairs)
        self.second = nn.ModuleList(Conv(a, b, 3) for a, b in pairs)  # GAIN and the sum's factor 1 / GAIN cancel
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


def to_colours(name: str, tensor: NDArray[Any], colours: int) -> NDArray[Any]:
    """Return a tensor of a colour network for a grey one: the mean over output colours, the sum over input colours."""
    if colours == 1 and ".to_rgb." in name and ".conv." in name:
        return np.asarray(tensor.mean(0, keepdims=True))
    if colours == 1 and ".from_rgb." in name and tensor.ndim == 4:
        return np.asarray(tensor.sum(1, keepdims=True) / math.sqrt(3))  # `Conv` divides by the root of its inputs
    return tensor


def _double(x: Tensor) -> Tensor:
    """Return pictures of twice the side, bilinear: a new row is 3/4 of the nearer row and 1/4 of the other."""
    if not x.is_cuda:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    # Sums give the same values: a GPU computes the gradient of `interpolate` with slow atomic additions.
    for dim in (2, 3):
        n = x.shape[dim]
        before = torch.cat([x.narrow(dim, 0, 1), x.narrow(dim, 0, n - 1)], dim)
        after = torch.cat([x.narrow(dim, 1, n - 1), x.narrow(dim, n - 1, 1)], dim)
        x = torch.stack([torch.lerp(x, before, 0.25), torch.lerp(x, after, 0.25)], dim + 1).flatten(dim, dim + 1)
    return x.contiguous(memory_format=torch.channels_last)


def _halve(x: Tensor) -> Tensor:
    """Return pictures of half the side, each pixel the mean of four."""
    if x.is_cuda:
        return F.avg_pool2d(x, 2)
    # This gives the same values, and a CPU computes its gradient faster.
    return F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)


class Net(nn.Module):
    """Mapping and synthesis, and the mean of w, towards which truncation moves."""

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

    @torch.no_grad()
    def draw_styles(self, n: int = 4096) -> Tensor:
        """Return the styles (n, w_dim) of fixed random vectors, from which the spread of w is measured."""
        styles: Tensor = self.mapping(torch.randn(n, self.z_dim, generator=seeded_generator(0)))
        return styles


def widths(size: int, width: int) -> list[int]:
    """Return the channels from 4 pixels up to `size`: at most `width`, and about 12 * width / pixels.

    >>> widths(64, 128)
    [128, 128, 96, 48, 24]
    """
    return [min(width, max(12 * width // (4 * 2**i), 4)) for i in range(int(math.log2(size)) - 1)]
