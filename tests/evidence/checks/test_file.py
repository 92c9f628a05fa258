from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_picture
from PIL import Image as Pillow
from PIL import ImageCms

from detector.evidence.checks import file, make_exhibit, read_exhibit
from detector.files import sha256
from detector.pictures.images import encode, resize
from detector.pictures.labelling import insert_xmp
from detector.types import Image, Outcome


def check(data: bytes, name: str = "x.jpg") -> dict[str, Any]:
    return dict(file.check(make_exhibit(data, Path(name))).details)


def with_thumbnail(picture: Image, thumbnail: Image) -> bytes:
    """A JPEG whose EXIF holds an orientation and a thumbnail, written by hand: Pillow does not write thumbnails."""
    small = encode(thumbnail, "JPEG")
    main = bytes.fromhex("0001 0112 0003 00000001 00010000") + (26).to_bytes(4)  # then the second directory, at 26
    second = bytes.fromhex("0002 0201 0004 00000001 00000038 0202 0004 00000001") + len(small).to_bytes(4) + bytes(4)
    block = b"MM\0*" + (8).to_bytes(4) + main + second + small
    payload = b"Exif\0\0" + block
    plain = encode(picture, "JPEG")
    return plain[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2) + payload + plain[2:]


@pytest.mark.parametrize(
    ("kind", "name", "agrees"),
    [
        ("JPEG", "a.JPG", True),
        ("JPEG", "a.jfif", True),
        ("PNG", "a.jpg", False),
        ("TIFF", "a.tif", True),
        ("PNG", "a", False),
    ],
)
def test_type_against_the_ending(kind: str, name: str, agrees: bool) -> None:
    data = encode(draw_picture(1), kind)
    found = check(data, name)
    assert (found["sniffed"], found["extension_agrees"]) == (kind, agrees)
    assert (found["bytes"], found["sha256"], found["decodes"]) == (len(data), sha256(data), True)
    assert found["width_height"] == [48, 48]


def test_what_follows_the_end_is_counted_and_named() -> None:
    data = encode(draw_picture(1), "JPEG")
    assert check(data)["trailing_bytes"] == 0
    found = check(data + encode(draw_picture(2), "PNG"))
    assert found["trailing_bytes"] == len(encode(draw_picture(2), "PNG"))
    assert [t["kind"] for t in found["trailers"]] == ["unannounced PNG picture"]


def test_a_cut_file_does_not_end_properly() -> None:
    found = check(encode(draw_picture(1), "JPEG")[:-40])
    assert (found["ends_properly"], found["trailing_bytes"], found["decodes"]) == (False, 0, False)


def test_thumbnail_is_compared_with_the_picture() -> None:
    picture = draw_picture(1, size=160)
    same = resize(picture, 64, 64)
    bars = np.zeros((80, 64, 3), np.uint8)
    bars[8:72] = same
    for thumbnail in (same, bars, np.rot90(same)):
        found = check(with_thumbnail(picture, np.ascontiguousarray(thumbnail)))["thumbnail"]
        assert isinstance(found, dict)
        assert found["agrees"] is True
    other = check(with_thumbnail(picture, 255 - same))["thumbnail"]
    assert isinstance(other, dict)
    assert (other["agrees"], other["width_height"]) == (False, [64, 64])
    assert other["correlation"] < 0.5


def test_a_different_thumbnail_is_neutral() -> None:
    picture = draw_picture(1, size=160)
    found = file.check(make_exhibit(with_thumbnail(picture, 255 - resize(picture, 64, 64)), Path("x.jpg")))
    assert found.outcome == Outcome.NEUTRAL
    assert "shows something else" in found.summary


def test_profile_is_named() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    buffer = io.BytesIO()
    Pillow.fromarray(draw_picture(1)).save(buffer, "PNG", icc_profile=profile)
    found = check(buffer.getvalue(), "x.png")
    assert found["icc_bytes"] == len(profile)
    assert str(found["icc_name"]).startswith("sRGB")


def test_no_picture_is_not_applicable() -> None:
    assert file.check(make_exhibit(b"%PDF-1.4 ...", Path("x.jpg"))).outcome == Outcome.NOT_APPLICABLE


def test_added_metadata_changes_hash_and_nothing_else() -> None:
    data = encode(draw_picture(1), "JPEG")
    before, after = check(data), check(insert_xmp(data, b"<x:xmpmeta></x:xmpmeta>"))
    assert {k for k in before if before[k] != after[k]} == {"bytes", "sha256"}


def test_thumbnails_of_camera_photographs_agree(shared: Path) -> None:
    found = [
        file.check(read_exhibit(path)).details["thumbnail"] for path in sorted((shared / "evidence/camera").iterdir())
    ]
    compared = [t for t in found if t and t["agrees"] is not None]
    assert len(compared) >= 40
    assert all(t["agrees"] for t in compared)
