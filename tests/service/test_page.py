"""The page in a real browser: drop, search, filter, decide by key, blend the map, download; and its labels."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service.browser import Browser, find_chromium
from service.running import Inline, listening

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import httpx

from detector.evaluation.suites import SHIPPED
from detector.files import sha256
from detector.pictures.images import encode, load, resize

FACE = max(sorted(SHIPPED.rglob("*.png"))[:10], key=lambda path: path.stat().st_size)
UNNAMED = """
[...document.querySelectorAll('a, button, input:not([type=hidden]), nav, svg, img, [role=region]')].filter(e => !(
  e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim() || e.hasAttribute('alt')
)).map(e => e.outerHTML)"""
LIGHTNESS = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser."""
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed")
    with closing(Browser(program)) as browser:
        yield browser


def write_pictures(folder: Path) -> dict[str, Path]:
    """A face, a copy of it that was saved again, and a text that is called a picture, two of them in a folder."""
    face = resize(load(FACE), 256, 256)
    (folder / "inner").mkdir(parents=True)
    files = {"face.png": encode(face), "copy.jpg": encode(face, "JPEG", quality=70), "text.png": b"no picture"}
    paths = {name: folder / ("inner" if name != "face.png" else "") / name for name in files}
    for name, data in files.items():
        paths[name].write_bytes(data)
    return paths


def test_a_person_drops_filters_decides_and_downloads(address: str, browser: Browser, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "given")
    digest = sha256(paths["face.png"].read_bytes())
    browser.open(f"{address}/")
    browser.drop_files("#drop", [paths["face.png"], tmp_path / "given" / "inner"])
    browser.until("document.querySelectorAll('#queue .name').length === 3")
    browser.until("document.getElementById('drop').dataset.waiting === '0' || "
                  "document.getElementById('message').textContent === 'All pictures are judged.'")  # fmt: skip
    check_looks(browser, f"{address}/", tmp_path, "queue")

    browser.run("document.querySelector('#counts a[href*=\"verdict=error\"]').click()")
    browser.until("[...document.querySelectorAll('#queue .name')].map(e => e.textContent).join() === 'text.png'")
    browser.run("document.getElementById('q').value = 'FACE'; document.querySelector('[name=verdict]').value = ''; "
                "document.querySelector('.search button').click()")  # fmt: skip
    browser.until("[...document.querySelectorAll('#queue .name')].map(e => e.textContent).join() === 'face.png'")
    browser.run("document.querySelector('#queue a').click()")
    browser.until("!!document.querySelector('.finding')")  # the page of the verdict, then by itself that of the report
    assert browser.run("document.querySelector('.pairs a').textContent") == "copy.jpg"
    check_looks(browser, f"{address}/exhibits/{digest}", tmp_path, "exhibit")

    browser.press("u")
    browser.until("document.querySelector('button[value=unsure]').getAttribute('aria-pressed') === 'true'")
    browser.run("location.reload()")
    browser.until("document.querySelector('button[value=unsure]')?.getAttribute('aria-pressed') === 'true'")
    browser.until("document.getElementById('slider')?.hidden === false")
    browser.run("s = document.getElementById('strength'); s.value = 30; s.dispatchEvent(new Event('input'))")
    assert browser.run("getComputedStyle(document.getElementById('map')).opacity") == "0.3"
    links = browser.run("[...document.querySelectorAll('.actions a.button')].map(a => a.href)")
    assert [httpx.get(link, timeout=240).content[:4] for link in links[1:2]] == [b"%PDF"]
    assert len(links) == 3


def test_the_page_of_a_picture_has_its_verdict_while_its_report_is_made(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detector.service import runner

    go = threading.Event()

    class Halting(Inline):
        def stream(self, task: str, data: bytes, **options: Any) -> Iterator[Any]:
            if task.endswith(":examine"):
                go.wait(240)
            return super().stream(task, data, **options)

    monkeypatch.setattr(runner, "Sandbox", Halting)
    data = encode(resize(load(FACE), 256, 256))
    with listening(tmp_path / "state") as address:
        httpx.post(f"{address}/v1/images", params={"name": "face.png"}, content=data, timeout=240).raise_for_status()
        page = f"{address}/exhibits/{sha256(data)}"
        try:
            browser.open(page)
            browser.until(
                "document.querySelector('#progress p').textContent.startsWith('The picture is being examined')"
            )
            browser.press("c")
            browser.until("document.querySelector('button[value=confirm]').getAttribute('aria-pressed') === 'true'")
            check_looks(browser, page, tmp_path, "judged")
        finally:
            go.set()
        browser.until("!!document.querySelector('.finding')")
        assert browser.run("document.querySelector('button[value=confirm]').getAttribute('aria-pressed')") == "true"


def check_looks(browser: Browser, address: str, folder: Path, name: str) -> None:
    """Check that nothing is cut off at 375 pixels, that dark is dark, and that everything has a name for a reader.

    With DETECTOR_SCREENSHOTS the pictures are kept in that folder.
    """
    folder = Path(os.environ.get("DETECTOR_SCREENSHOTS", folder))
    browser.open(address)
    assert browser.run(UNNAMED) == []
    light: dict[bool, Any] = {}
    for dark in (False, True):
        for width in (1440, 375):
            browser.show(width, dark=dark)
            assert browser.run("document.documentElement.scrollWidth") <= width
            browser.take_picture(folder / f"{name}-{width}-{'dark' if dark else 'light'}.png")
        light[dark] = browser.run(LIGHTNESS)
    assert light[True] < 200 < 500 < light[False]
    shown = {dark: load(folder / f"{name}-1440-{word}.png") for dark, word in ((False, "light"), (True, "dark"))}
    assert float(np.median(shown[True])) < 100 < 200 < float(np.median(shown[False]))
