"""Errors as problem documents of RFC 9457, which every response of status 400 and above is."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.exceptions import HTTPException

from detector.files import printable

TYPE = "urn:problem-type:detector:"
STATUS = {  # reason of an ImageError, or of the service -> HTTP status of the picture that could not be examined
    "too-large": 413, "unsupported-format": 415, "damaged": 422, "too-costly": 422, "unreadable": 422,
    "internal-error": 500,
}  # fmt: skip


OUTAGES = (OperationalError, InterfaceError)  # what a query raises if the database does not answer, or its disk is full


class Problem(Exception):
    """A response of status 400 and above. slug: the end of its type. Further members are added to the document."""

    def __init__(
        self, status: int, slug: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        self.status, self.slug, self.detail = status, slug, detail
        self.headers, self.members = headers, members

    def describe(self) -> dict[str, Any]:
        """Return the document."""
        return {"type": TYPE + self.slug, "title": self.slug.replace("-", " ").capitalize(), "status": self.status,
                "detail": printable(self.detail), **self.members}  # fmt: skip

    def respond(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.describe(), self.status, self.headers, "application/problem+json")


def explain_failure(slug: str, detail: str) -> Problem:
    """Return the problem of a picture that could not be examined."""
    return Problem(STATUS.get(slug, 422), slug, detail)


def report_outage() -> Problem:
    """Return the problem of a request that needs a database which does not answer."""
    return Problem(503, "database-unavailable", "The database does not answer; try again later.", {"retry-after": "10"})


def install(app: FastAPI) -> None:
    """Make an application answer every error with a problem document."""

    def show(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)
        return error.respond()

    def show_http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        phrase = HTTPStatus(error.status_code).phrase
        return Problem(error.status_code, phrase.lower().replace(" ", "-"), str(error.detail), error.headers).respond()

    def show_invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        found = [{"at": list(map(str, e["loc"])), "what": str(e["msg"])} for e in error.errors()]
        return Problem(422, "invalid-request", "The request is not as documented.", errors=found).respond()

    def show_outage(_: Request, error: Exception) -> JSONResponse:
        return report_outage().respond()

    def show_broken(_: Request, error: Exception) -> JSONResponse:
        return Problem(500, "internal-error", "The service made a mistake; its log says which.").respond()

    app.add_exception_handler(Problem, show)
    app.add_exception_handler(HTTPException, show_http)
    app.add_exception_handler(RequestValidationError, show_invalid)
    for outage in OUTAGES:
        app.add_exception_handler(outage, show_outage)
    app.add_exception_handler(Exception, show_broken)
