"""A score that follows the source of the pictures is a finding; one that does not is no finding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture, run_inside
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from detector.dataset.findings import Severity
from detector.dataset.manifest import COLUMNS, write_manifest
from detector.evaluation.joining import join_scores
from detector.evaluation.pairs import find_pairs, measure_pairs
from detector.evaluation.source_effects import EXAMPLES, count_false_alarms, find_source_effects
from detector.files import sha256
from detector.pictures.images import encode, load
from detector.statistics.proportions import clopper_pearson
from detector.types import Image

BLUR = {"soft": 2.0, "middling": 1.0, "sharp": 0.0}  # source of photographs -> standard deviation in pixels


def measure_sharpness(image: Image) -> float:
    """Return a score that depends on sharpness alone: the planted fault."""
    return float(np.log(np.diff(image.astype(float), axis=1).std()))


def measure_checkerboard(image: Image) -> float:
    """Return a score that depends on the pattern of the fakes alone, not on sharpness."""
    sign = np.indices(image.shape[:2]).sum(0) % 2 - 0.5
    return float((image.mean(2) * sign).mean()) - 2.0


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of three sources of photographs, unlike in sharpness, and of one generator's two sets of fakes."""
    folder = tmp_path_factory.mktemp("sources")
    rows = []
    for dataset, blur in (BLUR | {"fakes-soft": 2.0, "fakes-sharp": 0.0}).items():
        fake = dataset.startswith("fakes")
        for _ in range(30):
            image = gaussian_filter(draw_picture(len(rows), size=32).astype(float), (blur, blur, 0))
            if fake:
                image += 16 * ((np.indices((32, 32)).sum(0) % 2)[..., None] - 0.5)
            data = encode(np.clip(image, 0, 255).astype(np.uint8))
            path = folder / f"{len(rows)}.png"
            path.write_bytes(data)
            rows.append((str(path), sha256(data), int(fake), "gan" * fake, dataset, str(len(rows)), "test", "ours"))
    write_manifest(pd.DataFrame(rows, columns=list(COLUMNS)), folder / "manifest.csv")
    return folder / "manifest.csv"


def evaluate(manifest: Path, out: Path, score: Callable[[Image], float]) -> tuple[str, dict[str, object]]:
    """Return the output of the command line, and report.json."""
    table = pd.read_csv(manifest)
    scores = [score(load(manifest.parent / path)) for path in table.path]
    table[["path", "sha256"]].assign(score=scores).to_csv(out / "planted.csv", index=False)
    done = run_inside("evaluate", manifest, "--scores", out / "planted.csv", "--no-audit", "-o", out / "report")
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((out / "report" / "report.json").read_text())


def test_a_detector_of_sharpness_is_a_serious_finding(pictures: Path, tmp_path: Path) -> None:
    printed, record = evaluate(pictures, tmp_path, measure_sharpness)
    found = {f["name"]: f for f in record["metadata"]["sources"]}  # type: ignore[index]
    photographs = found["source of the photographs"]
    assert photographs["severity"] == "serious"
    assert "follows the source of the photographs" in photographs["summary"]
    assert "pictures of sharp score above those of soft" in photographs["summary"]
    assert photographs["low"] > 0.7
    assert len(photographs["rows"]) == 2 * EXAMPLES
    assert photographs["summary"] in printed
    assert "serious" in printed
    page = (tmp_path / "report" / "report.html").read_text()
    assert photographs["summary"] in page
    examples = {p.name for p in (tmp_path / "report").glob("source_of_the_photographs_*.png")}
    assert examples == {f"source_of_the_photographs_planted_{name}.png" for name in ("sharp", "soft")}
    assert photographs["summary"] in (tmp_path / "report" / "report.md").read_text().replace("\\", "")


def test_a_detector_of_the_generators_trace_is_no_finding(pictures: Path, tmp_path: Path) -> None:
    printed, record = evaluate(pictures, tmp_path, measure_checkerboard)
    found = record["metadata"]["sources"]  # type: ignore[index]
    assert {f["severity"] for f in found if f["name"] == "source of the photographs"} <= {"ok", "note"}
    assert "follows the source" not in printed
    headline = record["metadata"]["headline"][0]  # type: ignore[index]
    assert headline["value"] > 0.95


def join(scores: dict[str, np.ndarray], *, per_group: int = 1, verdicts: bool = False) -> pd.DataFrame:
    """Scores of photographs (source -> scores) and of one set of fakes, `per_group` pictures a person."""
    rows = []
    for dataset, values in (scores | {"fakes": np.full(10, 5.0)}).items():
        for i, value in enumerate(values):
            fake = dataset == "fakes"
            rows.append((f"/{len(rows)}", f"{len(rows):064x}", int(fake), "gan" * fake, dataset,
                         f"{dataset}/{i // per_group}", "test", "", value))  # fmt: skip
    table = pd.DataFrame(rows, columns=[*COLUMNS, "score"])
    answers = table[["sha256", "score"]]
    if verdicts:
        answers = answers.assign(verdict=np.where(table.score > 2, "likely-fake", "inconclusive"))
    return join_scores(answers, table.drop(columns="score"))


def judge(joined: pd.DataFrame) -> dict[str, Severity]:
    pairs = measure_pairs(find_pairs(joined), joined)
    return {finding.name: finding.severity for _, finding in find_source_effects(pairs, joined)}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 120), min_size=2, max_size=5), st.sampled_from([1, 4, 15]))
def test_sources_that_score_alike_are_never_serious(seed: int, sizes: list[int], per_group: int) -> None:
    """Also where people have several pictures, which score alike."""
    rng = np.random.default_rng(seed)
    scores = {}
    for i, n in enumerate(sizes):
        people = rng.normal(size=-(-n // per_group)).repeat(per_group)[:n] * (per_group > 1)
        scores[f"source-{i}"] = people + rng.normal(size=n)
    assert judge(join(scores, per_group=per_group))["source of the photographs"] is not Severity.SERIOUS


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_sources_far_apart_are_always_serious_whichever_scores_higher(seed: int, swapped: bool) -> None:
    rng = np.random.default_rng(seed)
    means = (0.0, 3.0) if swapped else (3.0, 0.0)
    joined = join({name: rng.normal(mean, size=60) for name, mean in zip("ab", means, strict=True)})
    assert judge(joined)["source of the photographs"] is Severity.SERIOUS


def test_beyond_the_bound_without_certainty_is_a_note() -> None:
    few = np.linspace(0, 1, 12)
    assert judge(join({"a": few, "b": few + 0.3}))["source of the photographs"] is Severity.NOTE
    assert judge(join({"a": few, "b": few + 0.01}))["source of the photographs"] is Severity.OK


def test_sources_of_few_people_are_not_judged() -> None:
    many, few = np.arange(60.0), np.arange(27.0) * 10 % 27 + 100  # nine people of three pictures, which score unlike
    joined = join({"a": many, "b": few}, per_group=3)
    pairs = measure_pairs(find_pairs(joined), joined)
    assert pairs.high[0] < 0.3
    ((_, finding),) = find_source_effects(pairs, joined)
    assert finding.severity is Severity.NOTE
    assert "no two sources have 10 people each" in finding.summary


def test_one_source_of_photographs_is_itself_a_note() -> None:
    joined = join({"portraits": np.arange(20.0)})
    ((detector, finding),) = find_source_effects(measure_pairs(find_pairs(joined), joined), joined)
    assert (detector, finding.severity) == ("", Severity.NOTE)
    assert "one source, portraits" in finding.summary


def test_examples_have_middling_scores_of_both_sources() -> None:
    joined = join({"a": np.arange(40.0), "b": np.arange(40.0) + 100})
    ((_, finding),) = find_source_effects(measure_pairs(find_pairs(joined), joined), joined)
    shown = joined[joined.path.isin(finding.rows)]
    assert shown.dataset.value_counts().to_dict() == {"a": EXAMPLES, "b": EXAMPLES}
    assert (shown.groupby("dataset").score.median() == [19.5, 119.5]).all()


def test_false_alarms_are_counted_for_each_source_with_exact_bounds() -> None:
    scores = {"a": np.repeat([3.0, 1.0], [3, 37]), "b": np.full(25, -1.0)}
    found = count_false_alarms(join(scores, verdicts=True)).set_index("real")
    assert found.loc["a", ["called", "n", "rate"]].tolist() == [3, 40, 3 / 40]
    assert found.loc["a", ["low", "high"]].tolist() == pytest.approx(clopper_pearson(3, 40))
    assert found.loc["b", ["low", "high"]].tolist() == pytest.approx(clopper_pearson(0, 25))
    without = count_false_alarms(join(scores)).set_index("real")  # no verdicts: a score above 0
    assert without.rate.to_dict() == {"a": 1.0, "b": 0.0}


def test_pictures_of_one_person_count_once_for_the_bounds() -> None:
    called = np.repeat([3.0, -1.0], [10, 30])  # one person of four
    found = count_false_alarms(join({"a": called}, per_group=10)).iloc[0]
    assert (found.rate, found.n) == (0.25, 40)
    assert (found.low, found.high) == pytest.approx(clopper_pearson(1, 4))
