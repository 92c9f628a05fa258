"""The engine: streaming, order, errors as rows, and resuming after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import crafted
import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from detector.dataset.embedded import unpack_faces
from detector.dataset.foreign import read_table
from detector.errors import DetectorError, ManifestError
from detector.files import sha256
from detector.pictures.faces import Box, Face, face_square, too_small
from detector.pictures.images import cut, decode_picture, encode, load, resize
from detector.pictures.perturbations import Condition, perturb
from detector.scoring import engine
from detector.scoring.engine import Row, score_pictures
from detector.scoring.tables import COLUMNS, FACE_COLUMNS, score_to_file
from detector.scoring.targets import Target, expand
from detector.types import Decoded, Detector, Image, Images, Opinion, Scores, rank_suspicion


class Brightness:
    """A minimal detector whose score is brightness."""

    name, size = "brightness", 16

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls, self.fail_at = 0, fail_at

    def score(self, faces: Images) -> Scores:
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        return faces.mean((1, 2, 3), dtype=np.float64) / 32 - 4

    def judge(self, scores: Scores) -> list[Opinion]:
        return [Opinion.LIKELY_FAKE if s > 0 else Opinion.LIKELY_REAL for s in scores]


class Locating(Brightness):
    """The same detector for located faces."""

    locates = True


def score(targets: Iterable[Target], detector: Detector, *, batch: int = 32) -> list[Row]:
    """Return the rows of the pictures as they are."""
    return [judged.row for (judged,) in score_pictures(targets, detector, batch=batch)]


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Target]:
    """Return what draws a picture of faces: (brightness 0 to 255, width in pixels) each, in the order they are found.

    The locator finds them where they were drawn.
    """

    def draw(*faces: tuple[int, int]) -> Target:
        image, found = np.zeros((200, 200 * len(faces), 3), np.uint8), []
        for i, (brightness, width) in enumerate(faces):
            image[:, 200 * i : 200 * (i + 1)] = brightness
            left, top = 200 * i + 100 - width // 2, 100 - width // 2
            box = (left, top, left + width, top + width)
            found.append(Face(box, face_square(box, image.shape), 0, too_small(box)))
        monkeypatch.setattr(engine, "find_faces", lambda image: found)
        path = tmp_path / "group.png"
        path.write_bytes(encode(image))
        return Target(str(path))

    return draw


@pytest.fixture
def pictures(tmp_path: Path) -> list[Target]:
    targets = []
    for i in range(150):
        path = tmp_path / "in" / f"{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no picture" if i % 50 == 7 else encode(draw_picture(i, size=24)))
        targets.append(Target(str(path)))
    return targets


def test_rows_come_in_order_with_errors_in_place(pictures: list[Target]) -> None:
    rows = score(pictures, Brightness(), batch=16)
    assert [r.path for r in rows] == [t.path for t in pictures]
    bad = [r for r in rows if r.verdict == "error"]
    assert [Path(r.path).stem for r in bad] == ["007", "057", "107"]
    assert all(r.score is None and r.reason.startswith("unsupported format: ") for r in bad)
    good = rows[0]
    assert good.sha256 == sha256(Path(good.path).read_bytes())
    assert (good.width, good.height) == (24, 24)
    assert good.score is not None
    assert good.probability == pytest.approx(1 / (1 + np.exp(-good.score)))


def test_scores_do_not_depend_on_the_batch(pictures: list[Target]) -> None:
    some = [[r.score for r in score(pictures, Brightness(), batch=b)] for b in (1, 7, 64)]
    assert some[0] == some[1] == some[2]


def test_crop_is_cut_before_scoring(pictures: list[Target]) -> None:
    path = pictures[0].path
    whole, corner = score([Target(path), Target(path, (0, 0, 4, 4))], Brightness())
    assert whole.score != corner.score


def test_no_targets_give_no_rows() -> None:
    assert list(score_pictures([], Brightness())) == []


@pytest.mark.parametrize("name", ["s.csv", "s.jsonl", "s.parquet"])
def test_every_format_holds_the_same_table(tmp_path: Path, pictures: list[Target], name: str) -> None:
    seen: list[tuple[int, int]] = []
    verdicts = score_to_file(pictures, Brightness(), tmp_path / name, progress=lambda i, n: seen.append((i, n)))
    table = read_table(tmp_path / name)
    assert (verdicts["error"], verdicts.total()) == (3, 150)
    assert tuple(table.columns) == COLUMNS
    assert table.path.tolist() == [t.path for t in pictures]
    expected = [r.score for r in score(pictures, Brightness())]
    assert np.array_equal(table.score.to_numpy(float), np.array(expected, float), equal_nan=True)
    assert seen[-1] == (150, 150)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("torn", [b"", b'{"path": "half a li'])
def test_a_killed_run_is_resumed_to_the_same_table(tmp_path: Path, pictures: list[Target], torn: bytes) -> None:
    out, whole = tmp_path / "s.csv", tmp_path / "whole.csv"
    score_to_file(pictures, Brightness(), whole)
    with pytest.raises(KeyboardInterrupt):
        score_to_file(pictures, Brightness(fail_at=3), out)
    partial = tmp_path / ".s.csv.partial"
    assert not out.exists()
    assert len(partial.read_text().splitlines()) == 1 + 64
    with open(partial, "ab") as file:
        file.write(torn)
    second = Brightness()
    score_to_file(pictures, second, out)
    assert second.calls == 3  # 86 pictures are left
    assert out.read_bytes() == whole.read_bytes()
    assert not partial.exists()


def test_a_kept_row_is_dropped_if_its_picture_changed(tmp_path: Path, pictures: list[Target]) -> None:
    out = tmp_path / "s.csv"
    with pytest.raises(KeyboardInterrupt):
        score_to_file(pictures, Brightness(fail_at=3), out)
    Path(pictures[10].path).write_bytes(encode(np.full((30, 30, 3), 255, np.uint8)))
    score_to_file(pictures, Brightness(), out)
    assert pd.read_csv(out).score[10] == pytest.approx(255 / 32 - 4)


def test_another_detector_starts_afresh(tmp_path: Path, pictures: list[Target]) -> None:
    out, again = tmp_path / "s.csv", Brightness()
    with pytest.raises(KeyboardInterrupt):
        score_to_file(pictures, Brightness(fail_at=3), out, fingerprint="one")
    score_to_file(pictures, again, out, fingerprint="two")
    assert again.calls == 5


def test_a_detector_that_locates_does_not_judge_what_has_no_face(pictures: list[Target]) -> None:
    (row,) = score(pictures[:1], Locating())
    assert row.score is not None
    assert (row.verdict, row.reason) == ("not-applicable", "no face found")
    assert row.faces == 0
    (row,) = score([Target(pictures[0].path, (0, 0, 8, 8))], Locating())
    assert row.faces is None
    assert row.verdict in ("likely-fake", "likely-real")


def test_large_pictures_are_in_memory_one_at_a_time(pictures: list[Target], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they are large by their bytes, which is known before they are read, or by their header."""
    inside, most = 0, [0]
    read, prepare = Target.read, engine.prepare

    def enter(target: Target) -> bytes:
        nonlocal inside
        inside += large == "bytes"
        most.append(inside)
        time.sleep(0.005)
        return read(target)

    def decode(data: bytes) -> Decoded:
        nonlocal inside
        inside += large == "header"
        most.append(inside)
        time.sleep(0.005)
        return Decoded(np.zeros((24, 24, 3), np.uint8), 24, 24)

    def leave(image: Image, size: int, crop: Box, turns: int) -> Image:
        nonlocal inside
        inside -= 1
        return prepare(image, size, crop, turns)

    monkeypatch.setattr(Target, "read", enter)
    monkeypatch.setattr(engine, "decode_picture", decode)
    monkeypatch.setattr(engine, "prepare", leave)
    for large in ("bytes", "header"):
        monkeypatch.setattr(engine, "PLAIN_BYTES", 0 if large == "bytes" else 10**9)
        monkeypatch.setattr(engine, "is_plain", lambda data, large=large: large == "bytes")
        assert len(list(score_pictures(pictures[:20], Brightness(), threads=4))) == 20
    assert max(most) == 1


def test_a_crop_is_in_pixels_of_the_file_however_small_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.zeros((80, 120, 3), np.uint8)
    image[40:, 60:] = 255
    path = tmp_path / "large.jpg"
    path.write_bytes(encode(image, "JPEG"))
    monkeypatch.setattr(engine, "decode_picture", lambda data: decode_picture(data, max_pixels=80 * 120 // 4))
    whole, corner = score([Target(str(path)), Target(str(path), (60, 40, 120, 80))], Brightness())
    assert (whole.width, whole.height) == (120, 80)
    assert corner.score == pytest.approx(255 / 32 - 4, abs=0.1)
    assert whole.score < corner.score


def test_a_row_states_which_frame_was_decoded(tmp_path: Path) -> None:
    frames = [Pillow.fromarray(draw_picture(seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    (row,) = score([Target(str(tmp_path / "a.webp"))], Brightness())
    assert row.reason == "only frame 1 of 3 was decoded"
    assert row.verdict in ("likely-fake", "likely-real")


def test_a_too_expensive_file_is_one_row(tmp_path: Path, pictures: list[Target]) -> None:
    (tmp_path / "scans.jpg").write_bytes(crafted.jpeg_of_scans(64, 120))
    bad, good = score([Target(str(tmp_path / "scans.jpg")), pictures[0]], Brightness())
    assert (bad.verdict, bad.reason) == ("error", "too costly to decode: it has 130 scans; the cap is 100")
    assert good.score is not None


@pytest.mark.parametrize(
    ("faces", "decides", "verdict"),
    [
        ([(50, 90)], 1, "likely-real"),
        ([(50, 90), (200, 60)], 2, "likely-fake"),
        ([(200, 90), (50, 60)], 1, "likely-fake"),
        ([(50, 90), (130, 80), (20, 70)], 2, "inconclusive"),
        ([(50, 90), (130, 80), (150, 70), (120, 60)], 3, "likely-fake"),
        ([(160, 90), (250, 80), (240, 70)], 2, "likely-fake"),
        ([(250, 90), (250, 80)], 1, "likely-fake"),
        ([(50, 90), (250, 39)], 1, "likely-real"),
        ([(50, 90), (250, 40)], 2, "likely-fake"),
        ([(50, 39), (250, 38)], 1, "inconclusive"),
    ],
)
def test_the_most_suspicious_face_that_can_be_judged_decides(
    group: Callable[..., Target], faces: list[tuple[int, int]], decides: int, verdict: str
) -> None:
    class Doubting(Locating):
        def judge(self, scores: Scores) -> list[Opinion]:
            answers = zip(scores, super().judge(scores), strict=True)
            return [Opinion.INCONCLUSIVE if 0 < score < 0.5 else opinion for score, opinion in answers]

    ((judged,),) = score_pictures([group(*faces)], Doubting())
    row, chosen = judged.row, judged.faces[decides - 1]
    assert [face.face for face in judged.faces] == list(range(1, len(faces) + 1))
    assert [face.score for face in judged.faces] == [brightness / 32 - 4 for brightness, _ in faces]
    assert (row.faces, row.verdict, row.score) == (len(faces), verdict, chosen.score)
    assert (chosen.verdict, chosen.probability) == (verdict, row.probability)
    named = f"face {decides} of {len(faces)}, at {chosen.box}" if len(faces) > 1 else ""
    assert row.reason == "; ".join(filter(None, (named, chosen.reason)))


def test_a_face_of_less_than_40_pixels_gets_a_score_and_no_opinion(group: Callable[..., Target]) -> None:
    ((judged,),) = score_pictures([group((250, 39))], Locating())
    assert (judged.row.verdict, judged.row.score) == ("inconclusive", 250 / 32 - 4)
    assert judged.row.reason == judged.faces[0].reason == "the face is 39 pixels wide, less than 40"


def test_of_two_photographs_side_by_side_both_faces_are_judged(tmp_path: Path) -> None:
    """The embedded photographs and the locator itself: the larger face is dark, the smaller one bright."""
    dark, bright = (load(path) for path in unpack_faces(tmp_path / "orl").path[[0, 40]])
    image = np.full((400, 600, 3), 128, np.uint8)
    image[:336, :276] = resize(dark // 2, 276, 336)
    image[:224, 400:584] = resize(127 + bright // 2, 184, 224)
    (tmp_path / "both.png").write_bytes(encode(image))
    ((judged,),) = score_pictures([Target(str(tmp_path / "both.png"))], Locating())
    assert [face.verdict for face in judged.faces] == ["likely-real", "likely-fake"]
    left, top, right, bottom = map(int, judged.faces[1].box.split())
    assert 400 < left < right < 584
    assert judged.row.reason == f"face 2 of 2, at {left} {top} {right} {bottom}"


def test_more_faces_than_are_judged_are_counted(group: Callable[..., Target], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOST_FACES", 2)
    ((judged,),) = score_pictures([group((50, 90), (60, 80), (250, 70))], Locating())
    assert (len(judged.faces), judged.row.faces, judged.row.verdict) == (2, 3, "likely-real")
    assert judged.row.reason.endswith("; only the 2 largest were judged")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["likely-fake", "inconclusive", "likely-real"]),
            st.floats(-9, 9),
            st.sampled_from(["", "the face is 7 pixels wide, less than 40"]),
        ),
        min_size=1,
    )
)
def test_no_face_is_more_suspicious_than_the_first_in_rank(faces: list[tuple[str, float, str]]) -> None:
    verdict, height, reason = max(faces, key=lambda face: rank_suspicion(*face))
    judged = [face for face in faces if not face[2]]
    assert bool(reason) is (not judged)
    if judged:
        order = ["likely-real", "inconclusive", "likely-fake"]
        assert order.index(verdict) == max(order.index(face[0]) for face in judged)
        assert height == max(face[1] for face in judged if face[0] == verdict)


def test_faces_are_transformed_one_by_one_under_the_hash_of_their_picture(group: Callable[..., Target]) -> None:
    target, seen = group((100, 90), (200, 60)), []

    def darken(face: Image, key: str) -> Image:
        seen.append(key)
        return face // 2

    ((plain, dark),) = score_pictures([target], Locating(), transforms=[engine.untouched, darken])
    assert seen == [plain.row.sha256] * 2
    assert [face.score for face in plain.faces] == [100 / 32 - 4, 200 / 32 - 4]
    assert [face.score for face in dark.faces] == [50 / 32 - 4, 100 / 32 - 4]


def test_a_file_that_is_not_the_one_named_by_hash_is_refused(pictures: list[Target]) -> None:
    path, digest = pictures[0].path, sha256(Path(pictures[0].path).read_bytes())
    assert score([Target(path, None, digest)], Brightness())[0].verdict
    with pytest.raises(ManifestError, match=r"000\.png does not have the hash in its manifest"):
        score([Target(path, None, "0" * 64)], Brightness())
    Path(path).unlink()
    assert score([Target(path, None, digest)], Brightness())[0].sha256 == digest


def test_a_run_on_other_targets_starts_afresh_though_their_files_are_the_same(
    tmp_path: Path, pictures: list[Target]
) -> None:
    out = tmp_path / "s.csv"
    with pytest.raises(KeyboardInterrupt):
        score_to_file(pictures, Brightness(fail_at=3), out)
    corners = [Target(target.path, (0, 0, 4, 4)) for target in pictures]
    score_to_file(corners, Brightness(), out)
    expected = [row.score for row in score(corners, Brightness())]
    assert np.array_equal(pd.read_csv(out).score, np.array(expected, float), equal_nan=True)


@pytest.mark.parametrize("name", ["f.csv", "f.jsonl", "f.parquet"])
def test_the_table_of_faces_has_a_row_for_every_face_also_after_a_kill(
    tmp_path: Path, pictures: list[Target], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    boxes = [(0, 0, 12, 12), (4, 4, 12, 12)]
    monkeypatch.setattr(engine, "find_faces", lambda image: [Face(box, box) for box in boxes])
    out, faces, whole = tmp_path / "s.csv", tmp_path / name, tmp_path / f"whole-{name}"
    score_to_file(pictures, Locating(), tmp_path / "whole.csv", faces=whole)
    with pytest.raises(KeyboardInterrupt):
        score_to_file(pictures, Locating(fail_at=5), out, faces=faces)
    assert not faces.exists()
    assert score_to_file(pictures, Locating(), out, faces=faces)["error"] == 3
    assert faces.read_bytes() == whole.read_bytes()
    table = read_table(faces)
    assert tuple(table.columns) == FACE_COLUMNS
    assert len(table) == 2 * 147  # three pictures cannot be read
    assert table.face.tolist() == [1, 2] * 147
    assert table.box.tolist() == ["0 0 12 12", "4 4 12 12"] * 147
    scores = read_table(out)
    highest = table.groupby("path", sort=False).score.max()
    assert scores[scores.score.notna()].set_index("path").score.tolist() == highest.tolist()


def test_a_table_under_conditions_has_a_row_for_each(tmp_path: Path, pictures: list[Target]) -> None:
    conditions, out = [Condition(), Condition("noise", 3, seed=1)], tmp_path / "s.parquet"
    assert score_to_file(pictures, Brightness(), out, conditions=conditions, faces=tmp_path / "f.csv")["error"] == 6
    table = read_table(out)
    assert tuple(table.columns) == (*COLUMNS, "perturbation", "severity")
    assert list(zip(table.perturbation, table.severity, strict=True)) == [("none", 0), ("noise", 3)] * 150
    plain = table[table.severity == 0]
    expected = [row.score for row in score(pictures, Brightness())]
    assert np.array_equal(plain.score, np.array(expected, float), equal_nan=True)
    first = cut(load(pictures[0].path), (0, 0, 24, 24))
    noisy = perturb(resize(first, 16, 16), "noise", 3, seed=1, key=table.sha256[0])
    assert table.score[1] == Brightness().score(noisy[None])[0]
    assert pd.read_csv(tmp_path / "f.csv").severity.tolist() == [0, 3] * 147


def test_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"\.csv, \.jsonl or \.parquet"):
        score_to_file([], Brightness(), tmp_path / "scores.xlsx")


def test_inputs_are_opened_in_order(tmp_path: Path, pictures: list[Target], manifest: pd.DataFrame) -> None:
    folder = str(tmp_path / "in")
    table = Path(manifest.path[0]).parent / "manifest.csv"
    targets = expand(["absent.jpg", folder, "-", str(table)], lines=["x.jpg\n", "\n", "a b.png\r\n"])
    assert [t.path for t in targets[:1]] == ["absent.jpg"]
    assert [t.path for t in targets[1:151]] == [t.path for t in pictures]
    assert [t.path for t in targets[151:153]] == ["x.jpg", "a b.png"]
    assert len(targets) == 153 + len(manifest)


def test_unusual_file_names_are_kept(tmp_path: Path) -> None:
    path = tmp_path / 'a "b", c\nd.png'
    path.write_bytes(encode(draw_picture(0)))
    score_to_file([Target(str(path))], Brightness(), tmp_path / "s.csv")
    assert pd.read_csv(tmp_path / "s.csv").path[0] == str(path)


@pytest.mark.parametrize("kind", [engine.Row, engine.FaceRow, engine.FrameRow, engine.Judged, engine.Opened])
def test_results_cannot_be_changed(kind: type) -> None:
    assert kind.__dataclass_params__.frozen


def test_a_detector_that_returns_too_few_scores_is_an_error(pictures: list[Target]) -> None:
    """Otherwise the scores of one picture would be written to the row of another."""

    class Forgetful(Brightness):
        def score(self, faces: Images) -> Scores:
            return super().score(faces)[1:]

    with pytest.raises(ValueError, match="shorter"):
        score(pictures, Forgetful())


@pytest.mark.parametrize(("more", "large"), [(-1, False), (0, False), (1, True)])
def test_a_file_is_large_by_its_bytes(tmp_path: Path, more: int, large: bool) -> None:
    path = tmp_path / "picture.jpg"
    with path.open("wb") as file:
        file.truncate(engine.PLAIN_BYTES + more)
    assert engine._is_large(Target(str(path))) is large
    assert not engine._is_large(Target(str(tmp_path / "absent.jpg")))
