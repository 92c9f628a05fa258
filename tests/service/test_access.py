"""Who may ask: keys, their limits, what they see, and what other sites may not send."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from conftest import draw_picture, run_command

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from starlette.testclient import TestClient

from detector.errors import DetectorError
from detector.pictures.images import encode
from detector.service import keys
from detector.service.access import JsonLines
from detector.service.settings import is_loopback

PICTURE = encode(draw_picture(3))


def test_a_key_opens_its_own_jobs_and_no_others(closed: TestClient) -> None:
    engine = closed.app.state.store.engine  # type: ignore[attr-defined]
    one, two = (keys.make_key(engine, name) for name in ("one", "two"))
    with engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT name, digest FROM keys").all()
    assert one not in str(kept)
    assert closed.get("/v1/jobs/x").status_code == 401
    assert closed.get("/v1/jobs/x", headers={"authorization": "Bearer det_wrong"}).status_code == 401
    assert closed.get("/healthz").status_code == 200
    mine = {"authorization": f"Bearer {one}"}
    place = closed.post("/v1/images", content=PICTURE, headers=mine).headers["location"]
    assert closed.get(place, headers=mine).status_code == 200
    assert closed.get(place, headers={"x-api-key": two}).status_code == 404
    keys.revoke_key(engine, "one")
    assert closed.get(place, headers=mine).status_code == 401
    with pytest.raises(DetectorError, match="no key named"):
        keys.revoke_key(engine, "one")


def test_a_person_logs_in_with_a_key(closed: TestClient) -> None:
    key = keys.make_key(closed.app.state.store.engine, "one")  # type: ignore[attr-defined]
    browser = {"accept": "text/html"}
    assert closed.get("/", headers=browser, follow_redirects=False).headers["location"] == "/login"
    assert closed.post("/login", data={"key": "det_wrong"}).status_code == 401
    answer = closed.post("/login", data={"key": key}, follow_redirects=False)
    assert answer.status_code == 303
    assert {"httponly", "samesite=strict"} <= set(answer.headers["set-cookie"].lower().split("; "))
    assert "Drop pictures" in closed.get("/", headers=browser).text


def test_requests_over_the_rate_wait(closed: TestClient) -> None:
    answers = [closed.get("/metrics") for _ in range(6)]
    assert [a.status_code for a in answers] == [200] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].json()["status"] == 429


def test_a_bucket_fills_again() -> None:
    limiter = keys.Limiter(rate=2)
    assert [limiter.spend("a", at=0.0) for _ in range(3)] == [0, 0, 30]
    assert limiter.spend("b", at=0.0) == 0
    assert limiter.spend("a", at=30.0) == 0
    assert limiter.spend("a", at=31.0) == 29


def test_other_sites_and_other_hosts_are_refused(closed: TestClient) -> None:
    assert closed.post("/v1/images", content=PICTURE, headers={"origin": "http://evil.example"}).status_code == 403
    assert closed.get("/", headers={"host": "evil.example"}).status_code == 403
    assert closed.get("/", headers={"host": "127.0.0.1:8000"}).status_code == 200
    assert closed.post("/v1/images", content=PICTURE, headers={"origin": "http://testserver"}).status_code == 202


def test_pages_load_nothing_from_outside_and_run_no_inline_script(closed: TestClient) -> None:
    page = closed.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert " style=" not in page.text
    for name in ("page.css", "page.js"):
        assert "http" not in closed.get(f"/static/{name}").text
    assert closed.get("/static/..%2Fapp.py").status_code == 404


def test_log_lines_are_json_with_the_id_of_the_request(closed: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="detector.service"):
        closed.get("/healthz", headers={"x-request-id": "abc-1"})
        closed.get("/healthz", headers={"x-request-id": "two\nlines"})
    lines = [json.loads(JsonLines().format(r)) for r in caplog.records if r.name == "detector.service"]
    assert lines[0]["request_id"] == "abc-1"
    assert (lines[0]["path"], lines[0]["status"]) == ("/healthz", 200)
    assert len(lines[1]["request_id"]) == 36


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("example.org", False)],
)
def test_which_addresses_are_of_this_machine(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_nothing_listens_to_others_without_a_key(tmp_path: Path) -> None:
    done = run_command("serve", "--host", "0.0.0.0", "--folder", tmp_path / "s")
    assert done.returncode == 2
    assert "there is no key" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_the_extra_one_line_names_it(tmp_path: Path) -> None:
    (tmp_path / "sqlalchemy.py").write_text("raise ImportError('gone', name='sqlalchemy')")
    done = run_command("serve", cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[2]}")
    assert done.returncode == 2
    assert "pip install 'face-forgery-detector[serve]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
