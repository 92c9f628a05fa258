"""Schemathesis sends what `/openapi.json` allows, and much that it does not; no answer is a 5xx or undescribed."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import draw_picture
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("schemathesis", reason="the group dev is not installed")

import httpx
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from detector.files import sha256
from detector.pictures.images import encode

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
PICTURE = encode(draw_picture(3, size=96))
EXAMPLES = 12  # for each operation and each mode


def test_no_answer_is_an_error_of_the_server_or_undescribed(address: str) -> None:
    sent = httpx.post(f"{address}/v1/images", content=PICTURE, timeout=300)
    job = httpx.post(f"{address}/v1/jobs", files={"p": ("a.png", PICTURE)}, timeout=300).json()["id"]
    assert sent.json()["sha256"] == sha256(PICTURE)
    known = {"job_id": [job], "name": [sha256(PICTURE) + end for end in ("", ".json", ".html", ".pdf", ".exe")]}
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 8
    for operation in operations:
        modes = schemathesis.GenerationMode
        for mode in modes if operation.body else [modes.POSITIVE]:  # any text is a valid part of an address
            call(operation, mode, known)


def call(operation: Any, mode: Any, known: dict[str, list[str]]) -> None:
    """Send generated requests of one operation; half of them name a job or a report that is there."""

    @seed(1)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def send(case: Any, data: st.DataObject) -> None:
        for name in set(case.path_parameters or {}) & set(known):
            if data.draw(st.booleans()):
                case.path_parameters[name] = data.draw(st.sampled_from(known[name]))
        if isinstance(case.body, dict) and "sha256" in case.body and data.draw(st.booleans()):
            case.body["sha256"] = sha256(PICTURE)
        case.validate_response(case.call(timeout=300), checks=CHECKS)

    send()
