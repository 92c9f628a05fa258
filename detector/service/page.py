"""The web pages: the queue, one exhibit, and the form for an API key. All assets come from this package."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from detector.files import open_templates
from detector.service.access import COOKIE
from detector.service.api import RETRY, find_report, read_faces
from detector.service.keys import find_owner
from detector.service.problems import Problem
from detector.service.tables import FAILED, RUNNING, Picture, Report
from detector.service.wording import PLAIN, find_details, list_faces, say_plainly, write_sentence
from detector.types import Outcome

HERE = Path(__file__).parent
MAX_FORM = 4096  # largest body of the form with the key, bytes
router = APIRouter(include_in_schema=False)


@router.get("/")
def show_queue(
    request: Request, verdict: Annotated[str, Query(max_length=40)] = "", sort: Annotated[str, Query()] = "priority",
    q: Annotated[str, Query(max_length=200)] = "",
) -> HTMLResponse:  # fmt: skip
    """Return the page with the queue, or with the rows of one verdict. q: part of the name, or start of the SHA-256."""
    store, owner, settings = request.app.state.store, request.state.owner, request.app.state.settings
    rows = store.list_queue(owner, order="new" if sort == "new" else "priority")
    rows = [row for row in rows if q.lower() in row["name"].lower() or row["sha256"].startswith(q.lower())]
    counts = {name: sum(row["verdict"] == name for row in rows) for name in PLAIN}
    counts = {name: count for name, count in counts.items() if count or name == verdict}
    shown = [row for row in rows if verdict in ("", row["verdict"])]
    return _render("queue.html.jinja", rows=shown, counts=counts, total=len(rows), verdict=verdict,
                   sort=sort, q=q, most=settings.max_pictures, body=settings.max_body)  # fmt: skip


@router.get("/exhibits/{digest}")
def show_exhibit(request: Request, digest: str) -> HTMLResponse:
    """Return the page of one picture, which has it examined; 202 with its verdict until the report is there."""
    store, owner = request.app.state.store, request.state.owner
    report = find_report(request, digest)
    rows = store.list_queue(owner)
    answer = next((row["answer"] for row in rows if row["sha256"] == digest), "")
    order = [row["sha256"] for row in rows if row["opinion"]]
    following = "".join(order[order.index(digest) + 1 :][:1] if digest in order else [])
    common: dict[str, Any] = {"digest": digest, "answer": answer, "next": following}
    if isinstance(report, Picture):
        known = store.read_report(owner, digest)
        common["earlier"] = store.name_earlier(known.settings) if known else ""
        return _show_judged(report, known, common)
    if following:  # whoever goes through the pictures finds the next report ready
        find_report(request, following)
    record: dict[str, Any] = json.loads(report.record)
    similar = [row | read_size(row["report"]) for row in store.list_similar(owner, report)]
    faces = find_details(record)["faces"]
    mapped = bool(faces) and faces[0]["map"] is not None  # drawings 1 and 2: the face, and its map
    return _render("exhibit.html.jinja", r=record, report=report, drawings=store.read_drawings(digest),
                   faces=list_faces(record), outcomes={o.value: o.words for o in Outcome}, similar=similar,
                   mapped=mapped, name=record["exhibit"]["path"], opinion=report.opinion,
                   statement=record["conclusion"]["statement"], **common)  # fmt: skip


def _show_judged(picture: Picture, report: Report | None, common: dict[str, Any]) -> HTMLResponse:
    """Return the page of a picture without a report: its verdict, if there is one, and what it waits for."""
    failed = picture.state == FAILED
    values = {"opinion": report.opinion, "statement": report.statement} if report else {}
    faces = read_faces(report) if report else []
    page = _render("judged.html.jinja", status=200 if failed else 202, report=report, name=picture.name, faces=faces,
                   failed=failed, running=picture.state == RUNNING, detail=picture.detail, retry=RETRY,
                   **values, **common)  # fmt: skip
    if not failed:
        page.headers["retry-after"] = str(RETRY)
    return page


def read_size(report: Report) -> dict[str, int]:
    """Return the width and height of a picture, pixels."""
    size = json.loads(report.record)["exhibit"] if report.record else json.loads(report.judgement)
    return {"width": size["width"], "height": size["height"]}


@router.get("/thumbnails/{digest}")
def get_thumbnail(request: Request, digest: str) -> Response:
    """Return the deciding face of a picture as a small JPEG."""
    report = request.app.state.store.read_report(request.state.owner, digest)
    if report is None or not report.thumbnail:
        raise Problem(404, "not-found", "There is no such picture.")
    return Response(report.thumbnail, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


@router.get("/drawings/{digest}/{number}")
def get_drawing(request: Request, digest: str, number: int) -> Response:
    """Return a drawing of a report as a JPEG."""
    store = request.app.state.store
    drawings = store.read_drawings(digest) if store.read_report(request.state.owner, digest) else []
    if not 0 <= number < len(drawings):
        raise Problem(404, "not-found", "There is no such picture.")
    return Response(drawings[number].jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


@router.get("/static/{name}")
def get_static(name: str) -> FileResponse:
    """Return the style sheet or the script."""
    if name not in ("page.css", "page.js"):
        raise Problem(404, "not-found", "There is no such file.")
    return FileResponse(HERE / "static" / name)


@router.get("/login")
def show_login() -> HTMLResponse:
    """Return the form that takes an API key."""
    return _render("login.html.jinja", wrong=False)


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Keep a valid key in a cookie that scripts cannot read and other sites cannot send."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise Problem(413, "too-large", "A key is shorter.")
    key = body.decode(errors="replace").removeprefix("key=").strip()  # no character of a key is escaped in a form
    if await run_in_threadpool(find_owner, request.app.state.store.engine, key) is None:
        return _render("login.html.jinja", status=401, wrong=True)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


def _render(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_environment().get_template(template).render(values), status)


@functools.cache
def _environment() -> jinja2.Environment:
    return open_templates(HERE / "templates", plain=say_plainly, sentence=write_sentence)
