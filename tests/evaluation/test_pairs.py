"""Matched pairs and controls: which sets are compared, on which pictures, and the headline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture

from detector.dataset.manifest import COLUMNS, write_manifest
from detector.dataset.reencoding import measure_sides
from detector.errors import ManifestError, ScoresError, UnknownName
from detector.evaluation import joining, measuring
from detector.evaluation.alignment import align_pair
from detector.evaluation.pairs import Pair, Role, average_pairs, find_pairs, measure_pairs
from detector.files import sha256
from detector.pictures.headers import describe
from detector.pictures.images import encode, load, read
from detector.statistics.metrics import METRICS

SETS = [  # label, generator, dataset, kind, mean score
    (0, "", "portraits", "small", -1.0),
    (0, "", "stock", "large", 1.0),
    (1, "gan", "gan-a", "small", 0.0),
    (1, "gan", "gan-b", "large", 3.0),
    (1, "sd", "sd", "large", 1.5),
]


def draw(n: int = 30, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A manifest of two sources of photographs and three sets of fakes, and their scores."""
    rng = np.random.default_rng(seed)
    rows, scores = [], []
    for label, generator, dataset, kind, mean in SETS:
        for _ in range(n):
            name = f"{len(rows):064x}"
            rows.append((f"/{name}.png", name, label, generator, dataset, name, "test", "ours", kind))
            scores.append(rng.normal(mean))
    manifest = pd.DataFrame(rows, columns=[*COLUMNS, "kind"])
    return manifest, manifest[["sha256"]].assign(score=scores)


def measured(named: list[tuple[str, str]] | None = None, **drawn: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    manifest, scores = draw(**drawn)
    joined = joining.join_scores(scores, manifest)
    return joined, measure_pairs(find_pairs(manifest, named or ()), joined)


CONTROLS = [Pair(Role.PHOTOGRAPHS, "portraits", "stock"), Pair(Role.FAKES, "gan-a", "gan-b", generator="gan")]


def test_kinds_match_generators_with_photographs_and_named_pairs_take_their_place() -> None:
    manifest, _ = draw()
    of_kinds = [Pair(Role.MATCHED, "gan", "stock", kind="large"), Pair(Role.MATCHED, "sd", "stock", kind="large"),
                Pair(Role.MATCHED, "gan", "portraits", kind="small")]  # fmt: skip
    assert find_pairs(manifest) == [*of_kinds, *CONTROLS]
    named = [("gan-b", "stock"), ("gan", "portraits")]
    assert find_pairs(manifest, named) == [*(Pair(Role.MATCHED, *names) for names in named), *CONTROLS]
    assert find_pairs(manifest.drop(columns="kind")) == CONTROLS
    assert find_pairs(manifest.assign(kind="")) == CONTROLS


def test_a_pair_takes_the_pictures_it_names() -> None:
    manifest, _ = draw(4)
    for pair, (first, second) in {
        Pair(Role.MATCHED, "gan", "stock", kind="large"): ("gan-b", "stock"),
        Pair(Role.MATCHED, "gan-a", "portraits"): ("gan-a", "portraits"),
        CONTROLS[0]: ("portraits", "stock"),
        CONTROLS[1]: ("gan-a", "gan-b"),
    }.items():
        assert [set(rows.dataset) for rows in pair.split(manifest)] == [{first}, {second}]
    both, _ = Pair(Role.MATCHED, "gan", "stock").split(manifest)
    assert set(both.dataset) == {"gan-a", "gan-b"}


def test_a_named_set_without_pictures_is_refused() -> None:
    manifest, _ = draw(2)
    with pytest.raises(UnknownName, match=r"no generator or dataset of fakes named 'gam'.*did you mean"):
        find_pairs(manifest, [("gam", "stock")])
    with pytest.raises(UnknownName, match=r"no dataset of photographs named 'stok'; did you mean 'stock'"):
        find_pairs(manifest, [("gan", "stok")])
    with pytest.raises(UnknownName, match="dataset of photographs named 'gan-a'"):
        find_pairs(manifest, [("gan", "gan-a")])


def test_the_auc_is_that_of_the_first_set_above_the_second() -> None:
    joined, pairs = measured()
    auc = METRICS.get("auc")
    for row in pairs.to_dict("records"):
        pair = Pair(Role(row["role"]), row["first"], row["second"], row["generator"], row["kind"])
        both = pd.concat(pair.split(joined))
        assert row["auc"] == pytest.approx(auc(np.repeat([1, 0], 30), both.score))
        assert row["low"] < row["auc"] < row["high"]
        assert (row["n_first"], row["n_second"]) == (30, 30)
    assert len(pairs) == 5


def test_the_headline_is_the_worst_and_the_mean_of_the_matched_pairs() -> None:
    joined, pairs = measured()
    results = measuring.measure_scores(joined, metrics=["auc"], resamples=10)
    (line,) = measuring.summarise(results, pairs)
    matched = pairs[pairs.role == "matched"]
    assert (line["matched"], line["pairs"]) == (True, 3)
    assert (line["worst_generator"], line["worst_real"]) == ("sd", "stock")
    assert line["value"] == matched.auc.min()
    assert line["mean"] == pytest.approx(matched.auc.mean())
    assert (line["mean_low"], line["mean_high"]) == (None, None)
    means = average_pairs([(pair, joined) for pair in find_pairs(draw()[0]) if pair.role is Role.MATCHED])
    (line,) = measuring.summarise(results, pairs, means=means)
    assert means["mean"].tolist() == [pytest.approx(line["mean"])]
    assert line["mean_low"] < line["mean"] < line["mean_high"]
    assert line["mean_high"] - line["mean_low"] < (matched.high - matched.low).mean()
    (line,) = measuring.summarise(results, pairs[pairs.role != "matched"])  # none: every cell
    cells = results[results.real != measuring.ALL]
    assert (line["matched"], line["pairs"]) == (False, len(cells)) == (False, 4)
    assert line["value"] == cells.value.min()


def test_each_dataset_has_its_rows_and_the_pool_stays() -> None:
    joined, _ = measured()
    results = measuring.measure_scores(joined, metrics=["auc", "eer"], resamples=10)
    assert set(results.real) == {"all", "portraits", "stock"}
    own = joined[(joined.generator == "sd") | (joined.dataset == "stock")]
    cell = results.query("generator == 'sd' and real == 'stock' and metric == 'auc'").iloc[0]
    assert cell.value == pytest.approx(METRICS.get("auc")(own.label, own.score))
    assert (cell.n_real, cell.n_fake) == (30, 30)
    pool = results.query("generator == 'sd' and real == 'all'")
    assert pool.n_real.tolist() == [60, 60]
    assert measuring.drop_repeats(results).equals(results)
    single = measuring.measure_scores(joined[joined.dataset != "stock"], metrics=["auc"], resamples=10)
    assert set(measuring.drop_repeats(single).real) == {"all"}
    with pytest.raises(ScoresError, match="named 'all'"):
        measuring.measure_scores(joined.assign(dataset=joined.dataset.replace("stock", "all")), metrics=["auc"])


def test_a_pair_is_saved_at_the_side_that_nearly_all_of_either_set_reach(tmp_path: Path) -> None:
    rows = []
    for label, size, n in ((1, 90, 12), (0, 60, 39), (0, 20, 1)):
        for _ in range(n):
            data = encode(draw_picture(len(rows), size=size))
            path = tmp_path / f"{len(rows)}.png"
            path.write_bytes(data)
            rows.append((str(path), sha256(data), label, "g" * label, "d", str(len(rows)), "test", "ours"))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_manifest(table, tmp_path / "manifest.csv")
    first, second = Pair(Role.MATCHED, "g", "d").split(table)
    sets = [("g", first), ("d", second)]
    copies = align_pair(sets, tmp_path / "copies", quality=85)
    assert {load(path).shape for path in copies.path} == {(60, 60, 3)}
    assert {describe(read(path)).quality for path in copies.path} == {85}
    assert set(copies.saved) == {"60 px, JPEG 85"}
    assert set(copies.original) == set(table.sha256)
    assert set(measure_sides(align_pair(sets, tmp_path / "copies", quality=85, largest=32))) == {32}
    with pytest.raises(ManifestError, match="no picture of 'd' shows a face"):
        align_pair([("g", first), ("d", second[:0])], tmp_path / "copies", quality=85)
