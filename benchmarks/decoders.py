"""Decoders with the upsampling of various generators, trained here to reconstruct photographs from latent codes.

The traces that a generator leaves in a picture depend on its upsampling: transposed convolutions (DCGAN), nearest
neighbours with normalised pixels (progressive GAN), filters with noise and a sum of pictures of all scales
(StyleGAN 2), filters around each nonlinearity (StyleGAN 3), rearranged channels (super-resolution). The autoencoders of
the development data all upsample in the same way. Each decoder starts from the weights of one of them, but upsamples in
another way, and is trained for some minutes to reconstruct photographs, with a discriminator of patches. A detector
that is trained on reconstructions by all of them learns more than one kind of trace. Decoders altered at random
(`alter_decoder`, `scatter_weights`) need no training and leave more kinds of traces, in coarser pictures.
Source: Radford et al. 2015, arXiv:1511.06434; Karras et al. 2017, arXiv:1710.10196; 2019, arXiv:1912.04958; 2021,
arXiv:2106.12423; Shi et al. 2016, arXiv:1609.05158; Isola et al. 2016, arXiv:1611.07004 (discriminator of patches).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from autoencoders import LATENT_CHANNELS, WIDTH, Autoencoder, Block, Clamp, to_input
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from detector.types import Image, Images

CROP, BATCH = 128, 16  # side of the crops that a decoder is trained on, pixels, and number of crops in a step
RATE = 4e-4  # peak learning rate of Adam
ADVERSARIAL = 0.02  # weight of the adversarial loss; that of the L1 error is 1
DETAIL = 1.0  # weight of the L1 error of differences between neighbouring pixels
JITTER = 0.05  # standard deviation of the random factors of all weights, so that no two batches share their traces
CHANGED = ("nearest", "bilinear", "filtered", "transposed", "shuffled")  # methods that need no training to enlarge well
SCATTER = (0.0, 0.03, 0.05, 0.08)  # standard deviations of the random factors of the weights of an altered decoder
GRAIN = (0.02, 0.3)  # range of the strength of the noise in an altered decoder


@dataclass(frozen=True)
class Kind:
    """The architecture of a decoder.

    code: name of the autoencoder whose latent code it decodes. enlarge: method that doubles the side, one of ENLARGE.
    normalise: whether the channels of every pixel are scaled to unit length. noise: whether noise is added at each
    scale. sums: whether the picture is the sum of pictures of all scales.
    """

    code: str
    enlarge: str
    normalise: bool = False
    noise: bool = False
    sums: bool = False


KINDS = {
    "transposed": Kind("taesd", "transposed"),
    "uneven": Kind("taesdxl", "uneven"),
    "shuffled": Kind("taef1", "shuffled"),
    "progressive": Kind("taesd", "nearest", normalise=True),
    "noisy": Kind("taef1", "bilinear", noise=True, sums=True),
    "filtered": Kind("taesdxl", "filtered", normalise=True),
}


class Transposed(nn.Module):
    """A transposed convolution of stride 2; kernels of size 4 overlap evenly, those of size 3 unevenly.

    Its initial weights double the side by nearest neighbours and apply a convolution of 3 x 3.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.zeros(WIDTH, WIDTH, size, size))

    def start(self, kernel: Tensor) -> None:
        spread = F.conv2d(kernel.flip(2, 3).reshape(-1, 1, 3, 3), torch.ones(1, 1, 2, 2), padding=1)
        weight = spread.reshape(WIDTH, WIDTH, 4, 4).transpose(0, 1)
        self.weight.data = weight.contiguous() if self.size == 4 else weight[:, :, :3, :3].contiguous() * 16 / 9

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weight, stride=2, padding=1, output_padding=0 if self.size == 4 else 1)


class Convolved(nn.Module):
    """Doubling of the side, then a convolution of 3 x 3."""

    def __init__(self, double: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.double = double
        self.weight = nn.Parameter(torch.zeros(WIDTH, WIDTH, 3, 3))

    def start(self, kernel: Tensor) -> None:
        self.weight.data = kernel.clone()

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.double(x), self.weight, padding=1)


class Shuffled(nn.Module):
    """A convolution to four times the channels, which become the four pixels of a block."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4 * WIDTH, WIDTH, 3, 3))

    def start(self, kernel: Tensor) -> None:
        self.weight.data = kernel.repeat_interleave(4, 0)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(F.conv2d(x, self.weight, padding=1), 2)


def double_nearest(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2)


def double_bilinear(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")


def double_filtered(x: Tensor) -> Tensor:
    """Double the side by a windowed sinc of twelve taps."""
    taps = torch.arange(12, device=x.device, dtype=x.dtype) - 5.5
    kernel = torch.sinc(taps / 2) * torch.kaiser_window(12, False, 6.0, device=x.device, dtype=x.dtype)
    kernel = (2 * kernel / kernel.sum()).expand(x.shape[1], 1, 1, 12)
    x = F.conv_transpose2d(x, kernel, stride=(1, 2), padding=(0, 5), groups=x.shape[1])
    return F.conv_transpose2d(x, kernel.transpose(2, 3), stride=(2, 1), padding=(5, 0), groups=x.shape[1])


ENLARGE: dict[str, Callable[[], nn.Module]] = {
    "nearest": lambda: Convolved(double_nearest),
    "bilinear": lambda: Convolved(double_bilinear),
    "filtered": lambda: Convolved(double_filtered),
    "transposed": lambda: Transposed(4),
    "uneven": lambda: Transposed(3),
    "shuffled": Shuffled,
}


class Decoder(nn.Module):
    """Latent codes (N, C, H, W) -> pictures (N, 3, 8 H, 8 W) in 0..1, with the architecture of a Kind."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.begin = nn.Sequential(Clamp(), nn.Conv2d(LATENT_CHANNELS[kind.code], WIDTH, 3, 1, 1), nn.ReLU())
        self.blocks = nn.ModuleList(nn.Sequential(Block(), Block(), Block()) for _ in range(3))
        self.ups = nn.ModuleList(ENLARGE[kind.enlarge]() for _ in range(3))
        self.last = Block()
        self.paint = nn.ModuleList(nn.Conv2d(WIDTH, 3, 3, 1, 1) for _ in range(3 if kind.sums else 1))
        self.strength = nn.Parameter(torch.full((3, WIDTH, 1, 1), 0.05 if kind.noise else 0.0))

    def start(self, decoder: nn.Sequential) -> None:
        """Copy the weights of an autoencoder's decoder (`autoencoders.decoder`)."""
        layers = list(decoder)
        self.begin[1].load_state_dict(layers[1].state_dict())
        for level in range(3):
            for number in range(3):
                self.blocks[level][number].load_state_dict(layers[3 + 5 * level + number].state_dict())  # type: ignore[index]
            self.ups[level].start(layers[3 + 5 * level + 4].weight.data)  # type: ignore[operator, union-attr]
        self.last.load_state_dict(layers[-2].state_dict())
        self.paint[-1].load_state_dict(layers[-1].state_dict())
        for early in list(self.paint)[:-1]:
            nn.init.zeros_(early.weight), nn.init.zeros_(early.bias)  # type: ignore[arg-type]

    def forward(self, code: Tensor) -> Tensor:
        x, picture = self.begin(code), None
        for level in range(3):
            x = self.ups[level](self.blocks[level](x))
            if self.kind.noise:
                x = x + self.strength[level] * torch.randn_like(x[:, :1])
            if self.kind.normalise:
                x = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-4)
            if self.kind.sums:
                y = self.paint[level](self.last(x) if level == 2 else x)
                picture = y if picture is None else double_bilinear(picture) + y
        return self.paint[0](self.last(x)) if picture is None else picture


def train_decoder(
    name: str, squares: list[Image], weights: Path, path: Path, steps: int, device: torch.device
) -> float:
    """Train the decoder of a name in KINDS, write it to `path`, and return its PSNR in dB over the last steps.

    squares: photographs (side, side, 3) of any side of at least CROP. weights: folder of the autoencoders. steps:
    number of training steps.
    """
    kind = KINDS[name]
    autoencoder = Autoencoder.read(weights, kind.code, device)
    torch.manual_seed(list(KINDS).index(name))
    net = Decoder(kind).to(device)
    net.start(autoencoder.decode.cpu())
    net = net.to(device, memory_format=torch.channels_last)
    discriminator = _make_discriminator().to(device, memory_format=torch.channels_last)
    optimisers = [torch.optim.Adam(n.parameters(), RATE, (0.5, 0.99)) for n in (net, discriminator)]
    schedules = [torch.optim.lr_scheduler.OneCycleLR(o, RATE, steps, pct_start=0.1) for o in optimisers]
    errors = []
    for step, crops in enumerate(_crops(squares, steps, np.random.default_rng(0)), 1):
        x = to_input(crops, device)
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                code = autoencoder.encode(x).float()
            y = net(code).float()
            loss = F.l1_loss(y, x) + DETAIL * sum(F.l1_loss(y.diff(dim=d), x.diff(dim=d)) for d in (2, 3))
            loss = loss - ADVERSARIAL * discriminator(y * 2 - 1).float().mean()
            optimisers[0].zero_grad()
            loss.backward()
            logit_real, logit_fake = discriminator(x * 2 - 1).float(), discriminator(y.detach() * 2 - 1).float()
            loss_d = F.relu(1 - logit_real).mean() + F.relu(1 + logit_fake).mean()
            optimisers[1].zero_grad()
            loss_d.backward()
        for optimiser, schedule in zip(optimisers, schedules, strict=True):
            optimiser.step()
            schedule.step()
        if step > steps - 20:
            errors.append(F.mse_loss(y.detach().clamp(0, 1), x).item())
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: t.detach().cpu().contiguous().clone() for k, t in net.state_dict().items()}, path)
    return float(-10 * np.log10(np.mean(errors)))


def read_decoder(name: str, weights: Path, path: Path, device: torch.device) -> Autoencoder:
    """Return an autoencoder whose decoder was trained by `train_decoder`."""
    net = Decoder(KINDS[name])
    net.load_state_dict(load_file(path))
    encode = Autoencoder.read(weights, KINDS[name].code).encode
    return Autoencoder(encode, net.eval().requires_grad_(False).to(memory_format=torch.channels_last), device)


def jitter(net: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
    """Multiply every weight by 1 plus noise, and return the former state, which `load_state_dict` restores."""
    kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for parameter in net.parameters():
        noise = torch.from_numpy(rng.standard_normal(tuple(parameter.shape), np.float32)).to(parameter.device)
        parameter.data.mul_(1 + JITTER * noise)
    return kept


def alter_decoder(autoencoders: dict[str, Autoencoder], rng: np.random.Generator) -> tuple[str, Autoencoder]:
    """Return an autoencoder whose decoder enlarges in another way and has noise or not, untrained, and the kind's name.

    autoencoders: those of the data, by name; one of them is drawn. Its decoder still has its own weights; to leave
    traces that are not those of the autoencoder, they have to be changed by `scatter_weights`.
    """
    torch.manual_seed(int(rng.integers(2**31)))
    enlarge, code = CHANGED[int(rng.integers(len(CHANGED)))], list(autoencoders)[int(rng.integers(len(autoencoders)))]
    noise = bool(rng.random() < 0.5)
    net, source = Decoder(Kind(code, enlarge, noise=noise)), autoencoders[code]
    net.start(source.decode)  # type: ignore[arg-type]
    name = f"altered-{enlarge}{'-noise' if noise else ''}"
    return name, Autoencoder(source.encode, net.eval().requires_grad_(False), source.device)


def scatter_weights(net: Decoder, rng: np.random.Generator) -> None:
    """Multiply every weight by 1 plus noise, enlarging layers by more, and draw the strength of the decoder's noise."""
    if net.kind.noise:
        scale = torch.exp(torch.empty(3, 1, 1, 1).uniform_(*np.log(GRAIN).tolist()))
        net.strength.data = scale * torch.randn(3, WIDTH, 1, 1).abs().clamp(max=2)
    spread = float(rng.choice(SCATTER))
    for name, parameter in net.named_parameters():
        if name != "strength":
            own = max(spread, JITTER) if name.startswith("ups") else spread
            parameter.data.mul_(1 + own * torch.randn_like(parameter))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _make_discriminator() -> nn.Sequential:
    """Return a discriminator of overlapping patches."""
    widths, layers = (3, 32, 64, 96), list[nn.Module]()
    for before, after in itertools.pairwise(widths):
        layers += [nn.utils.parametrizations.spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, 1, 1))


def _crops(squares: list[Image], steps: int, rng: np.random.Generator) -> Iterator[Images]:
    for _ in range(steps):
        batch = []
        for row in rng.integers(len(squares), size=BATCH):
            square = squares[row]
            top, left = rng.integers(0, len(square) - CROP + 1, 2)
            batch.append(square[top : top + CROP, left : left + CROP])
        yield np.stack(batch)
