"""A quiz: photographs and fakes are processed alike, the page has no labels, and answers become a report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import draw_picture

from detector import cli, tasks
from detector.dataset.manifest import read_manifest
from detector.errors import DetectorError, ManifestError, ScoresError
from detector.pictures.images import decode_picture, encode

N = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of "photographs" that a generator drew, because the tests may not contain faces of people."""
    folder = tmp_path_factory.mktemp("photographs")
    tasks.generate("style", 6, folder, seed=100, label=False, format="webp", weights=None)
    (folder / "manifest.csv").unlink()
    (folder / "no-face.png").write_bytes(encode(draw_picture(0, size=96)))
    (folder / "torn.png").write_bytes(b"torn")
    return folder


@pytest.fixture(scope="module")
def quiz(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tasks.make_quiz(folder, tmp_path_factory.mktemp("quiz"), n=N, seed=1).parent


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, quiz: Path) -> Path:
    from conftest import make_manifest

    folder = tmp_path_factory.mktemp("weights")
    tasks.train("detector", "spectrum", make_manifest(folder / "in", n=30), folder / "w", arguments={"size": 32})
    return folder / "w"


def write_answers(path: Path, quiz: Path, **changes: object) -> Path:
    """Write answers as the page does; by default, all of them are right."""
    table = read_manifest(quiz / "pictures.csv")
    answers = pd.DataFrame({"sha256": table.sha256, "answer": table.label * 6 - 3, "seconds": 1.5, "feedback": 0})
    answers.assign(**changes).to_csv(path, index=False)
    return path


def read_questions(page: Path) -> list[dict[str, object]]:
    found = re.search(r"const questions = (\[.*?\]), feedback", page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])  # type: ignore[no-any-return]


def test_photographs_and_fakes_are_processed_alike(quiz: Path) -> None:
    table = read_manifest(quiz / "pictures.csv")
    assert table.label.value_counts().to_dict() == {0: N, 1: N}
    opened = [decode_picture(Path(path).read_bytes()) for path in table.path]
    assert len({(picture.width, picture.height) for picture in opened}) == 1
    assert {Path(path).suffix for path in table.path} == {".jpg"}
    assert {entry.name for entry in quiz.iterdir()} == {"index.html", "pictures", "pictures.csv"}


def test_the_page_needs_no_network_and_does_not_contain_the_labels(quiz: Path, folder: Path, tmp_path: Path) -> None:
    text, questions = (quiz / "index.html").read_text(), read_questions(quiz / "index.html")
    assert {q["sha256"] for q in questions} == set(read_manifest(quiz / "pictures.csv").sha256)
    assert not any("fake" in question for question in questions)
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)=.?https?:", text)
    page = tasks.make_quiz(folder, tmp_path, n=N, seed=1, feedback=True)
    labels = read_manifest(tmp_path / "pictures.csv").set_index("sha256").label
    assert all(labels[question["sha256"]] == question["fake"] for question in read_questions(page))


def test_answers_become_a_report_beside_the_detector(quiz: Path, weights: Path, tmp_path: Path) -> None:
    good = write_answers(tmp_path / "answers.csv", quiz)
    bad = write_answers(tmp_path / "bob.csv", quiz, answer=2, feedback=1)
    rows = tasks.mark_quiz([good, bad], quiz, detector=weights)
    assert [row["name"] for row in rows] == ["person 1", "bob", "detector w"]
    assert [row["accuracy"] for row in rows[:2]] == [1.0, 0.5]
    assert [row["feedback"] for row in rows] == [False, True, False]
    assert rows[1]["auc"] == 0.5
    assert rows[2]["reals"] + rows[2]["fakes"] == 2 * N
    record = json.loads((quiz / "report.json").read_text())
    assert [study["accuracy"] for study in record["published"]] == [0.482, 0.590]
    page = (quiz / "report.html").read_text()
    assert "48.2 % [47.1, 49.2]" in page
    assert "59.0 % [57.7, 60.4]" in page
    assert "What bob got wrong: 3" in page
    assert "What person 1 got wrong: nothing" in page
    assert "-0.00" not in page  # the criterion of person 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"answer": 0}, "none of -3"), ({"answer": "yes"}, "none of -3"), ({"sha256": "ab"}, "twice"),
     ({"answer": 4}, "none of -3")],
)  # fmt: skip
def test_answers_that_the_page_cannot_have_saved_are_refused(
    changes: dict[str, object], message: str, quiz: Path, tmp_path: Path
) -> None:
    with pytest.raises(ScoresError, match=message):
        tasks.mark_quiz(write_answers(tmp_path / "a.csv", quiz, **changes), quiz)


def test_answers_of_another_quiz_and_other_folders_are_refused(quiz: Path, tmp_path: Path) -> None:
    pd.DataFrame({"sha256": ["ab"], "answer": [1]}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ScoresError, match="not of this quiz"):
        tasks.mark_quiz(tmp_path / "a.csv", quiz)
    pd.DataFrame({"sha256": ["ab"]}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ScoresError, match="no column 'answer'"):
        tasks.mark_quiz(tmp_path / "a.csv", quiz)
    with pytest.raises(ManifestError, match="holds no quiz"):
        tasks.mark_quiz(tmp_path / "a.csv", tmp_path)


def test_pictures_without_a_face_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="no face was found in the photographs"):
        tasks.make_quiz(folder / "no-face.png", tmp_path, n=2)


def test_the_command_makes_a_quiz_and_its_report(
    folder: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["quiz", str(folder), "-n", "2"])
    assert ended.value.code in (0, None), capsys.readouterr().err
    write_answers(tmp_path / "answers.csv", tmp_path / "quiz")
    with pytest.raises(SystemExit) as ended:
        cli.main(["quiz", "--answers", "answers.csv", "--detector", str(weights)])
    assert ended.value.code in (0, None)
    assert "100.0%" in capsys.readouterr().out
