"""No two detectors of an evaluation share a name."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import tasks
from detector.errors import ScoresError
from detector.evaluation.naming import Source, file_names, name_apart

PARTS = st.lists(st.sampled_from(["a", "A", "b", "c.d"]), min_size=1, max_size=4)
SOURCES = st.builds(
    lambda parts, names, folder: Source(Path("/", *parts), tuple(names) if not folder else ("cnn",), folder),
    PARTS, st.lists(st.sampled_from(["cnn", "x", "a"]), max_size=2, unique=True), st.booleans(),
)  # fmt: skip


@given(st.lists(SOURCES, max_size=5, unique_by=lambda source: source.path))
def test_names_are_always_unique(sources: list[Source]) -> None:
    shown = [name for names in name_apart(sources) for name in names.values()]
    assert len({name.lower() for name in shown}) == len(shown)


def test_the_shortest_unique_names_are_chosen() -> None:
    sources = [Source(Path("/x/a/scores.csv")), Source(Path("/x/b/scores.csv")), Source(Path("/x/b/other.csv"))]
    assert name_apart(sources) == [{"": "a/scores"}, {"": "b/scores"}, {"": "other"}]
    folders = [Source(Path("/x/one"), ("cnn",), folder=True), Source(Path("/x/two"), ("cnn",), folder=True)]
    assert name_apart(folders) == [{"cnn": "one"}, {"cnn": "two"}]
    assert name_apart(folders[:1]) == [{"cnn": "cnn"}]
    tables = [Source(Path("/x/one.csv"), ("cnn", "vit")), Source(Path("/x/two.csv"), ("cnn",))]
    assert name_apart(tables) == [{"cnn": "one/cnn", "vit": "one/vit"}, {"cnn": "two/cnn"}]


def test_a_table_and_a_detector_of_one_name_get_different_names() -> None:
    shown = name_apart([Source(Path("/x/cnn.csv")), Source(Path("/x/trained"), ("cnn",), folder=True)])
    assert shown == [{"": "x/cnn"}, {"cnn": "trained"}]


def test_a_file_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoresError, match=r"a\.csv is named 2 times"):
        name_apart([Source(tmp_path / "a.csv"), Source(tmp_path / "b" / ".." / "a.csv")])


def test_file_names_are_unique() -> None:
    assert file_names(["cnn", "CNN", "a/b", "a b", ""]) == ["cnn", "CNN-2", "a_b", "a_b-2", "unnamed"]


def test_two_tools_with_files_of_one_name_are_two_rows(tmp_path: Path, manifest: pd.DataFrame) -> None:
    table = Path(manifest.path[0]).parent / "manifest.csv"
    for name, sign in (("good", 1), ("bad", -1)):
        (tmp_path / name).mkdir()
        scores = manifest[["sha256"]].assign(score=sign * (manifest.label - 0.5) + manifest.index * 1e-4)
        scores.to_csv(tmp_path / name / "scores.csv", index=False)
    files = [tmp_path / name / "scores.csv" for name in ("good", "bad")]
    results = tasks.evaluate(table, scores=files, out=tmp_path / "out", audited=False)
    auc = results[(results.metric == "auc") & (results.generator == "one") & (results.real == "all")]
    assert dict(zip(auc.detector, auc.value.round(), strict=True)) == {"good/scores": 1.0, "bad/scores": 0.0}
    report = json.loads((tmp_path / "out" / "report.json").read_text())["results"]
    detectors = [row["detector"] for row in report if (row["metric"], row["generator"]) == ("auc", "one")]
    assert detectors == ["good/scores", "bad/scores"]  # with a single source, each figure is written once
    counts = manifest[(manifest.split == "test") & (manifest.label == 0)]
    assert auc.n_real.tolist() == [len(counts)] * 2
