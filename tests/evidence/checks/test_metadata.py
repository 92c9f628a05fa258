from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_picture
from PIL import Image as Pillow

from detector.evidence.checks import make_exhibit, metadata, read_exhibit
from detector.pictures.images import encode
from detector.pictures.labelling import insert_xmp
from detector.types import Finding, Outcome


def check(data: bytes) -> Finding:
    return metadata.check(make_exhibit(data, Path("x")))


def with_exif(kind: str = "JPEG", size: int = 48, inner: dict[int, Any] | None = None, **tags: Any) -> bytes:
    exif = Pillow.Exif()
    for name, value in tags.items():
        exif[{"make": 0x010F, "model": 0x0110, "software": 0x0131, "changed": 0x0132}[name]] = value
    exif.get_ifd(0x8769).update(inner or {})
    buffer = io.BytesIO()
    Pillow.fromarray(draw_picture(1, size=size)).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def with_xmp(properties: str, elements: str = "") -> bytes:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        f'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" {properties}>{elements}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    return insert_xmp(encode(draw_picture(1), "JPEG"), packet.encode())


def test_absence_is_neutral() -> None:
    found = check(encode(draw_picture(1)))
    assert found.outcome == Outcome.NEUTRAL
    assert found.details["camera"] is None
    assert found.details["declared_generated"] == found.details["possibly_generated"] == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_is_read_from_every_container(kind: str) -> None:
    found = check(
        with_exif(kind, make="Canon", model="Canon EOS 40D", inner={0x829A: 0.01, 0x9003: "2020:01:02 03:04:05"})
    )
    camera = found.details["camera"]
    assert (camera["make"], camera["model"]) == ("Canon", "Canon EOS 40D")
    assert camera["ExposureTime"] == (None if kind == "TIFF" else 0.01)  # Pillow writes no second directory there
    assert found.details["disagreements"] == []
    assert found.outcome == Outcome.NEUTRAL


def test_fields_that_disagree_are_named_and_stay_neutral() -> None:
    data = with_exif(make="Canon", model="NIKON D70", changed="2019:01:01 00:00:00",
                     inner={0xA002: 4000, 0xA003: 3000, 0x9003: "2020:01:02 03:04:05"})  # fmt: skip
    found = check(data)
    assert len(found.details["disagreements"]) == 3
    assert "4000 x 3000 pixels and there are 48 x 48" in found.summary
    assert found.outcome == Outcome.NEUTRAL


@pytest.mark.parametrize(
    ("software", "outcome"),
    [
        ("Adobe Photoshop 25.0", Outcome.NEUTRAL),
        ("Adobe Firefly 2.0", Outcome.SUPPORTS_FAKE),
        ("FaceApp", Outcome.SUPPORTS_FAKE),
    ],
)
def test_software_is_sorted_into_editors_and_generators(software: str, outcome: Outcome) -> None:
    found = check(with_exif(software=software))
    assert found.outcome == outcome
    fake = outcome == Outcome.SUPPORTS_FAKE
    assert found.details["editors"] == ([] if fake else [f"Software: {software}"])
    assert [d["where"] for d in found.details["declared_generated"]] == (["EXIF Software"] if fake else [])


@pytest.mark.parametrize("kind", ["", "composite"])
def test_source_type_is_read_as_attribute_element_and_resource(kind: str) -> None:
    name = "compositeWithTrainedAlgorithmicMedia" if kind else "trainedAlgorithmicMedia"
    url = f"http://cv.iptc.org/newscodes/digitalsourcetype/{name}"
    tag = "Iptc4xmpExt:DigitalSourceType"
    forms = [(f'{tag}="{url}"', ""), ("", f"<{tag}>{url}</{tag}>"), ("", f'<{tag} rdf:resource="{url}"/>')]
    for properties, elements in forms:
        found = check(with_xmp(properties, elements))
        assert found.details["digital_source_types"] == [name]
        assert found.outcome == Outcome.SUPPORTS_FAKE


def test_capture_declared_by_anybody_is_neutral() -> None:
    url = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    assert check(with_xmp(f'Iptc4xmpExt:DigitalSourceType="{url}"')).outcome == Outcome.NEUTRAL


def test_iptc_of_a_photoshop_segment() -> None:
    def dataset(number: int, text: bytes) -> bytes:
        return b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text)) + text

    block = dataset(80, b"A. Photographer") + dataset(65, b"Midjourney") + dataset(200, b"unknown")
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(block)) + block + b"\0" * (len(block) % 2)
    other = b"8BIM\x03\xed\x03abc" + struct.pack(">I", 3) + b"xyz\0"
    payload = b"Photoshop 3.0\0" + other + resource
    plain = encode(draw_picture(1), "JPEG")
    data = plain[:2] + b"\xff\xed" + struct.pack(">H", len(payload) + 2) + payload + plain[2:]
    found = check(data)
    assert found.details["iptc"] == {"Byline": "A. Photographer", "OriginatingProgram": "Midjourney"}
    assert found.outcome == Outcome.SUPPORTS_FAKE


def test_no_camera_photograph_names_a_generator(shared: Path) -> None:
    paths = sorted((shared / "evidence/camera").iterdir())
    assert len(paths) > 70
    found = [metadata.check(read_exhibit(path)) for path in paths]
    assert {f.outcome for f in found} == {Outcome.NEUTRAL}
    assert sum(f.details["camera"] is not None for f in found) > 40
