"""The findings of an audit and their severities."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ERROR = 0.05  # probability of any serious finding if every AUC lies exactly at its threshold


class Severity(StrEnum):
    """The severity of a finding: nothing to do, worth attention, or to be fixed first."""

    OK = "ok"
    NOTE = "note"
    SERIOUS = "serious"


@dataclass(frozen=True)
class AuditFinding:
    """The result of one test of a data set.

    value, low, high: an AUC or a share, with its interval if it has one. rows: paths of the pictures that it is about.
    """

    name: str
    severity: Severity
    summary: str
    fix: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: tuple[str, ...] = ()
