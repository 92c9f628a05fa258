"""A record in plain words, for the page and for verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PLAIN = {
    "declared-generated": "declared generated", "likely-fake": "likely generated",
    "inconclusive": "cannot tell", "likely-real": "probably a photograph", "not-applicable": "no face to judge",
    "error": "could not be examined", "waiting": "waiting",
}  # fmt: skip
LABELS = {"declared-generated": ("fake", "real"), "likely-fake": ("fake", "real"), "likely-real": ("real", "fake")}


def say_plainly(opinion: str) -> str:
    """Return an opinion as the page says it."""
    return PLAIN.get(opinion, opinion.replace("-", " "))


def write_sentence(opinion: str, statement: str) -> str:
    """Return the conclusion as one reads it aloud: the opinion in plain words, then why, without H1 and H2."""
    why = statement.replace("H1 over H2", "a generated face over a photograph")
    why = why.replace("H2 over H1", "a photograph over a generated face")
    return f"{say_plainly(opinion).capitalize()}. {why}"


def find_label(opinion: str, answer: str) -> str | None:
    """Return the label that an answer (confirm, overturn, unsure) gives; None where there is nothing to overturn."""
    if answer == "unsure":
        return "unsure"
    if opinion not in LABELS:
        return "unsure" if answer == "confirm" else None
    return LABELS[opinion][answer == "overturn"]


def list_faces(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return box (left, top, right, bottom, pixels), score, ratio and opinion of each face, the deciding one first."""
    details = next(f["details"] for f in record["findings"] if f["check"] == "detector")
    kept = ("box", "score", "log10_lr", "interval", "opinion", "reason")
    return [{name: face[name] for name in kept} for face in details["faces"]]
