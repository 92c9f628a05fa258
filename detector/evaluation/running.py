"""The run of a suite: every picture decoded and cut as `detector score` does it, then perturbed, then scored.

What a perturbation draws depends on the picture's hash and the suite's seed alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from detector.dataset.embedded import unpack_faces
from detector.dataset.foreign import read_table
from detector.dataset.manifest import merge, read_crops, read_manifest, validate
from detector.detectors import load_detector
from detector.errors import DetectorError, ManifestError, UnknownName
from detector.evaluation.alignment import align_pair, cut_faces
from detector.evaluation.joining import KEYS, join_scores
from detector.evaluation.measuring import measure_scores
from detector.evaluation.pairs import Pair, find_pairs, measure_pairs
from detector.evaluation.suites import Suite, SuiteError
from detector.files import sha256, write_bytes
from detector.pictures.faces import load_face
from detector.pictures.images import encode, read
from detector.pictures.perturbations import Condition
from detector.scoring.checkpoint import digest_checkpoint
from detector.scoring.tables import COLUMNS, score_manifest
from detector.scoring.targets import Target
from detector.statistics.fairness import Fairness, measure_fairness
from detector.statistics.proportions import clopper_pearson, effective_count
from detector.types import Detector, Label, Progress, silent

EMBEDDED = "embedded"  # in the place of a manifest's path: the photographs that come with the installation


@dataclass(frozen=True)
class Run:
    """What a suite gave.

    pictures: as `gather_pictures`. detectors: name -> folder of weights, of those that did not fail. scores: one row a
    detector, perturbation, severity and picture. joined: the same beside the manifest, as `joining.join_scores`.
    results: as `measuring.measure_scores`. pairs: as `pairs.measure_pairs`. flips: as `count_flips`. failed: detector
    -> why it has no scores. fairness: None if the suite compares by no column.
    """

    pictures: pd.DataFrame
    detectors: dict[str, Path]
    scores: pd.DataFrame
    joined: pd.DataFrame
    results: pd.DataFrame
    pairs: pd.DataFrame
    flips: pd.DataFrame
    failed: dict[str, str]
    fairness: Fairness | None = None


def gather_pictures(suite: Suite, folder: Path) -> pd.DataFrame:
    """Return the manifest of the suite's split; copies, where it asks for them, are written below `folder`.

    Raises ManifestError if the file of a picture is not the one the manifest names by hash.
    """
    tables = [unpack_faces(folder / EMBEDDED) if name == EMBEDDED else read_manifest(suite.resolve(name))
              for name in suite.manifests]  # fmt: skip
    table = merge(tables)
    for column, values in suite.keep.items():
        if column not in table:
            raise UnknownName("column", column, map(str, table.columns))
        table = table[table[column].astype(str).isin(values)]
    for column in suite.by:
        if column not in table:
            raise UnknownName("column", column, map(str, table.columns))
    table = table[table.split == suite.split].reset_index(drop=True)
    if suite.sample is not None:
        sets = table.generator.where(table.label == Label.FAKE, table.dataset)
        rank = table.sort_values("sha256").groupby([table.label, sets]).cumcount()
        table = table[rank.reindex(table.index) < suite.sample].reset_index(drop=True)
    if suite.side is not None:
        return write_alike(table, folder / "pictures", suite.side)
    return table


def write_alike(table: pd.DataFrame, folder: Path, side: int) -> pd.DataFrame:
    """Return the manifest of copies, cut and resized to `side`, as BMP: the same bytes on every machine, as no PNG is.

    Raises ManifestError if a picture is not the one its row names by hash.
    """
    paths, hashes = [], []
    for path, digest, crop in zip(table.path, table.sha256, read_crops(table), strict=True):
        Target(path, crop, digest).check(sha256(read(path)))
        data = encode(load_face(path, side, crop), "BMP")
        out = folder / f"{sha256(data)[:24]}.bmp"
        if not out.is_file():
            write_bytes(out, data)
        paths.append(str(out.resolve()))
        hashes.append(sha256(data))
    copies = table.drop(columns="crop", errors="ignore").assign(path=paths, sha256=hashes)
    return validate(copies.drop_duplicates(["sha256", "label"]))


def run_suite(
    suite: Suite,
    folder: Path,
    *,
    detectors: Mapping[str, Path] | None = None,
    progress: Progress = silent,
) -> Run:
    """Score and measure every detector of a suite, below a folder from which an interrupted run goes on.

    detectors: name -> folder of weights; None takes those the suite names. One that fails is left out, and the reason
    kept. Raises DetectorError if there is none or all fail; as `gather_pictures` and `joining.join_scores`.
    """
    chosen = dict(detectors or {name: suite.resolve(path) for name, path in suite.detectors.items()})
    if not chosen:
        raise SuiteError(f"the suite {suite.name!r} names no detector; give one")
    pictures = gather_pictures(suite, folder)
    pairs = find_pairs(pictures, suite.pairs)
    if suite.alike and not pairs:
        raise SuiteError(f"the suite {suite.name!r} saves pairs alike but has none; name `pairs`, or leave out `alike`")
    parts, failed = [], {}
    for name, weights in chosen.items():
        try:
            parts.append(_run_detector(suite, name, weights, pictures, pairs, folder, progress))
        except ManifestError:  # the pictures' fault
            raise
        except Exception as error:  # a stranger's detector may raise anything, and the others' results must stand
            failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if not parts:
        raise DetectorError(f"every detector failed, the first: {next(iter(failed.values()))}")
    scores, joined, measured = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    progress("measuring", 0, 1)
    results = measure_scores(joined, metrics=suite.measured, seed=suite.seed, resamples=suite.resamples)
    fairness = measure_fairness(joined, suite.by, seed=suite.seed) if suite.by else None
    progress("measuring", 1, 1)
    good = {name: weights for name, weights in chosen.items() if name not in failed}
    flips = count_flips(scores, pictures)
    return Run(pictures, good, scores, joined, results, measured, flips, failed, fairness)


def count_flips(scores: pd.DataFrame, pictures: pd.DataFrame) -> pd.DataFrame:
    """Return the share of pictures whose verdict a perturbation changes, with its 95 % interval.

    Columns: detector, perturbation, severity, flips, low, high, n. Unreadable pictures are left out.
    """
    table = scores[scores.score.notna()].merge(pictures[["sha256", "group"]], on="sha256")
    plain = table[table.perturbation == "none"][["detector", "sha256", "verdict"]]
    both = table[table.perturbation != "none"].merge(plain, on=["detector", "sha256"], suffixes=("", "_plain"))
    rows = []
    for keys, part in both.groupby(["detector", "perturbation", "severity"], sort=False):
        changed = (part.verdict != part.verdict_plain).to_numpy(float)
        n = effective_count(changed, part.group.to_numpy())
        share = float(changed.mean())
        rows.append((*keys, share, *clopper_pearson(share * n, n), len(part)))
    return pd.DataFrame(rows, columns=["detector", "perturbation", "severity", "flips", "low", "high", "n"])


def _run_detector(
    suite: Suite, name: str, weights: Path, pictures: pd.DataFrame, pairs: list[Pair], folder: Path, progress: Progress
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return one detector's scores, the same beside the manifest, and its measured pairs."""
    detector, digest = load_detector(weights)[1], digest_checkpoint(weights)
    kept = folder / "scores" / re.sub(r"[^A-Za-z0-9-]+", "_", name)
    scores = _score(suite, name, detector, pictures, kept, digest, progress)
    joined = join_scores(scores, pictures, split=suite.split)
    if suite.alike is None:
        return scores, joined, measure_pairs(pairs, joined)
    cut = cut_faces(pictures, detector, progress=progress)
    copies = {
        pair: align_pair(list(zip((pair.first, pair.second), pair.split(cut), strict=True)), folder / "alike",
                         quality=suite.alike.quality, largest=suite.alike.side, progress=progress) for pair in pairs
    }  # fmt: skip
    every = pd.concat(copies.values()).drop_duplicates("sha256", ignore_index=True)
    again = _score(suite, name, detector, every, kept, digest, progress)[[*KEYS, "sha256", "score"]]
    parts = [measure_pairs([pair], table.merge(again, on="sha256"), saved=table.saved.iloc[0])
             for pair, table in copies.items()]  # fmt: skip
    return scores, joined, pd.concat(parts)


def _score(
    suite: Suite, name: str, detector: Detector, pictures: pd.DataFrame, kept: Path, fingerprint: str,
    progress: Progress,
) -> pd.DataFrame:  # fmt: skip
    """Return a detector's scores of all pictures under all conditions, from the file where they are there already."""
    crops = pictures.get("crop", pd.Series(dtype=str)).tolist()
    settings = [fingerprint, pictures.sha256.tolist(), crops, suite.seed, suite.conditions, COLUMNS]
    out = kept / f"{sha256(json.dumps(settings).encode())[:24]}.parquet"
    if out.is_file():
        return read_table(out).assign(detector=name)
    conditions = [Condition(*condition, suite.seed) for condition in suite.conditions]
    return score_manifest(pictures, detector, name, out, conditions=conditions, fingerprint=fingerprint,
                          progress=progress)  # fmt: skip
