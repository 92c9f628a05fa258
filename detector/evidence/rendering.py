"""Render an evidence record as one HTML page or as Markdown, with its pictures.

The record is the evidence; these are renderings of it. File names and metadata are strangers' text and are escaped. The
page needs no network and no other file.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from detector.evidence.validation import describe_validation
from detector.files import open_templates, printable
from detector.pictures.faces import prepare
from detector.pictures.images import decode, encode, resize
from detector.statistics.calibration import state_ratio
from detector.types import Decoded, Image, Outcome

TEMPLATES = Path(__file__).parent
SIDE = 420  # longer side of a picture on the page, pixels
WINDOW = 1024  # side of the middle part whose error levels are shown, pixels
MADE, KEPT = np.array([214.0, 69.0, 32.0]), np.array([38.0, 110.0, 190.0])  # colours of the fake and real end of a map
ROWS = 60  # largest number of rows of a finding's details that are shown


@dataclass(frozen=True)
class Picture:
    """A JPEG and its caption."""

    caption: str
    jpeg: bytes
    width: int
    height: int


def draw_pictures(record: Mapping[str, Any], image: Image | None) -> list[Picture]:
    """Return the exhibit with its faces, the face, score map, noise map and error levels; [] if it does not decode."""
    if image is None:
        return []
    details = {finding["check"]: finding["details"] for finding in record["findings"]}
    faces = details["detector"]["faces"]
    boxes = [locate_box(face["box"], record, image) for face in faces]
    pictures = [
        _picture("The exhibit; boxes mark the faces, the thick one the face that decides.", _boxed(image, boxes))
    ]
    if faces:
        face = prepare(image, SIDE, locate_box(faces[0]["crop"], record, image), faces[0].get("turns", 0))
        pictures.append(_picture("The face as the detector was given it, enlarged or reduced.", face))
        if faces[0]["map"] is not None:
            values = np.array(faces[0]["map"])
            caption = "Score map: red speaks for H1, blue for H2. It shows where, not why."
            pictures.append(_picture(caption, _overlay(face, values, max(3.0, float(np.abs(values).max())))))
    noise = details["residual"].get("map")
    if noise:
        left, top = noise["left_top"]
        values = np.array(noise["log2"])
        height, width = (n * noise["block"] for n in values.shape)
        part = image[top : top + height, left : left + width]
        caption = "Noise, against its median over the picture: red more, blue less. Flat areas have less by nature."
        pictures.append(_picture(caption, _overlay(_fit(part), values, 3.0)))
    pictures.append(
        _picture("Error levels after one more JPEG save, enlarged; for the eye, never scored.", _levels(image))
    )
    return pictures


def locate_box(box: Sequence[int], record: Mapping[str, Any], image: Image) -> tuple[int, int, int, int]:
    """Return a box of the exhibit in pixels of its decoded picture, which is smaller for a very large JPEG."""
    left, top, right, bottom = box
    whole = Decoded(image, record["exhibit"]["width"], record["exhibit"]["height"])
    return whole.shrink((left, top, right, bottom))


def make_page(record: Mapping[str, Any], pictures: Sequence[Picture]) -> str:
    """Return the HTML of one record."""
    details = {finding["check"]: list_details(finding["details"]) for finding in record["findings"]}
    words = {outcome.value: outcome.words for outcome in Outcome}
    whole = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False)
    page = _environment().get_template("evidence.html.jinja")
    return page.render(r=record, pictures=pictures, rows=details, words=words, canonical=whole)


def make_index(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """Return the HTML of a batch: one row per exhibit, in the order given."""
    return _environment().get_template("triage.html.jinja").render(rows=rows, title=title)


def make_markdown(record: Mapping[str, Any]) -> str:
    """Return the record as Markdown; text from the exhibit is put into code spans."""
    r, c = record, record["conclusion"]

    def code(text: Any) -> str:
        return "`" + printable(" ".join(str(text).replace("`", "'").split())) + "`"

    lines = ["# Evidence report", "", f"**{c['statement']}**", ""]
    lines += [f"- {name}: {text}" for name, text in r["propositions"].items()]
    if c["log10_lr"] is not None:
        low, high = c["bounds"]
        lines += ["", f"log10 likelihood ratio {format_ratio(c)}, "
                  f"bounded to [{low:.2f}, {high:.2f}] by the calibration set.", "",
                  "| share of generated faces before | after |", "|---|---|"]  # fmt: skip
        lines += [f"| {p['prior']:.1%} | {p['posterior']:.2%} |" for p in c["posteriors"]]
    lines += ["", "| exhibit | |", "|---|---|"]
    lines += [f"| {key} | {code(value)} |" for key, value in r["exhibit"].items()]
    lines += [f"| {key} | {code(r[key])} |" for key in ("case", "examiner") if r[key]]
    lines += ["", "## Findings", ""]
    for finding in r["findings"]:
        lines += [f"- **{finding['check']}** ({Outcome(finding['outcome']).words}): {code(finding['summary'])}"]
    lines += ["", "## Alternatives", "", *[f"- {text}" for text in c["alternatives"]]]
    lines += ["", "## Limits", "", *[f"- {text}" for text in r["limits"]]]
    lines += [
        "",
        "## Made",
        "",
        *[f"- {key}: {code(value)}" for key, value in {**r["made"], **r["components"]}.items()],
    ]
    return "\n".join([*lines, "", f"SHA-256 of the record: `{r['sha256']}`", ""])


def list_details(details: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the details of a finding as (name, text), nested names joined by dots; long lists are counted."""
    rows: list[tuple[str, str]] = []
    for key, value in details.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += list_details(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, item in enumerate(value, 1):
                rows += list_details(item, f"{prefix}{key} {number}." if len(value) > 1 else f"{prefix}{key}.")
        elif isinstance(value, list) and (len(value) > 16 or any(isinstance(v, list) for v in value)):
            rows.append((name, f"{len(value)} rows, in the record"))
        elif isinstance(value, list):
            rows.append((name, ", ".join(map(str, value)) or "none"))
        else:
            rows.append((name, {None: "none", True: "yes", False: "no"}.get(value, str(value))
                         if value is None or isinstance(value, bool) else str(value)))  # fmt: skip
    return rows[:ROWS]


def format_ratio(conclusion: Mapping[str, Any]) -> str:
    """Return the log10 likelihood ratio of a conclusion with its interval (`calibration.state_ratio`)."""
    return state_ratio(conclusion["log10_lr"], conclusion["interval"], conclusion["bounds"])


@functools.cache
def _environment() -> jinja2.Environment:
    return open_templates(
        TEMPLATES, base64=lambda data: base64.b64encode(data).decode(), ratio=format_ratio, errors=describe_validation
    )


def _picture(caption: str, image: Image) -> Picture:
    return Picture(caption, encode(image, "JPEG", quality=85), image.shape[1], image.shape[0])


def _fit(image: Image) -> Image:
    """Return a picture whose longer side is SIDE."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    return resize(np.ascontiguousarray(image), max(round(width * scale), 1), max(round(height * scale), 1))


def _boxed(image: Image, boxes: Sequence[tuple[int, int, int, int]]) -> Image:
    small = _fit(image).copy()
    scale = SIDE / max(image.shape[:2])
    for number, box in enumerate(boxes):
        left, top, right, bottom = (max(round(v * scale), 0) for v in box)
        wide = 1 if number else 3
        edge = np.zeros(small.shape[:2], bool)
        edge[top:bottom, left:right] = True
        edge[top + wide : max(bottom - wide, 0), left + wide : max(right - wide, 0)] = False
        small[edge] = (255, 214, 10)
    return small


def _overlay(image: Image, values: NDArray[np.float64], full: float) -> Image:
    """Return a picture tinted by a map (h, w): red above 0, blue below, strongest at `full`."""
    height, width = image.shape[:2]
    level = np.clip(values / full, -1, 1)
    grey = np.asarray(np.round((level + 1) * 127.5), np.uint8)
    level = resize(np.repeat(grey[:, :, None], 3, 2), width, height)[:, :, :1].astype(np.float64) / 127.5 - 1
    luma = image.mean(2, keepdims=True) * 0.7 + 40
    tint = np.where(level > 0, MADE, KEPT)
    return np.asarray(np.clip(luma + np.abs(level) * 0.75 * (tint - luma), 0, 255), np.uint8)


def _levels(image: Image) -> Image:
    """Return how much the middle changes in a JPEG save of quality 90, brightened. Source: Krawetz 2007."""
    top, left = (max(0, side - WINDOW) // 2 for side in image.shape[:2])
    part = np.ascontiguousarray(image[top : top + WINDOW, left : left + WINDOW])
    change = np.abs(decode(encode(part, "JPEG", quality=90)).astype(int) - part)
    bright = np.clip(change * (255 / max(float(np.quantile(change, 0.995)), 4.0)), 0, 255)
    return _fit(bright.astype(np.uint8))
