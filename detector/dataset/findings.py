"""The answer to one question about a dataset, and how serious it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ERROR = 0.05  # chance that any finding is serious where every AUC lies at the bound from which on it is


class Severity(StrEnum):
    """What a finding asks for: nothing, attention, or a stop."""

    OK = "ok"
    NOTE = "note"
    SERIOUS = "serious"


@dataclass(frozen=True)
class AuditFinding:
    """The answer to one question about a dataset.

    value, low, high: an AUC or a share, with its interval where there is one. rows: paths of the pictures behind it.
    """

    name: str
    severity: Severity
    summary: str
    fix: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: tuple[str, ...] = ()
