"""Sizes that are read from the first bytes are those of the decoder."""

from __future__ import annotations

import pytest
from conftest import draw_picture

from detector.pictures.images import encode
from detector.pictures.sizes import read_size


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_the_size_is_read_from_the_header(kind: str) -> None:
    data = encode(draw_picture(1, size=64)[:40], kind)
    assert read_size(data[:2048]) == (64, 40)
    for length in range(26):
        assert read_size(data[:length]) in (None, (64, 40))


def test_other_bytes_have_no_size() -> None:
    assert read_size(b"") is None
    assert read_size(b"\xff\xd8" + bytes(100)) is None
    assert read_size(b"II*\0" + bytes(100)) is None
