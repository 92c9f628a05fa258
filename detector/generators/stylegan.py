"""A pretrained style-based generator of 1024 pixels, run by OpenVINO: MobileStyleGAN, distilled from StyleGAN2 on FFHQ.

It is optional: the extra `stylegan` installs the runtime, and the weights are those inside the package `random_face`,
whose own code is never imported. Each layer can have its own style. All pictures share a strong fixed pattern of
periods 8, 16 and 32 pixels, so a detector that is trained on them alone learns this pattern.
Source: Belousov 2021, arXiv:2104.04767 (MobileStyleGAN); Karras et al. 2020, arXiv:1912.04958 (StyleGAN2).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import DetectorError, MissingExtra, UnknownName
from detector.files import sha256
from detector.generators import GENERATORS
from detector.pictures.images import resize
from detector.types import Images

PACKAGE, VERSION = "random_face", "2021.7.21.1"
FIX = f"pip install 'face-forgery-detector[stylegan]' && pip install --no-deps {PACKAGE}=={VERSION}"
DIGEST = "cf72cabd092bc7b9553779b98fafd8dd2ffc40e0c8b1f2db628dceaa096add34"  # SHA-256 of the four files' hashes
NETS = ("MappingNetwork", "SynthesisNetwork")
LICENCE = "MobileStyleGAN, distilled from NVIDIA's StyleGAN2 for FFHQ: non-commercial use only"
NOTICE = (
    "stylegan draws with MobileStyleGAN from the package random_face (labelled Apache-2.0), distilled from NVIDIA's "
    "StyleGAN2 for FFHQ, whose terms allow non-commercial use only."
)
SIDE = 1024  # side of the pictures that the network generates, pixels
AVERAGED = 2048  # number of styles whose mean is the centre of the truncation
COARSE, MIDDLE = 8, 14  # numbers of the first middle layer and of the first fine layer
RANGES = {"coarse": (0, COARSE), "middle": (COARSE, MIDDLE), "fine": (MIDDLE, None)}


@GENERATORS.register("stylegan", year=2021, summary="pretrained, 1024 pixels (extra `stylegan`); mixes styles")
class Stylegan:
    """The pretrained generator; it needs the extra `stylegan` and cannot be trained here."""

    name = "stylegan"
    licence = LICENCE  # licence of its pictures, for a manifest

    @staticmethod
    def notice() -> str:
        """Return where the weights come from and what they may be used for; MissingExtra if they are not there."""
        load_nets()
        return NOTICE

    def sample(self, n: int, *, seed: int, truncation: float | None = None, size: int = SIDE) -> Images:
        """Return n pictures (n, size, size, 3); picture i depends on the seed `seed` + i alone.

        truncation: truncation psi; None means 0.7. size: side in pixels; pictures of less than 1024 are reduced by
        `images.resize`.

        Raises DetectorError if the size is below 16 or above 1024, MissingExtra without the weights.
        """
        _check_size(size)
        nets = load_nets()
        styles = nets.styles(range(seed, seed + n), truncation)
        return np.stack([nets.paint(np.repeat(w[None], nets.layers, 0), size) for w in styles])

    def mix(
        self, sources: Sequence[int], destinations: Sequence[int], *, layers: str = "coarse",
        truncation: float | None = None, size: int = SIDE,
    ) -> NDArray[np.uint8]:  # fmt: skip
        """Return the faces of the destination seeds with the styles of the source seeds at some layers.

        layers: layers whose styles come from the source: coarse (pose, shape of the face), middle (features, hair) or
        fine (colours). The result is (sources, destinations, size, size, 3). Source: Karras et al. 2019,
        arXiv:1812.04948, figure 3.

        Raises UnknownName for other layers, and the errors of `sample`.
        """
        if layers not in RANGES:
            raise UnknownName("set of layers", layers, RANGES)
        _check_size(size)
        nets = load_nets()
        first, last = RANGES[layers]
        from_sources, from_destinations = (nets.styles(seeds, truncation) for seeds in (sources, destinations))
        rows = []
        for source in from_sources:
            mixed = [np.repeat(w[None], nets.layers, 0) for w in from_destinations]
            for styles in mixed:
                styles[first:last] = source
            rows.append(np.stack([nets.paint(styles, size) for styles in mixed]))
        return np.stack(rows)


class Nets:
    """The compiled networks, mapping and synthesis; the synthesis takes one style for each layer."""

    def __init__(self, mapping: Any, synthesis: Any, layers: int) -> None:
        self.mapping, self.synthesis, self.layers = mapping, synthesis, layers
        self.mean = self._map(np.random.default_rng(0).standard_normal((AVERAGED, 512), np.float32)).mean(0)

    def styles(self, seeds: Sequence[int], truncation: float | None) -> NDArray[np.float32]:
        """Return the styles (N, 512) of seeds, truncated towards the mean style."""
        z = np.stack([np.random.default_rng(seed).standard_normal(512, np.float32) for seed in seeds])
        psi = np.float32(0.7 if truncation is None else truncation)
        return np.asarray(self.mean + psi * (self._map(z) - self.mean), np.float32)

    def paint(self, styles: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
        """Return the picture (size, size, 3) of the styles of all layers (layers, 512)."""
        out = self.synthesis([styles[:1], *(style[None] for style in styles)])[0][0]
        image = np.asarray(np.clip(out.transpose(1, 2, 0) * 127.5 + 128, 0, 255), np.uint8)
        return image if size == len(image) else resize(np.ascontiguousarray(image), size, size)

    def _map(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self.mapping([z])[0], np.float32)


@cache
def load_nets() -> Nets:
    """Return the networks, compiled once; MissingExtra names the command that installs them."""
    try:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it reports use over the network
        import openvino
        from openvino import opset8

        found = {f.name: Path(str(f.locate())) for f in files(PACKAGE) or [] if f.stem in NETS}
        digest = sha256("".join(sha256(found[name].read_bytes()) for name in sorted(found)).encode())
    except (ImportError, PackageNotFoundError, OSError):
        raise MissingExtra(f"stylegan is optional: {FIX}") from None
    if digest != DIGEST:
        raise MissingExtra(f"the weights of stylegan are not those expected: {FIX}")
    core = openvino.Core()
    mapping, synthesis = (core.read_model(found[f"{name}.xml"]) for name in NETS)
    mapping.reshape([-1, 512])
    layers = [t for t in synthesis.inputs[0].get_target_inputs() if t.get_node().get_type_name() == "MatMul"]
    layers.sort(key=lambda t: int(re.findall(r"\d+", t.get_node().get_friendly_name())[0]))
    styles = [opset8.parameter([1, 512], np.float32, f"style_{i}") for i in range(len(layers))]
    for layer, parameter in zip(layers, styles, strict=True):
        layer.replace_source_output(parameter.output(0))
    synthesis.add_parameters(styles)
    synthesis.validate_nodes_and_infer_types()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    return Nets(core.compile_model(mapping, "CPU", options), core.compile_model(synthesis, "CPU", options), len(styles))


def _check_size(size: int) -> None:
    if not 16 <= size <= SIDE:
        raise DetectorError(f"stylegan draws 16 to {SIDE} pixels per side, not {size}; name another size")
