"""Plain words: no H1 or H2 in a sentence, and what an answer to an opinion means."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from detector.service.wording import PLAIN, find_label, write_sentence
from detector.types import Opinion


def test_sentences_do_not_use_h1_and_h2() -> None:
    sentence = write_sentence("likely-fake", "The detector's result gives weak support for H1 over H2.")
    assert sentence.startswith("Likely generated. ")
    assert "H1" not in sentence
    assert "weak support for a generated face over a photograph" in sentence


def test_every_opinion_has_plain_words() -> None:
    assert {opinion.value for opinion in Opinion} <= set(PLAIN)


@pytest.mark.parametrize(
    ("opinion", "answer", "label"),
    [
        ("likely-fake", "confirm", "fake"), ("likely-fake", "overturn", "real"), ("likely-fake", "unsure", "unsure"),
        ("likely-real", "confirm", "real"), ("likely-real", "overturn", "fake"),
        ("declared-generated", "confirm", "fake"), ("inconclusive", "confirm", "unsure"),
        ("inconclusive", "overturn", None),
    ],
)  # fmt: skip
def test_the_label_that_each_answer_gives(opinion: str, answer: str, label: str | None) -> None:
    assert find_label(opinion, answer) == label
