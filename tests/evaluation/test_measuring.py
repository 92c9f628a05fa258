"""Results from scores and a manifest: how they are joined, which input is refused, and what is measured."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.dataset.manifest import COLUMNS
from detector.errors import ScoresError, UnknownName
from detector.evaluation import differences, figures, joining, measuring, oddities, pairs
from detector.statistics.intervals import measure
from detector.statistics.metrics import METRICS

MEANS = {"": -1.5, "crude": 3.0, "style": 0.5}


def draw(n: int = 40, *, seed: int = 0, root: str = "/data") -> tuple[pd.DataFrame, pd.DataFrame]:
    """A manifest with n test and n train pictures of each kind, and scores of them all, in another order."""
    rng = np.random.default_rng(seed)
    rows, scores = [], []
    for generator, mean in MEANS.items():
        for split in ("test", "train"):
            for i in range(n):
                name = f"{generator or 'real'}-{split}-{i}"
                group = f"{generator}/{split}/{i // 2}"
                path = f"{root}/{generator or 'real'}/{name}.png"
                sha = f"{len(rows):064x}"
                rows.append((path, sha, int(generator != ""), generator, "drawn", group, split, "ours"))
                scores.append(rng.normal(mean))
    manifest = pd.DataFrame(rows, columns=list(COLUMNS))
    table = manifest[["path", "sha256"]].assign(score=scores)
    return manifest, table.sample(frac=1, random_state=0, ignore_index=True)


def evaluate(scores: pd.DataFrame, manifest: pd.DataFrame, **options: object) -> pd.DataFrame:
    joined = joining.join_scores(scores, manifest, split=str(options.pop("split", "test")))
    return measuring.measure_scores(joined, **({"metrics": ["auc"], "resamples": 50} | options))


def test_each_generator_is_measured_against_all_photographs_and_each_dataset() -> None:
    manifest, scores = draw()
    results = evaluate(scores, manifest, metrics=measuring.METRIC_NAMES, resamples=100, seed=3)
    assert list(results.columns) == measuring.COLUMNS
    assert len(results) == 2 * 2 * len(measuring.METRIC_NAMES)
    assert set(results.real) == {measuring.ALL, "drawn"}
    pooled, single = (results[results.real == name].drop(columns="real") for name in (measuring.ALL, "drawn"))
    pd.testing.assert_frame_equal(pooled.reset_index(drop=True), single.reset_index(drop=True))
    results = results[results.real == measuring.ALL]
    assert set(results.detector) == {"scores"}
    assert set(zip(results.perturbation, results.severity, strict=True)) == {("none", 0)}
    assert (results.n_real == 40).all()
    assert (results.n_fake == 40).all()
    by_hand = scores.merge(manifest, on="sha256")
    part = by_hand[(by_hand.split == "test") & by_hand.generator.isin(["", "style"])]
    for name in measuring.METRIC_NAMES:
        row = results[(results.generator == "style") & (results.metric == name)].iloc[0]
        assert row.value == pytest.approx(METRICS.get(name)(part.label, part.score))
    same = measure(part.label, part.score, part.group, ["auc"], seed=3)["auc"]
    row = results[(results.generator == "style") & (results.metric == "auc")].iloc[0]
    assert (row.low, row.high) == pytest.approx((same.low, same.high))


def test_the_headline_is_the_worst_generator_and_the_mean() -> None:
    manifest, scores = draw()
    results = evaluate(scores, manifest, metrics=["auc", "eer"])
    (line,) = measuring.summarise(results)
    auc = results[(results.metric == "auc") & (results.real == "drawn")].set_index("generator").value
    assert (line["worst_generator"], line["worst_real"]) == ("style", "drawn")
    assert line["value"] == auc["style"]
    assert line["mean"] == pytest.approx(auc.mean())
    assert (line["pairs"], line["matched"], line["false_alarms"]) == (2, False, None)
    (line,) = measuring.summarise(evaluate(scores, manifest, metrics=["eer"]))  # here larger is worse
    assert line["worst_generator"] == "style"
    assert line["value"] == results[results.metric == "eer"].value.max()


def test_detectors_and_perturbations_are_measured_apart() -> None:
    manifest, scores = draw()
    noisy = scores.assign(score=scores.score + np.random.default_rng(0).normal(0, 3, len(scores)))
    both = pd.concat([
        scores.assign(detector="cnn", perturbation="none", severity=0),
        noisy.assign(detector="cnn", perturbation="jpeg", severity=5),
        scores.assign(detector="twin", perturbation="none", severity=0),
    ])  # fmt: skip
    results = evaluate(both, manifest)
    style = (
        results[(results.generator == "style") & (results.real == measuring.ALL)]
        .set_index(["detector", "perturbation", "severity"])
        .value
    )
    assert style["cnn", "none", 0] == style["twin", "none", 0] > style["cnn", "jpeg", 5]
    assert [line["detector"] for line in measuring.summarise(results)] == ["cnn", "twin"]
    assert measuring.summarise(results)[0]["value"] == style["cnn", "none", 0]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_order_of_rows_changes_nothing(seed: int) -> None:
    manifest, scores = draw(8)
    expected = evaluate(scores, manifest)
    shuffled = scores.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(evaluate(shuffled, manifest), expected)


@pytest.mark.parametrize(
    "how", ["hash", "upper", "absolute", "relative", "dotted", "name", "moved", "working", "windows"]
)
def test_ways_to_name_a_picture(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, scores = draw(6, root=str(tmp_path))
    expected = evaluate(scores, manifest)
    monkeypatch.chdir(tmp_path / "..")
    change = {
        "hash": lambda p: "nonsense",
        "upper": lambda p: "nonsense",
        "absolute": lambda p: p,
        "relative": lambda p: p.removeprefix(f"{tmp_path}/"),
        "dotted": lambda p: "../" + p.removeprefix(f"{tmp_path}/"),
        "name": lambda p: Path(p).name,
        "moved": lambda p: f"/elsewhere/{Path(p).name}",
        "working": lambda p: str(Path(p).relative_to(tmp_path.parent)),
        "windows": lambda p: "D:\\data\\" + p.removeprefix(f"{tmp_path}/").replace("/", "\\"),
    }[how]
    other = scores.assign(path=scores.path.map(change))
    other = other.assign(sha256=other.sha256.str.upper()) if how in ("hash", "upper") else other.drop(columns="sha256")
    pd.testing.assert_frame_equal(evaluate(other, manifest), expected)


def test_an_ambiguous_name_is_not_guessed() -> None:
    manifest, scores = draw(6)
    real = manifest.label == 0  # test/0.png ... and train/0.png ...
    numbers = manifest.groupby(["split", "label"]).cumcount().astype(str)
    manifest["path"] = manifest.path.where(~real, "/data/" + manifest.split + "/" + numbers + ".png")
    other = scores[["score"]].assign(path=manifest.set_index("sha256").path[scores.sha256].to_numpy())
    expected = evaluate(scores, manifest)
    inside = other.assign(path=other.path.str.removeprefix("/data/"))
    pd.testing.assert_frame_equal(evaluate(inside, manifest), expected)
    with pytest.raises(ScoresError, match="6 of 18 pictures of the split 'test' have no score"):
        evaluate(other.assign(path=[Path(p).name for p in other.path]), manifest)
    for split in ("test", "train"):  # ambiguous in the manifest alone
        part = other[other.path.str.contains(split)]
        with pytest.raises(ScoresError, match=f"6 of 18 pictures of the split '{split}' have no score"):
            evaluate(part.assign(path=[Path(p).name for p in part.path]), manifest, split=split)


def test_equal_names_in_a_table_of_scores_are_not_guessed() -> None:
    manifest, scores = draw(6)
    other = pd.DataFrame({"path": [f"{i}/{Path(p).name}" for p in scores.path for i in (1, 2)], "score": 0.0})
    with pytest.raises(ScoresError, match="have no score"):
        evaluate(other, manifest)


def test_a_known_hash_beats_a_path_and_an_unknown_one_is_another_picture() -> None:
    manifest, scores = draw(6)
    other = scores.assign(sha256="f" * 64)
    with pytest.raises(ScoresError, match="matched by sha256 if given, else by path"):
        evaluate(other, manifest)


def test_rows_of_other_pictures_are_ignored() -> None:
    manifest, scores = draw(6)
    more = pd.concat([scores, pd.DataFrame([{"path": "/x/other.png", "sha256": "e" * 64, "score": 9.0}])])
    pd.testing.assert_frame_equal(evaluate(more, manifest), evaluate(scores, manifest))


def test_the_same_row_twice_is_one_and_two_scores_are_refused() -> None:
    manifest, scores = draw(6)
    twice = pd.concat([scores, scores.assign(score=scores.score + 1e-9)])
    pd.testing.assert_frame_equal(evaluate(twice, manifest), evaluate(scores, manifest))
    with pytest.raises(ScoresError, match="has two scores by 'scores'; keep one row per picture"):
        evaluate(pd.concat([scores, scores.assign(score=scores.score + 1)]), manifest)


def test_unreadable_pictures_are_left_out_and_counted() -> None:
    manifest, scores = draw(6)
    manifest = manifest[manifest.split == "test"]
    first = manifest.groupby("generator").sha256.first()
    lost = scores.sha256.isin(first[["", "style"]])
    other = scores.assign(score=scores.score.where(~lost), verdict=np.where(lost, "error", "likely-real"))
    other.loc[lost, "sha256"] = ""  # never read, so never hashed
    joined = joining.join_scores(other, manifest)
    assert len(joined) == len(manifest)
    assert joined.score.isna().sum() == 2
    assert figures._excluded(joined) == {"scores": {"real": 1, "style": 1}}
    assert figures._notes(joined) == [
        "scores could not read 2 of its 18 pictures, which its figures leave out: 1 real, 1 style"
    ]
    results = measuring.measure_scores(joined, metrics=["auc"], resamples=10)
    results = results[results.real == measuring.ALL].set_index("generator")
    assert results.n_real.tolist() == [5, 5]
    assert results.n_fake.to_dict() == {"crude": 6, "style": 5}


@pytest.mark.parametrize(
    ("kind", "words"), [("", "none of the 6 real pictures"), ("style", "none of the 6 fakes of 'style'")]
)
def test_a_class_or_generator_that_cannot_be_read_is_an_error(kind: str, words: str) -> None:
    manifest, scores = draw(6)
    lost = scores.sha256.isin(manifest.sha256[manifest.generator == kind])
    other = scores.assign(score=scores.score.where(~lost), verdict=np.where(lost, "error", ""))
    with pytest.raises(ScoresError, match=words):
        evaluate(other, manifest)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e101, -1.7e308, "high", "", None])
def test_scores_that_are_no_numbers_are_named(bad: object) -> None:
    manifest, scores = draw(6)
    other = scores.astype({"score": object})
    other.loc[4, "score"] = bad
    words = f"1 of 36 scores are NaN, infinite, beyond 1e+100 or no numbers: row 4 ({other.path[4]}: {bad})"
    with pytest.raises(ScoresError, match=re.escape(words)):
        evaluate(other, manifest)


def test_a_missing_score_is_counted_and_named() -> None:
    manifest, scores = draw(6)
    gone = manifest.sha256[manifest.split == "test"].iloc[:3]
    with pytest.raises(
        ScoresError,
        match=r"3 of 18 pictures of the split 'test' have no score by 'x', the first: /data/real/real-test-0",
    ):
        evaluate(scores[~scores.sha256.isin(gone)].assign(detector="x"), manifest)


def test_missing_columns_and_empty_tables() -> None:
    manifest, scores = draw(6)
    with pytest.raises(ScoresError, match=r"need a column 'score'.*these have: path, sha256"):
        evaluate(scores.drop(columns="score"), manifest)
    with pytest.raises(ScoresError, match="'sha256' or 'path'"):
        evaluate(scores[["score"]], manifest)
    with pytest.raises(ScoresError, match="empty"):
        evaluate(scores[:0], manifest)
    with pytest.raises(ScoresError, match="severity"):
        evaluate(scores.assign(severity="strong"), manifest)


def test_a_split_of_one_class_is_an_error_that_names_it_and_the_splits_with_two() -> None:
    manifest, scores = draw(6)
    one = manifest.assign(split=np.where((manifest.label == 0) & (manifest.split == "test"), "val", manifest.split))
    with pytest.raises(ScoresError, match=r"'test' has only fake pictures.*both classes: train"):
        evaluate(scores, one)
    with pytest.raises(ScoresError, match="'val' has only real pictures"):
        evaluate(scores, one, split="val")
    with pytest.raises(ScoresError, match=r"'val' has no picture at all.*both classes: test, train"):
        evaluate(scores, manifest, split="val")
    with pytest.raises(ScoresError, match="no split has both"):
        evaluate(scores, manifest[manifest.label == 1])
    with pytest.raises(UnknownName, match="did you mean 'test'"):
        evaluate(scores, manifest, split="tests")


def test_scores_like_probabilities_give_a_warning() -> None:
    manifest, scores = draw(6)
    joined = joining.join_scores(scores.assign(score=1 / (1 + np.exp(-scores.score))), manifest)
    results = evaluate(scores, manifest, metrics=["auc"])
    assert "as probabilities do" in oddities.warn_of_scores(joined, results)[0]
    assert oddities.warn_of_scores(joining.join_scores(scores, manifest), results) == []


def test_a_source_of_a_single_group_has_no_interval_and_gives_a_warning(tmp_path: Path) -> None:
    manifest, scores = draw(6)
    real = manifest.label == 0
    lone = manifest.assign(dataset=np.where(real & (manifest.index % 2 == 0), "lone", manifest.dataset))
    lone.loc[lone.dataset == "lone", "group"] = "lone/one"
    joined = joining.join_scores(scores, lone)
    results = measuring.measure_scores(joined, metrics=["auc"])
    assert results[results.real == "lone"].low.isna().all()
    assert results[results.real == "all"].low.notna().all()
    measured = pairs.measure_pairs(pairs.find_pairs(lone), joined)
    assert measured.low.isna().any()
    figures.publish(joined, results, tmp_path, pairs=measured, metadata={"command": ""})
    assert "all photographs of lone belong to one group" in (tmp_path / "report.md").read_text()
    assert "no interval" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("column", ["score", "verdict", "reason", "high", "low", "rows", "other", "again", "_merge"])
def test_a_manifest_may_have_any_further_column(column: str) -> None:
    manifest, scores = draw()
    both = pd.concat([scores.assign(detector="a"), scores.assign(detector="b")])
    joined = joining.join_scores(both, manifest.assign(**{column: 7}))
    expected = joining.join_scores(both, manifest)
    pd.testing.assert_frame_equal(joined[expected.columns], expected)
    rows = differences.compare_detectors(pairs.cross_generators(manifest), joined)
    assert set(rows.n_real) == {40}


def test_a_picture_that_a_manifest_lists_twice_is_measured_once() -> None:
    manifest, scores = draw()
    twice = pd.concat([manifest, manifest.iloc[::2].assign(path=lambda table: table.path + ".copy")])
    both = pd.concat([scores.assign(detector="a"), scores.assign(detector="b")])
    joined = joining.join_scores(both, twice)
    pd.testing.assert_frame_equal(joined, joining.join_scores(both, manifest))
    assert set(differences.compare_detectors(pairs.cross_generators(twice), joined).n_real) == {40}


@pytest.mark.parametrize("last", [False, True])
def test_a_score_beside_an_error_is_refused_as_two_answers_are(last: bool) -> None:
    manifest, scores = draw()
    failed = scores[scores.sha256 == manifest.sha256[0]].assign(score=np.nan, verdict="error")
    with pytest.raises(ScoresError, match="has two scores"):
        joining.join_scores(pd.concat([scores, failed] if last else [failed, scores]), manifest)


@pytest.mark.parametrize("severity", [2.5, -1, "strong"])
def test_a_severity_is_a_whole_number(severity: object) -> None:
    manifest, scores = draw()
    with pytest.raises(ScoresError, match="severity is not a whole number"):
        joining.join_scores(scores.assign(severity=severity), manifest)
