"""A judgement is what `score` says, and what the file declares; its opinion is that of the report where both decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import count_up, move, write_clip
from conftest import draw_picture

from detector import tasks
from detector.errors import ImageError, ProcessDied, ProcessKilled, UnsupportedFormat
from detector.evaluation.suites import SHIPPED
from detector.pictures.fingerprints import distances, perceptual_hash
from detector.pictures.images import decode, encode, load, resize
from detector.pictures.labelling import insert_xmp
from detector.scoring.targets import Target
from detector.tasks import examining
from detector.tasks.examining import Examiner, Judgement, hash_picture, load_examiner

FACE = max(sorted(SHIPPED.rglob("*.png"))[:10], key=lambda path: path.stat().st_size)
DECLARES = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
    b"<rdf:Description xmlns:i='http://iptc.org/std/Iptc4xmpExt/2008-02-29/'"
    b" i:DigitalSourceType='http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia'/>"
    b"</rdf:RDF></x:xmpmeta>"
)
CAPS = {"max_bytes": 10**6, "max_pixels": 10**6}


@pytest.fixture(scope="module")
def examiner() -> Examiner:
    """The shipped detector."""
    return load_examiner()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A face, one that declares that it was generated, a drawing, a text, and a picture over the cap on pixels."""
    folder = tmp_path_factory.mktemp("files")
    face = resize(load(FACE), 256, 256)
    declared = insert_xmp(encode(face, "JPEG", quality=90), DECLARES)
    written = {"a.png": encode(face), "b.jpg": declared, "c.png": encode(draw_picture(1, size=96)),
               "d.png": b"no picture", "e.png": encode(np.zeros((1001, 1000, 3), np.uint8))}  # fmt: skip
    for name, data in written.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in written]


def judge(examiner: Examiner, files: list[Path]) -> list[Judgement]:
    return list(examiner.judge([Target(str(path)) for path in files], **CAPS))


def test_a_judgement_has_the_row_of_score(examiner: Examiner, files: list[Path]) -> None:
    found = judge(examiner, files)
    table = tasks.score(list(map(str, files)))
    for judged, row in zip(found[:3], table.itertuples(), strict=False):
        assert (judged.row.sha256, judged.row.verdict, judged.row.reason) == (row.sha256, row.verdict, row.reason)
        assert judged.row.score == row.score
        assert load_size(judged.thumbnail) == (96, 96)
        assert len(judged.phash) == 64
    assert [judged.opinion for judged in found] == [table.verdict[0], "declared-generated", "not-applicable", "error",
                                                    "error"]  # fmt: skip
    assert found[3].row.reason == table.reason[3]
    assert "1000 x 1001 pixels; the cap is 1 megapixels" in found[4].row.reason


def load_size(data: bytes) -> tuple[int, int]:
    return decode(data).shape[:2]


def test_a_declaration_is_that_of_the_report(examiner: Examiner, files: list[Path]) -> None:
    record, _ = examiner.examine(files[1].read_bytes(), "b.jpg", max_pixels=10**6)
    judged = judge(examiner, files[1:2])[0]
    assert record["conclusion"]["opinion"] == judged.opinion == "declared-generated"
    assert judged.declared.startswith("The file declares that it was generated: IPTC source type")
    assert record["conclusion"]["statement"].startswith(judged.declared)
    assert record["findings"][0]["details"]["faces"][0]["score"] == pytest.approx(judged.row.score, abs=1e-4)


def test_a_video_is_judged_as_score_does_and_has_no_report(examiner: Examiner, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip", move([load(FACE)], 8))
    (empty,) = judge(examiner, [write_clip(tmp_path / "grey", count_up(4))])
    assert (empty.opinion, empty.thumbnail) == ("not-applicable", b"")
    (judged,), table = judge(examiner, [clip]), tasks.score(str(clip))
    assert (judged.opinion, judged.row.score, judged.row.reason) == (table.verdict[0], table.score[0], table.reason[0])
    assert "frames" in judged.row.reason
    assert load_size(judged.thumbnail) == (96, 96)
    with pytest.raises(UnsupportedFormat, match="this is a video"):
        examiner.examine(clip.read_bytes(), "clip", max_pixels=10**6)


@pytest.mark.parametrize(("error", "ends"), [(ProcessKilled("killed"), True), (ProcessDied("crashed"), False)])
def test_only_a_decoder_that_was_killed_from_outside_leaves_a_picture_without_a_judgement(
    examiner: Examiner, files: list[Path], monkeypatch: pytest.MonkeyPatch, error: ImageError, ends: bool
) -> None:
    def fail(_: bytes) -> None:
        raise error

    monkeypatch.setattr(examining, "decode_picture", fail)
    if ends:
        with pytest.raises(ProcessKilled):
            judge(examiner, files[:1])
    else:
        assert judge(examiner, files[:1])[0].row.reason == "too costly to decode: crashed"


def test_the_hash_of_a_copy_is_nearly_that_of_the_picture() -> None:
    face = resize(load(FACE), 1280, 960)
    copy = decode(encode(resize(face, 900, 675), "JPEG", quality=60))
    assert distances(hash_picture(face), [hash_picture(copy)])[0] <= 8 / 256
    assert distances(hash_picture(face), [perceptual_hash(face, 16)])[0] <= 12 / 256
    assert hash_picture(np.full((64, 64, 3), 7, np.uint8)) == ""
    assert hash_picture(face[:15]) == ""
