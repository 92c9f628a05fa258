"""The HTTP interface for programs: `/v1/...`, health checks and metrics."""

from __future__ import annotations

import json
from asyncio import wait_for
from contextlib import suppress
from typing import Literal, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool

from detector.evidence.pdf import make_pdf
from detector.evidence.rendering import Picture as Drawn
from detector.evidence.rendering import make_page
from detector.files import as_text
from detector.service import tables
from detector.service.bodies import receive
from detector.service.problems import Problem, explain_failure
from detector.service.schemas import (
    PROBLEMS,
    Accepted,
    Face,
    Given,
    JobPicture,
    JobStatus,
    Pending,
    Verdict,
    describe_body,
)
from detector.service.store import KeyReused
from detector.service.wording import find_label, list_faces, say_plainly, write_sentence

KINDS = {"json": "application/json", "html": "text/html", "pdf": "application/pdf"}
REPORT_CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
RETRY = 2  # seconds after which a client may ask again for what is not there yet
Depth = Literal["quick", "full"]  # whether pictures are judged, or examined for a report
router = APIRouter(responses=PROBLEMS)


class Answer(BaseModel):
    """Feedback on a picture: whether the opinion was right, or the true label."""

    model_config = ConfigDict(extra="forbid")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    answer: Literal["confirm", "overturn", "unsure"] | None = None
    label: Literal["real", "fake", "unsure"] | None = None
    note: str = Field("", max_length=2000)


@router.post(
    "/v1/images", responses={200: {"model": Verdict}, 202: {"model": Pending, "description": "The picture waits."}},
    openapi_extra=describe_body(raw=True),
)  # fmt: skip
async def post_image(request: Request, examination: Depth = "quick") -> Response:
    """Judge one picture (raw body, or a form with one file) and return the verdict; 202 if that takes too long.

    With `examination=full` its report is made first, and the verdict is that of the report.
    """
    app = request.app.state
    job_id = await _accept(request, most=1, priority=0, full=examination == "full")
    done = app.runner.watch(job_id)
    try:
        _, rows = await run_in_threadpool(app.store.read_job, request.state.owner, job_id)
        if rows[0][0].state not in (tables.DONE, tables.FAILED):
            with suppress(TimeoutError):
                await wait_for(done.wait(), app.settings.wait)
    finally:
        app.runner.unwatch(job_id)
    _, rows = await run_in_threadpool(app.store.read_job, request.state.owner, job_id)
    picture, report = rows[0]
    if picture.state == tables.FAILED:
        raise explain_failure(picture.slug, picture.detail)
    if picture.state != tables.DONE or report is None:
        return _answer_pending(job_id)
    return JSONResponse(describe_verdict(picture, report, app.store.name_earlier(report.settings)))


@router.post("/v1/jobs", status_code=202, responses={202: {"model": Accepted}}, openapi_extra=describe_body(raw=False))
async def post_job(request: Request, examination: Depth = "quick") -> Response:
    """Accept many pictures (a form with one part each); the response names the URL of the verdicts.

    With `examination=full` the report on each is made, too.
    """
    most = request.app.state.settings.max_pictures
    job_id = await _accept(request, most=most, priority=1, full=examination == "full")
    return JSONResponse({"id": job_id}, 202, {"location": f"/v1/jobs/{job_id}"})


@router.get("/v1/jobs/{job_id}")
def get_job(request: Request, job_id: str) -> JobStatus:
    """Return the progress of a job, and the verdict or problem of each picture in the order of the request."""
    store = request.app.state.store
    found = store.read_job(request.state.owner, job_id)
    if found is None:
        raise Problem(404, "not-found", f"There is no job {job_id}.")
    job, rows = found
    pictures = []
    for picture, report in rows:
        entry: JobPicture = {"position": picture.position, "name": picture.name, "state": picture.state}
        if picture.state == tables.FAILED:
            entry["problem"] = explain_failure(picture.slug, picture.detail).describe()
        if report is not None:
            entry["verdict"] = describe_verdict(picture, report, store.name_earlier(report.settings))
        pictures.append(entry)
    open_ = sum(picture.state in (tables.WAITING, tables.RUNNING) for picture, _ in rows)
    return {"id": job.id, "created": job.created, "status": "pending" if open_ else "done",
            "counts": {"pictures": len(rows), "open": open_}, "pictures": pictures}  # fmt: skip


@router.get(
    "/v1/reports/{name}",
    responses={200: {"content": {kind: {} for kind in KINDS.values()}}, 304: {},
               202: {"model": Pending, "description": "The picture is being examined; ask again."}},
)  # fmt: skip
def get_report(request: Request, name: str) -> Response:
    """Return the report on a picture, by its SHA-256: JSON, HTML or PDF, by suffix (.json) or by Accept.

    The first request has the picture examined: 202 with Retry-After until the report is there.
    """
    digest, _, suffix = name.partition(".")
    kind = suffix or _choose(request.headers.get("accept", "*/*"))
    if kind not in KINDS:
        raise Problem(406 if not suffix else 404, "no-such-form", "A report is JSON, HTML or PDF.")
    store = request.app.state.store
    report = find_report(request, digest)
    if isinstance(report, tables.Picture):
        if report.state == tables.FAILED:
            raise explain_failure(report.slug, report.detail)
        return _answer_pending(report.job_id)
    record = json.loads(report.record)
    headers = {"etag": f'"{record["sha256"]}-{kind}"', "vary": "Accept"}
    if kind == "html":
        headers["content-security-policy"] = REPORT_CSP
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    drawn = [] if kind == "json" else [Drawn(d.caption, d.jpeg, d.width, d.height) for d in store.read_drawings(digest)]
    body = {
        "json": lambda: json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False).encode(),
        "html": lambda: make_page(record, drawn).encode(),
        "pdf": lambda: make_pdf(record, drawn),
    }[kind]()
    if suffix:
        headers["content-disposition"] = f'inline; filename="report-{digest[:16]}.{kind}"'
    return Response(body, media_type=KINDS[kind], headers=headers)


@router.post("/v1/feedback", status_code=201)
def post_feedback(request: Request, answer: Answer) -> Given:
    """Store feedback on a picture."""
    if (answer.answer is None) == (answer.label is None):
        raise Problem(422, "invalid-request", "Give either an answer or a label.")
    store, owner = request.app.state.store, request.state.owner
    report = store.read_report(owner, answer.sha256)
    if report is None:
        raise Problem(404, "not-found", "There is no verdict on a picture of yours with that SHA-256.")
    label = answer.label or find_label(report.opinion, answer.answer or "unsure")
    if label is None:
        raise Problem(422, "nothing-to-overturn",
                      f"The opinion is {report.opinion}; give a label, real or fake, instead.")  # fmt: skip
    store.give_feedback(owner=owner, sha256=answer.sha256, answer=answer.answer or "", label=label,
                        opinion=report.opinion, note=as_text(answer.note))  # fmt: skip
    return {"sha256": answer.sha256, "label": label, "opinion": report.opinion}


@router.get("/healthz")
def get_health() -> dict[str, str]:
    """Answer that the service runs."""
    return {"status": "ok"}


@router.get("/readyz")
def get_readiness(request: Request) -> dict[str, str]:
    """Answer whether the database responds and the workers take pictures; 503 if not."""
    app = request.app.state
    with app.store.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    if not app.runner.running:
        raise Problem(503, "not-ready", "The workers are not running.")
    return {"status": "ready"}


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(request: Request) -> Response:
    """Return the counters in the format of Prometheus."""
    app = request.app.state
    return Response(app.meters.write(app.store.count_waiting()), media_type="text/plain; version=0.0.4")


def describe_verdict(picture: tables.Picture, report: tables.Report, earlier: str) -> Verdict:
    """Return the verdict on a picture: opinion, sentence, score, likelihood ratio with its interval, and faces.

    earlier: as `Store.name_earlier`.
    """
    record = json.loads(report.record) if report.record else None
    return {
        "name": picture.name, "sha256": report.sha256, "examination": "full" if record else "quick",
        "opinion": report.opinion, "plain": say_plainly(report.opinion),
        "sentence": write_sentence(report.opinion, report.statement), "statement": report.statement,
        "score": report.score, "log10_lr": report.log10_lr,
        "interval": record["conclusion"]["interval"] if record else None,
        "faces": read_faces(report),
        "report": f"/v1/reports/{report.sha256}", "earlier": earlier,
    }  # fmt: skip


def read_faces(report: tables.Report) -> list[Face]:
    """Return the faces of a report or of a judgement, the deciding one first."""
    found = list_faces(json.loads(report.record)) if report.record else json.loads(report.judgement)["faces"]
    return cast(list[Face], found)


def find_report(request: Request, digest: str) -> tables.Report | tables.Picture:
    """Return the report on a picture of the caller, or else the picture of the queue that makes it, or that failed.

    Raises Problem 404 if the caller sent no such picture.
    """
    app, owner = request.app.state, request.state.owner
    report: tables.Report | None = app.store.read_report(owner, digest)
    if report is not None and report.record and report.settings == app.store.settings:
        return report
    picture: tables.Picture | None = app.store.ask(owner, digest, request.state.request_id)
    if picture is None:
        raise Problem(404, "not-found", "There is no picture of yours with that SHA-256.")
    app.runner.wake()
    return picture


def _answer_pending(job_id: str) -> JSONResponse:
    headers = {"location": f"/v1/jobs/{job_id}", "retry-after": str(RETRY)}
    return JSONResponse({"job": job_id, "status": "pending"}, 202, headers)


async def _accept(request: Request, *, most: int, priority: int, full: bool) -> str:
    """Store the pictures and the job of a request on the disk, and return the id of the job."""
    app, key = request.app.state, request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= 255:
        raise Problem(400, "invalid-idempotency-key", "An idempotency key has 1 to 255 characters.")
    if await run_in_threadpool(app.store.count_waiting) >= app.settings.max_waiting:
        raise Problem(503, "queue-full", "Too many pictures wait; try again later.", {"retry-after": "30"})
    uploads = await receive(request, app.settings, most=most)
    try:
        accepted: tuple[str, bool] = await run_in_threadpool(
            app.store.add_job, request.state.owner, uploads, priority=priority,
            request_id=request.state.request_id, idempotency_key=key, full=full,
        )  # fmt: skip
    except KeyReused:
        raise Problem(422, "idempotency-key-reused", "That key came with another request before.") from None
    app.runner.wake()
    return accepted[0]


def _choose(accept: str) -> str:
    """Return the format of a report that an Accept header asks for first: HTML for browsers, JSON by default."""
    for part in accept.split(","):
        kind = part.partition(";")[0].strip()
        for name, media in KINDS.items():
            if kind in (media, "*/*", media.partition("/")[0] + "/*"):
                return name
    return ""
