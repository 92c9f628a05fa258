"""The JSON that the interface answers with, as `/openapi.json` describes it."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

BINARY = {"type": "string", "format": "binary"}
PROBLEM = {
    "description": "A problem document (RFC 9457)",
    "content": {"application/problem+json": {"schema": {
        "type": "object", "required": ["type", "title", "status", "detail"],
        "properties": {"type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
                       "detail": {"type": "string"}},
    }}},
}  # fmt: skip
PROBLEMS: dict[int | str, dict[str, Any]] = {"4XX": PROBLEM, "5XX": PROBLEM}


class Face(TypedDict):
    """One face. box: left, top, right, bottom, pixels."""

    box: list[int]
    score: float
    log10_lr: float | None
    interval: list[float] | None
    opinion: str
    reason: str


class Verdict(TypedDict):
    """The verdict on one picture.

    examination: quick before the picture was examined; full from then on, with a likelihood ratio where there is one.
    report: address of the report; faces: the deciding one first. earlier: the version and the weights that gave this
    verdict, if they are not those of the service any more; a report, or sending the picture again, renews it.
    """

    name: str
    sha256: str
    examination: Literal["quick", "full"]
    opinion: str
    plain: str
    sentence: str
    statement: str
    score: float | None
    log10_lr: float | None
    interval: list[float] | None
    faces: list[Face]
    report: str
    earlier: str


class JobPicture(TypedDict):
    """One picture of a job: with a verdict if there is one, with a problem document if it failed."""

    position: int
    name: str
    state: Literal["waiting", "running", "done", "failed"]
    problem: NotRequired[dict[str, Any]]
    verdict: NotRequired[Verdict]


class Counts(TypedDict):
    """Number of pictures of a job, and of those that are not done."""

    pictures: int
    open: int


class JobStatus(TypedDict):
    """The progress of a job."""

    id: str
    created: str
    status: Literal["pending", "done"]
    counts: Counts
    pictures: list[JobPicture]


class Accepted(TypedDict):
    """The job of a request that was accepted."""

    id: str


class Pending(TypedDict):
    """A picture that is not judged or examined yet."""

    job: str
    status: Literal["pending"]


class Given(TypedDict):
    """Feedback that was stored."""

    sha256: str
    label: str
    opinion: str


def describe_body(*, raw: bool) -> dict[str, Any]:
    """Return what a route that takes pictures adds to its description. raw: the body may be the picture itself."""
    many = {"type": "array", "items": BINARY, "minItems": 1}
    form = {"type": "object", "properties": {"picture": BINARY if raw else many}, "required": ["picture"]}
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    parameters: list[dict[str, Any]] = [{"name": "Idempotency-Key", "in": "header", "required": False,
                   "schema": {"type": "string", "minLength": 1, "maxLength": 255}}]  # fmt: skip
    if raw:
        content["application/octet-stream"] = {"schema": BINARY}
        parameters.append({"name": "name", "in": "query", "required": False, "schema": {"type": "string"},
                           "description": "Name of the picture that is the body."})  # fmt: skip
    return {"requestBody": {"required": True, "content": content}, "parameters": parameters}
