"""Small files that are expensive to read: they demand many pixels, passes, pieces or objects. Sizes are arguments.

`craft` yields all of them in harmful sizes; the tests use small ones, with lower caps.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image as Pillow

from detector.pictures.images import MAX_PIXELS


def saved(size: tuple[int, int], kind: str, mode: str = "RGB", **options: object) -> bytes:
    """Return a black picture as a file."""
    buffer = io.BytesIO()
    Pillow.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def png_with(*chunks: bytes) -> bytes:
    """Return a small PNG with further chunks, each with its name at the beginning, after the header."""
    body = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    plain = saved((64, 64), "PNG")
    return plain[:33] + b"".join(body) + plain[33:]


def jpeg_with(code: int, payload: bytes, times: int = 1) -> bytes:
    """Return a small JPEG with further segments at its beginning."""
    plain = saved((64, 64), "JPEG")
    return plain[:2] + (bytes([0xFF, code]) + struct.pack(">H", len(payload) + 2) + payload) * times + plain[2:]


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated; a scan of a black picture has few bytes."""
    plain = saved((side, side), "JPEG", progressive=True)
    last = plain.rindex(b"\xff\xda")
    table = plain.rindex(b"\xff\xc4")  # the Huffman table of the last scan
    return plain[:-2] + plain[min(table, last) : -2] * scans + plain[-2:]


def tiff_of_strips(strips: int, *, tiles: bool = False, big: bool = False) -> bytes:
    """Return a grey TIFF of 1 x `strips` pixels, each in its own strip, or tile of 1 x 1. big: use 64-bit offsets."""
    order, entry, width = ("<", "HHQQ", 8) if big else ("<", "HHLL", 4)
    first = 16 if big else 8
    tags = [(256, 4, 1, 1), (257, 4, 1, strips), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    tags += [(322, 4, 1, 1), (323, 4, 1, 1)] if tiles else [(278, 4, 1, 1)]
    after = first + (8 if big else 2) + (len(tags) + 2) * struct.calcsize(order + entry) + width
    tags += [(324 if tiles else 273, 4, strips, after), (325 if tiles else 279, 4, strips, after)]
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, first) if big else struct.pack("<2sHL", b"II", 42, first)
    count = struct.pack("<Q" if big else "<H", len(tags))
    body = b"".join(struct.pack(order + entry, *tag) for tag in sorted(tags))
    return head + count + body + bytes(width) + struct.pack("<L", 8) * strips


def tiff_of_warnings(rows: int) -> bytes:
    """Return a TIFF for which libtiff writes a warning on standard error at each row."""
    buffer = io.BytesIO()
    Pillow.effect_noise((64, rows), 50).save(buffer, "TIFF", compression="tiff_adobe_deflate", strip_size=64)
    data = bytearray(buffer.getvalue())
    for at in range(40, len(data) - 400, 97):
        data[at] ^= 0x55
    return bytes(data)


def exif_of_entries(entries: int, size: int) -> bytes:
    """Return an EXIF block whose entries all point to the same `size` bytes."""
    tags = b"".join(struct.pack("<HHLL", i, 2, size, 8) for i in range(entries))
    return b"II*\0" + struct.pack("<LH", 8, entries) + tags + bytes(4 + size)


def webp_of_frames(side: int, frames: int) -> bytes:
    """Return an animated WebP whose frames have its full size and few bytes each."""
    still = saved((side, side), "WEBP", lossless=True, method=0)
    image = still[12:] if still[12:16] in (b"VP8 ", b"VP8L") else still[still.index(b"VP8L") :]
    rest = struct.pack("<I", side - 1)[:3] * 2
    frame = bytes(6) + rest + b"\x28\0\0\0" + image
    chunks = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + rest + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    chunks += (b"ANMF" + struct.pack("<I", len(frame)) + frame) * frames
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def tar_of_one(name: str, size: int) -> bytes:
    """Return a tar.gz whose only member has `size` bytes of zeros, compressed to about a thousandth."""
    import tarfile

    member = tarfile.TarInfo(name)
    member.size = size
    block = min(size, 2**26)
    parts = [gzip.compress(member.tobuf()), *[gzip.compress(bytes(block), 9)] * (size // block)]
    return b"".join([*parts, gzip.compress(bytes(size % block + -size % 512 + 1024))])


def craft() -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of files with very many small blocks, highly compressed text, or the largest allowed size."""
    yield from craft_metadata()
    yield "scans.jpg", jpeg_of_scans(7000, 3000)
    yield "scans-few.jpg", jpeg_of_scans(7000, 80)
    yield "scans-small.jpg", jpeg_of_scans(1000, 80)
    yield "strips.tif", tiff_of_strips(5_000_000)
    yield "strips-64-bit.tif", tiff_of_strips(5_000_000, big=True)
    yield "tiles.tif", tiff_of_strips(12_000_000, tiles=True)
    yield "strips-allowed.tif", tiff_of_strips(60_000)
    yield "warnings.tif", tiff_of_warnings(4000)
    yield "exif-segments.jpg", jpeg_with(0xE1, b"Exif\0\0" + bytes(65_000), 1500)
    yield "exif-overlapping.jpg", jpeg_with(0xE1, b"Exif\0\0" + exif_of_entries(2700, 32_000))
    yield "exif-overlapping.png", png_with(b"eXIf" + exif_of_entries(65_000, 2**18))
    yield "frames.webp", webp_of_frames(6240, 200)
    yield "frames-blank.webp", webp_of_frames(2000, 50)
    side = int(MAX_PIXELS**0.5)
    for mode, kind in (("RGB", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("I;16", "PNG"), ("P", "GIF")):
        yield f"cap-{mode}.{kind.lower()}", saved((side, side), kind, mode)
    yield "cap-progressive.jpg", saved((side, side), "JPEG", progressive=True, subsampling=0)
    yield "cap-progressive-CMYK.jpg", saved((side, side), "JPEG", "CMYK", progressive=True)
    yield "cap-lzw.tif", saved((side, side), "TIFF", compression="tiff_lzw")
    yield "cap.avif", saved((side, side), "AVIF", subsampling="4:4:4", speed=10)
    yield "cap.webp", saved((16_000, MAX_PIXELS // 20_000), "WEBP")
    yield "reduced.jpg", saved((16_320, 12_240), "JPEG")
    yield "reduced-progressive.jpg", saved((16_320, 12_240), "JPEG", progressive=True)
    yield "wide.png", saved((MAX_PIXELS // 8, 8), "PNG")
    yield "tall.png", saved((8, MAX_PIXELS // 8), "PNG")
    yield "one.png", saved((1, 1), "PNG")
    yield "a\udcff\u202e<b>.png", saved((64, 64), "PNG")  # a name that is not valid UTF-8


def craft_metadata() -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of small pictures with excessive metadata."""

    def xmp(packet: bytes) -> bytes:
        return png_with(b"iTXtXML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet))

    mega, opening = zlib.compress(bytes(2**20), 9), b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>"
    yield "zTXt.png", png_with(*[b"zTXtk%d\0\0" % i + mega for i in range(5000)])
    yield "iTXt.png", png_with(*[b"iTXtk%d\0\1\0\0\0" % i + mega for i in range(5000)])
    yield "iCCP.png", png_with(*[b"iCCPp\0\0" + mega] * 5000)
    yield "tEXt.png", png_with(*[b"tEXta\0b"] * 200_000)
    yield "xmp-unclosed.png", xmp(b"<x:xmpmeta " * 95_000)
    yield "xmp-deep.png", xmp(opening + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</x:xmpmeta>")
    yield "xmp-unclosed.jpg", jpeg_with(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x:xmpmeta " * 5900, 200)
    yield "json-deep.png", png_with(b"tEXtprompt\0" + b"[" * 500_000)
    yield "json-number.png", png_with(b"tEXtprompt\0" + b"9" * 500_000)
    yield "segments.jpg", jpeg_with(0xEE, b"", 1_000_000)
    yield "DQT.jpg", jpeg_with(0xDB, (b"\0" + b"\1" * 64) * 1000, 60)
    yield "DQT-large.jpg", jpeg_with(0xDB, (b"\0" + b"\1" * 64) * 1000, 1500)
    yield "8BIM.jpg", jpeg_with(0xED, b"Photoshop 3.0\0" + b"8BIM\0\4\0\0\0\0\0\0" * 5400, 200)
    yield "8BIM-large.jpg", jpeg_with(0xED, b"Photoshop 3.0\0" + b"8BIM\0\4\0\0\0\0\0\0" * 5400, 1500)
    iptc = b"8BIM\4\4\0\0" + struct.pack(">I", 60_000) + b"\x1c\2\5\0\0" * 12_000
    yield "iptc.jpg", jpeg_with(0xED, b"Photoshop 3.0\0" + iptc, 200)
    yield "fill.jpg", b"\xff\xd8\xff" + b"\xff" * 5_000_000
    yield "blocks.gif", b"GIF89a\1\0\1\0\0\0\0" + (b"!\xfe" + b"\1a" * 60_000 + b"\0") * 200
    gif = saved((64, 64), "GIF")
    at = 13 + 3 * 2 ** ((gif[10] & 7) + 1)  # offset after the colour table
    yield "comments.gif", gif[:at] + b"!\xfe" + (b"\xff" + b"a" * 255) * 400_000 + b"\0" + gif[at:]
    yield "directories.tif", b"II*\0\x08\0\0\0" + b"".join(struct.pack("<HI", 0, 14 + 6 * i) for i in range(200_000))
