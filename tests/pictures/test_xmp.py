from __future__ import annotations

import struct

import pytest
from conftest import draw_picture, png_with

from detector.pictures.containers import MAX_TEXT, XMP_JPEG
from detector.pictures.images import encode
from detector.pictures.labelling import insert_xmp
from detector.pictures.xmp import EXTENSION, find_packets, read_xmp

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PAIR = ("DigitalSourceType", TYPE)


def jpeg_with(*payloads: bytes) -> bytes:
    plain = encode(draw_picture(1), "JPEG")
    return plain[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(p) + 2) + p for p in payloads) + plain[2:]


def read(packet: str) -> list[tuple[str, str]]:
    return read_xmp(jpeg_with(XMP_JPEG + packet.encode()))


@pytest.mark.parametrize("around", ["{}", '<x:xmpmeta xmlns:x="adobe:ns:meta/">{}</x:xmpmeta>', "<xmpmeta>{}</xmpmeta>",
                                    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>{}<?xpacket end="w"?>',
                                    '<?xml version="1.0" encoding="UTF-16"?><!-- a comment -->{}',
                                    '<x:xapmeta xmlns:x="adobe:ns:meta/">{}</x:xapmeta>'])  # fmt: skip
@pytest.mark.parametrize("description", [
    f'<rdf:Description rdf:about="" Iptc4xmpExt:DigitalSourceType="{TYPE}"/>',
    f"<rdf:Description><Iptc4xmpExt:DigitalSourceType>{TYPE}</Iptc4xmpExt:DigitalSourceType></rdf:Description>",
    f'<rdf:Description><Iptc4xmpExt:DigitalSourceType rdf:resource="{TYPE}"/></rdf:Description>',
    f"<rdf:Description><other:DigitalSourceType><rdf:Bag><rdf:li>{TYPE}</rdf:li></rdf:Bag></other:DigitalSourceType>"
    "</rdf:Description>",
    f"<rdf:Description><a:DigitalSourceType><![CDATA[{TYPE}]]></a:DigitalSourceType></rdf:Description>",
])  # fmt: skip
def test_every_form_of_a_property_with_or_without_its_wrapper(around: str, description: str) -> None:
    """No prefix but rdf is declared, and rdf itself may be missing too."""
    for declared in (RDF, ""):
        assert PAIR in read(around.format(f"<rdf:RDF {declared}>{description}</rdf:RDF>"))


def test_repeated_properties_are_kept_and_lists_belong_to_their_property() -> None:
    listed = "<dc:title><rdf:Alt><rdf:li xml:lang='de'>a</rdf:li><rdf:li>b</rdf:li></rdf:Alt></dc:title>"
    assert read(f"<rdf:RDF>{listed}<dc:title>c</dc:title></rdf:RDF>") == [("title", t) for t in "abc"]


def test_properties_before_an_error_are_read() -> None:
    assert read(f'<rdf:RDF><a DigitalSourceType="{TYPE}"/> &nothing; <b c="d"/></rdf:RDF>') == [PAIR]
    assert read(f'<x:xmpmeta><rdf:RDF><a DigitalSourceType="{TYPE}"/><b c="cut off he') == [PAIR]


def test_entities_are_not_expanded() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    assert read(f"<x:xmpmeta>{bomb}<rdf:RDF><a>&b;</a></rdf:RDF></x:xmpmeta>") == []
    assert read(f"{bomb}<rdf:RDF><a>&b;</a></rdf:RDF>") == []


@pytest.mark.parametrize("code", ["utf-8", "utf-16", "utf-16-be", "utf-16-le"])
def test_packets_in_every_encoding(code: str) -> None:
    assert read_xmp(jpeg_with(XMP_JPEG + f"<rdf:RDF><a>ü{TYPE}</a></rdf:RDF>".encode(code))) == [("a", f"ü{TYPE}")]


def test_an_extended_packet_is_put_together_in_its_order() -> None:
    whole = f'<rdf:RDF><rdf:Description a:DigitalSourceType="{TYPE}"/></rdf:RDF>'.encode()
    parts = [(0, whole[:40]), (40, whole[40:])]
    pieces = [EXTENSION + b"A" * 32 + struct.pack(">II", len(whole), at) + part for at, part in reversed(parts)]
    main = XMP_JPEG + b'<x:xmpmeta><rdf:RDF><a b="c"/></rdf:RDF></x:xmpmeta>'
    assert read_xmp(jpeg_with(*pieces, main)) == [("b", "c"), PAIR]


def test_a_packet_is_found_where_the_standard_does_not_put_it() -> None:
    packet = f'<x:xmpmeta><rdf:RDF><a DigitalSourceType="{TYPE}"/></rdf:RDF></x:xmpmeta>'.encode()
    plain = encode(draw_picture(1), "JPEG")
    hexadecimal = b"tEXtRaw profile type xmp\0\nxmp\n  99\n" + packet.hex().encode()
    for data in (
        jpeg_with(b"XMP\0" + packet),
        png_with(b"tEXtXMP\0" + packet),
        png_with(b"iTXtXML:com.adobe.xmp\0\0\0\0\0" + packet),
        png_with(hexadecimal),
        encode(draw_picture(1), "TIFF") + packet,
        encode(draw_picture(1), "TIFF") + b"<x:xmpmeta><rdf:RDF/></x:xmpmeta>" + packet,
        *(encode(draw_picture(1), "TIFF") + packet.decode().encode(code) for code in ("utf-16-le", "utf-16-be")),
        encode(draw_picture(1), "GIF")[:-1] + b"!\xff\x0bXMP DataXMP" + packet,
        plain + packet,
    ):
        assert read_xmp(data) == [PAIR]


def test_incomplete_packets_are_bounded() -> None:
    many = jpeg_with(*[XMP_JPEG + b"<rdf:RDF>" + b"<a>b</a>" * 8000] * 40)
    assert sum(map(len, find_packets(many))) <= MAX_TEXT
    assert len(read_xmp(many)) == 4096
    deep = insert_xmp(encode(draw_picture(1)), b"<rdf:RDF>" + b"<rdf:li>a" * 100_000)
    assert len(read_xmp(deep)) <= 4096
    assert read_xmp(insert_xmp(encode(draw_picture(1)), b"<x:xmpmeta " * 90_000)) == []
