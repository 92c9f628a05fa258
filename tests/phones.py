"""A picture as telephones write it, which no library of this project can encode."""

from __future__ import annotations

import base64

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
