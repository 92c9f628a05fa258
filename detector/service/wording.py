"""A record in plain words, for the page and for verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PLAIN = {
    "declared-generated": "declared generated", "likely-fake": "likely generated",
    "inconclusive": "cannot tell", "likely-real": "probably a photograph", "not-applicable": "no face to judge",
    "error": "could not be examined", "waiting": "waiting",
}  # fmt: skip
RULES = {
    "likely-fake": "The score lies above the upper threshold.",
    "inconclusive": "No opinion: the score lies between the thresholds.",
    "likely-real": "The score lies below the lower threshold.",
}
LABELS = {"declared-generated": ("fake", "real"), "likely-fake": ("fake", "real"), "likely-real": ("real", "fake")}


def say_plainly(opinion: str) -> str:
    """Return an opinion as the page says it."""
    return PLAIN.get(opinion, opinion.replace("-", " "))


def write_sentence(opinion: str, statement: str) -> str:
    """Return the conclusion as one reads it aloud: the opinion in plain words, then why, without H1 and H2."""
    why = statement.replace("H1 over H2", "a generated face over a photograph")
    why = why.replace("H2 over H1", "a photograph over a generated face")
    return f"{say_plainly(opinion).capitalize()}. {why}"


def describe_row(verdict: str, reason: str, declared: str, *, ruled: bool) -> str:
    """Return why a picture has its verdict before it is examined: by the rows of `score`, and what its file declares.

    verdict, reason: of its row of `score`. declared: as `record.read_declaration`. ruled: whether the thresholds
    decided, and not the deciding face's reason, such as its size.
    """
    why = RULES.get(verdict, "") if ruled else "No opinion."
    if reason:
        why = f"{why} {reason[0].upper()}{reason[1:]}.".strip()
    return f"{declared} The detector alone: {why}" if declared else why


def find_label(opinion: str, answer: str) -> str | None:
    """Return the label that an answer (confirm, overturn, unsure) gives; None where there is nothing to overturn."""
    if answer == "unsure":
        return "unsure"
    if opinion not in LABELS:
        return "unsure" if answer == "confirm" else None
    return LABELS[opinion][answer == "overturn"]


def find_details(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the details of the detector's finding."""
    return dict(next(f["details"] for f in record["findings"] if f["check"] == "detector"))


def list_faces(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return box (left, top, right, bottom, pixels), score, ratio and opinion of each face, the deciding one first."""
    details = find_details(record)
    kept = ("box", "score", "log10_lr", "interval", "opinion", "reason")
    return [{name: face[name] for name in kept} for face in details["faces"]]
