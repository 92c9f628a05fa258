"""Reports are valid against their schema, complete and escaped, and need no network."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from detector.dataset.manifest import COLUMNS
from detector.evaluation import joining, measuring, report
from detector.evaluation.figures import MISTAKES, publish
from detector.evaluation.naming import file_names
from detector.evaluation.pairs import find_pairs, measure_pairs
from detector.pictures.images import decode, encode

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>|`$x$` \"'"


class Page(HTMLParser):
    """Every tag with its attributes, and the text of the page apart from style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("style", "script"):
            self.text += data


def row(generator: str = "style", metric: str = "auc", value: float = 0.9, **more: object) -> dict[str, object]:
    plain = {"detector": "cnn", "generator": generator, "real": "all", "perturbation": "none", "severity": 0,
             "metric": metric, "value": value, "low": value - 0.05, "high": value + 0.05, "n_real": 40,
             "n_fake": 30}  # fmt: skip
    return plain | more


def make(folder: Path, rows: list[dict[str, object]], **options: object) -> Page:
    metadata = options.pop("metadata", {})
    report.write_report(folder, report.Report.model_validate({"metadata": metadata, "results": rows}), **options)
    return Page((folder / "report.html").read_text())


def split_tables(lines: list[str]) -> list[list[str]]:
    """The tables of a Markdown text: runs of lines that begin with a bar."""
    return [list(block) for is_table, block in groupby(lines, lambda line: line.startswith("|")) if is_table]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A report with everything in it: two detectors, hostile names, two sources that score unlike, a perturbation, an
    unreadable picture."""
    folder = tmp_path_factory.mktemp("published")
    rng = np.random.default_rng(0)
    rows, scores = [], []
    for generator, mean in (("", 0.0), ("style", 0.5), (HOSTILE, 2.0), (HOSTILE.upper(), 2.0)):
        for i in range(28):
            path = folder / f"{len(rows)}.png"
            if i < 10:  # the other half is missing: no thumbnail, no crash
                path.write_bytes(encode(rng.integers(0, 255, (40, 30, 3), dtype=np.uint8)))
            label = int(generator != "")
            dataset = HOSTILE if i % 2 else "d"
            rows.append((str(path), f"{len(rows):064x}", label, generator, dataset, f"g{len(rows)}", "test", "ours"))
            scores.append(rng.normal(mean - 4 * (label == 0) * (i % 2)))
    manifest = pd.DataFrame(rows, columns=list(COLUMNS))
    parts = []
    for detector in ("cnn", "spectrum"):
        for perturbation, severity in (("none", 0), ("jpeg", 1), ("jpeg", 5)):
            noise = rng.normal(0, 0.1 + severity / 3, len(rows))
            part = manifest[["sha256", "path"]].assign(score=scores + noise, detector=detector)
            parts.append(part.assign(perturbation=perturbation, severity=severity))
    table = pd.concat(parts, ignore_index=True).assign(verdict="")
    table.loc[0, ["score", "verdict"]] = [np.nan, "error"]
    joined = joining.join_scores(table, manifest)
    results = measuring.measure_scores(joined, resamples=20)
    pairs = measure_pairs(find_pairs(manifest), joined)
    audit = [{"name": "size", "severity": "serious", "summary": "<b>all</b> differ", "fix": "crop", "value": 0.9}]
    publish(
        joined, results, folder / "out", pairs=pairs, audit=audit,
        metadata={"command": f"detector evaluate {HOSTILE}", "split": "test", "versions": {"numpy": "2"}},
        faces={"style": [*manifest.path[28:32], str(folder / "absent.png")], "none": [str(folder / "absent.png")]},
    )  # fmt: skip
    return folder / "out", results


def test_the_schema_is_current() -> None:
    """After a change: SCHEMA.write_text(make_schema()), both of detector.evaluation.report."""
    assert report.SCHEMA.read_text() == report.make_schema()
    jsonschema.Draft202012Validator.check_schema(json.loads(report.make_schema()))


def test_the_record_is_valid_and_holds_every_result(published: tuple[Path, pd.DataFrame]) -> None:
    folder, results = published
    record = json.loads((folder / "report.json").read_text())
    jsonschema.validate(record, json.loads(report.SCHEMA.read_text()))
    assert list(record["results"][0]) == measuring.COLUMNS
    pd.testing.assert_frame_equal(pd.DataFrame(record["results"]), results)
    headline = record["metadata"]["headline"]
    assert [h | {"false_alarms": None} for h in headline] == measuring.summarise(results)
    alarms = pd.DataFrame(record["false_alarms"]).query("detector == 'cnn' and perturbation == 'none'")
    assert headline[0]["false_alarms"]["rate"] == alarms.rate.max() > 0
    assert {p["role"] for p in record["pairs"]} == {"photographs", "fakes"}
    assert len(record["pairs"]) == 2 * 3 * 4  # detectors, conditions, one pair of photographs and three of fakes
    assert record["metadata"]["excluded"] == {"cnn": {"real": 1}}
    assert record["metadata"]["level"] == 0.95


def test_the_files(published: tuple[Path, pd.DataFrame]) -> None:
    folder, _ = published
    names = {p.name for p in folder.iterdir()}
    assert {"report.json", "report.md", "report.html", "roc.png", "det.png", "scores_style.png", "tippett.png",
            "reliability.png", "robustness.png", "faces_style.png"} <= names  # fmt: skip
    assert "faces_none.png" not in names
    assert len([n for n in names if n.startswith("scores_")]) == 3  # two names differ in case alone
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+\.(png|json|md|html)", n) for n in names)
    for path in folder.glob("*.png"):
        assert decode(path.read_bytes()).std() > 5


def test_the_page_needs_nothing_else(published: tuple[Path, pd.DataFrame]) -> None:
    page = Page((published[0] / "report.html").read_text())
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert "onerror" not in attributes
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "@import" not in (published[0] / "report.html").read_text()


def test_names_are_text(published: tuple[Path, pd.DataFrame]) -> None:
    page = Page((published[0] / "report.html").read_text())
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert HOSTILE in page.text
    assert f"detector evaluate {HOSTILE}" in page.text
    assert "<b>all</b> differ" in page.text
    markdown = (published[0] / "report.md").read_text()
    assert "<script" not in re.sub(r"\\.", "", markdown)
    lines = re.sub(r"\\.", "", markdown).splitlines()
    tables = [[line.count("|") for line in block] for block in split_tables(lines)]
    assert len(tables) > 10
    assert all(len(set(widths)) == 1 for widths in tables)


def test_the_page_shows_what_there_is(published: tuple[Path, pd.DataFrame]) -> None:
    folder, results = published
    page = Page((folder / "report.html").read_text())
    (first, _) = measuring.summarise(results)
    assert (first["worst_generator"], first["worst_real"]) == ("style", "d")
    for text in ("generators against sources of photographs", "the worst of 6 pairs of generator and photographs",
                 "the score of cnn follows the source of the photographs", "False alarms",
                 f"{first['value']:.3f}", f"[{first['low']:.3f}, {first['high']:.3f}]", f"{first['mean']:.3f}",
                 "cnn could not read 1 of its 112 pictures", "severity 5", "Most confident mistakes"):  # fmt: skip
        assert text in page.text
    images = [a["src"] for tag, a in page.tags if tag == "img"]
    assert sum(src.startswith("data:image/png") for src in images) == len(list(folder.glob("*.png")))
    assert 0 < sum(src.startswith("data:image/jpeg") for src in images) <= 4 * MISTAKES
    assert any(a.get("class") == "blank" for _, a in page.tags)


def test_optional_sections_are_absent_without_data(tmp_path: Path) -> None:
    page = make(tmp_path, [row()])
    for text in ("Audit", "mistakes", "perturbation", "ROC and DET", "Faces"):
        assert text not in page.text
    assert {p.name for p in tmp_path.iterdir()} == {"report.json", "report.md", "report.html"}


def test_the_worst_generator_comes_first(tmp_path: Path) -> None:
    for metric, order in (("auc", ["low", "middle", "high"]), ("eer", ["high", "middle", "low"])):
        rows = [row(name, metric, value) for name, value in (("middle", 0.5), ("high", 0.8), ("low", 0.2))]
        page = make(tmp_path, rows)
        assert sorted(order, key=page.text.index) == order
        lines = [line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("| cnn")]
        assert [line.split(" | ")[1] for line in lines] == order


def test_an_interval_without_an_upper_end(tmp_path: Path) -> None:
    make(tmp_path, [row(metric="cllr", high=None)])
    record = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(record, json.loads(report.SCHEMA.read_text()))
    assert record["results"][0]["high"] is None
    assert "0.900 [0.850, ∞]" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("bad", [{"value": float("nan")}, {"n_fake": 0}, {"severity": 6}, {"extra": 1}])
def test_a_result_that_is_none_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        report.Result.model_validate(row(**bad))


def test_a_report_replaces_the_last_one_whole(tmp_path: Path) -> None:
    make(tmp_path, [row(value=0.9)])
    make(tmp_path, [row(value=0.8)])
    assert "0.800" in (tmp_path / "report.md").read_text()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    json.loads((tmp_path / "report.json").read_text())


def test_file_names_are_safe_and_differ() -> None:
    names = file_names(["../../etc", "a b", "A_b", "", "..", "x" * 300, "人"])
    assert names == ["etc", "a_b", "A_b-2", "unnamed", "unnamed-2", "x" * 80, "unnamed-3"]


def test_groups_aligned_figures_and_flips_are_shown(tmp_path: Path) -> None:
    fairness = {
        "rows": [
            {"detector": "cnn", "column": "race", "group": HOSTILE, "metric": "fpr", "value": 0.125, "low": 0.05,
             "high": 0.25, "n": 40, "people": 40},
            {"detector": "cnn", "column": "race", "group": "b", "metric": "fpr", "value": None, "low": None,
             "high": None, "n": 7, "people": 7},
        ],
        "gaps": [{"detector": "cnn", "column": "race", "metric": "fpr", "worst": HOSTILE, "best": "c", "gap": 0.11,
                  "p": 0.01, "p_corrected": 0.02}],
    }  # fmt: skip
    aligned = [{"detector": "cnn", "generator": HOSTILE, "plain": 0.987, "aligned": 0.654, "difference": -0.333,
                "low": -0.4, "high": -0.2, "p": 0.001, "n_real": 5, "n_fake": 6, "saved": "64 px"}]  # fmt: skip
    flips = [{"detector": "cnn", "perturbation": "jpeg", "severity": 3, "flips": 0.25, "low": 0.1, "high": 0.4, "n": 9}]
    page = make(tmp_path, [row(), row(perturbation="jpeg", severity=3, value=0.7)],
                metadata={"fairness": fairness, "aligned": aligned, "verdict_flips": flips})  # fmt: skip
    markdown = (tmp_path / "report.md").read_text()
    for text in (page.text, markdown):
        for words in ("Errors of cnn by race", "0.125", "too few", "beyond chance", "corrected 0.020", "0.654",
                      "-0.333", "flips 25.0 %"):  # fmt: skip
            assert words in text
        assert "'value'" not in text  # not once more as a list
    assert not [tag for tag, attributes in page.tags if "onerror" in attributes]
    assert HOSTILE not in markdown


def test_the_facts_of_a_run_are_words_and_not_the_text_of_a_python_object(published: tuple[Path, pd.DataFrame]) -> None:
    for name in ("report.md", "report.html"):
        text = (published[0] / name).read_text()
        assert "numpy 2" in text
        assert "{'numpy'" not in text
