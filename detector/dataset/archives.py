"""List the pictures in a tar, such as a shard of WebDataset, with their positions, to read them without unpacking."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from detector.dataset.listing import LeftOut
from detector.errors import DamagedImage, ImageTooLarge, ManifestError, UnreadableFile
from detector.pictures.images import HEIF_SUFFIXES, MAX_BYTES, SUFFIXES, can_read_heif

HEADERS = b"xgXLK"  # types of tar members that describe the next member: extended headers and long names
MAX_HEADER = 2**20  # largest allowed size of such a header, bytes
SIDECARS = frozenset({".cls", ".json", ".txt"})  # endings of the files that WebDataset has beside a picture


@dataclass(frozen=True, slots=True)
class Span:
    """A range of bytes in a file: `size` bytes from the offset `start`."""

    file: str
    start: int
    size: int

    def read(self, *, max_bytes: int = MAX_BYTES) -> bytes:
        """Return the bytes.

        Raises ImageTooLarge above `max_bytes`, UnreadableFile if the file cannot be opened, DamagedImage if some bytes
        are missing.
        """
        if self.size > max_bytes:
            raise ImageTooLarge(f"{self.size:,} bytes; the cap is {max_bytes:,}")
        try:
            with open(self.file, "rb") as file:
                file.seek(self.start)
                data = file.read(self.size)
        except OSError as error:
            raise UnreadableFile(error.strerror or str(error)) from None
        if not data or len(data) < self.size:
            raise DamagedImage("the file is empty" if not self.size else "the tar ends within it")
        return data


class Member(tarfile.TarInfo):
    """A member of a tar; large extended headers are refused, because tarfile reads a header into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the member that 512 bytes describe; ManifestError if it is a header of more than MAX_HEADER bytes."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in HEADERS and member.size > MAX_HEADER:
            raise ManifestError(f"a header in the tar has {member.size:,} bytes; write the tar anew")
        return member


def list_archive(path: Path | str, left_out: LeftOut) -> list[tuple[str, Span]]:
    """Return (path, position) of each picture in a tar, in the order of the tar; a path begins with that of the tar.

    left_out: collects the other members, without the files that WebDataset has beside its pictures.

    Raises ManifestError if the file is not a tar, or if it is compressed, so that single members cannot be read.
    """
    endings = SUFFIXES | (HEIF_SUFFIXES if can_read_heif() else set())
    pictures: list[tuple[str, Span]] = []
    others: list[PurePosixPath] = []
    try:
        with tarfile.open(path, "r:", tarinfo=Member) as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if member.isdir() or name.name.startswith("."):
                    continue
                if member.isreg() and not member.issparse() and name.suffix.lower() in endings:
                    pictures.append((f"{path}/{member.name}", Span(str(path), member.offset_data, member.size)))
                else:
                    others.append(name)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise ManifestError(f"{path} is not an uncompressed tar: {error}; write it anew without compression") from None
    stems = {name.rpartition(".")[0] for name, _ in pictures} if others else set()
    for name in others:
        if name.suffix.lower() not in SIDECARS or f"{path}/{name.with_suffix('')}" not in stems:
            left_out.types[name.suffix.lower() or "without ending"] += 1
    return pictures
