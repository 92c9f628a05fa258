"""The same bytes are scored once, whatever their names, and every name has its own row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from bright import Bright
from conftest import draw_picture

from detector.errors import ManifestError
from detector.files import sha256
from detector.pictures.images import encode
from detector.scoring.engine import Opened, Row, open_target, score_pictures
from detector.scoring.repeats import Answers, score_once
from detector.scoring.tables import score_to_file
from detector.scoring.targets import Target
from detector.types import Images, Scores


class Counting(Bright):
    """A detector that counts the faces it scores. fail_at: number of the call that raises KeyboardInterrupt."""

    def __init__(self, fail_at: int = 0) -> None:
        super().__init__()
        self.faces, self.calls, self.fail_at = 0, 0, fail_at

    def score(self, faces: Images) -> Scores:
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        self.faces += len(faces)
        return super().score(faces)


@pytest.fixture
def copies(tmp_path: Path) -> list[Target]:
    """Ten pictures, each under twenty names, in turns."""
    names = []
    for i in range(200):
        path = tmp_path / f"{i:03d}.png"
        path.write_bytes(encode(draw_picture(i % 10, size=24)))
        names.append(str(path))
    return [Target(name) for name in names]


def rows(targets: list[Target], detector: Counting) -> list[Row]:
    answers = score_once(targets, lambda some: score_pictures(some, detector), Answers())
    return [judged.row for (judged,) in answers]


def test_copies_are_scored_once_and_have_their_rows(copies: list[Target]) -> None:
    counting = Counting()
    found = rows(copies, counting)
    assert counting.faces == 10
    assert found == [judged.row for (judged,) in score_pictures(copies, Bright())]


def test_another_square_of_the_same_picture_is_scored(copies: list[Target]) -> None:
    counting = Counting()
    whole, corner, again = rows([copies[0], Target(copies[0].path, (0, 0, 8, 8)), copies[10]], counting)
    assert counting.faces == 2
    assert whole.score == again.score != corner.score


def test_a_copy_with_another_hash_in_its_manifest_is_an_error(copies: list[Target]) -> None:
    with pytest.raises(ManifestError):
        rows([copies[0], Target(copies[10].path, sha256=sha256(b"another"))], Counting())


def test_a_resumed_run_uses_earlier_results(copies: list[Target], tmp_path: Path) -> None:
    first = [*copies[:10], *(Target(str(tmp_path / f"x{i}.png")) for i in range(60))]
    for i, target in enumerate(first[10:]):
        Path(target.path).write_bytes(encode(draw_picture(100 + i, size=24)))
    targets = [*first, *copies[10:]]
    with pytest.raises(KeyboardInterrupt):
        score_to_file(targets, Counting(fail_at=2), tmp_path / "s.csv")
    second = Counting()
    score_to_file(targets, second, tmp_path / "s.csv")
    assert second.faces == 70 - 32
    assert pd.read_csv(tmp_path / "s.csv").path.tolist() == [target.path for target in targets]


def test_a_file_that_changes_after_it_was_hashed_is_scored_as_it_is_read(copies: list[Target]) -> None:
    other = encode(draw_picture(77, size=24))

    def change(target: Target, size: int, locates: bool) -> Opened:
        if target.path == copies[0].path:
            Path(target.path).write_bytes(other)
        return open_target(target, size, locates)

    answers = score_once([copies[0], copies[10]], lambda some: score_pictures(some, Bright(), opener=change), Answers())
    first, second = (judged.row for (judged,) in answers)
    assert first.sha256 == sha256(other)
    assert second.sha256 == sha256(Path(copies[10].path).read_bytes())
    assert first.score != second.score
