"""Stream request bodies to files: they are hashed on the way, and refused as soon as a limit is exceeded.

One picture is the body itself, or each file of a multipart form. The limits on bytes, pixels (by the header) and the
number of pictures apply while the body is read; nothing is decoded.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from detector.files import as_text
from detector.pictures.sizes import read_size
from detector.service.problems import Problem
from detector.service.runner import locate_picture
from detector.service.settings import Settings
from detector.service.store import Upload

HEAD = 2**18  # number of first bytes that must contain the size of the picture
NAME = 200  # number of characters of a file name that are kept


class Incoming:
    """One picture that is being received, in a temporary file."""

    def __init__(self, name: str, settings: Settings) -> None:
        folder = settings.folder / "incoming"
        folder.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=folder)
        self.path, self._file = Path(path), os.fdopen(handle, "wb")
        self.name = as_text(name.replace("\\", "/").rpartition("/")[2])[:NAME] or "picture"
        self.size, self._hash, self._head, self._measured = 0, hashlib.sha256(), b"", False
        self._settings = settings

    def write(self, data: bytes) -> None:
        """Add bytes; raise Problem 413 if there are too many, or if the header promises too many pixels."""
        self.size += len(data)
        if self.size > self._settings.max_bytes:
            raise Problem(413, "too-large", f"A picture may have {self._settings.max_bytes:,} bytes.")
        self._hash.update(data)
        self._file.write(data)
        if not self._measured:
            self._head += data[: HEAD - len(self._head)]
            found = read_size(self._head)
            self._measured = found is not None or len(self._head) >= HEAD
            if found is not None and found[0] * found[1] > self._settings.max_pixels:
                what = f"{found[0]} x {found[1]} pixels; a picture may have {self._settings.max_pixels:,}."
                raise Problem(413, "too-large", what)

    def keep(self) -> Upload:
        """Move the file to the kept pictures once it is on the disk, and return its description."""
        digest = self._hash.hexdigest()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        target = locate_picture(self._settings.folder, digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.path, target)
        return Upload(self.name, digest, self.size)

    def drop(self) -> None:
        """Remove the temporary file, if it was not kept."""
        with suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


class Form:
    """The files of a multipart form; fields without a file name are skipped."""

    def __init__(self, boundary: bytes, settings: Settings, most: int) -> None:
        self.files: list[Incoming] = []
        self._settings, self._most = settings, most
        self._open: Incoming | None = None
        self._field = self._value = self._disposition = b""
        self.ended = False
        self.parser = MultipartParser(boundary, {
            "on_part_begin": self._begin, "on_header_field": self._add_field, "on_header_value": self._add_value,
            "on_header_end": self._end_header, "on_headers_finished": self._start, "on_part_data": self._write,
            "on_end": self._end,
        })  # fmt: skip

    def _begin(self) -> None:
        self._open, self._disposition = None, b""

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _start(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            return
        if len(self.files) == self._most:
            raise Problem(413, "too-many-pictures", f"This request may have {self._most:,} pictures.")
        self._open = Incoming(options[b"filename"].decode(errors="replace"), self._settings)
        self.files.append(self._open)

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._open is not None:
            self._open.write(data[start:end])

    def _end(self) -> None:
        self.ended = True


async def receive(request: Request, settings: Settings, *, most: int) -> list[Upload]:
    """Write the pictures of a request, 1 to `most`, to the disk and return them.

    Raises Problem: 400 for a body that is no picture or form or ends early, 413 above a limit.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    form: Form | None = None
    files: list[Incoming] = []
    if kind == b"multipart/form-data":
        if not options.get(b"boundary"):
            raise Problem(400, "invalid-body", "The content type of the form names no boundary.")
        form = Form(options[b"boundary"], settings, most)
        files = form.files
    cap = settings.max_body if form is not None else min(settings.max_bytes, settings.max_body)
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > cap:
        raise Problem(413, "too-large", f"The body may have {cap:,} bytes.")
    try:
        if form is None:
            files.append(Incoming(request.query_params.get("name", "picture"), settings))
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            if total > cap:
                raise Problem(413, "too-large", f"The body may have {cap:,} bytes.")
            if form is not None:
                form.parser.write(chunk)
            elif chunk:
                files[0].write(chunk)
        if form is not None and not form.ended:
            raise Problem(400, "invalid-body", "The form ends before its last boundary.")
        if not files:
            raise Problem(400, "invalid-body", "The form has no file; send each picture as a part with a file name.")
        if not all(file.size for file in files):
            raise Problem(400, "invalid-body", "A picture is empty.")
        return await run_in_threadpool(lambda: [file.keep() for file in files])
    except FormParserError as error:
        raise Problem(400, "invalid-body", f"The form cannot be read: {error}") from None
    except ClientDisconnect:
        raise Problem(400, "invalid-body", "The connection ended before the body.") from None
    finally:
        for file in files:
            file.drop()
