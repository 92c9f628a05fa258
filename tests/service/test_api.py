"""The interface for programs: verdicts, jobs, reports, feedback, and errors that are all problem documents."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from clips import move, write_clip
from conftest import draw_picture, png_header

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from starlette.testclient import TestClient

from detector.evaluation.suites import SHIPPED
from detector.files import sha256
from detector.pictures.images import encode, load, resize
from detector.service.store import Store

PICTURE = encode(draw_picture(3, size=96))
FACE = max(sorted(SHIPPED.rglob("*.png"))[:10], key=lambda path: path.stat().st_size)
KNOWN = "urn:problem-type:detector:"


def expect_problem(answer: Any, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["type"]) == (status, KNOWN + slug)
    assert body["title"]
    assert body["detail"]
    return body


def wait_for_job(client: TestClient, place: str) -> dict[str, Any]:
    for _ in range(1200):
        job: dict[str, Any] = client.get(place).json()
        if job["status"] == "done":
            return job
        time.sleep(0.2)
    raise AssertionError(job)


def test_a_picture_gets_a_verdict_a_report_and_feedback(client: TestClient) -> None:
    answer = client.post("/v1/images?name=blob.png", content=PICTURE, headers={"x-request-id": "mine-1"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"] == "mine-1"
    verdict, digest = answer.json(), sha256(PICTURE)
    assert verdict["sha256"] == digest
    assert (verdict["opinion"], verdict["examination"]) == ("not-applicable", "quick")
    assert verdict["plain"] == "no face to judge"
    assert verdict["sentence"].startswith("No face to judge. ")
    assert {"statement", "score", "log10_lr", "interval", "faces"} <= set(verdict)

    report = wait_for_report(client, verdict["report"])  # asked first here: whoever asks first has it examined
    assert client.post("/v1/feedback", json={"sha256": digest, "label": "real"}).status_code == 201
    assert report.json()["exhibit"]["sha256"] == digest
    again = client.get(verdict["report"], headers={"if-none-match": report.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    page = client.get(verdict["report"], headers={"accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["etag"] != report.headers["etag"]
    assert client.get(f"/v1/reports/{digest}.pdf").content.startswith(b"%PDF")
    again = client.post("/v1/images?name=blob.png", content=PICTURE).json()
    assert (again["opinion"], again["examination"]) == ("not-applicable", "full")
    expect_problem(client.get(verdict["report"], headers={"accept": "image/gif"}), 406, "no-such-form")

    assert client.post("/v1/feedback", json={"sha256": digest, "label": "fake"}).status_code == 201
    expect_problem(
        client.post("/v1/feedback", json={"sha256": digest, "answer": "overturn"}), 422, "nothing-to-overturn"
    )
    exhibit = client.get(f"/exhibits/{digest}")
    assert "no face to judge" in exhibit.text
    assert "blob.png" in exhibit.text
    assert client.get(f"/drawings/{digest}/0").content[:2] == b"\xff\xd8"
    assert client.get(f"/thumbnails/{digest}").content[:2] == b"\xff\xd8"
    assert "blob.png" in client.get("/").text
    assert "blob.png" not in client.get("/?verdict=likely-fake").text
    metrics = client.get("/metrics").text
    assert 'detector_pictures_total{verdict="not-applicable"}' in metrics
    assert 'route="/v1/images"' in metrics


def wait_for_report(client: TestClient, place: str) -> Any:
    asked = client.get(place)
    assert asked.status_code == 202
    assert int(asked.headers["retry-after"]) >= 1
    assert asked.json() == {"job": asked.headers["location"].rpartition("/")[2], "status": "pending"}
    assert client.get(place).headers.get("location", asked.headers["location"]) == asked.headers["location"]
    wait_for_job(client, asked.headers["location"])
    return client.get(place)


def test_the_page_of_a_picture_shows_its_verdict_and_has_it_examined(client: TestClient) -> None:
    sent = encode(draw_picture(7, size=96))
    digest = client.post("/v1/images?name=waits.png", content=sent).json()["sha256"]
    waits = client.get(f"/exhibits/{digest}")
    assert (waits.status_code, "waits.png" in waits.text, "no face to judge" in waits.text) == (202, True, True)
    assert client.post("/v1/feedback", json={"sha256": digest, "label": "real"}).status_code == 201
    for _ in range(1200):
        if client.get(f"/v1/reports/{digest}").status_code == 200:
            break
        time.sleep(0.2)
    assert client.get(f"/exhibits/{digest}").status_code == 200


def test_a_picture_is_examined_at_once_on_request(client: TestClient) -> None:
    sent = encode(draw_picture(8, size=64))
    answer = client.post("/v1/images?name=full.png&examination=full", content=sent)
    assert (answer.status_code, answer.json()["examination"]) == (200, "full")
    assert client.get(answer.json()["report"]).status_code == 200
    expect_problem(client.post("/v1/images?examination=deep", content=sent), 422, "invalid-request")
    form = {"p": ("full.png", encode(draw_picture(9, size=64)))}
    job = wait_for_job(client, client.post("/v1/jobs?examination=full", files=form).headers["location"])
    assert [picture["verdict"]["examination"] for picture in job["pictures"]] == ["full"]


def test_a_picture_that_cannot_be_judged_has_no_report(client: TestClient) -> None:
    data = b"no picture at all"
    expect_problem(client.post("/v1/images?name=text.png", content=data), 415, "unsupported-format")
    expect_problem(client.get(f"/v1/reports/{sha256(data)}"), 415, "unsupported-format")
    page = client.get(f"/exhibits/{sha256(data)}")
    assert (page.status_code, "There is no report." in page.text) == (200, True)


def test_a_video_has_a_verdict_and_no_report(client: TestClient, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", move([load(FACE)], 8)).read_bytes()
    verdict = client.post("/v1/images?name=clip.mp4", content=clip).json()
    assert (verdict["name"], verdict["examination"]) == ("clip.mp4", "quick")
    assert "frames" in verdict["statement"]
    wait_for_job(client, client.get(verdict["report"]).headers["location"])
    expect_problem(client.get(verdict["report"]), 415, "unsupported-format")
    page = client.get(f"/exhibits/{verdict['sha256']}").text
    assert "There is no report." in page
    assert verdict["plain"] in page
    assert client.get(f"/thumbnails/{verdict['sha256']}").content[:2] == b"\xff\xd8"


def test_a_picture_whose_worker_is_killed_while_it_works_is_examined_again(client: TestClient) -> None:
    (sandbox,) = client.app.state.runner._sandboxes  # type: ignore[attr-defined]
    data = encode(resize(load(FACE), 256, 256))
    place = client.post("/v1/jobs?examination=full", files={"p": ("face.png", data)}).headers["location"]
    while client.get(place).json()["pictures"][0]["state"] == "waiting":
        time.sleep(0.02)
    time.sleep(0.1)
    sandbox.process.kill()
    (picture,) = wait_for_job(client, place)["pictures"]
    assert (picture["state"], picture["verdict"]["examination"]) == ("done", "full")
    assert picture["verdict"]["faces"][0]["log10_lr"] is not None
    assert "detector_worker_deaths_total 1.0" in client.get("/metrics").text


def test_a_job_has_a_result_for_every_picture_also_beside_hostile_ones(client: TestClient) -> None:
    sent = [("a<b>.png", PICTURE), ("bomb.gif", b"GIF89a\x08\x00\x08\x00" + bytes(40)), ("text.jpg", b"no picture"),
            ("torn.png", png_header(64, 64)), ("b.png", encode(draw_picture(4, size=64)))]  # fmt: skip
    files = [("picture", (name, data, "image/png")) for name, data in sent]
    answer = client.post("/v1/jobs", files=files, headers={"idempotency-key": "first"})
    assert answer.status_code == 202
    job = wait_for_job(client, answer.headers["location"])
    assert [p["position"] for p in job["pictures"]] == [0, 1, 2, 3, 4]
    assert [p["state"] for p in job["pictures"]] == ["done", "failed", "failed", "failed", "done"]
    assert job["pictures"][2]["problem"]["type"] == KNOWN + "unsupported-format"
    page = client.get("/").text
    assert "a&lt;b&gt;.png" in page or "blob.png" in page  # the same bytes have the name that came last or first
    assert "a<b>" not in page

    again = client.post("/v1/jobs", files=files, headers={"idempotency-key": "first"})
    assert again.headers["location"] == answer.headers["location"]
    other = client.post("/v1/jobs", files=files[:1], headers={"idempotency-key": "first"})
    expect_problem(other, 422, "idempotency-key-reused")
    expect_problem(client.post("/v1/images", content=b"no picture"), 415, "unsupported-format")


def test_a_worker_that_dies_is_replaced_and_the_picture_is_tried_again(client: TestClient) -> None:
    client.post("/v1/images", content=PICTURE)
    (sandbox,) = client.app.state.runner._sandboxes  # type: ignore[attr-defined]
    before = sandbox.process
    before.kill()
    before.wait()
    answer = client.post("/v1/images", content=encode(draw_picture(5, size=64)))
    assert answer.status_code == 200
    assert sandbox.process is not before


def test_readiness_needs_running_workers(client: TestClient, closed: TestClient) -> None:
    assert client.get("/readyz").json() == {"status": "ready"}
    assert closed.get("/healthz").status_code == 200
    expect_problem(closed.get("/readyz"), 503, "not-ready")


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("DELETE", "/healthz", 405, "method-not-allowed"),
        ("GET", "/v1/jobs/none", 404, "not-found"),
        ("GET", "/v1/reports/" + "0" * 64, 404, "not-found"),
        ("POST", "/v1/feedback", 422, "invalid-request"),
        ("POST", "/v1/images", 400, "invalid-body"),
    ],
)
def test_every_error_is_a_problem_document(client: TestClient, method: str, path: str, status: int, slug: str) -> None:
    expect_problem(client.request(method, path), status, slug)


def test_an_endless_body_is_refused_as_soon_as_it_is_too_long(closed: TestClient) -> None:
    from starlette.requests import Request

    from detector.service.bodies import receive
    from detector.service.problems import Problem

    sent = 0

    async def more() -> dict[str, Any]:
        nonlocal sent
        sent += 10_000
        assert sent < 100_000
        return {"type": "http.request", "body": bytes(10_000), "more_body": True}

    settings = closed.app.state.settings  # type: ignore[attr-defined]
    scope = {"type": "http", "method": "POST", "path": "/v1/images", "query_string": b"", "headers": []}
    with pytest.raises(Problem) as found:
        asyncio.run(receive(Request(scope, more), settings, most=1))
    assert (found.value.status, sent) == (413, 30_000)
    assert not list((settings.folder / "incoming").iterdir())


def test_limits_hold_while_the_body_is_read(closed: TestClient) -> None:
    wide = closed.post("/v1/images", content=png_header(30_000, 30_000))
    assert "30000 x 30000" in expect_problem(wide, 413, "too-large")["detail"]
    form = [("p", (f"{i}.png", b"x", "image/png")) for i in range(4)]
    expect_problem(closed.post("/v1/jobs", files=form), 413, "too-many-pictures")
    expect_problem(closed.post("/v1/jobs", files={"p": ("a.png", bytes(20_001))}), 413, "too-large")
    folder = closed.app.state.settings.folder  # type: ignore[attr-defined]
    assert not list((folder / "incoming").iterdir())
    assert not (folder / "pictures").exists()


def test_a_full_queue_and_a_long_wait_are_answered(closed: TestClient) -> None:
    slow = closed.post("/v1/images", content=PICTURE)
    assert slow.status_code == 202
    assert closed.get(slow.headers["location"]).json()["status"] == "pending"
    form = [("p", (f"{i}.png", PICTURE, "image/png")) for i in range(3)]
    assert closed.post("/v1/jobs", files=form).status_code == 202
    full = closed.post("/v1/images", content=PICTURE)
    expect_problem(full, 503, "queue-full")
    assert full.headers["retry-after"]


def test_incomplete_forms_are_refused(closed: TestClient) -> None:
    kind = {"content-type": "multipart/form-data; boundary=b"}
    head = b'--b\r\nContent-Disposition: form-data; name="p"; filename="a.png"\r\n\r\n'
    expect_problem(closed.post("/v1/jobs", content=head + PICTURE, headers=kind), 400, "invalid-body")
    expect_problem(closed.post("/v1/jobs", content=b"no form", headers=kind), 400, "invalid-body")
    expect_problem(closed.post("/v1/jobs", content=b"", headers={"content-type": "multipart/form-data"}), 400,
                   "invalid-body")  # fmt: skip


def test_a_verdict_of_earlier_weights_is_shown_with_their_name_until_it_is_renewed(closed: TestClient) -> None:
    app = closed.app
    job = closed.post("/v1/jobs", files={"picture": ("a.png", PICTURE)}).headers["location"]
    url = str(app.state.store.engine.url)  # type: ignore[attr-defined]
    earlier = Store(url, {"detector": "0.9", "weights": "b" * 64})
    earlier.note_basis()
    (taken,) = earlier.take()
    face = {"box": "1 2 30 40", "score": 2.5, "verdict": "likely-fake", "reason": ""}
    row = {"verdict": "likely-fake", "reason": "", "score": 2.5, "width": 64, "height": 64}
    earlier.judge([taken], {taken.sha256: {"opinion": "likely-fake", "row": row, "faces": [face], "declared": "",
                                           "phash": "", "jpeg": b"jpeg"}})  # fmt: skip
    earlier.engine.dispose()
    app.state.store.note_basis()  # type: ignore[attr-defined]
    (picture,) = closed.get(job).json()["pictures"]
    verdict = picture["verdict"]
    assert (verdict["opinion"], verdict["earlier"]) == ("likely-fake", f"version 0.9 with the weights {'b' * 12}")
    assert "This verdict was given by version 0.9" in closed.get("/").text
    page = closed.get(f"/exhibits/{taken.sha256}")
    assert page.status_code == 202  # the present detector examines it
    assert "This verdict was given by version 0.9" in page.text
    assert closed.get(f"/v1/reports/{taken.sha256}").status_code == 202
