from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import draw_picture, run_inside

from detector.dataset.manifest import read_manifest
from detector.errors import DetectorError, ManifestError
from detector.evidence.custody import seal
from detector.evidence.feedback import ANSWERS, Feedback, export_feedback, give_feedback, read_feedback
from detector.files import home, sha256
from detector.pictures.images import encode, load

MakeReport = Callable[..., Path]


@pytest.fixture
def make_report(tmp_path: Path) -> MakeReport:
    """A function that writes a picture and a report of it, as `detector verify` would, and returns the report."""

    def make(seed: int, *, relative: bool = False, **changes: object) -> Path:
        picture = tmp_path / f"picture {seed}.PNG"
        picture.write_bytes(encode(draw_picture(seed)))
        folder = tmp_path / "out" / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        exhibit = {
            "path": f"../../{picture.name}" if relative else str(picture),
            "sha256": sha256(picture.read_bytes()),
        }
        face = {"score": 1.25, "crop": [4, 5, 44, 45]}
        record = {"exhibit": exhibit, "findings": [{"check": "detector", "details": {"faces": [face]}}], **changes}
        (folder / "report.json").write_text(json.dumps(seal(record)))
        return folder / "report.json"

    return make


@pytest.mark.parametrize("relative", [False, True])
def test_an_answer_is_stored_with_its_picture(make_report: MakeReport, relative: bool) -> None:
    report = make_report(1, relative=relative)
    answer = give_feedback(report, "fake", note="the uploader said so; é")
    assert read_feedback() == [answer]
    assert (answer.label, answer.score, answer.crop) == ("fake", 1.25, "4 5 44 45")
    assert answer.report_sha256 == sha256(report.read_bytes())
    assert (home() / answer.kept).read_bytes() == Path(answer.path).read_bytes()
    assert answer.kept == f"feedback/{answer.sha256}.png"
    assert [p.name for p in sorted(home().iterdir())] == ["feedback", "feedback.jsonl"]


def test_a_folder_names_its_report_and_lines_are_only_appended(make_report: MakeReport) -> None:
    folder = make_report(1).parent
    give_feedback(folder, "real")
    before = (home() / "feedback.jsonl").read_bytes()
    give_feedback(folder, "unsure")
    after = (home() / "feedback.jsonl").read_bytes()
    assert after.startswith(before)
    assert len(after.splitlines()) == 2


def test_the_last_answer_counts_and_unsure_is_left_out(make_report: MakeReport, tmp_path: Path) -> None:
    for seed, labels in ((1, ["real", "fake"]), (2, ["real"]), (3, ["fake", "unsure"]), (4, ["unsure", "fake"])):
        for label in labels:
            give_feedback(make_report(seed), label)
    made = export_feedback(tmp_path / "back" / "manifest.csv", split="test")
    for path in tmp_path.glob("*.PNG"):
        path.unlink()  # the manifest rests on the copies
    table = read_manifest(tmp_path / "back" / "manifest.csv")
    assert table.sha256.tolist() == made.sha256.tolist() == table.group.tolist()
    labels = dict(zip(table.sha256, table.label, strict=True))
    assert labels == {sha256(encode(draw_picture(s))): label for s, label in ((1, 1), (2, 0), (4, 1))}
    assert set(table.split) == {"test"}
    assert table.generator.tolist() == ["unknown" if label else "" for label in table.label]
    assert set(table.crop) == {"4 5 44 45"}
    assert all(sha256(Path(p).read_bytes()) == s for p, s in zip(table.path, table.sha256, strict=True))
    assert load(table.path[0]).shape == (48, 48, 3)


def test_splits_are_drawn_where_none_is_named(make_report: MakeReport, tmp_path: Path) -> None:
    for seed in range(12):
        give_feedback(make_report(seed), ANSWERS[seed % 2])
    first, again, other = (export_feedback(tmp_path / "m.csv", seed=seed).split.tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert set(first) == {"train", "val", "test"}


@pytest.mark.parametrize(
    "findings",
    [
        [], None, 3, [{}], [{"check": "detector", "details": {"faces": []}}],
        [{"check": "detector", "details": {"faces": [{"score": None, "crop": [0, 0, 1, 1]}]}}],
        [{"check": "detector", "details": {"faces": [{"score": 1, "crop": [5, 5, 1, 1]}]}}],
        [{"check": "detector", "details": {"faces": [{"score": 1, "crop": [0, 0, "far", 1]}]}}],
    ],
)  # fmt: skip
def test_a_report_without_a_judged_face_has_neither_score_nor_crop(make_report: MakeReport, findings: object) -> None:
    answer = give_feedback(make_report(1, findings=findings), "real")
    assert (answer.score, answer.crop) == (None, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"), ("", "not a report"), ("{", "not a report"), ("[1]", "not a report"),
        ("\xff", "not a report"), ("[" * 100_000, "not a report"), ("{}", "names no exhibit"),
        ('{"exhibit": 3}', "names no exhibit"), ('{"exhibit": {"path": "x"}}', "names no exhibit"),
        ('{"exhibit": {"path": "x", "sha256": "0"}}', "is gone"),
        ('{"exhibit": {"path": "a\\u0000b", "sha256": "0"}}', "gone|teaches nothing"),
        ('{"exhibit": {"path": ".", "sha256": "0"}}', "is gone"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_a_report_is_one_sentence(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "r.json").write_text(text, encoding="latin-1")
    with pytest.raises(DetectorError, match=message):
        give_feedback(tmp_path / "r.json", "real")
    assert not home().exists()


def test_a_picture_that_changed_or_does_not_decode_is_refused(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(1)
    picture = tmp_path / "picture 1.PNG"
    picture.write_bytes(picture.read_bytes()[:-30])
    with pytest.raises(DetectorError, match="changed since the report"):
        give_feedback(report, "real")
    damaged = {"path": str(picture), "sha256": sha256(picture.read_bytes())}
    with pytest.raises(DetectorError, match="teaches nothing"):
        give_feedback(make_report(2, exhibit=damaged), "real")
    with pytest.raises(DetectorError, match="real, fake, unsure"):
        give_feedback(report, "maybe")
    assert not home().exists()


def test_an_exhibits_name_never_names_a_place_in_the_store(make_report: MakeReport, tmp_path: Path) -> None:
    odd = tmp_path / "a.png\u202e.exe"
    odd.write_bytes(encode(draw_picture(1)))
    exhibit = {"path": str(odd), "sha256": sha256(odd.read_bytes())}
    assert give_feedback(make_report(1, exhibit=exhibit), "real").kept == f"feedback/{exhibit['sha256']}"


def test_nothing_to_export_and_a_lost_copy_are_one_sentence(make_report: MakeReport, tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="called real or fake"):
        export_feedback(tmp_path / "m.csv")
    give_feedback(make_report(1), "unsure")
    with pytest.raises(DetectorError, match="called real or fake"):
        export_feedback(tmp_path / "m.csv")
    kept = home() / give_feedback(make_report(2), "real").kept
    kept.unlink()
    with pytest.raises(ManifestError, match="is gone"):
        export_feedback(tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.parametrize(
    "line", ["torn", "3", "{}", json.dumps(Feedback("t", "s", "p", "k", "perhaps", "", "r").__dict__)]
)
def test_a_line_that_is_no_answer_is_named(make_report: MakeReport, line: str) -> None:
    give_feedback(make_report(1), "real")
    with (home() / "feedback.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ManifestError, match="line 2"):
        read_feedback()


def test_an_incomplete_line_is_ignored(make_report: MakeReport) -> None:
    first = give_feedback(make_report(1), "real")
    whole = (home() / "feedback.jsonl").read_bytes()
    with (home() / "feedback.jsonl").open("ab") as file:
        file.write(whole[: len(whole) // 2])
    assert read_feedback() == [first]
    second = give_feedback(make_report(2), "fake")
    assert read_feedback() == [first, second]


@pytest.mark.parametrize(("before", "after"), [("1.25", "9.75"), ("1.25", "NaN"), ('"sha256": "', '"sha256": "0')])
def test_a_report_that_was_changed_is_refused(make_report: MakeReport, before: str, after: str) -> None:
    report = make_report(1)
    report.write_text(report.read_text().replace(before, after))
    with pytest.raises(DetectorError, match="changed since"):
        give_feedback(report, "real")


def test_a_store_that_cannot_be_written_is_one_sentence(make_report: MakeReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DetectorError, match="DETECTOR_HOME"):
        give_feedback(make_report(1), "real", store=tmp_path / "file")


def test_on_the_command_line(make_report: MakeReport, tmp_path: Path) -> None:
    for seed, label in enumerate(["fake", "real", "unsure"]):
        done = run_inside("feedback", make_report(seed), "--label", label, "--note", "seen")
        assert (done.returncode, done.stderr) == (0, "")
    out = tmp_path / "manifest.csv"
    done = run_inside("feedback", "--export", out, "--split", "test")
    assert done.stdout == f"1 real and 1 fake pictures in {out}\n"
    assert len(read_manifest(out)) == 2
    for words in ([], [make_report(1)], ["--label", "real"], [make_report(1), "--label", "real", "--export", out],
                  [tmp_path / "absent", "--label", "real"]):  # fmt: skip
        done = run_inside("feedback", *words)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    score = run_inside("score", out)
    assert len(score.stdout.splitlines()) == 3, score.stderr
