"""The checks of one questioned picture: each is one file, which has the name of the check.

A check says what it saw in a `Finding` and concludes nothing. How often it would accuse a photograph was measured by
`benchmarks/false_alarms.py` and stands in `reference.json`; a check that does so too often weighs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from detector.errors import ImageError
from detector.files import sha256
from detector.pictures.images import decode_picture, read
from detector.registry import Registry
from detector.types import Check, Exhibit, Finding, Outcome

CHECKS: Registry[Check] = Registry("check", "detector.evidence.checks")
REFERENCE = Path(__file__).with_name("reference.json")
MAX_FALSE_ALARMS = 0.05


def read_exhibit(path: Path | str) -> Exhibit:
    """Return a file as an exhibit; raises what `images.read` raises for a file that cannot be read at all."""
    return make_exhibit(read(path), Path(path))


def make_exhibit(data: bytes, path: Path) -> Exhibit:
    """Return bytes with a file name as an exhibit; if they cannot be decoded, image is None and `problem` says why."""
    decoded, problem = None, ""
    try:
        decoded = decode_picture(data)
    except ImageError as error:
        problem = f"{error.reason}: {error}"
    return Exhibit(path, data, sha256(data), decoded, problem=problem)


def read_reference(path: Path = REFERENCE) -> dict[str, dict[str, Any]]:
    """Return check -> {n, alarms, rate, high, ranges}: false alarms on photographs, and ranges of values there."""
    found: dict[str, dict[str, Any]] = json.loads(path.read_text())["checks"] if path.is_file() else {}
    return found


def weigh(finding: Finding, reference: Mapping[str, Mapping[str, Any]]) -> Finding:
    """Return the finding with its false-alarm rate; it becomes neutral if that exceeds 5 % or was never measured."""
    measured = dict(reference.get(finding.check, {}))
    ranges = measured.pop("ranges", {})
    details = {**finding.details, "false_alarms": measured or None}
    if ranges:
        outside = [key for key, (low, high) in ranges.items() if not _within(finding.details.get(key), low, high)]
        details |= {"photographs": ranges, "outside": outside}
    pointing = finding.outcome in (Outcome.SUPPORTS_FAKE, Outcome.SUPPORTS_REAL)
    if not pointing or measured.get("rate", 1.0) <= MAX_FALSE_ALARMS:
        return replace(finding, details=details)
    why = f"{measured['rate']:.0%} false alarms on photographs" if measured else "its false alarms were never measured"
    summary = f"{finding.summary} Weighs nothing: {why}."
    return replace(finding, outcome=Outcome.NEUTRAL, summary=summary, details=details)


def _within(value: Any, low: Any, high: Any) -> bool:
    """Return whether a number, or every number of a list, lies in its range; True if no range was measured."""
    if isinstance(value, list):
        return all(a <= v <= b for v, a, b in zip(value, low, high, strict=True))
    return value is None or bool(low <= value <= high)
