"""The only door for untrusted bytes: picture files in, RGB uint8 out, one resize filter, and back to bytes.

The caps are read from the header before anything is decoded, so a 48 kB file that promises 400 megapixels costs
nothing. Pillow is asked for an allow-list of formats only: with all its plug-ins, a file named .jpg could start
Ghostscript.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from detector.errors import DamagedImage, ImageError, ImageTooLarge, UnsupportedFormat
from detector.files import from_text
from detector.types import Image, Images

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # not MPO, EPS, PSD ...: the first frame of GIF and TIFF
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MAX_BYTES = 100 * 2**20
MAX_PIXELS = 50_000_000
STRIP = 2**16  # pixels converted at a time: copies of a whole picture cost memory, and more time than decoding does
MAX_READS = 1_000_000  # of a decoder in one file: honest files take thousands, a file of one-byte blocks millions
MAX_PROFILES = 4  # in a PNG, which may have one; each may unfold a thousandfold
RESIZE_FILTER = "lanczos"  # Pillow's, antialiased; cv2's filters differ in high frequencies, which is what we look at
REDUCING_GAP = 2.0  # Pillow's advice for fast and almost as fair as the kernel alone; at 3 it takes twice the time

warnings.filterwarnings("ignore", module=r"PIL\.")  # remarks on odd files; what matters is raised


def read(path: Path | str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return a file's bytes; nothing is opened but a regular file, which neither blocks nor goes on for ever.

    path: as it is, or as `files.as_text` writes it.

    Raises ImageTooLarge above `max_bytes`, DamagedImage if the file is empty, missing, unreadable or not a regular one,
    or no file can have that name.
    """
    try:
        name = from_text(os.fspath(path))
        status = os.stat(name)
        if stat.S_ISDIR(status.st_mode):
            raise DamagedImage("cannot be read: it is a folder, in which no picture was found")
        if not stat.S_ISREG(status.st_mode):
            raise DamagedImage("cannot be read: it is not a regular file")
        if status.st_size > max_bytes:
            raise ImageTooLarge(f"{status.st_size:,} bytes; the cap is {max_bytes:,}")
        data = Path(name).read_bytes()
    except OSError as error:
        raise DamagedImage(f"cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in the name
        raise DamagedImage(f"cannot be read: {error}") from None
    if not data:
        raise DamagedImage("the file is empty")
    return data


@contextmanager
def opened(
    data: bytes, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS, part: str = "picture"
) -> Iterator[Pillow.Image]:
    """Yield the opened file, its pixels not decoded yet; whatever goes wrong in the block becomes one of our errors.

    part: what is read of it, for the message.

    Raises UnsupportedFormat, ImageTooLarge (from the header) or DamagedImage.
    """
    try:
        if data.startswith(b"\x89PNG") and data.count(b"iCCP") > MAX_PROFILES:
            raise DamagedImage("there is more than one colour profile")
        with Pillow.open(_Reader(data), formats=formats) as picture:
            width, height = picture.size
            cap = max_pixels * 4 // 5 if picture.format == "WEBP" else max_pixels  # its decoder holds a picture thrice
            if width * height > cap:
                raise ImageTooLarge(f"{width} x {height} pixels; the cap is {cap / 1e6:g} megapixels")
            yield picture
    except ImageError:
        raise
    except Pillow.DecompressionBombError:
        raise ImageTooLarge(f"the header promises far more than {max_pixels / 1e6:g} megapixels") from None
    except UnidentifiedImageError:
        raise UnsupportedFormat(f"not a picture in any of {', '.join(formats)}") from None
    except MemoryError:
        raise ImageTooLarge("there is not enough memory to decode it") from None
    except Exception as error:  # Pillow raises nine kinds and more on hostile files; none may escape
        raise DamagedImage(f"the {part} is damaged: {' '.join(str(error).split())[:120]}") from None


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS) -> Image:
    """Return the picture, RGB (H, W, 3): upright, 16 bits scaled to 8, alpha laid over white, CMYK converted.

    Raises as `opened`.
    """
    with opened(data, max_pixels=max_pixels, formats=formats) as picture:
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        return _to_rgb(picture)


def load(path: Path | str, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Image:
    """Return the picture in a file; as `read` and `decode`."""
    return decode(read(path, max_bytes=max_bytes), max_pixels=max_pixels)


def resize(image: Image, width: int, height: int) -> Image:
    """Return the picture in `width` x `height` pixels, by the one filter used in training and in serving.

    What is more than REDUCING_GAP times too large is averaged over whole blocks first, which takes a fifth of the time.
    """
    if image.shape[:2] == (height, width):
        return image
    kernel = Pillow.Resampling[RESIZE_FILTER.upper()]
    return np.asarray(Pillow.fromarray(image).resize((width, height), kernel, reducing_gap=REDUCING_GAP))


def cut(image: Image, box: tuple[int, int, int, int], *, mirrored: bool = False) -> Image:
    """Return the part inside box (left, top, right, bottom); what lies outside the picture is black, or mirrored."""
    left, top, right, bottom = box
    height, width = image.shape[:2]
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return np.ascontiguousarray(image[top:bottom, left:right])
    if not mirrored:
        return np.asarray(Pillow.fromarray(image).crop(box))
    rows, columns = _mirrored(top, bottom, height), _mirrored(left, right, width)
    return np.ascontiguousarray(image.take(rows, 0).take(columns, 1))


def _mirrored(start: int, stop: int, n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return for each place from `start` to `stop` the one of `n` that lies there, or whose mirror image does."""
    place = np.arange(start, stop) % (2 * n)
    return np.minimum(place, 2 * n - 1 - place)


def tile(images: Images, columns: int, *, gap: int = 2) -> Image:
    """Return pictures (N, H, W, 3) as one, `columns` abreast, with `gap` white pixels between them."""
    n, height, width = images.shape[:3]
    rows = -(-n // columns)
    sheet = np.full((rows * columns, height + gap, width + gap, 3), 255, np.uint8)
    sheet[:n, :height, :width] = images
    sheet = sheet.reshape(rows, columns, height + gap, width + gap, 3).swapaxes(1, 2)
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap), 3)
    return np.ascontiguousarray(sheet[: rows * (height + gap) - gap, : columns * (width + gap) - gap])


def encode(image: Image, format: str = "PNG", *, quality: int = 95, subsampling: str = "4:2:0") -> bytes:
    """Return the bytes of a PNG, JPEG or WEBP file without metadata; `quality` 1..100 for the lossy ones."""
    buffer = io.BytesIO()
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": subsampling},
        "WEBP": {"quality": quality},
    }
    Pillow.fromarray(image).save(buffer, format, **options.get(format, {}))
    return buffer.getvalue()


class _Reader(io.BytesIO):
    """The bytes of a file, for a decoder that walks over their blocks in Python: it may not do so for ever."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes; DamagedImage after MAX_READS calls."""
        self.reads += 1
        if self.reads > MAX_READS:
            raise DamagedImage("it consists of too many blocks")
        return super().read(size)


def _to_rgb(picture: Pillow.Image) -> Image:
    if picture.mode.startswith("I"):  # 16-bit grey, which .convert("RGB") would clip to white
        deep = np.asarray(picture)
        deep = deep >> 8 if deep.size and deep.max() > 255 else deep
        return np.repeat(deep.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    if picture.mode == "F":
        raise UnsupportedFormat("floating-point pixels have no defined range; save the picture as 8-bit")
    width, height = picture.size
    image, rows = np.empty((height, width, 3), np.uint8), max(STRIP // width, 1)
    for top in range(0, height, rows):
        strip = picture.crop((0, top, width, min(top + rows, height)))
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            strip = Pillow.alpha_composite(Pillow.new("RGBA", strip.size, (255, 255, 255, 255)), strip)
        image[top : top + rows] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return image
