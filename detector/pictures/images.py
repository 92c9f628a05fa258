"""The only door for untrusted bytes: picture files in, RGB uint8 out, one resize filter, and back to bytes.

The caps are read from the header before anything is decoded, so a 48 kB file that promises 400 megapixels costs
nothing. What may cost much within them is decoded in a process with limits (`sandbox`). Pillow is asked for an
allow-list of formats only: with all its plug-ins, a file named .jpg could start Ghostscript.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, JpegImagePlugin, UnidentifiedImageError
from PIL import Image as Pillow

from detector.errors import DamagedImage, ImageError, ImageTooLarge, TooCostly, UnsupportedFormat
from detector.files import from_text
from detector.pictures import sandbox
from detector.pictures.caps import is_plain, refuse
from detector.pictures.colour import find_transform, without_huge_profile
from detector.pictures.containers import extent, sniff
from detector.types import Decoded, Image, Images

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")  # not MPO, EPS, PSD ...: the first frame alone
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})
HEIF_SUFFIXES = frozenset({".heic", ".heif"})  # read where the extra `heif` is installed
HEIF_EXTRA = "install the extra `heif` (pip install 'face-forgery-detector[heif]'), or save it as JPEG, PNG or AVIF"
MAX_BYTES = 100 * 2**20
MAX_PIXELS = 50_000_000
MAX_REDUCED = 220_000_000  # pixels of a JPEG, which can be decoded at half its size and less: telephones have 50 to 200
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # formats whose first frame may be blank
MAX_FRAMES = 6  # most frames that are searched for one that is not blank
FRAME_PIXELS = 25_000_000  # most pixels of all the frames that are searched
BLANK = 2.0  # standard deviation below which a frame is blank, grey levels
SAMPLE = 64  # points along a side at which a frame is sampled to see whether it is blank
STRIP = 2**16  # pixels converted at a time: copies of a whole picture cost memory, and more time than decoding does
MAX_READS = 1_000_000  # most reads of a decoder in one file: honest files take thousands, one-byte blocks millions
RESIZE_FILTER = "lanczos"  # Pillow's, antialiased; cv2's filters differ in high frequencies, on which detection rests
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
    with _translating(formats, max_pixels, part):
        refuse(data)
        with _open(data, formats) as picture:
            width, height = picture.size
            cap = max_pixels
            if picture.format in ("JPEG", "MPO"):
                cap = max_pixels * MAX_REDUCED // MAX_PIXELS
            elif picture.format == "WEBP":
                cap = max_pixels * 4 // 5  # its decoder holds a picture four times
            if width * height > cap:
                raise ImageTooLarge(f"{width} x {height} pixels; the cap is {cap / 1e6:g} megapixels")
            yield picture


@contextmanager
def _translating(formats: tuple[str, ...], max_pixels: int, part: str) -> Iterator[None]:
    """Turn whatever Pillow raises in the block into one of our errors, as `opened` says."""
    try:
        yield
    except ImageError:
        raise
    except Pillow.DecompressionBombError:
        raise ImageTooLarge(f"the header promises far more than {max_pixels / 1e6:g} megapixels") from None
    except UnidentifiedImageError:
        raise UnsupportedFormat(f"not a picture in any of {', '.join(formats)}") from None
    except MemoryError:
        raise TooCostly("it takes more memory than there is") from None
    except Exception as error:  # Pillow raises nine kinds and more on hostile files; none may escape
        raise DamagedImage(f"the {part} is damaged: {' '.join(str(error).split())[:120]}") from None


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS) -> Image:
    """Return the picture, RGB (H, W, 3), as `decode_picture` with nothing but its pixels."""
    return decode_picture(data, max_pixels=max_pixels, formats=formats).image


def decode_picture(
    data: bytes, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS, srgb: bool = True
) -> Decoded:
    """Return the picture: upright, in sRGB, 16 bits scaled to 8, alpha laid over white, CMYK converted.

    A JPEG of more than `max_pixels` is decoded at the largest of 1/2, 1/4 and 1/8 of its size that has fewer. Of an
    animation the first frame is decoded that is not blank. srgb: False leaves the colours under a wide profile as they
    are stored.

    Raises as `opened`, or TooCostly if decoding exceeds the limits of `sandbox`.
    """
    options: dict[str, Any] = {"max_pixels": max_pixels, "formats": formats, "srgb": srgb}
    return _assemble(
        pieces(data, **options) if is_plain(data) else sandbox.stream(f"{__name__}:pieces", data, **options)
    )


def convert_picture(picture: Pillow.Image, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Return a picture that somebody opened with Pillow, its pixels as `decode_picture` returns those of its file.

    Of an animation it is the frame that the picture stands at. The picture itself stays as it is.

    Raises ImageTooLarge above `max_pixels`, UnsupportedFormat for floating-point pixels, DamagedImage if its file does
    not decode.
    """
    if picture.width * picture.height > max_pixels:
        raise ImageTooLarge(f"{picture.width} x {picture.height} pixels; the cap is {max_pixels / 1e6:g} megapixels")
    if not picture.width * picture.height:
        raise DamagedImage("it has no pixels")
    with _translating(FORMATS, max_pixels, "picture"):
        picture.load()
        return _assemble(_describe_pixels(picture, whole=picture.size, remark="", srgb=True))


def _assemble(items: Iterator[Any]) -> Decoded:
    """Return the picture that the items of `pieces` make up; TooCostly if there is not enough memory for it."""
    head = next(items)
    (columns, rows), (width, height) = head["size"], head["whole"]
    if head["turn"] >= 5:
        width, height = height, width
    try:
        image = np.empty((columns, rows, 3) if head["turn"] >= 5 else (rows, columns, 3), np.uint8)
    except MemoryError:
        raise TooCostly("there is not enough memory for its pixels") from None
    stored, top = as_stored(image, head["turn"]), 0
    for item in items:
        block = np.frombuffer(item, np.uint8).reshape(-1, columns, 3)
        stored[top : top + len(block)] = block
        top += len(block)
    return Decoded(image, width, height, head["remark"], head["converted"])


def pieces(data: bytes, *, max_pixels: int, formats: Sequence[str], srgb: bool) -> Iterator[Any]:
    """Yield how a picture is to be put together, then its rows as they are stored, RGB bytes, some rows at a time.

    First a dict: size (width, height) of what follows, whole (as the file has it), turn (EXIF's orientation, 1..8),
    remark and converted as in `Decoded`.
    """
    if sniff(data) == "HEIC" and "AVIF" in formats:
        _register_heif()
        formats = ("HEIF",)
    with opened(data, max_pixels=max_pixels, formats=tuple(formats)) as picture:
        whole = picture.size
        _reduce(picture, max_pixels)
        picture.load()
        remark = _choose_frame(picture, data, max_pixels)
        yield from _describe_pixels(picture, whole=whole, remark=remark, srgb=srgb)


def _describe_pixels(picture: Pillow.Image, *, whole: tuple[int, int], remark: str, srgb: bool) -> Iterator[Any]:
    """Yield what `pieces` yields, of a picture that is loaded."""
    turn = picture.getexif().get(ExifTags.Base.Orientation, 1)
    profile = picture.info.get("icc_profile") if srgb and picture.mode in ("RGB", "RGBA", "P") else None
    transform = find_transform(profile) if profile else None
    yield {"size": picture.size, "whole": whole, "turn": turn if turn in range(1, 9) else 1, "remark": remark,
           "converted": transform is not None}  # fmt: skip
    yield from _rows(picture, transform)


def load(path: Path | str, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Image:
    """Return the picture in a file; as `read` and `decode`."""
    return decode(read(path, max_bytes=max_bytes), max_pixels=max_pixels)


def as_stored(image: Image, turn: int) -> Image:
    """Return a view of an upright picture whose rows lie as the file has them. turn: EXIF's orientation, 1..8."""
    if turn in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if turn in (2, 3, 7, 8):
        image = image[:, ::-1]
    return image[::-1] if turn in (3, 4, 6, 7) else image


def is_blank(image: Image) -> bool:
    """Return whether a picture shows one colour and nothing else; of a large one, some hundred rows are sampled."""
    height, width = image.shape[:2]
    return bool(image[:: max(1, height // 512), :: max(1, width // 512)].std((0, 1)).max() < BLANK)


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
        """Return the next bytes; TooCostly after MAX_READS calls."""
        self.reads += 1
        if self.reads > MAX_READS:
            raise TooCostly("it consists of too many blocks")
        return super().read(size)


def _open(data: bytes, formats: tuple[str, ...]) -> Pillow.Image:
    if sniff(data) == "HEIC" and "HEIF" not in formats:
        raise UnsupportedFormat("HEIC pictures are not read here")
    if b"iCCP" in data and sniff(data) == "PNG":
        data = without_huge_profile(data)  # Pillow would refuse the picture because of it
    try:
        return Pillow.open(_Reader(data), formats=formats)
    except Pillow.DecompressionBombError:
        if sniff(data) != "JPEG" or "JPEG" not in formats:
            raise
        return JpegImagePlugin.jpeg_factory(_Reader(data))  # Pillow's own limit lies below what can be reduced


def can_read_heif() -> bool:
    """Return whether the extra `heif` is installed."""
    return find_spec("pi_heif") is not None


@cache
def _register_heif() -> None:
    """Let Pillow open HEIC through libheif, in one thread and without thumbnails; UnsupportedFormat without it."""
    try:
        import pi_heif
    except ImportError:
        raise UnsupportedFormat(f"HEIC pictures need an extra; {HEIF_EXTRA}") from None
    pi_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)


def _reduce(picture: Pillow.Image, max_pixels: int) -> None:
    """Have a JPEG of more than `max_pixels` decoded at half, a quarter or an eighth of its size."""
    width, height = picture.size
    divisor = 1
    while -(-width // divisor) * -(-height // divisor) > max_pixels and divisor < 8:
        divisor *= 2
    if divisor > 1:
        picture.draft(None, (width // divisor, height // divisor))


def _choose_frame(picture: Pillow.Image, data: bytes, max_pixels: int) -> str:
    """Go to the first of the first few frames that is not blank; return which one it is, of how many."""
    kind = sniff(data)
    frames = extent(data).frames if kind in ("GIF", "TIFF") else getattr(picture, "n_frames", 1)
    if frames is None or frames < 2 or kind not in (*ANIMATED, "TIFF"):
        return ""
    found = 0
    if kind in ANIMATED and _shows_nothing(picture):
        reach = min(frames, MAX_FRAMES, FRAME_PIXELS // (picture.width * picture.height))
        try:
            with opened(data, max_pixels=max_pixels, formats=(kind,)) as again:
                found = next((i for i in range(1, reach) if not _shows_nothing(_frame(again, i, max_pixels))), 0)
        except ImageError:  # a later frame is damaged; the first one is not
            found = 0
        _frame(picture, found, max_pixels)
    return f"only {'page' if kind == 'TIFF' else 'frame'} {found + 1} of {frames:,} was looked at"


def _frame(picture: Pillow.Image, number: int, max_pixels: int) -> Pillow.Image:
    picture.seek(number)
    if picture.width * picture.height > max_pixels:  # a frame of a GIF may be larger than the GIF
        raise ImageTooLarge(f"frame {number + 1} has more than {max_pixels / 1e6:g} megapixels")
    picture.load()
    return picture


def _shows_nothing(picture: Pillow.Image) -> bool:
    small = picture.resize((SAMPLE, SAMPLE), Pillow.Resampling.NEAREST)
    return is_blank(np.frombuffer(b"".join(_rows(small, None)), np.uint8).reshape(SAMPLE, SAMPLE, 3))


def _rows(picture: Pillow.Image, transform: Any) -> Iterator[bytes]:
    """Yield the pixels as RGB bytes, some rows at a time. transform: of the colours, as `colour.find_transform`."""
    if picture.mode.startswith("I"):  # 16-bit grey, which .convert("RGB") would clip to white
        shift = 8 if max(int(np.asarray(strip).max()) for strip in _strips(picture)) > 255 else 0
        for strip in _strips(picture):
            grey = (np.asarray(strip) >> shift).clip(0, 255).astype(np.uint8)
            yield np.repeat(grey[:, :, None], 3, axis=2).tobytes()
        return
    if picture.mode == "F":
        raise UnsupportedFormat("floating-point pixels have no defined range; save the picture as 8-bit")
    for strip in _strips(picture):
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            strip = Pillow.alpha_composite(Pillow.new("RGBA", strip.size, (255, 255, 255, 255)), strip)
        strip = strip if strip.mode == "RGB" else strip.convert("RGB")
        if transform is not None:
            transform.apply_in_place(strip)
        yield strip.tobytes()


def _strips(picture: Pillow.Image) -> Iterator[Pillow.Image]:
    width, height = picture.size
    rows = max(STRIP // width, 1)
    for top in range(0, height, rows):
        yield picture.crop((0, top, width, min(top + rows, height)))
