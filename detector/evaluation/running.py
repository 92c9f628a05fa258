"""Run a suite: score the pictures with every detector, join, measure. A plain evaluation is a suite as well.

Every picture is decoded and cut as `detector score` does it, then perturbed, then scored. What a perturbation draws
depends on the picture's hash and the suite's seed alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from detector.dataset.embedded import unpack_faces
from detector.dataset.foreign import read_table
from detector.dataset.manifest import merge, read_crops, read_manifest, validate
from detector.detectors import load_detector
from detector.errors import DetectorError, ManifestError, UnknownName
from detector.evaluation.alignment import align_pair, cut_faces
from detector.evaluation.differences import compare_detectors
from detector.evaluation.joining import KEYS, join_scores, take_split
from detector.evaluation.measuring import measure_scores
from detector.evaluation.naming import file_names
from detector.evaluation.pairs import Pair, Role, average_pairs, cross_generators, find_pairs, measure_pairs
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

EMBEDDED = "embedded"  # instead of the path of a manifest: the photographs that come with the installation


@dataclass(frozen=True)
class Run:
    """The results of a suite.

    pictures: the rows of its split. detectors: name -> folder of weights and the detector, of those that did not fail.
    scores: one row per detector, perturbation, severity and picture. joined: these and other tools' scores beside the
    manifest, as `joining.join_scores`. results: as `measuring.measure_scores`. pairs: as `pairs.measure_pairs`. means:
    as `pairs.average_pairs`, of what the headline compares. differences: of the same, as
    `differences.compare_detectors`. flips: as `count_flips`. failed: detector -> why it has no scores. fairness: None
    if the suite compares by no column.
    """

    pictures: pd.DataFrame
    detectors: dict[str, tuple[Path, Detector]]
    scores: pd.DataFrame
    joined: pd.DataFrame
    results: pd.DataFrame
    pairs: pd.DataFrame
    means: pd.DataFrame
    differences: pd.DataFrame
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
    """Return the manifest of copies, cut and resized to `side`, as BMP: its bytes are the same on every machine.

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
    table: pd.DataFrame | None = None,
    detectors: Mapping[str, Path] | None = None,
    scores: Sequence[pd.DataFrame] = (),
    strict: bool = False,
    progress: Progress = silent,
) -> Run:
    """Score and measure every detector of a suite; an interrupted run is resumed from the folder.

    table: the manifest, all splits; None gathers the suite's (`gather_pictures`). detectors: name -> folder of weights;
    None takes those that the suite names. scores: scores of other tools, with a column `detector`. strict: raise what a
    detector raises; otherwise one that fails is left out, and the reason kept.

    Raises DetectorError if there is nothing to measure or all fail; as `gather_pictures` and `joining.join_scores`.
    """
    chosen = {name: suite.resolve(path) for name, path in suite.detectors.items()} if detectors is None else detectors
    if not chosen and not scores:
        raise SuiteError(f"the suite {suite.name!r} names no detector; give one")
    readable = table is not None
    table = gather_pictures(suite, folder) if table is None else table
    pictures = take_split(table, suite.split)
    pairs = find_pairs(pictures, suite.pairs)
    if suite.alike and not pairs:
        raise SuiteError(f"the suite {suite.name!r} saves pairs alike but has none; name `pairs`, or leave out `alike`")
    plan = _Plan(suite, table, pictures, pairs, folder, readable, progress)
    joined = [join_scores(listed, table, split=suite.split) for listed in scores]
    measured = [plan.measure(part) for part in joined]
    scored, loaded, failed = [], {}, {}
    for file, (name, weights) in zip(file_names(list(chosen)), chosen.items(), strict=True):
        try:
            loaded[name] = load_detector(weights)
            own, beside, (first, means) = plan.run(name, file, *loaded[name])
        except ManifestError:  # the pictures are wrong, not the detector
            raise
        except Exception as error:  # the detector of a plug-in may raise anything; the others must be measured
            if strict:
                raise
            loaded.pop(name, None)
            failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            continue
        scored.append(own)
        joined.append(beside)
        measured.append((first, means))
    if not joined:
        raise DetectorError(f"every detector failed, the first: {next(iter(failed.values()))}")
    progress("measuring", 0, 1)
    every = pd.concat(joined, ignore_index=True)
    results = measure_scores(every, metrics=suite.measured, seed=suite.seed, resamples=suite.resamples)
    fairness = measure_fairness(every, suite.by, seed=suite.seed) if suite.by else None
    progress("measuring", 1, 1)
    found, means = (pd.concat(tables, ignore_index=True) for tables in zip(*measured, strict=True))
    return Run(pictures, loaded, pd.concat(scored, ignore_index=True) if scored else pd.DataFrame(), every, results,
               found, means, compare_detectors(plan.compared, every), count_flips(every), failed, fairness)  # fmt: skip


def count_flips(joined: pd.DataFrame) -> pd.DataFrame:
    """Return the share of pictures whose verdict a perturbation changes, with its 95 % interval.

    joined: as `joining.join_scores`. Columns: detector, perturbation, severity, flips, low, high, n. Unreadable
    pictures are left out.
    """
    table = joined[joined.score.notna()]
    plain = table[table.perturbation == "none"][["detector", "sha256", "verdict"]]
    both = table[table.perturbation != "none"].merge(plain, on=["detector", "sha256"], suffixes=("", "_plain"))
    rows = []
    for keys, part in both.groupby(KEYS, sort=False):
        changed = (part.verdict != part.verdict_plain).to_numpy(float)
        n = effective_count(changed, part.group.to_numpy())
        share = float(changed.mean())
        rows.append((*keys, share, *clopper_pearson(share * n, n), len(part)))
    return pd.DataFrame(rows, columns=[*KEYS, "flips", "low", "high", "n"])


@dataclass(frozen=True)
class _Plan:
    """Settings that all detectors of a run share.

    readable: whether scores of the pictures as they are become `scores/NAME.csv`, for users to read; otherwise they are
    kept by what they depend on.
    """

    suite: Suite
    table: pd.DataFrame
    pictures: pd.DataFrame
    pairs: list[Pair]
    folder: Path
    readable: bool
    progress: Progress

    @property
    def compared(self) -> list[Pair]:
        """Return what the headline compares: the matched pairs, else every generator with every source."""
        return [pair for pair in self.pairs if pair.role is Role.MATCHED] or cross_generators(self.pictures)

    def measure(self, joined: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the pairs of joined scores, and the mean of what the headline compares."""
        return measure_pairs(self.pairs, joined), average_pairs([(pair, joined) for pair in self.compared])

    def run(
        self, name: str, file: str, weights: Path, detector: Detector
    ) -> tuple[pd.DataFrame, pd.DataFrame, tuple[pd.DataFrame, pd.DataFrame]]:
        """Return the scores of one detector, the scores joined to the manifest, and the results of `measure`.

        file: the name of what is kept of them below the folder.
        """
        digest = digest_checkpoint(weights)
        scores = self.score(name, file, detector, self.pictures, digest)
        joined = join_scores(scores, self.table, split=self.suite.split)
        if self.suite.alike is None:
            return scores, joined, self.measure(joined)
        cut = cut_faces(self.pictures, detector, progress=self.progress)
        alike = self.suite.alike
        copies = [
            align_pair(list(zip((pair.first, pair.second), pair.split(cut), strict=True)), self.folder / "alike",
                       quality=alike.quality, largest=alike.side, progress=self.progress) for pair in self.pairs
        ]  # fmt: skip
        every = pd.concat(copies).drop_duplicates("sha256", ignore_index=True)
        again = self.score(name, file, detector, every, digest)[[*KEYS, "sha256", "score"]]
        beside = [(pair, table.merge(again, on="sha256")) for pair, table in zip(self.pairs, copies, strict=True)]
        measured = [measure_pairs([pair], part, saved=part.saved.iloc[0]) for pair, part in beside]
        matched = [(pair, part) for pair, part in beside if pair.role is Role.MATCHED]
        return (
            scores,
            joined,
            (
                pd.concat(measured),
                average_pairs(matched or [(pair, joined) for pair in cross_generators(self.pictures)]),
            ),
        )

    def score(self, name: str, file: str, detector: Detector, pictures: pd.DataFrame, digest: str) -> pd.DataFrame:
        """Return a detector's scores of pictures under all conditions, from the file if it exists already."""
        if self.readable:
            out = self.folder / "scores" / f"{file}.csv"
            return score_manifest(pictures, detector, name, out, fingerprint=digest, progress=self.progress)
        crops = pictures.get("crop", pd.Series(dtype=str)).tolist()
        settings = [digest, pictures.sha256.tolist(), crops, self.suite.seed, self.suite.conditions, COLUMNS]
        out = self.folder / "scores" / file / f"{sha256(json.dumps(settings).encode())[:24]}.parquet"
        if out.is_file():
            return read_table(out).assign(detector=name)
        conditions = [Condition(*condition, self.suite.seed) for condition in self.suite.conditions]
        return score_manifest(pictures, detector, name, out, conditions=conditions, fingerprint=digest,
                              progress=self.progress)  # fmt: skip
