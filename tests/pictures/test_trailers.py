from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from conftest import draw_picture
from PIL import Image as Pillow

from detector.evidence.checks import file, make_exhibit
from detector.pictures.containers import extent
from detector.pictures.images import encode
from detector.pictures.labelling import insert_xmp
from detector.pictures.trailers import MAX_TRAILERS, read_trailers, samsung_entries

PICTURE, SMALL = (encode(draw_picture(seed, size=size), "JPEG") for seed, size in ((1, 64), (2, 16)))
FTYP = struct.pack(">I", 24) + b"ftypmp42\0\0\0\0mp42isom"
VIDEO = FTYP + struct.pack(">I", 508) + b"mdat" + bytes(500)
LARGE_VIDEO = FTYP + struct.pack(">I", 1) + b"mdat" + struct.pack(">Q", 516) + bytes(500)


def announcing(**properties: str) -> bytes:
    items = "".join(f'<rdf:li><Container:Item Item:Semantic="{value}"/></rdf:li>' for value in properties.values())
    return insert_xmp(PICTURE, f"<x:xmpmeta><rdf:RDF>{items}</rdf:RDF></x:xmpmeta>".encode())


def flagged(name: str) -> bytes:
    return insert_xmp(PICTURE, f'<rdf:RDF><rdf:Description GCamera:{name}="1"/></rdf:RDF>'.encode())


def described(text: bytes) -> bytes:
    return insert_xmp(SMALL, b"<x:xmpmeta><rdf:RDF><rdf:Description " + text + b"/></rdf:RDF></x:xmpmeta>")


def samsung(*blocks: tuple[bytes, bytes]) -> bytes:
    body, entries = b"", []
    written = [struct.pack("<HHI", 0, 0x0A30, len(name)) + name + content for name, content in blocks]
    for i, block in enumerate(written):
        entries.append(struct.pack("<HHII", 0, 0x0A30, sum(map(len, written[i:])), len(block)))
        body += block
    head = b"SEFH" + struct.pack("<II", 107, len(entries)) + b"".join(entries)
    return body + head + struct.pack("<I", len(head)) + b"SEFT"


def kinds(data: bytes) -> list[tuple[str, int]]:
    """Return the kinds of data after a picture; only padding lies between them, and nothing after the last."""
    found = file.check(make_exhibit(data, Path("x.jpg")))
    for trailer in found.details["trailers"]:
        assert f"{trailer['kind']} ({trailer['length']:,} bytes)" in found.summary
    ends = [extent(data).end or 0, *(t["offset"] + t["length"] for t in found.details["trailers"])]
    assert all(a <= t["offset"] for a, t in zip(ends, found.details["trailers"], strict=False))
    assert ends[-1] == len(data)
    return [(t["kind"], t["length"]) for t in found.details["trailers"]]


def test_nothing_follows_an_ordinary_picture() -> None:
    assert kinds(PICTURE) == []
    assert "followed" not in file.check(make_exhibit(PICTURE, Path("x.jpg"))).summary


@pytest.mark.parametrize(
    ("main", "trailer", "kind"),
    [
        (announcing(a="Primary", b="GainMap"), SMALL, "gain map"),
        (PICTURE, described(b'hdrgm:Version="1.0" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'), "gain map"),
        (PICTURE, described(b'apdi:AuxiliaryImageType="urn:com:apple:photo:2020:aux:hdrgainmap"'), "gain map"),
        (announcing(a="Primary", b="Depth"), SMALL, "depth map"),
        (announcing(a="Primary", b="MotionPhoto"), VIDEO, "motion-photo video"),
        (flagged("MicroVideo"), VIDEO, "motion-photo video"),
        (flagged("MotionPhoto"), LARGE_VIDEO, "motion-photo video"),
        (PICTURE, VIDEO, "video"),
        (PICTURE, VIDEO.replace(b"ftypmp42", b"ftypqt  "), "video"),
        (PICTURE, SMALL, "unannounced JPEG picture"),
        (PICTURE, encode(draw_picture(2)), "unannounced PNG picture"),
        (PICTURE, encode(draw_picture(2), "WEBP"), "unannounced WEBP picture"),
        (PICTURE, b"PK\3\4 and so on", "ZIP archive"),
        (encode(draw_picture(2)), b"\0\0\0\3tEXta\0bcrc.", "PNG text"),
        (PICTURE, b"something else", "unknown data"),
        (PICTURE, bytes(100), "padding"),
        (PICTURE, VIDEO[:200] + b"LIVE_7291029        ", "Huawei live-photo trailer"),
        (PICTURE, samsung((b"Image_UTC_Data", b"1700000000000")), "Samsung trailer"),
        (PICTURE, samsung((b"MotionPhoto_Data", VIDEO)), "Samsung trailer with a motion-photo video"),
    ],
)
def test_data_after_the_picture_is_named(main: bytes, trailer: bytes, kind: str) -> None:
    assert kinds(main + trailer)[-1][0] == kind


def test_several_kinds_of_data_after_the_picture_are_named() -> None:
    data = announcing(a="Primary", b="GainMap", c="MotionPhoto") + SMALL + bytes(40) + VIDEO
    assert kinds(data + samsung((b"Image_UTC_Data", b"17"))) == [
        ("gain map", len(SMALL)), ("motion-photo video", len(VIDEO)), ("Samsung trailer", 56)]  # fmt: skip
    assert kinds(PICTURE + b"junk" + VIDEO) == [("unknown data", 4), ("video", len(VIDEO))]
    assert kinds(announcing(a="GainMap") + SMALL + SMALL)[1][0] == "unannounced JPEG picture"


def test_pictures_of_a_multi_picture_file() -> None:
    buffer = io.BytesIO()
    frames = [Pillow.fromarray(draw_picture(seed, size=64)) for seed in range(3)]
    frames[0].save(buffer, "MPO", save_all=True, append_images=frames[1:])
    assert [kind for kind, _ in kinds(buffer.getvalue())] == ["further picture (MPO)"] * 2


def test_a_directory_that_points_outside_is_not_followed() -> None:
    whole = samsung((b"MotionPhoto_Data", VIDEO))
    for at in range(len(whole) - 40, len(whole) - 4):
        hostile = whole[:at] + b"\xff" + whole[at + 1 :]
        assert kinds(PICTURE + hostile)
    assert kinds(PICTURE + FTYP + b"\0\0\0\0moov" + bytes(9)) == [("video", 24 + 17)]
    assert kinds(PICTURE + FTYP + b"\0\0\0\1moov" + b"\xff" * 8) == [("video", 24), ("unknown data", 13)]


@pytest.mark.parametrize(("back", "size"), [(2**31, 20), (0, 20), (20, 0), (20, 2**31)])
def test_an_entry_that_points_outside_is_left_out(back: int, size: int) -> None:
    block = struct.pack("<HHI", 0, 0x0A01, 14) + b"Image_UTC_Data" + b"1700000000000"
    entries = struct.pack("<HHII", 0, 0x0A30, back, size) + struct.pack("<HHII", 0, 0x0A01, len(block), len(block))
    head = b"SEFH" + struct.pack("<II", 107, 2) + entries
    data = PICTURE + block + head + struct.pack("<I", len(head)) + b"SEFT"
    assert samsung_entries(data) == [("Image_UTC_Data", b"1700000000000")]
    assert kinds(data) == [("Samsung trailer", len(data) - len(PICTURE))]


def test_the_walk_is_bounded() -> None:
    assert len(read_trailers(PICTURE + SMALL * 100, [])) == MAX_TRAILERS
    assert read_trailers(PICTURE[:-2], []) == []
