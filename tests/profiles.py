"""ICC profiles drawn from their primaries; no test by itself."""

from __future__ import annotations

import struct

import numpy as np

COLOURS = (b"r", b"g", b"b")
D65_TO_XYZ = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])  # sRGB, for D50
P3_TO_XYZ = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
PRO_TO_XYZ = np.array([[0.7977, 0.1352, 0.0313], [0.2880, 0.7119, 0.0001], [0.0, 0.0, 0.8249]])


def profile_of(to_xyz: np.ndarray, gamma: float = 2.2) -> bytes:
    """A minimal ICC profile: three primaries and one curve."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)
    text = b"drawn\0"
    tags = [(b"desc", b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)),
            (b"wtpt", b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249))]  # fmt: skip
    tags += [(name + b"XYZ", b"XYZ \0\0\0\0" + fixed(*column)) for name, column in zip(COLOURS, to_xyz.T, strict=True)]
    tags += [(name + b"TRC", curve) for name in COLOURS]
    at, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags:
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(">I4xI", at + len(body), 0x02400000) + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    return (head + fixed(0.9642, 1, 0.8249)).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


P3 = profile_of(P3_TO_XYZ)
