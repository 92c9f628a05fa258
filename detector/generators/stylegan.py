"""A pretrained style-based generator of 1024 pixels, run by OpenVINO: MobileStyleGAN, distilled from StyleGAN2 on FFHQ.

Optional: the extra `stylegan` brings the runtime, and the weights are those inside the package `random_face`, whose own
code is never imported. It draws at native size; each of its layers can have its own style. Its pictures share a strong
fixed pattern of periods 8, 16 and 32 pixels, so a detector that learns from them alone learns that.
Source: Belousov 2021, arXiv:2104.04767 (MobileStyleGAN); Karras et al. 2020, arXiv:1912.04958 (StyleGAN2).
"""

from __future__ import annotations

import re
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
from detector.scoring.runtime import import_openvino
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
SIDE = 1024  # side of the pictures that the network draws, pixels
AVERAGED = 2048  # styles whose mean truncation pulls towards
COARSE, MIDDLE = 8, 14  # first layers of the next range
RANGES = {"coarse": (0, COARSE), "middle": (COARSE, MIDDLE), "fine": (MIDDLE, None)}


@GENERATORS.register("stylegan", year=2021, summary="pretrained, 1024 pixels (extra `stylegan`); mixes styles")
class Stylegan:
    """Pretrained faces; needs the extra and cannot be trained here."""

    name = "stylegan"
    licence = LICENCE  # licence of its pictures, for a manifest

    @staticmethod
    def notice() -> str:
        """Return where the weights come from and what they may be used for; MissingExtra if they are not there."""
        load_nets()
        return NOTICE

    def sample(self, n: int, *, seed: int, truncation: float | None = None, size: int = SIDE) -> Images:
        """Return n pictures (n, size, size, 3); picture i is that of seed + i.

        truncation: 0.7 unless given. size: below 1024 pixels they are reduced by the package's one filter.

        Raises DetectorError if the size is none that they can be reduced to, MissingExtra without the weights.
        """
        _check_size(size)
        nets = load_nets()
        styles = nets.styles(range(seed, seed + n), truncation)
        return np.stack([nets.paint(np.repeat(w[None], nets.layers, 0), size) for w in styles])

    def mix(
        self, sources: Sequence[int], destinations: Sequence[int], *, layers: str = "coarse",
        truncation: float | None = None, size: int = SIDE,
    ) -> NDArray[np.uint8]:  # fmt: skip
        """Return pictures (sources, destinations, size, size, 3): destinations in some layers' styles of a source.

        layers: coarse (pose, shape of the face), middle (features, hair) or fine (colours).
        Source: Karras et al. 2019, arXiv:1812.04948, figure 3. Raises UnknownName for other layers, and as `sample`.
        """
        if layers not in RANGES:
            raise UnknownName("set of layers", layers, RANGES)
        _check_size(size)
        nets = load_nets()
        first, last = RANGES[layers]
        ws, wd = (nets.styles(seeds, truncation) for seeds in (sources, destinations))
        rows = []
        for source in ws:
            mixed = [np.repeat(w[None], nets.layers, 0) for w in wd]
            for styles in mixed:
                styles[first:last] = source
            rows.append(np.stack([nets.paint(styles, size) for styles in mixed]))
        return np.stack(rows)


class Nets:
    """Mapping and synthesis, compiled; the synthesis takes one style a layer."""

    def __init__(self, mapping: Any, synthesis: Any, layers: int) -> None:
        self.mapping, self.synthesis, self.layers = mapping, synthesis, layers
        self.mean = self._map(np.random.default_rng(0).standard_normal((AVERAGED, 512), np.float32)).mean(0)

    def styles(self, seeds: Sequence[int], truncation: float | None) -> NDArray[np.float32]:
        """Return styles (N, 512) of seeds, pulled towards the mean style."""
        z = np.stack([np.random.default_rng(seed).standard_normal(512, np.float32) for seed in seeds])
        psi = np.float32(0.7 if truncation is None else truncation)
        return np.asarray(self.mean + psi * (self._map(z) - self.mean), np.float32)

    def paint(self, styles: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
        """Return the picture (size, size, 3) of one style a layer (layers, 512)."""
        out = self.synthesis([styles[:1], *(style[None] for style in styles)])[0][0]
        image = np.asarray(np.clip(out.transpose(1, 2, 0) * 127.5 + 128, 0, 255), np.uint8)
        return image if size == len(image) else resize(np.ascontiguousarray(image), size, size)

    def _map(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self.mapping([z])[0], np.float32)


@cache
def load_nets() -> Nets:
    """Return the networks, compiled once; MissingExtra names the command that installs them."""
    try:
        openvino = import_openvino()
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
    taking = [t for t in synthesis.inputs[0].get_target_inputs() if t.get_node().get_type_name() == "MatMul"]
    taking.sort(key=lambda t: int(re.findall(r"\d+", t.get_node().get_friendly_name())[0]))
    own = [opset8.parameter([1, 512], np.float32, f"style_{i}") for i in range(len(taking))]
    for place, parameter in zip(taking, own, strict=True):
        place.replace_source_output(parameter.output(0))
    synthesis.add_parameters(own)
    synthesis.validate_nodes_and_infer_types()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    return Nets(core.compile_model(mapping, "CPU", options), core.compile_model(synthesis, "CPU", options), len(own))


def _check_size(size: int) -> None:
    if not 16 <= size <= SIDE:
        raise DetectorError(f"stylegan draws 16 to {SIDE} pixels per side, not {size}; name another size")
