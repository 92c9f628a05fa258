"""Decode untrusted picture files into RGB uint8 arrays, resize with one filter, and encode arrays again.

No other module decodes pictures. The size is checked in the header before anything is decoded, so a 48 kB file that
promises 400 megapixels costs nothing. Files within the caps whose decoding may still cost much are decoded in a
process with limits (`sandbox`). Pillow may use a short list of formats only: with all its plug-ins, a file named .jpg
could start Ghostscript.
"""

from __future__ import annotations

import io
import os
import re
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

from detector.errors import DamagedImage, ImageError, ImageTooLarge, TooCostly, UnreadableFile, UnsupportedFormat
from detector.files import from_text
from detector.pictures import sandbox
from detector.pictures.caps import is_plain, refuse
from detector.pictures.colour import find_transform, without_huge_profile
from detector.pictures.containers import extent, sniff
from detector.types import Decoded, Image, Images

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")  # without MPO: of an MPO, the first JPEG is decoded
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})
HEIF_SUFFIXES = frozenset({".heic", ".heif"})  # read where the extra `heif` is installed
HEIF_EXTRA = "install the extra `heif` (pip install 'face-forgery-detector[heif]'), or save it as JPEG, PNG or AVIF"
MAX_BYTES = 100 * 2**20
MAX_PIXELS = 50_000_000
MAX_REDUCED = 220_000_000  # largest JPEG, pixels: it can be decoded at a reduced size, and telephones write 200 million
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # formats whose first frame may be blank
MAX_FRAMES = 6  # number of frames that are searched for one that is not blank
FRAME_PIXELS = 25_000_000  # largest sum of the pixels of the frames that are searched
BLANK = 2.0  # standard deviation below which a frame is blank, grey levels
SAMPLE = 64  # points along each side at which a frame is sampled to see whether it is blank
STRIP = 2**16  # pixels converted at a time: a copy of the whole picture costs memory, and more time than decoding
MAX_READS = 1_000_000  # read calls that a decoder may make in one file: ordinary files need some thousands
RESIZE_FILTER = "lanczos"  # Pillow's antialiased filter; filters of cv2 change high frequencies, which detection needs
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
REDUCING_GAP = 2.0  # value that Pillow recommends: fast, and close to the kernel alone; 3 takes twice the time

warnings.filterwarnings("ignore", module=r"PIL\.")  # Pillow warns of odd files; what matters is raised as an error


def read(path: Path | str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the bytes of a regular file; other kinds of files may block or never end, and are not opened.

    path: the name itself, or the name as `files.as_text` writes it.

    Raises ImageTooLarge above `max_bytes`; DamagedImage if the file is empty; UnreadableFile if it is missing, not
    regular, or cannot be opened, or if no file can have that name.
    """
    try:
        name = from_text(os.fspath(path))
        status = os.stat(name)
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableFile("it is a folder, in which no picture was found")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFile("it is not a regular file")
        if status.st_size > max_bytes:
            raise ImageTooLarge(f"{status.st_size:,} bytes; the cap is {max_bytes:,}")
        data = Path(name).read_bytes()
    except OSError as error:
        if _ADDRESS.match(name):
            raise UnreadableFile("it is an address, and nothing is fetched; name a file") from None
        raise UnreadableFile(error.strerror or str(error)) from None
    except ValueError as error:  # a NUL in the name
        raise UnreadableFile(str(error)) from None
    if not data:
        raise DamagedImage("the file is empty")
    return data


@contextmanager
def opened(
    data: bytes, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS, part: str = "picture"
) -> Iterator[Pillow.Image]:
    """Yield the opened file with its pixels not yet decoded; any error inside the block becomes an ImageError.

    part: which part of the file is read, for the error message.

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
                cap = max_pixels * 4 // 5  # the WebP decoder holds four copies of a picture
            if width * height > cap:
                raise ImageTooLarge(f"{width} x {height} pixels; the cap is {cap / 1e6:g} megapixels")
            yield picture


@contextmanager
def _translating(formats: tuple[str, ...], max_pixels: int, part: str) -> Iterator[None]:
    """Turn whatever Pillow raises inside the block into an ImageError; see `opened`."""
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
    except Exception as error:  # Pillow raises nine and more kinds of errors on hostile files; none may escape
        raise DamagedImage(f"the {part} is damaged: {' '.join(str(error).split())[:120]}") from None


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS) -> Image:
    """Return the pixels of the picture, RGB (H, W, 3), as `decode_picture` decodes them."""
    return decode_picture(data, max_pixels=max_pixels, formats=formats).image


def decode_picture(
    data: bytes, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS, srgb: bool = True
) -> Decoded:
    """Return the picture: upright, in sRGB, 16 bits scaled to 8, alpha laid over white, CMYK converted.

    A JPEG of more than `max_pixels` is decoded at 1/2, 1/4 or 1/8 of its size, whichever is the largest that fits. Of
    an animation, the first frame that is not blank is decoded. srgb: False keeps the stored colours even if the file
    has a wide-gamut profile.

    Raises what `opened` raises, and TooCostly if decoding exceeds the limits of `sandbox`.
    """
    options: dict[str, Any] = {"max_pixels": max_pixels, "formats": formats, "srgb": srgb}
    return _assemble(
        pieces(data, **options) if is_plain(data) else sandbox.stream(f"{__name__}:pieces", data, **options)
    )


def convert_picture(picture: Pillow.Image, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Return a picture that the caller opened with Pillow, with the same pixels as `decode_picture` returns.

    Of an animation, the current frame is returned. The Pillow picture is not changed.

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
    """Return the picture put together from the items of `pieces`; raise TooCostly if memory does not suffice."""
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
    """Yield a description of the picture, then its rows as they are stored: RGB bytes, several rows at a time.

    The description is a dict: size (width, height) of the rows that follow, whole (size in the file), turn (EXIF
    orientation, 1..8), and remark and converted as in `Decoded`.
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
    """Yield the items of `pieces` for a picture whose pixels are loaded."""
    turn = picture.getexif().get(ExifTags.Base.Orientation, 1)
    profile = picture.info.get("icc_profile") if srgb and picture.mode in ("RGB", "RGBA", "P") else None
    transform = find_transform(profile) if profile else None
    yield {"size": picture.size, "whole": whole, "turn": turn if turn in range(1, 9) else 1, "remark": remark,
           "converted": transform is not None}  # fmt: skip
    yield from _rows(picture, transform)


def load(path: Path | str, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Image:
    """Return the picture in a file, as `read` and `decode` do."""
    return decode(read(path, max_bytes=max_bytes), max_pixels=max_pixels)


def as_stored(image: Image, turn: int) -> Image:
    """Return a view of an upright picture with the rows in the order of the file. turn: EXIF orientation, 1..8."""
    if turn in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if turn in (2, 3, 7, 8):
        image = image[:, ::-1]
    return image[::-1] if turn in (3, 4, 6, 7) else image


def is_blank(image: Image) -> bool:
    """Return whether a picture has one colour only; of a large picture, some hundred rows and columns are sampled."""
    height, width = image.shape[:2]
    return bool(image[:: max(1, height // 512), :: max(1, width // 512)].std((0, 1)).max() < BLANK)


def resize(
    image: Image, width: int, height: int, *, gap: float = REDUCING_GAP, extent: tuple[float, float] | None = None
) -> Image:
    """Return the picture resized to `width` x `height` pixels, with the filter used in training and in scoring.

    A picture that is at least 2 `gap` times too large is first averaged over whole blocks, which takes a fifth of the
    time, until it is `gap` times too large. extent: width and height of the part that is resized, in pixels that need
    not be whole, from the top left corner; None for the whole picture.
    """
    if image.shape[:2] == (height, width) and extent in (None, (width, height)):
        return image
    kernel = Pillow.Resampling[RESIZE_FILTER.upper()]
    box = extent and (0, 0, *extent)
    return np.asarray(Pillow.fromarray(image).resize((width, height), kernel, box, gap))


def cut(image: Image, box: tuple[int, int, int, int], *, mirrored: bool = False, shared: bool = False) -> Image:
    """Return the part inside box (left, top, right, bottom); outside the picture it is black, or mirrored.

    shared: if the box lies inside the picture, return a view of it, which keeps the whole picture in memory.
    """
    left, top, right, bottom = box
    height, width = image.shape[:2]
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        part = image[top:bottom, left:right]
        return part if shared else np.ascontiguousarray(part)
    if not mirrored:
        return np.asarray(Pillow.fromarray(image).crop(box))
    rows, columns = _mirrored(top, bottom, height), _mirrored(left, right, width)
    return np.ascontiguousarray(image.take(rows, 0).take(columns, 1))


def _mirrored(start: int, stop: int, n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return an index of 0..n-1 for each position from `start` to `stop`, mirrored at both ends."""
    place = np.arange(start, stop) % (2 * n)
    return np.minimum(place, 2 * n - 1 - place)


def tile(images: Images, columns: int, *, gap: int = 2) -> Image:
    """Return pictures (N, H, W, 3) as one sheet with `columns` columns and `gap` white pixels between pictures."""
    n, height, width = images.shape[:3]
    rows = -(-n // columns)
    sheet = np.full((rows * columns, height + gap, width + gap, 3), 255, np.uint8)
    sheet[:n, :height, :width] = images
    sheet = sheet.reshape(rows, columns, height + gap, width + gap, 3).swapaxes(1, 2)
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap), 3)
    return np.ascontiguousarray(sheet[: rows * (height + gap) - gap, : columns * (width + gap) - gap])


def encode(image: Image, format: str = "PNG", *, quality: int = 95, subsampling: str = "4:2:0") -> bytes:
    """Return the bytes of a PNG, JPEG or WEBP file without metadata; `quality` 1..100 is for JPEG and WEBP."""
    buffer = io.BytesIO()
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": subsampling},
        "WEBP": {"quality": quality},
    }
    Pillow.fromarray(image).save(buffer, format, **options.get(format, {}))
    return buffer.getvalue()


class _Reader(io.BytesIO):
    """The bytes of a file, with a limit on the number of reads: some decoders of Pillow loop over blocks in Python."""

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
    """Set a JPEG of more than `max_pixels` to be decoded at 1/2, 1/4 or 1/8 of its size."""
    width, height = picture.size
    divisor = 1
    while -(-width // divisor) * -(-height // divisor) > max_pixels and divisor < 8:
        divisor *= 2
    if divisor > 1:
        picture.draft(None, (width // divisor, height // divisor))


def _choose_frame(picture: Pillow.Image, data: bytes, max_pixels: int) -> str:
    """Go to the first frame that is not blank, among the first few; return a remark that names it, "" for one frame."""
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
    return f"only {'page' if kind == 'TIFF' else 'frame'} {found + 1} of {frames:,} was decoded"


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
    """Yield the pixels as RGB bytes, several rows at a time. transform: of colours, from `colour.find_transform`."""
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
