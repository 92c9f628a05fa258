"""Handling of every request before its route: id, log line, authentication and rate limit.

Without any API key the service trusts whoever reaches it, which is this machine alone; a page of another site that the
browser here has open is kept out by the headers Host and Origin.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from typing import Any

from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detector.evidence.custody import now
from detector.service.keys import Limiter, count_keys, find_owner
from detector.service.meters import Meters
from detector.service.problems import OUTAGES, Problem, report_outage
from detector.service.store import Store

OPEN = ("/healthz", "/readyz", "/login", "/static/page.css", "/static/page.js")  # paths that need no key
LOCAL = ("localhost", "127.0.0.1", "[::1]", "testserver")
COOKIE = "detector_key"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "private, no-cache",
}  # fmt: skip
FACTS = (
    "request_id",
    "method",
    "path",
    "status",
    "seconds",
    "owner",
    "job",
    "position",
    "sha256",
    "verdict",
    "examination",
    "detail",
    "pictures",
)
log = logging.getLogger("detector.service")


class JsonLines(logging.Formatter):
    """Formats log records as one JSON object per line: time, level, event, and further facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {"time": now(), "level": record.levelname.lower(), "event": record.getMessage()}
        line |= {name: getattr(record, name) for name in FACTS if hasattr(record, name)}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


class Tracing:
    """Gives every request an id, adds headers to every response, and counts and logs it."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self.app, self.meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Request(scope).headers.get("x-request-id", "")
        state = scope.setdefault("state", {})
        state["request_id"] = given if REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        began, status = time.monotonic(), 500

        async def mark(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                there = {name for name, _ in message["headers"]}
                added = HEADERS | {"x-request-id": state["request_id"]}
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in added.items() if k.encode() not in there),
                ]
            await send(message)

        try:
            await self.app(scope, receive, mark)
        finally:
            took, route = time.monotonic() - began, getattr(scope.get("route"), "path", "none")
            self.meters.requests.labels(scope["method"], route, status).inc()
            self.meters.latency.labels(route).observe(took)
            log.info("request", extra={"request_id": state["request_id"], "method": scope["method"],
                                       "path": scope["path"], "status": status, "seconds": round(took, 4),
                                       "owner": state.get("owner", "")})  # fmt: skip


class Gate:
    """Admits requests with a valid key, or from this machine while no key exists; sets the owner of the request."""

    def __init__(self, app: ASGIApp, store: Store, rate: float) -> None:
        self.app, self.store, self.limiter = app, store, Limiter(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "http":
            request = Request(scope)
            try:
                self._check_site(request)
                if "\0" in scope["path"]:  # PostgreSQL has no text with that character
                    raise Problem(404, "not-found", "There is no such address.")
                scope["state"]["owner"] = await run_in_threadpool(self._identify, request)
            except (Problem, *OUTAGES) as error:
                problem = error if isinstance(error, Problem) else report_outage()
                wants_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
                to_login = RedirectResponse("/login", 303)
                answer = to_login if problem.status == 401 and wants_page else problem.respond()
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _check_site(self, request: Request) -> None:
        """Raise Problem 403 if a page of another site sent a request that changes data."""
        origin, host = request.headers.get("origin"), request.headers.get("host", "")
        if request.method not in ("GET", "HEAD") and origin not in (None, f"http://{host}", f"https://{host}"):
            raise Problem(403, "other-site", "A page of another site may not send this request.")

    def _identify(self, request: Request) -> str:
        """Return the owner of a request: the name of its key, or "" while no key exists."""
        if request.url.path in OPEN:
            return ""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        key = key or request.headers.get("x-api-key", "") or request.cookies.get(COOKIE, "")
        owner = find_owner(self.store.engine, key) if key else None
        if owner is None and count_keys(self.store.engine):
            raise Problem(401, "no-valid-key", "Send an API key: Authorization: Bearer KEY.",
                          {"www-authenticate": "Bearer"})  # fmt: skip
        if (
            owner is None
            and request.headers.get("host", "").rpartition(":")[0] not in LOCAL
            and (request.headers.get("host", "") not in LOCAL)
        ):
            raise Problem(403, "other-host", "Without API keys the service answers to localhost only.")
        wait = self.limiter.spend(owner or "")
        if wait:
            raise Problem(429, "rate-limit", f"Too many requests; the next is taken in {wait:.1f} seconds.",
                          {"retry-after": str(int(wait) + 1)})  # fmt: skip
        return owner or ""
