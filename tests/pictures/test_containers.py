from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from conftest import draw_picture, png_with
from PIL import Image as Pillow
from PIL import ImageCms, PngImagePlugin

from detector.pictures import containers
from detector.pictures.images import encode
from detector.pictures.xmp import find_packets

KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]


@pytest.mark.parametrize("kind", KINDS)
def test_type_end_and_frames(kind: str) -> None:
    data = encode(draw_picture(1), kind)
    assert containers.sniff(data) == kind
    end = None if kind == "TIFF" else len(data)
    assert containers.extent(data) == (end, 1)
    assert containers.extent(data + b"more")[0] == end


def test_parts_are_those_of_the_file_whatever_was_asked_before() -> None:
    first, second = (encode(draw_picture(seed), "PNG") for seed in (1, 2))
    expected = containers.parts(first)
    containers.parts(first).clear()  # what is kept for the next question is not the caller's list
    containers.parts(second)
    assert containers.parts(first) == expected == list(containers.walk(first))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_frames_of_an_animation(kind: str) -> None:
    frames = [Pillow.fromarray(draw_picture(seed)) for seed in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    assert containers.extent(buffer.getvalue()).frames == 3


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0miafavif", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41avc1", ""),
        (b"\0\0\0\x10ftypmif1\0\0\0\0avifavif", ""),  # the brands end with the box
        (b"II+\0\x08\0\0\0", "TIFF"),
        (b"MM\0+\0\x08\0\0", "TIFF"),
    ],
)
def test_kinds_by_their_first_bytes(head: bytes, kind: str) -> None:
    assert containers.sniff(head) == kind


def test_boxes_end_at_the_first_that_is_none() -> None:
    data = encode(draw_picture(1), "AVIF")
    names = [part.name for part in containers.parts(data)]
    assert names[0] == "ftyp"
    assert {"meta", "mdat"} <= set(names)
    assert [part.name for part in containers.parts(data + b"\0\0\0\x09free!")] == [*names, "free"]
    assert [part.name for part in containers.parts(data + b"\0\0\0\x04free")] == names
    assert containers.extent(data + bytes(50)).end == len(data)


@pytest.mark.parametrize("head", [b"zTXtk\0\0", b"iTXtk\0\1\0\0\0", b"iCCPk\0\0"])
def test_text_that_unfolds_a_thousandfold_is_bounded_in_all(head: bytes) -> None:
    data = png_with(*[head + zlib.compress(b"a" * 2**20)] * 2000)
    assert len(data) < 2**22
    assert 0 < sum(len(text) for _, text in containers.texts(data)) + len(containers.icc(data)) <= containers.MAX_TEXT
    assert len(containers.texts(png_with(*[b"tEXtk\0v"] * 1000))) == containers.MAX_PAIRS


def test_a_gif_of_one_byte_blocks_is_not_followed_for_ever() -> None:
    head = b"GIF89a\1\0\1\0\0\0\0"
    assert containers.extent(head + b"!\xfe" + b"\1a" * 1000 + b"\0;") == (len(head) + 2004, 0)
    endless = head + b"!\xfe" + b"\1a" * (containers.MAX_BLOCKS + 1) + b"\0;"
    assert containers.extent(endless) == (None, None)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_blocks_are_those_that_pillow_wrote(kind: str) -> None:
    exif = Pillow.Exif()
    exif[0x010F] = "maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>hello</rdf:RDF></x:xmpmeta>'
    options = {"pnginfo": PngImagePlugin.PngInfo()} if kind == "PNG" else {"xmp": packet}
    if kind == "PNG":
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", packet.decode(), zip=True)
        options["pnginfo"].add_text("plain", "text")
        options["pnginfo"].add_text("packed", "text" * 99, zip=True)
    buffer = io.BytesIO()
    Pillow.fromarray(draw_picture(1)).save(buffer, kind, exif=exif, icc_profile=profile, **options)
    data = buffer.getvalue()
    assert containers.exif(data) == [exif.tobytes().removeprefix(b"Exif\0\0")]
    assert containers.icc(data) == profile
    assert find_packets(data) == [packet.decode()]
    if kind == "PNG":
        assert [t for t in containers.texts(data) if "xmp" not in t[0]] == [("plain", "text"), ("packed", "text" * 99)]


def test_a_small_chunk_that_inflates_without_end_is_cut() -> None:
    body = b"zTXtx\0\0" + zlib.compress(b"0" * 50_000_000)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    data = encode(draw_picture(1))
    assert len(containers.texts(data[:33] + chunk + data[33:])[0][1]) == containers.MAX_TEXT


def test_a_directory_that_points_to_itself_ends() -> None:
    data = b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0"
    assert containers.extent(data) == (None, 1)


def test_an_embedded_thumbnail_does_not_end_a_jpeg() -> None:
    inner, outer = encode(draw_picture(1, size=16), "JPEG"), encode(draw_picture(2), "JPEG")
    data = outer[:2] + b"\xff\xe1" + struct.pack(">H", len(inner) + 2) + inner + outer[2:]
    assert containers.extent(data).end == len(data)
    assert np.array_equal([p.name for p in containers.parts(data)][:2], ["SOI", "APP1"])


def test_comments_of_jpeg_and_gif_are_texts() -> None:
    buffer = io.BytesIO()
    Pillow.fromarray(draw_picture(1)).save(buffer, "JPEG", comment="\u00fcber")
    assert containers.texts(buffer.getvalue()) == [("Comment", "\u00fcber")]
    buffer = io.BytesIO()
    Pillow.fromarray(draw_picture(1)).save(buffer, "GIF", comment=b"long " * 100)
    assert containers.texts(buffer.getvalue()) == [("Comment", "long " * 100)]
    assert containers.extent(buffer.getvalue() + b"more").end == len(buffer.getvalue())


def test_profiles_that_lie_in_a_png_as_hexadecimal_text() -> None:
    exif = Pillow.Exif()
    exif[0x010F] = "maker"
    block = exif.tobytes()
    text = f"\nexif\n{len(block):8}\n{block.hex()[:72]}\n{block.hex()[72:]}\n"
    data = png_with(b"zTXtRaw profile type exif\0\0" + zlib.compress(text.encode()))
    assert containers.exif(data) == [block.removeprefix(b"Exif\0\0")]
    assert containers.exif(png_with(b"tEXtRaw profile type exif\0\nexif\n 3\nno hexadecimal")) == []
