from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_manifest

from detector import tasks
from detector.dataset.manifest import write_manifest
from detector.detectors.spectrum import Spectrum
from detector.errors import DetectorError, ManifestError, UnknownName
from detector.evaluation import running, suites
from detector.evaluation.measuring import METRIC_NAMES
from detector.evaluation.running import EMBEDDED, count_flips, gather_pictures, run_suite
from detector.evaluation.suites import DEVELOPERS, SHIPPED, SuiteError, find_baseline, list_suites, read_suite
from detector.pictures.images import load, resize
from detector.pictures.perturbations import perturb
from detector.scoring import tables
from detector.scoring.engine import score_pictures
from detector.types import Images, Scores

SPECTRUM = SHIPPED / "spectrum"
BODY = 'name = "t"\nmanifests = ["manifest.csv"]\nperturbations = ["noise"]\nresamples = 100\n'


@pytest.fixture
def suite(tmp_path: Path) -> suites.Suite:
    make_manifest(tmp_path, n=24)
    (tmp_path / "t.toml").write_text(BODY)
    return read_suite(tmp_path / "t.toml")


@pytest.mark.parametrize("name", sorted(list_suites()))
def test_every_suite_of_the_repository_can_be_read_and_has_the_name_of_its_file(name: str) -> None:
    assert read_suite(name).name == name


@pytest.mark.parametrize("name", sorted(list_suites()))
def test_no_suite_of_the_repository_has_a_picture_twice(name: str, tmp_path: Path) -> None:
    """Its scores could not be joined, and every detector would fail."""
    suite = read_suite(name)
    if not all(path == EMBEDDED or suite.resolve(path).is_file() for path in suite.manifests):
        pytest.skip("this machine lacks the pictures of the suite")
    pictures = gather_pictures(suite, tmp_path)
    assert len(pictures)
    assert pictures.path.is_unique


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('pairs = [["one"]]', "pairs.0"),
        ("alike = {qality = 90}", "no key 'alike.qality'; did you mean 'quality'"),
        ('perturbation = ["jpeg"]', "no key 'perturbation'; did you mean 'perturbations'"),
        ("sed = 1", "did you mean 'seed'"),
        ("severities = [6]", "severities.0"),
        ("tolerances = {eer = 0.1}", "'eer' has a tolerance but is not measured"),
        ("seed = ", "not TOML"),
    ],
)
def test_a_faulty_file_is_one_clear_line(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "t.toml").write_text(BODY + line)
    with pytest.raises(SuiteError, match=words) as caught:
        read_suite(tmp_path / "t.toml")
    assert "\n" not in str(caught.value)


def test_the_shipped_suite_needs_no_other_data_and_other_suites_name_theirs() -> None:
    for path in SHIPPED.glob("*.toml"):
        suite = read_suite(path.stem)
        assert path.with_suffix(".json").is_file()
        for name in (*suite.manifests, *suite.detectors.values()):
            assert name == EMBEDDED or suite.resolve(name).resolve().is_relative_to(SHIPPED)
            assert name == EMBEDDED or suite.resolve(name).exists()
    for path in DEVELOPERS.glob("*.toml"):
        assert path.read_text().startswith("# Needs "), path


def test_a_baseline_is_a_json_file_or_the_name_of_a_shipped_suite() -> None:
    assert find_baseline("smoke") == SHIPPED / "smoke.json"
    assert find_baseline("some/where.json") == Path("some/where.json")
    with pytest.raises(UnknownName, match="did you mean 'smoke'"):
        find_baseline("smok")


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'smoke'"):
        read_suite("smok")
    (tmp_path / "t.toml").write_text(BODY + 'metrics = ["aux"]')
    with pytest.raises(UnknownName, match="metric"):
        read_suite(tmp_path / "t.toml")
    (tmp_path / "t.toml").write_text(BODY + "operating_points = [0.02]")
    assert read_suite(tmp_path / "t.toml").measured == ["auc", "tpr_at_fpr_2"]
    (tmp_path / "t.toml").write_text(BODY.replace("noise", "nois"))
    with pytest.raises(UnknownName, match="did you mean 'noise'"):
        read_suite(tmp_path / "t.toml")


def test_a_run_is_deterministic_is_resumed_after_a_kill_and_measures_the_other_detectors_if_one_fails(
    suite: suites.Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_fours = partial(tables.score_to_file, engine=partial(score_pictures, batch=4))
    monkeypatch.setattr(tables, "score_to_file", in_fours)
    both = {"good": SPECTRUM, "broken": tmp_path / "nowhere"}
    first = run_suite(suite, tmp_path / "a", detectors=both)
    assert set(first.results.detector) == {"good"}
    assert "CheckpointError" in first.failed["broken"]
    assert set(zip(first.results.perturbation, first.results.severity, strict=True)) == {("none", 0), ("noise", 3)}
    pd.testing.assert_frame_equal(run_suite(suite, tmp_path / "b", detectors={"good": SPECTRUM}).scores, first.scores)

    score, calls, allowed = Spectrum.score, [], 3

    def count(self: Spectrum, faces: Images) -> Scores:
        calls.append(len(faces))
        if len(calls) > allowed:
            raise KeyboardInterrupt
        return score(self, faces)

    monkeypatch.setattr(Spectrum, "score", count)
    with pytest.raises(KeyboardInterrupt):
        run_suite(suite, tmp_path / "c", detectors={"good": SPECTRUM})
    calls, allowed = [], 100
    pd.testing.assert_frame_equal(run_suite(suite, tmp_path / "c", detectors={"good": SPECTRUM}).scores, first.scores)
    pictures = len(first.pictures)
    assert sum(calls) == 2 * (pictures - 4)  # untouched and perturbed; the first batch was kept
    calls = []
    pd.testing.assert_frame_equal(run_suite(suite, tmp_path / "c", detectors={"good": SPECTRUM}).scores, first.scores)
    assert calls == []


def test_a_perturbation_draws_by_the_seed_of_the_suite_and_the_hash_of_the_picture(
    suite: suites.Suite, tmp_path: Path
) -> None:
    for seed in (0, 5):
        run = run_suite(suite.model_copy(update={"seed": seed}), tmp_path / str(seed), detectors={"good": SPECTRUM})
        row = run.scores[run.scores.perturbation == "noise"].iloc[-1]
        detector = Spectrum.load(SPECTRUM)
        face = resize(load(row.path), detector.size, detector.size)
        noisy = perturb(face, "noise", 3, seed=seed, key=row.sha256)
        assert row.score == pytest.approx(detector.score(noisy[None])[0], rel=1e-12)


def test_a_crash_while_scoring_leaves_the_others_results(
    suite: suites.Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crashing:
        name, size = "crashing", 64

        def score(self, faces: np.ndarray) -> np.ndarray:
            raise ZeroDivisionError("by design")

    load, bad = running.load_detector, tmp_path / "bad"
    shutil.copytree(SPECTRUM, bad)
    monkeypatch.setattr(
        running, "load_detector", lambda folder, **options: (folder, Crashing()) if folder == bad else load(folder)
    )
    run = run_suite(suite, tmp_path / "a", detectors={"bad": bad, "good": SPECTRUM})
    assert run.failed == {"bad": "ZeroDivisionError: by design"}
    assert set(run.results.detector) == {"good"}
    with pytest.raises(DetectorError, match="every detector failed, the first: ZeroDivisionError"):
        run_suite(suite, tmp_path / "a", detectors={"bad": bad})


def test_a_changed_file_is_refused_when_copies_are_made(suite: suites.Suite, tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(BODY + "side = 32")
    pictures = gather_pictures(read_suite(path), tmp_path / "a")
    assert {Path(p).suffix for p in pictures.path} == {".bmp"}
    for victim in tmp_path.glob("*.png"):
        victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(ManifestError, match="does not have the hash in its manifest"):
        gather_pictures(read_suite(path), tmp_path / "b")


def test_keep_leaves_out_other_rows(suite: suites.Suite, tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(BODY + '[keep]\ngenerator = ["", "one"]')
    assert set(gather_pictures(read_suite(path), tmp_path).generator) == {"", "one"}


def test_a_sample_is_of_each_generator_and_the_same_whatever_the_order(suite: suites.Suite, tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(BODY + "sample = 2")
    some = gather_pictures(read_suite(path), tmp_path)
    assert some.generator.value_counts().to_dict() == {"": 2, "one": 2, "two": 2}
    table = pd.read_csv(tmp_path / "manifest.csv", keep_default_na=False)
    table[::-1].to_csv(tmp_path / "manifest.csv", index=False)
    assert set(gather_pictures(read_suite(path), tmp_path).sha256) == set(some.sha256)


def test_a_sample_is_also_of_each_source_of_photographs(suite: suites.Suite, tmp_path: Path) -> None:
    table = pd.read_csv(tmp_path / "manifest.csv", keep_default_na=False)
    dataset = np.where(table.label == 1, "fakes", np.where(table.index % 2, "odd", "even"))
    table.assign(dataset=dataset, split="test").to_csv(tmp_path / "manifest.csv", index=False)
    (tmp_path / "t.toml").write_text(BODY + "sample = 3")
    some = gather_pictures(read_suite(tmp_path / "t.toml"), tmp_path)
    assert some.groupby(["generator", "dataset"]).size().tolist() == [3, 3, 3, 3]
    assert set(some.dataset[some.label == 0]) == {"odd", "even"}


@pytest.fixture
def two_sources(tmp_path: Path) -> pd.DataFrame:
    """24 photographs of two sources and as many fakes of two generators, all in the test split."""
    table = make_manifest(tmp_path, n=24)
    table = table.assign(split="test", dataset=np.where(table.label == 1, "f", np.where(table.index % 2, "a", "b")))
    write_manifest(table, tmp_path / "manifest.csv")
    return table


def test_pairs_saved_alike_are_scored_again_under_every_condition(two_sources: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(BODY + 'pairs = [["one", "a"], ["f", "b"]]')
    plain = run_suite(read_suite(path), tmp_path / "a", detectors={"good": SPECTRUM})
    path.write_text(BODY + 'pairs = [["one", "a"], ["f", "b"]]\nalike = {quality = 80, side = 40}')
    alike = run_suite(read_suite(path), tmp_path / "a", detectors={"good": SPECTRUM})
    pd.testing.assert_frame_equal(plain.results, alike.results)  # measured on the pictures as they are
    names = ["role", "first", "second", "perturbation"]
    assert sorted(map(tuple, plain.pairs[names].values)) == sorted(map(tuple, alike.pairs[names].values))
    assert len(plain.pairs) == 2 * 3  # two matched pairs and the control, each under noise too
    assert set(plain.pairs.saved) == {""}
    assert set(alike.pairs.saved) == {"40 px, JPEG 80"}
    for run in (plain, alike):
        matched = run.pairs[run.pairs.role == "matched"]
        assert run.means["mean"].tolist() == pytest.approx(matched.groupby("severity").auc.mean().tolist())
        assert (run.means.low < run.means["mean"]).all()
    both = plain.pairs.merge(alike.pairs, on=names)
    assert (both.auc_x != both.auc_y).any()


def test_saving_alike_without_a_pair_and_an_unknown_pair_are_refused(suite: suites.Suite, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(BODY + "alike = {}")
    with pytest.raises(SuiteError, match="saves pairs alike but has none"):
        run_suite(read_suite(tmp_path / "t.toml"), tmp_path / "a", detectors={"good": SPECTRUM})
    (tmp_path / "t.toml").write_text(BODY + 'pairs = [["one", "drown"]]')
    with pytest.raises(UnknownName, match="did you mean 'drawn'"):
        run_suite(read_suite(tmp_path / "t.toml"), tmp_path / "a", detectors={"good": SPECTRUM})


def test_flips_counts_changed_verdicts() -> None:
    plain = pd.DataFrame({"sha256": list("abcd"), "group": list("abcd"), "score": 1.0, "verdict": "likely-fake",
                          "perturbation": "none", "severity": 0, "detector": "d"})  # fmt: skip
    blurred = plain.assign(perturbation="blur", severity=3, verdict=["likely-fake"] * 3 + ["inconclusive"])
    flips = count_flips(pd.concat([plain, blurred])).to_dict("records")
    assert [(f["perturbation"], f["severity"], f["flips"], f["n"]) for f in flips] == [("blur", 3, 0.25, 4)]
    assert flips[0]["low"] < 0.25 < flips[0]["high"]


def test_the_pictures_of_smoke_are_those_of_its_baseline(tmp_path: Path) -> None:
    kept = json.loads(find_baseline("smoke").read_text())
    made = gather_pictures(read_suite("smoke"), tmp_path)
    assert {p["sha256"] for p in kept["pictures"]} == set(made.sha256)
    assert made.label.value_counts().to_dict() == {0: 100, 1: 60}


def test_without_copies_a_changed_file_is_refused_and_an_unreadable_one_becomes_a_row(
    suite: suites.Suite, tmp_path: Path
) -> None:
    first, second = gather_pictures(suite, tmp_path).path.iloc[[0, -1]]
    Path(first).unlink()
    run = run_suite(suite, tmp_path / "a", detectors={"good": SPECTRUM})
    lost = run.scores[run.scores.score.isna()]
    assert set(zip(lost.path, lost.verdict, strict=True)) == {(first, "error")}
    assert (run.joined.score.isna().sum(), len(run.flips)) == (2, 1)
    Path(second).write_bytes(Path(second).read_bytes() + b"x")
    with pytest.raises(ManifestError, match="does not have the hash in its manifest"):
        run_suite(suite, tmp_path / "b", detectors={"good": SPECTRUM})


def test_an_evaluation_is_a_suite_of_one_manifest(suite: suites.Suite, tmp_path: Path) -> None:
    plain = tasks.evaluate(tmp_path / "manifest.csv", detectors=[SPECTRUM], out=tmp_path / "a", audited=False)
    body = BODY.replace('["noise"]', "[]").replace("resamples = 100", f"metrics = {list(METRIC_NAMES)}")
    (tmp_path / "t.toml").write_text(body)
    of_suite, gate = tasks.run_suite(tmp_path / "t.toml", detectors=[SPECTRUM], out=tmp_path / "b", audited=False)
    pd.testing.assert_frame_equal(plain, of_suite, check_exact=True)
    assert gate is None
    first, second = (json.loads((tmp_path / name / "report.json").read_text()) for name in "ab")
    for key in ("results", "pairs", "false_alarms", "means"):
        assert first[key] == second[key]
    assert first["visible_drops"] == []
    assert len(second["visible_drops"]) == 2
    for key in ("pictures", "manifest_sha256", "split", "seed", "resamples", "headline"):
        assert first["metadata"][key] == second["metadata"][key]
    (line,) = second["metadata"]["power"]
    assert "drop of" in line
    for name in ("report.html", "report.md"):
        assert ["drop of" in (tmp_path / folder / name).read_text() for folder in "ab"] == [False, True]
    assert tasks.read_headline(tmp_path / "b")[0][-1] == line


def test_a_suite_compares_by_columns_and_refuses_one_that_is_not_there(suite: suites.Suite, tmp_path: Path) -> None:
    table = pd.read_csv(tmp_path / "manifest.csv", keep_default_na=False)
    table.assign(hair=["fair", "dark"] * (len(table) // 2), split="test").to_csv(tmp_path / "manifest.csv", index=False)
    (tmp_path / "t.toml").write_text(BODY + 'by = ["hair"]')
    run = run_suite(read_suite(tmp_path / "t.toml"), tmp_path / "a", detectors={"good": SPECTRUM})
    assert run.fairness is not None
    assert set(run.fairness.rows.group) == {"fair", "dark"}
    assert set(run.fairness.rows.metric) == {"fpr", "auc", "fnr", "auc_of_fakes"}
    assert run_suite(suite, tmp_path / "b", detectors={"good": SPECTRUM}).fairness is None
    (tmp_path / "t.toml").write_text(BODY + 'by = ["hai"]')
    with pytest.raises(UnknownName, match="did you mean 'hair'"):
        gather_pictures(read_suite(tmp_path / "t.toml"), tmp_path)


@pytest.mark.parametrize("update", [False, True])
def test_a_gate_that_would_compare_nothing_is_an_error(update: bool, suite: suites.Suite, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(BODY)
    with pytest.raises(SuiteError, match="has no tolerances"):
        tasks.run_suite(tmp_path / "t.toml", detectors=[SPECTRUM], out=tmp_path / "a", baseline=tmp_path / "b.json",
                        update_baseline=update)  # fmt: skip
    assert not (tmp_path / "b.json").exists()
