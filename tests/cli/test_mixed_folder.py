"""A folder of 346 mixed files gives 346 accounted ones: each is a row of the table, or is counted as left out."""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from clips import move, write_clip
from conftest import run_inside
from phones import HEIC
from PIL import Image as Pillow

from detector.evaluation.suites import SHIPPED
from detector.pictures import video
from detector.pictures.images import can_read_heif, encode, load

FACES = sorted((SHIPPED / "pictures").glob("*.png"))[:12]
FILES = {"photograph.png": 120, "fake.jpg": 60, "group.webp": 40, "phone.heic": 12, "new.avif": 20, "clip.mp4": 8,
         "meme.gif": 50, "note.txt": 30, "paper.pdf": 4, "README": 2}  # fmt: skip


def make_files(folder: Path) -> dict[str, list[bytes]]:
    """Return some different contents for each kind of file; a clip is a torn one where PyAV is missing."""
    faces = [load(path) for path in FACES]
    groups = [np.hstack([np.pad(face, ((40, 40), (40, 40), (0, 0)), "edge") for face in faces[i : i + 2]])
              for i in (0, 2)]  # fmt: skip
    clip = b"\0\0\0\x18ftypmp42" + bytes(40)
    if video.can_decode():
        clip = write_clip(folder / "clip.mp4", move(faces[:1], 6)).read_bytes()
    animated = io.BytesIO()
    Pillow.fromarray(faces[5]).save(animated, "GIF", save_all=True, append_images=[Pillow.fromarray(faces[6])])
    return {"photograph.png": [path.read_bytes() for path in FACES],
            "fake.jpg": [encode(face, "JPEG", quality=80) for face in faces[:4]],
            "group.webp": [encode(group, "WEBP", quality=90) for group in groups], "phone.heic": [HEIC],
            "new.avif": [encode(faces[7], "AVIF")], "clip.mp4": [clip], "meme.gif": [animated.getvalue()],
            "note.txt": [b"a note"], "paper.pdf": [b"%PDF-1.4"], "README": [b"read me"]}  # fmt: skip


def test_every_file_of_a_mixed_folder_is_accounted_for(tmp_path: Path) -> None:
    contents, folder, number = make_files(tmp_path), tmp_path / "mixed", 0
    for name, count in FILES.items():
        stem, ending = Path(name).stem, Path(name).suffix
        for i in range(count):
            number += 1
            kinds = contents[name]
            path = folder / f"{number % 3}" / f"{stem}-{number}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            first = tmp_path / f"{i % len(kinds)}-{name}"
            if not first.exists():
                first.write_bytes(kinds[i % len(kinds)])
            os.link(first, path)  # the same bytes are scored once
    assert number == sum(FILES.values()) == 346

    done = run_inside("score", folder, "-o", tmp_path / "scores.csv")
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    table = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)
    left_out = Counter({".txt": 30, ".pdf": 4, "without ending": 2})
    left_out += Counter({".heic": 0 if can_read_heif() else 12, ".mp4": 0 if video.can_decode() else 8})
    counted = re.search(r"([\d,]+) left out: (.+?) \(", last)
    assert counted is not None, last
    assert int(counted[1]) == left_out.total()
    assert dict(reversed(each.split(" ", 1)) for each in counted[2].split(", ")) == {
        kind: str(count) for kind, count in left_out.items()
    }
    assert len(table) + left_out.total() == 346
    assert last.startswith(f"{len(table)} scored: ")
    assert sum(map(int, re.findall(r"(\d+) (?:likely|inconclusive|not-applicable|error)", last))) == len(table)

    rows = {Path(path): row for path, row in zip(table.path, table.to_dict("records"), strict=True)}
    assert len(rows) == len(table)
    of_kind = {path for path in folder.rglob("*.*") if path.suffix in (".png", ".jpg", ".webp", ".avif", ".gif")}
    assert of_kind <= set(rows)
    assert {row["verdict"] for path, row in rows.items() if path in of_kind} & {"error", ""} == set()
    assert 2 in {row["faces"] for path, row in rows.items() if path.suffix == ".webp"}
    assert all(" of 16 frames" in row["reason"] for path, row in rows.items() if path.suffix == ".mp4") or (
        not video.can_decode()
    )
