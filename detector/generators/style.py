"""The style-based generator (StyleGAN): a style vector w for each layer determines the face, coarse layers first.

Source: Karras, Laine, Aila 2019, arXiv:1812.04948 (mapping network, styles, noise, truncation, style mixing);
Karras et al. 2020, arXiv:1912.04958 (modulation and demodulation, skip connections to RGB, no progressive growing).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from detector.errors import UnknownName
from detector.generators import GENERATORS, _adversarial
from detector.generators._style_nets import Discriminator, Net, to_colours, widths
from detector.generators._trained import Trained
from detector.learning import devices, state
from detector.learning.pixels import reals, to_pixels
from detector.learning.seeds import seeded, seeded_generator
from detector.scoring.checkpoint import Tensors, read_tensors
from detector.types import Images, Progress, silent


@GENERATORS.register(
    "style", year=2019, options=_adversarial.Options(), summary="style-based: mixes the styles of faces, layer by layer"
)
class Style(Trained[Net]):
    """A style-based generator of faces, trained from scratch or from a smaller one.

    size: side of the picture in pixels, a power of two, 32 to 256.
    colours: 3, or 1 for grey.
    z_dim, w_dim: lengths of the latent vector and of the style vector.
    depth: number of layers of the mapping network.
    width: largest number of channels of a layer; 96 suits an hour on a CPU, 256 a GPU.
    truncation: truncation psi (sec. B of the paper): 0 gives the average face, 1 full variety.
    """

    name = "style"
    prefix = "g."  # the discriminator's tensors begin with "d."

    def __init__(self, size: int = 64, *, colours: int = 3, z_dim: int = 128, w_dim: int = 128, depth: int = 4,
                 width: int = 96, truncation: float = 0.7) -> None:  # fmt: skip
        self.size, self.colours, self.z_dim, self.w_dim = size, colours, z_dim, w_dim
        self.depth, self.width, self.truncation = depth, width, truncation
        self._discriminator: Discriminator | None = None

    def sample(self, n: int, *, seed: int, truncation: float | None = None) -> Images:
        """Return n faces, RGB (n, size, size, 3); face i depends on the seed `seed` + i alone."""
        return np.concatenate([self._paint(w, chunk, truncation) for chunk, w in self._styles(range(seed, seed + n))])

    def mix(self, sources: Sequence[int], destinations: Sequence[int], *, layers: str = "coarse",
            truncation: float | None = None) -> Images:  # fmt: skip
        """Return the faces of the destination seeds with the styles of the source seeds at some layers.

        layers: layers whose styles come from the source: "coarse" (4-8 pixels: pose, shape), "middle" (16-32: features,
        hair) or "fine" (above: colours). The result is (len(sources), len(destinations), size, size, 3): a row for each
        source, a column for each destination. Source: arXiv:1812.04948, fig. 3.
        """
        chosen = layer_range(layers, self._trained_net().synthesis.layers)
        source_styles = np.concatenate([w.numpy() for _, w in self._styles(sources)])
        destination_styles = np.concatenate([w.numpy() for _, w in self._styles(destinations)])
        grid = []
        for row in source_styles:
            mixed = destination_styles.copy()
            mixed[:, chosen] = row[chosen]
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

        start: a checkpoint of `style` of the same or a smaller size, whose weights the training starts from.
        """
        where = devices.pick_device(device)
        devices.join_world(where)
        pixels = reals(manifest, self.size, folder, progress)
        if self.colours == 1:
            pixels = pixels.mean(3, keepdims=True).astype(np.uint8)
        with seeded(seed):
            net = self._build()
            discriminator = Discriminator(self.size, self.colours, widths(self.size, self.width))
        if start is not None:
            tensors = {name: to_colours(name, t, self.colours) for name, t in read_tensors(start).items()}
            state.borrow_weights(net, tensors, "g.")
            state.borrow_weights(discriminator, tensors, "d.")
        gan = _adversarial.Gan(net, discriminator, Net.make, self._show)
        average = gan.train(
            pixels, options or _adversarial.Options(), folder=folder, seed=seed, device=where, progress=progress
        )
        self.net, self._discriminator = average.cpu(), discriminator.cpu()
        return self

    def _further_tensors(self) -> Tensors:
        """Return the discriminator's tensors if it was just trained; another training run can start from them."""
        return {} if self._discriminator is None else state.state_to_numpy(self._discriminator, "d.")

    def _build(self) -> Net:
        return Net(self.size, self.colours, self.z_dim, self.w_dim, self.depth, self.width)

    @torch.no_grad()
    def _styles(self, seeds: Sequence[int]) -> list[tuple[list[int], Tensor]]:
        """Return (seeds, styles (n, layers, w_dim)) in small batches; a style depends on its own seed alone."""
        net, chunks = self._trained_net().eval(), [list(seeds[i : i + 16]) for i in range(0, len(seeds), 16)]
        z = [torch.stack([torch.randn(self.z_dim, generator=seeded_generator(s)) for s in c]) for c in chunks]
        return [(c, net.mapping(x)[:, None].repeat(1, net.synthesis.layers, 1)) for c, x in zip(chunks, z, strict=True)]

    @torch.no_grad()
    def _paint(self, w: Tensor, seeds: Sequence[int], truncation: float | None) -> Images:
        net, psi = self._trained_net().eval(), self.truncation if truncation is None else truncation
        w = net.w_mean + psi * (w - net.w_mean)
        pictures = [net.synthesis(w[i : i + 1], seeded_generator(s, 1)) for i, s in enumerate(seeds)]
        return to_pixels(torch.cat(pictures))

    def _show(self, net: Net) -> Images:
        shown = copy.copy(self)
        shown.net = net
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
