"""Load the pictures of a manifest as arrays, draw batches from them, and convert tensors to pictures."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.dataset.manifest import read_crops
from detector.errors import ImageError, ManifestError
from detector.files import replacing
from detector.learning.devices import leader_first
from detector.pictures.faces import load_face
from detector.types import Images, Label, Progress, silent


def to_device(pixels: NDArray[np.uint8], device: torch.device) -> NDArray[np.uint8] | Tensor:
    """Return the pictures (N, H, W, C) in the memory of a GPU, so that steps need no transfer; unchanged on a CPU."""
    return torch.from_numpy(np.array(pixels)).to(device) if device.type == "cuda" else pixels


def reals(manifest: pd.DataFrame, size: int, folder: Path, progress: Progress) -> NDArray[np.uint8]:
    """Return the pictures (N, size, size, 3) that a generator is trained on: the real ones of the training split."""
    rows = manifest[(manifest.label == Label.REAL) & (manifest.split == "train")]
    if rows.empty:
        raise ManifestError("the manifest has no real picture in its training split; a generator is trained on those")
    return load_pictures(rows, size, folder / "pictures.npy", progress=progress)


def to_pixels(x: Tensor) -> Images:
    """Return pictures (N, C, H, W) of about -1..1 as RGB uint8 (N, H, W, 3); one channel becomes grey."""
    x = ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    return x.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()


def from_pixels(images: Images) -> Tensor:
    """Return pictures (N, H, W, C) as (N, C, H, W) in -1..1."""
    return torch.tensor(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def draw(pixels: NDArray[np.uint8] | Tensor, n: int, flip: bool, rng: torch.Generator) -> Tensor:
    """Return n pictures (n, C, H, W) in -1..1 drawn from pixels (N, H, W, C), half of them mirrored if `flip`."""
    rows = torch.randint(len(pixels), (n,), generator=rng, device=rng.device)
    drawn = pixels[rows] if isinstance(pixels, Tensor) else torch.from_numpy(pixels[rows.cpu().numpy()])
    x = drawn.permute(0, 3, 1, 2).float() / 127.5 - 1
    if flip:
        x = torch.where(torch.rand(n, 1, 1, 1, generator=rng, device=rng.device).to(x.device) < 0.5, x.flip(3), x)
    return x


def load_pictures(manifest: pd.DataFrame, size: int, cache: Path, *, progress: Progress = silent) -> NDArray[np.uint8]:
    """Return the manifest's pictures, RGB (N, size, size, 3), cropped and resized as in scoring.

    Only pixels are used, neither metadata nor file names. Pictures are decoded once into `cache` (a .npy file), which
    is mapped into memory, so that a set may be larger than memory, and a resumed run starts at once.

    Raises ManifestError that names a picture which cannot be read.
    """
    with leader_first():
        return _decode_once(manifest, size, cache, progress)


def _decode_once(manifest: pd.DataFrame, size: int, cache: Path, progress: Progress) -> NDArray[np.uint8]:
    key = cache.with_suffix(".json")
    wanted = {"size": size, "pictures": list(manifest.sha256), "crops": [str(c) for c in manifest.get("crop", ())]}
    if cache.is_file() and key.is_file() and json.loads(key.read_text()) == wanted:
        return np.load(cache, mmap_mode="r")  # type: ignore[no-any-return]
    crops = read_crops(manifest)

    def picture(row: tuple[str, tuple[int, int, int, int] | None]) -> NDArray[np.uint8]:
        try:
            return load_face(row[0], size, row[1])
        except ImageError as error:
            raise ManifestError(f"{row[0]}: {error}; remove the row or restore the file") from None

    with replacing(cache) as temporary:
        pixels = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(manifest), size, size, 3))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for i, image in enumerate(pool.map(picture, zip(manifest.path, crops, strict=True))):
                pixels[i] = image
                progress("reading pictures", i + 1, len(manifest))
        pixels.flush()
    with replacing(key) as temporary:
        temporary.write_text(json.dumps(wanted))
    return np.load(cache, mmap_mode="r")  # type: ignore[no-any-return]
