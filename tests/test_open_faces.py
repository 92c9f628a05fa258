"""The gathering of open faces: which pictures of a repository are kept, and what the manifest says of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_picture
from open_faces import LEAST, Source, gather

from detector.dataset.embedded import unpack_faces
from detector.dataset.manifest import validate
from detector.files import sha256
from detector.pictures.images import encode, load, resize
from detector.types import Image

WIDTH, HEIGHT = 4 * 92, 4 * 112  # four times as large as the embedded photographs


def make_portrait(folder: Path) -> Image:
    """Return an embedded photograph, which is grey, enlarged and in brown (HEIGHT, WIDTH, 3)."""
    grey = resize(load(unpack_faces(folder).path.iloc[0]), WIDTH, HEIGHT)
    return np.asarray(grey * np.array([1.0, 0.8, 0.6]), np.uint8)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_of_a_repository_the_faces_in_colour_are_kept_once(tmp_path: Path) -> None:
    face = make_portrait(tmp_path / "embedded")
    files = {
        "team/jo-doe.jpg": encode(face, "JPEG"),
        "team/jo-doe-again.JPG": encode(resize(face, WIDTH - 8, HEIGHT - 10), "JPEG", quality=70),
        "team/grey.jpg": encode(np.repeat(face.mean(2, keepdims=True).astype(np.uint8), 3, axis=2), "JPEG"),
        "team/small.jpg": encode(resize(face, WIDTH // 4, HEIGHT // 4), "JPEG"),
        "team/logo.jpg": encode(draw_picture(1, size=200), "JPEG"),
        "team/torn.jpg": b"\xff\xd8\xff",
        "team/other.png": encode(face, "PNG"),
        "elsewhere/jo-doe.jpg": encode(np.ascontiguousarray(face[:, ::-1]), "JPEG"),
    }
    for name, data in files.items():
        (tmp_path / "work" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "work" / name).write_bytes(data)
    git = ["git", "-C", str(tmp_path / "work"), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "Faces"]):
        subprocess.run([*git, *words], check=True)
    shutil.copytree(tmp_path / "work" / ".git", tmp_path / "out" / "repositories" / "some+site.git")
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    table = validate(gather(tmp_path / "out", (Source("team", "some/site", commit, ("team",), "CC0-1.0"),)))
    again = files["team/jo-doe-again.JPG"]
    assert list(table.sha256) == [sha256(again)]  # the first by name of two pictures that are nearly the same
    row = table.iloc[0]
    assert (row.label, row.dataset, row.group, row.licence) == (0, "team", "team-jodoeagain", "CC0-1.0")
    assert Path(row.path).read_bytes() == again
    left, top, right, bottom = map(int, row.crop.split())
    assert right - left == bottom - top >= LEAST
