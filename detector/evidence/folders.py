"""One folder an exhibit: its record, the renderings of it, what the log says of it, and its row in the index."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detector.evidence import rendering
from detector.evidence.custody import RECORD, CustodyLog
from detector.evidence.pdf import make_pdf
from detector.files import sha256, write_bytes, write_text
from detector.pictures.faces import prepare
from detector.pictures.images import encode
from detector.types import Image

URGENT = {"likely-fake": 0, "inconclusive": 2, "not-applicable": 3, "error": 4, "likely-real": 5}
OTHERS = 1  # of an exhibit to which checks beside the detector point
THUMBNAIL = 96  # side of a face in the index, pixels


def find_record(folder: Path, **same: Any) -> dict[str, Any] | None:
    """Return the record of an earlier run whose entries are the same, if it was filed to the end."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_bytes())
        fits = all(record[name] == value for name, value in same.items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if fits and (folder / "report.pdf").is_file() else None


def file_record(folder: Path, record: Mapping[str, Any], image: Image | None, log: CustodyLog) -> None:
    """Write a sealed record and its renderings below a folder, and what was written into the log."""
    source = {"exhibit": record["exhibit"]["sha256"], "path": record["exhibit"]["path"]}
    log.append("received", source)
    pictures = rendering.draw_pictures(record, image)
    files = {
        "report.html": rendering.make_page(record, pictures).encode(),
        "report.md": rendering.make_markdown(record).encode(),
        "report.pdf": make_pdf(record, pictures),
        RECORD: (json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode(),
    }
    for name, data in files.items():
        write_bytes(folder / name, data)
    hashes = {name: sha256(data) for name, data in files.items()}
    log.append("reported", source | {"folder": folder.name, "files": hashes})


def summarise(record: Mapping[str, Any], folder: Path, image: Image | None) -> dict[str, Any]:
    """Return a record's row of the index."""
    conclusion = record["conclusion"]
    others = [f["check"] for f in record["findings"] if f["outcome"] == "supports-fake" and f["check"] != "detector"]
    faces = next(f["details"]["faces"] for f in record["findings"] if f["check"] == "detector")
    crop = rendering.locate_box(faces[0]["crop"], record, image) if faces and image is not None else None
    jpeg = b"" if image is None else encode(prepare(image, THUMBNAIL, crop), "JPEG", quality=80)
    return {"name": Path(record["exhibit"]["path"]).name, "folder": folder.name, "opinion": conclusion["opinion"],
            "log10_lr": conclusion["log10_lr"], "others": others, "statement": conclusion["statement"],
            "jpeg": jpeg}  # fmt: skip


def rank(row: Mapping[str, Any]) -> tuple[int, float]:
    """Return what rows are sorted by: the most urgent first."""
    return min(URGENT[row["opinion"]], OTHERS if row["others"] else 9), -(row["log10_lr"] or 0)


def file_index(out: Path, rows: Sequence[Mapping[str, Any]], case: str) -> None:
    """Write index.html, the rows in their order."""
    write_text(out / "index.html", rendering.make_index(rows, f"Evidence{f', case {case}' if case else ''}"))
