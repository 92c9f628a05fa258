"""Properties of every evidence check: no error on damaged bytes, plain JSON, equal repeats, stated limits."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from conftest import draw_picture
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import DetectorError
from detector.evidence.checks import CHECKS, MAX_FALSE_ALARMS, make_exhibit, read_exhibit, read_reference, weigh
from detector.pictures.images import encode
from detector.pictures.labelling import insert_xmp, xmp_packet
from detector.types import Exhibit, Finding, Outcome

NAMES = CHECKS.names()


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR_HOME", str(tmp_path))


def law(exhibit: Exhibit, name: str) -> Finding:
    first, second = CHECKS.get(name)(exhibit), CHECKS.get(name)(exhibit)
    assert first == second
    assert first.check == name
    assert isinstance(first.outcome, Outcome)
    assert first.summary.endswith(".")
    text = json.dumps(dict(first.details), allow_nan=False)
    assert json.loads(text) == first.details
    assert len(text) < 100_000
    return first


@cache
def whole(kind: str) -> bytes:
    return insert_xmp(encode(draw_picture(3, size=128), kind), xmp_packet("style", 1, "none"))


@pytest.mark.parametrize("name", NAMES)
def test_a_check_has_the_name_of_its_file_and_states_its_limits(name: str) -> None:
    assert len(CHECKS.facts(name)["limits"]) > 40
    assert CHECKS.facts(name)["reference"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_checks_on_valid_pictures(name: str, kind: str) -> None:
    data = encode(draw_picture(3, size=128), kind)
    law(make_exhibit(data, Path(f"a.{kind.lower()}")), name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF"]
)
def test_checks_on_tiny_files(name: str, data: bytes) -> None:
    assert law(Exhibit(Path("x"), data, "0" * 64, None), name).outcome in (Outcome.NEUTRAL, Outcome.NOT_APPLICABLE)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=12),
    cut=st.floats(0.02, 1),
    tail=st.binary(max_size=40),
)
def test_checks_on_mutated_bytes(
    name: str, kind: str, changes: list[tuple[float, int]], cut: float, tail: bytes
) -> None:
    data = bytearray(whole(kind))
    for where, value in changes:
        data[int(where**3 * (len(data) - 1))] = value  # mostly in the headers
    law(make_exhibit(bytes(data[: int(cut * len(data))]) + tail, Path("x.jpg")), name)


@pytest.mark.parametrize("name", NAMES)
def test_checks_on_hostile_files(name: str, shared: Path) -> None:
    files = sorted((shared / "evidence/hostile").rglob("*.*"))[::9]
    assert files
    for path in files:
        try:
            exhibit = read_exhibit(path)
        except DetectorError:
            continue  # an empty file is no exhibit
        law(exhibit, name)


@pytest.mark.parametrize("name", NAMES)
def test_false_alarms_were_measured_and_are_rare(name: str) -> None:
    measured = read_reference()[name]
    assert measured["n"] >= 600
    assert measured["alarms"] / measured["n"] == pytest.approx(measured["rate"], abs=1e-4)
    assert measured["rate"] <= MAX_FALSE_ALARMS
    assert set(measured["ranges"]) == set(CHECKS.facts(name).get("measured", ()))


def test_a_check_with_too_many_false_alarms_is_neutral() -> None:
    finding = Finding("x", Outcome.SUPPORTS_FAKE, "Seen.", {"a": 3})
    kept = weigh(finding, {"x": {"rate": 0.05}})
    assert kept.outcome == Outcome.SUPPORTS_FAKE
    assert kept.details == {"a": 3, "false_alarms": {"rate": 0.05}}
    demoted = weigh(finding, {"x": {"rate": 0.06}})
    assert demoted.outcome == Outcome.NEUTRAL
    assert "6% false alarms" in demoted.summary
    assert "never measured" in weigh(finding, {}).summary


def test_a_value_outside_the_range_is_named() -> None:
    finding = Finding("x", Outcome.NEUTRAL, "Seen.", {"a": 3, "b": [1, 9], "c": 0})
    ranges = {"a": [0, 5], "b": [[0, 0], [5, 5]], "c": [1, 2], "absent": [0, 1]}
    assert weigh(finding, {"x": {"rate": 0.0, "ranges": ranges}}).details["outside"] == ["b", "c"]
