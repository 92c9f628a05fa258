from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector import tasks
from detector.errors import ManifestError
from detector.evidence.checks import duplicates, make_exhibit
from detector.files import sha256
from detector.pictures.fingerprints import Fingerprint, append, perceptual_hash
from detector.pictures.images import decode, encode, resize
from detector.types import Finding, Image, Label, Outcome


def picture(seed: int) -> Image:
    """Coarse structure that belongs to this seed alone, as faces have it and drawn blobs do not."""
    return resize(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8), 96, 96)


IMAGE = picture(5)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR_HOME", str(tmp_path / "home"))


def check(image: Image, **options: Path) -> Finding:
    return duplicates.check(make_exhibit(encode(image), Path("x.png")), **options)


def registry(path: Path, *seeds: int) -> Path:
    pictures = {seed: picture(seed) for seed in seeds}
    append([Fingerprint(sha256(encode(p)), perceptual_hash(p), "style", s, "abc") for s, p in pictures.items()], path)
    return path


def known(path: Path, *rows: str, header: str = "sha256,phash,label,note") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_without_a_list_the_check_is_not_applicable() -> None:
    assert check(IMAGE).outcome == Outcome.NOT_APPLICABLE


def test_equal_bytes_match(tmp_path: Path) -> None:
    found = check(IMAGE, registry=registry(tmp_path / "r.jsonl", 4, 5, 6))
    assert found.outcome == Outcome.SUPPORTS_FAKE
    match = found.details["match"]
    assert (match["exact"], match["generator"], match["seed"], match["checkpoint"]) == (True, "style", 5, "abc")


@pytest.mark.parametrize("mirrored", [False, True])
def test_recompressed_resized_and_mirrored(tmp_path: Path, mirrored: bool) -> None:
    changed = decode(encode(resize(IMAGE, 70, 70), "JPEG", quality=60))
    changed = np.ascontiguousarray(changed[:, ::-1]) if mirrored else changed
    found = check(changed, registry=registry(tmp_path / "r.jsonl", 4, 5, 6))
    assert found.outcome == Outcome.SUPPORTS_FAKE
    match = found.details["match"]
    assert (match["seed"], match["exact"], match["mirrored"]) == (5, False, mirrored)
    assert 0 <= match["distance"] <= duplicates.CLOSE[256]


def test_another_picture_is_neutral(tmp_path: Path) -> None:
    other = np.ascontiguousarray(np.rot90(IMAGE))
    found = check(other, registry=registry(tmp_path / "r.jsonl", 5))
    assert (found.outcome, found.details) == (Outcome.NEUTRAL, {"compared": 1, "match": None})


def test_the_registry_of_this_installation_is_the_default(tmp_path: Path) -> None:
    registry(tmp_path / "home" / "fingerprints.jsonl", 5)
    assert check(IMAGE).outcome == Outcome.SUPPORTS_FAKE


def test_a_registry_that_grew_is_read_again(tmp_path: Path) -> None:
    path = registry(tmp_path / "r.jsonl", 4)
    assert check(IMAGE, registry=path).outcome == Outcome.NEUTRAL
    assert check(IMAGE, registry=registry(path, 5)).outcome == Outcome.SUPPORTS_FAKE


@pytest.mark.parametrize(
    ("label", "outcome"),
    [
        ("fake", Outcome.SUPPORTS_FAKE),
        ("1", Outcome.SUPPORTS_FAKE),
        ("real", Outcome.SUPPORTS_REAL),
        ("", Outcome.NEUTRAL),
    ],
)
@pytest.mark.parametrize("side", [8, 16])
def test_the_labels_of_a_list_decide_the_outcome(tmp_path: Path, label: str, outcome: Outcome, side: int) -> None:
    path = known(tmp_path / "k.csv", f",{perceptual_hash(IMAGE, side)},{label},seen in May")
    found = check(IMAGE, known=duplicates.read_known(path))
    assert found.outcome == outcome
    assert found.details["match"]["note"] == "seen in May"


def test_hashes_of_digits_alone_stay_text(tmp_path: Path) -> None:
    path = known(tmp_path / "k.csv", "0000000000000000", "1234567890123456", header="phash")
    assert [e.phash for e in duplicates.read_known(path)] == ["0000000000000000", "1234567890123456"]


@pytest.mark.parametrize("row", ["xyz,,,", ",0011,,", ",,fake,", "00,,,"])
def test_a_row_that_is_no_hash_is_named(tmp_path: Path, row: str) -> None:
    with pytest.raises(ManifestError, match="line 2"):
        duplicates.read_known(known(tmp_path / "k.csv", row))


def test_a_list_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.csv"):
        duplicates.read_known(tmp_path / "none.csv")


def test_bytes_match_even_if_they_do_not_decode(tmp_path: Path) -> None:
    broken = encode(IMAGE)[:60]
    listed = duplicates.read_known(known(tmp_path / "k.csv", f"{sha256(broken)},,fake,"))
    assert duplicates.check(make_exhibit(broken, Path("x")), known=listed).outcome == Outcome.SUPPORTS_FAKE


def test_blank_pictures_match_nothing(tmp_path: Path) -> None:
    blank = np.full((64, 64, 3), 200, np.uint8)
    append([Fingerprint("0" * 64, perceptual_hash(blank), "style", 1, "c")], tmp_path / "r.jsonl")
    assert check(blank + np.uint8(1), registry=tmp_path / "r.jsonl").outcome == Outcome.NEUTRAL


def test_a_manifest_with_perceptual_hashes_is_a_list_of_known_pictures(tmp_path: Path) -> None:
    """A file that cannot be decoded and a blank picture are in it by their SHA-256 alone, and match nothing else."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in (4, 5, 6):
        (folder / f"{seed}.png").write_bytes(encode(picture(seed)))
    (folder / "blank.png").write_bytes(encode(np.full_like(IMAGE, 90)))
    (folder / "torn.png").write_bytes(encode(picture(7))[:200])
    table = tasks.index(folder, tmp_path / "known.csv", label=Label.FAKE, phash=True)
    hashes = {Path(path).stem: code for path, code in zip(table.path, table.phash, strict=True)}
    assert hashes == {str(seed): perceptual_hash(picture(seed)) for seed in (4, 5, 6)} | {"blank": "", "torn": ""}
    listed = duplicates.read_known(tmp_path / "known.csv")
    resaved = make_exhibit(encode(resize(IMAGE, 70, 70), "JPEG", quality=60), Path("x.jpg"))
    found = duplicates.check(resaved, known=listed)
    assert found.outcome == Outcome.SUPPORTS_FAKE
    assert found.details["match"]["sha256"] == sha256(encode(IMAGE))
    other = duplicates.check(make_exhibit(encode(np.full_like(IMAGE, 91)), Path("y.png")), known=listed)
    assert other.details["match"] is None
