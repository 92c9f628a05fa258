from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import draw_picture

from detector.errors import ManifestError
from detector.files import home
from detector.pictures.fingerprints import Fingerprint, append, distances, perceptual_hash, read_fingerprints
from detector.pictures.images import decode, encode, resize

# python -c "import imagehash; from PIL import Image; from conftest import draw_picture;
#   print(imagehash.phash(Image.fromarray(draw_picture(7)), hash_size=8 or 16))"     # imagehash 4.3.2, Pillow 13.0.0
GOLDEN = {8: "9867669b66772492", 16: "98b06703662a9bb666997792646d92946c9e8aab4ebd9e765056da7da09403d7"}


@pytest.mark.parametrize("side", [8, 16])
def test_hash_is_that_of_imagehash(side: int) -> None:
    computed, golden = perceptual_hash(draw_picture(7), side), GOLDEN[side]
    assert len(computed) == side * side // 4
    assert distances(computed, [golden])[0] <= 2 / side**2  # another Pillow may round a median otherwise


def test_hash_outlives_saving_and_resizing() -> None:
    image = draw_picture(7, size=96)
    changed = decode(encode(resize(image, 64, 64), "JPEG", quality=60))
    others = [perceptual_hash(draw_picture(seed, size=96)) for seed in range(20, 30)]
    apart = distances(perceptual_hash(image), [perceptual_hash(changed), *others])
    assert apart[0] < apart[1:].min()


def test_distance_is_the_share_of_bits() -> None:
    assert distances("00ff", ["00ff", "01ff", "ff00", "00"]).tolist() == [0, 1 / 16, 1, np.inf]
    assert distances("00ff", []).shape == (0,)


def test_the_registry_can_be_read_and_extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR_HOME", str(tmp_path / "mine"))
    assert read_fingerprints() == []
    first, second = (Fingerprint("a" * 64, "00" * 32, "style", seed, "c") for seed in (1, 2))
    append([first])
    append([second])
    assert read_fingerprints() == [first, second]
    assert [p.name for p in home().iterdir()] == ["fingerprints.jsonl"]


@pytest.mark.parametrize("line", ["torn", "[]", '{"sha256": "a"}', "3"])
def test_a_line_that_is_no_fingerprint_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "r.jsonl"
    append([Fingerprint("a" * 64, "00", "g", 0, "c")], path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ManifestError, match="line 2"):
        read_fingerprints(path)


def test_an_incomplete_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    first, second = (Fingerprint("a" * 64, "00", "g", seed, "c") for seed in (1, 2))
    append([first], path)
    with path.open("ab") as file:
        file.write(path.read_bytes()[:30])
    assert read_fingerprints(path) == [first]
    append([second], path)
    assert read_fingerprints(path) == [first, second]
