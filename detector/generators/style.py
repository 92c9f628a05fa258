"""The style-based generator (StyleGAN): a style vector w for each layer determines the face, coarse layers first.

Source: Karras, Laine, Aila 2019, arXiv:1812.04948 (mapping network, styles, noise, truncation, style mixing);
Karras et al. 2020, arXiv:1912.04958 (modulation and demodulation, skip connections to RGB, no progressive growing).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.errors import CheckpointError, DetectorError, UnknownName
from detector.generators import GENERATORS, _adversarial
from detector.generators._directions import LAYERS, find_directions, parse_direction
from detector.generators._projection import STEPS, Projection
from detector.generators._style_nets import Discriminator, Net, to_colours, widths
from detector.generators._trained import Trained
from detector.learning import devices, state
from detector.learning.pixels import reals, to_pixels
from detector.learning.seeds import seeded, seeded_generator
from detector.scoring.checkpoint import Tensors, read_tensors
from detector.types import Code, Images, Progress, silent


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

    def sample(self, n: int, *, seed: int, truncation: float | None = None,
               edit: Mapping[str, float] | None = None) -> Images:  # fmt: skip
        """Return n faces, RGB (n, size, size, 3); face i depends on the seed `seed` + i alone. edit: as in `draw`."""
        return self.draw(range(seed, seed + n), truncation=truncation, edit=edit)

    def draw(self, faces: Sequence[int | Code], *, truncation: float | None = None,
             edit: Mapping[str, float] | None = None) -> Images:  # fmt: skip
        """Return faces, RGB (N, size, size, 3): of seeds, truncated, or of the codes that `project` returned.

        edit: direction, such as coarse-1, -> how far the styles of its layers are moved, in standard deviations of w.

        Raises DetectorError for a direction that does not exist, CheckpointError for a code of another generator.
        """
        chunks = [faces[i : i + 16] for i in range(0, len(faces), 16)]
        return np.concatenate([self._paint(self._edit(self._styles(c, truncation), edit), c) for c in chunks])

    def mix(self, sources: Sequence[int | Code], destinations: Sequence[int | Code], *, layers: str = "coarse",
            truncation: float | None = None) -> Images:  # fmt: skip
        """Return the faces of the destinations, seeds or codes, with the styles of the sources at some layers.

        layers: layers whose styles come from the source: "coarse" (4-8 pixels: pose, shape), "middle" (16-32: features,
        hair) or "fine" (above: colours). The result is (len(sources), len(destinations), size, size, 3): a row for each
        source, a column for each destination. Source: arXiv:1812.04948, fig. 3.
        """
        chosen = layer_range(layers, self._trained_net().synthesis.layers)
        source_styles, destination_styles = (self._styles(faces, truncation) for faces in (sources, destinations))
        grid = []
        for row in source_styles:
            mixed = destination_styles.clone()
            mixed[:, chosen] = row[chosen]
            grid.append(self._paint(mixed, destinations))
        return np.stack(grid)

    def project(
        self, faces: Images, *, seed: int, steps: int = STEPS, progress: Progress = silent
    ) -> NDArray[np.float32]:
        """Return the codes (N, layers, w_dim) with which the generator draws faces most like these, (N, size, size, 3).

        The code of face i depends on this face and the seed `seed` + i alone. steps: number of steps of the optimiser.
        """
        projection = Projection(self._trained_net().eval())
        codes = []
        for i, face in enumerate(faces):
            report = partial(_report, progress, i * steps, len(faces) * steps)
            codes.append(projection.find_code(face, seeded_generator(seed + i, 2), steps, report))
        return np.stack(codes)

    def list_directions(self, n: int) -> list[str]:
        """Return the names of the first n directions of each set of layers that the network has."""
        layers = self._trained_net().synthesis.layers
        return [f"{name}-{i + 1}" for name in LAYERS if layer_range(name, layers) for i in range(n)]

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
    def _styles(self, faces: Sequence[int | Code], truncation: float | None) -> Tensor:
        """Return styles (N, layers, w_dim); that of a seed depends on the seed alone, and is truncated."""
        net, psi = self._trained_net().eval(), self.truncation if truncation is None else truncation
        shape = (net.synthesis.layers, self.w_dim)
        seeds = [face for face in faces if not isinstance(face, np.ndarray)]
        z = [torch.randn(self.z_dim, generator=seeded_generator(seed)) for seed in seeds]
        drawn = iter([w for i in range(0, len(z), 16) for w in net.mapping(torch.stack(z[i : i + 16]))])
        styles = []
        for face in faces:
            if not isinstance(face, np.ndarray):
                styles.append((net.w_mean + psi * (next(drawn) - net.w_mean)).expand(shape))
            elif face.shape == shape:
                styles.append(torch.from_numpy(face))
            else:
                raise CheckpointError(f"the code of a face is {face.shape}, and this generator's are {shape}")
        return torch.stack(styles)

    @torch.no_grad()
    def _edit(self, styles: Tensor, edit: Mapping[str, float] | None) -> Tensor:
        """Return the styles (N, layers, w_dim), moved along directions."""
        if not edit:
            return styles
        net, moved = self._trained_net(), styles.clone()
        components, spreads = find_directions(net.draw_styles())
        for name, amount in edit.items():
            layers, number = parse_direction(name, self.w_dim)
            rows = layer_range(layers, net.synthesis.layers)
            if not rows:
                raise DetectorError(f"a generator of {self.size} pixels has no {layers} layers; choose another set")
            moved[:, rows] += amount * spreads[number] * components[number]
        return moved

    @torch.no_grad()
    def _paint(self, styles: Tensor, faces: Sequence[int | Code]) -> Images:
        """Return the pictures of styles; the noise is that of the face's seed, and a code has none."""
        net = self._trained_net().eval()
        rngs = [None if isinstance(face, np.ndarray) else seeded_generator(face, 1) for face in faces]
        return to_pixels(torch.cat([net.synthesis(styles[i : i + 1], rng) for i, rng in enumerate(rngs)]))

    def _show(self, net: Net) -> Images:
        shown = copy.copy(self)
        shown.net = net
        return shown.sample(64, seed=0)


def _report(progress: Progress, before: int, total: int, step: int) -> None:
    progress("projecting", before + step, total)


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
