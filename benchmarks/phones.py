"""A picture as telephones write it, which no library of this project can encode."""

from __future__ import annotations

import base64
import struct

# 96 x 64 pixels, red over blue: one frame of x265 (preset ultrafast, keyint 1) in the boxes that ISO/IEC 23008-12 asks
# for: ftyp, meta (hdlr, pitm, iinf, iloc, iprp with hvcC and ispe) and mdat.
HEIC = base64.b64decode(
    "AAAAGGZ0eXBoZWljAAAAAG1pZjFoZWljAAABJm1ldGEAAAAAAAAAIWhkbHIAAAAAAAAAAHBpY3QAAAAAAAAAAAAAAAAAAAAADnBp"
    "dG0AAAAAAAEAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAFGAAAANgAA"
    "AKppcHJwAAAAjWlwY28AAABxaHZjQwEBYAAAAJAAAAAAAB7wAPz9+PgAAA8DoAABABdAAQwB//8ECAAAAwCfqAAAAwAAHroCQKEA"
    "AQAmQgEBBAgAAAMAn6gAAAMAAB6gMIEFlukpMLmgIAAAAwAgAAADACGiAAEABkQBwHGBEgAAABRpc3BlAAAAAAAAAGAAAABAAAAA"
    "FWlwbWEAAAAAAAAAAQABAoECAAAAPm1kYXQAAAAyKAGt4Gk7/pv37eUNzOV8QIFCDeJxE1CuQGKeMOJ7/5i8HRpoze+GumlyUra9"
    "Rg4wSCg="
)


def heic_with_exif(block: bytes) -> bytes:
    """Return the picture with an EXIF block, from its TIFF header on, as a second item at the end of `mdat`."""
    item = struct.pack(">I", 6) + b"Exif\0\0" + block
    entry = struct.pack(">I4sB3xHH5s", 21, b"infe", 2, 2, 0, b"Exif\0")  # version 2, item 2
    at, size = struct.unpack(">II", HEIC[140:148])  # place of the picture, at the end of `iloc`
    grown = len(entry) + 14
    place = struct.pack(">II", at + grown, size) + struct.pack(">HHHII", 2, 0, 1, len(HEIC) + grown, len(item))

    def longer(start: int, more: int) -> bytes:
        return struct.pack(">I", int.from_bytes(HEIC[start : start + 4]) + more)

    head = HEIC[:24] + longer(24, grown) + HEIC[28:83] + longer(83, len(entry)) + HEIC[87:95] + b"\0\2" + HEIC[97:118]
    iloc = longer(118, 14) + HEIC[122:132] + b"\0\2" + HEIC[134:140] + place
    return head + entry + iloc + HEIC[148:318] + longer(318, len(item)) + HEIC[322:] + item
