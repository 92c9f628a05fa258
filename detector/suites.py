"""A suite: what to measure, on which pictures, under which perturbations, in one TOML file; and the run of one.

A suite is declared, never programmed. Every picture is decoded and cut as `detector score` does it, then perturbed,
then scored; what a perturbation draws depends on the picture's hash and the suite's seed alone.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detector.benchmark import join_scores, measure_scores
from detector.checkpoint import digest_checkpoint, read_card
from detector.detectors import DETECTORS
from detector.embedded import unpack_faces
from detector.engine import Row, judge_faces, list_targets, open_target
from detector.errors import DetectorError, ManifestError, UnknownName
from detector.faces import prepare
from detector.fairness import Fairness, measure_fairness
from detector.files import sha256, write_bytes
from detector.images import encode, load, read
from detector.intervals import clopper_pearson, effective_count
from detector.manifest import merge, read_crops, read_manifest, read_table, validate, write_table
from detector.metrics import METRICS
from detector.perturbations import PERTURBATIONS, perturb
from detector.types import Detector, Progress, silent

SUITES = Path(__file__).parents[1] / "benchmarks" / "suites"
EMBEDDED = "embedded"  # in the place of a manifest's path: the photographs that come with the installation
BLOCK = 256  # pictures in one shard of scores
Share = Annotated[float, Field(gt=0, lt=1)]


class SuiteError(DetectorError):
    """A suite's file cannot be read, or asks for something that does not exist."""


class Suite(BaseModel):
    """What a suite's file says; every path in it is relative to the file.

    manifests: paths, or "embedded". side: if given, every picture is cut, resized to that many pixels a side and saved
    alike first. keep: column -> values; other pictures are left out. sample: of real pictures, and of each generator's
    fakes, at most so many, those of the least hashes. detectors: name -> folder of weights.
    operating_points: false-positive rates at which the true-positive rate is measured, beside `metrics`.
    tolerances: metric -> how much worse it may be before the gate closes, in its unit; other metrics do not gate.
    by: columns of the manifest by whose values the detectors are compared, as `fairness.measure_fairness`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    summary: str = ""
    manifests: Annotated[list[str], Field(min_length=1)]
    split: str = "test"
    side: Annotated[int, Field(ge=16, le=2048)] | None = None
    keep: dict[str, list[str]] = {}
    sample: Annotated[int, Field(ge=1)] | None = None
    detectors: dict[str, str] = {}
    perturbations: list[str] = []
    severities: list[Annotated[int, Field(ge=1, le=5)]] = [3]
    metrics: Annotated[list[str], Field(min_length=1)] = ["auc"]
    operating_points: list[Share] = []
    tolerances: dict[str, Annotated[float, Field(ge=0)]] = {}
    by: list[str] = []
    seed: int = 0
    resamples: Annotated[int, Field(ge=100)] = 2000

    _folder: Path = Path()

    @property
    def measured(self) -> list[str]:
        """Return the names of every metric, operating points included."""
        points = [f"tpr_at_fpr_{100 * rate:g}" for rate in self.operating_points]
        return list(dict.fromkeys([*self.metrics, *points]))

    @property
    def conditions(self) -> list[tuple[str, int]]:
        """Return each perturbation with each severity, the untouched pictures first."""
        return [("none", 0), *product(self.perturbations, self.severities)]

    def resolve(self, path: str) -> Path:
        """Return a path of the file, from the working folder."""
        return self._folder / path


@dataclass(frozen=True)
class Run:
    """What a suite gave.

    pictures: as `gather_pictures`. detectors: name -> folder of weights, of those that did not fail. scores: one row a
    detector, perturbation, severity and picture. joined: the same beside the manifest, as `benchmark.join_scores`.
    results: as `benchmark.measure_scores`. flips: as `count_flips`. failed: detector -> why it has no scores.
    fairness: None if the suite compares by no column.
    """

    pictures: pd.DataFrame
    detectors: dict[str, Path]
    scores: pd.DataFrame
    joined: pd.DataFrame
    results: pd.DataFrame
    flips: pd.DataFrame
    failed: dict[str, str]
    fairness: Fairness | None = None


def read_suite(name: str | Path) -> Suite:
    """Return a suite by its name, or by the path of its TOML file.

    Raises UnknownName for a suite, a metric or a perturbation, SuiteError for anything else; an unknown key's message
    names the nearest valid one.
    """
    path = Path(name)
    if path.suffix != ".toml":
        known = {p.stem: p for p in sorted(SUITES.glob("*.toml"))}
        if str(name) not in known:
            raise UnknownName("suite", str(name), known)
        path = known[str(name)]
    try:
        suite = Suite.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise SuiteError(f"{path} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path.name} is not TOML: {error}") from None
    except ValidationError as error:
        raise SuiteError(f"{path.name}: {_explain(error)}") from None
    suite._folder = path.parent
    for metric in (*suite.measured, *suite.tolerances):
        METRICS.get(metric)
    for perturbation in suite.perturbations:
        PERTURBATIONS.get(perturbation)
    if astray := set(suite.tolerances) - set(suite.measured):
        raise SuiteError(f"{path.name}: {min(astray)!r} has a tolerance but is not measured; add it to metrics")
    return suite


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
        rank = table.sort_values("sha256").groupby("generator").cumcount()
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
        _check_hash(path, digest)
        data = encode(prepare(load(path), side, crop), "BMP")
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
    kept. Raises DetectorError if there is none or all fail; as `gather_pictures` and `benchmark.join_scores`.
    """
    chosen = dict(detectors or {name: suite.resolve(path) for name, path in suite.detectors.items()})
    if not chosen:
        raise SuiteError(f"the suite {suite.name!r} names no detector; give one")
    pictures = gather_pictures(suite, folder)
    parts, failed = [], {}
    for name, weights in chosen.items():
        try:
            kept = folder / "scores" / re.sub(r"[^A-Za-z0-9-]+", "_", name)
            scores = _score(suite, name, _load(weights), pictures, kept, digest_checkpoint(weights), progress)
            parts.append((scores, join_scores(scores, pictures, split=suite.split)))
        except ManifestError:  # the pictures' fault
            raise
        except Exception as error:  # a stranger's detector may raise anything, and the others' results must stand
            failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if not parts:
        raise DetectorError(f"every detector failed, the first: {next(iter(failed.values()))}")
    scores, joined = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    progress("measuring", 0, 1)
    results = measure_scores(joined, metrics=suite.measured, seed=suite.seed, resamples=suite.resamples)
    fairness = measure_fairness(joined, suite.by, seed=suite.seed) if suite.by else None
    progress("measuring", 1, 1)
    good = {name: weights for name, weights in chosen.items() if name not in failed}
    return Run(pictures, good, scores, joined, results, count_flips(scores, pictures), failed, fairness)


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


def _score(
    suite: Suite, name: str, detector: Detector, pictures: pd.DataFrame, kept: Path, fingerprint: str,
    progress: Progress,
) -> pd.DataFrame:  # fmt: skip
    """Return a detector's scores of all pictures under all conditions, from shards where they are there already."""
    shards = []
    for start in range(0, len(pictures), BLOCK):
        block = pictures.iloc[start : start + BLOCK]
        settings = [fingerprint, block.sha256.tolist(), block.get("crop", pd.Series(dtype=str)).tolist(), suite.seed]
        shard = kept / f"{sha256(json.dumps([*settings, suite.conditions]).encode())[:24]}.parquet"
        if not shard.is_file():
            rows = [asdict(row) | {"perturbation": perturbation, "severity": severity}
                    for perturbation, severity, row in _score_block(suite, detector, block)]  # fmt: skip
            write_table(pd.DataFrame(rows).assign(score=lambda t: t.score.astype(float)), shard)
        shards.append(read_table(shard))
        progress(f"scoring with {name}", min(start + BLOCK, len(pictures)), len(pictures))
    return pd.concat(shards, ignore_index=True).assign(detector=name)


def _score_block(suite: Suite, detector: Detector, block: pd.DataFrame) -> Iterator[tuple[str, int, Row]]:
    """Yield (perturbation, severity, row): every picture opened once, and scored under each condition."""
    locates = bool(getattr(detector, "locates", False))
    with ThreadPoolExecutor(2) as pool:
        opened = list(pool.map(lambda target: open_target(target, detector.size, locates), list_targets(block)))
    for (row, _), digest in zip(opened, block.sha256, strict=True):
        if row.sha256 not in ("", digest):
            raise _other_picture(row.path)
    named = [(replace(row, sha256=digest), face) for (row, face), digest in zip(opened, block.sha256, strict=True)]
    for perturbation, severity in suite.conditions:
        faces = [
            (row, face if face is None or not severity else
             perturb(face, perturbation, severity, seed=suite.seed, key=row.sha256))
            for row, face in named
        ]  # fmt: skip
        for row in judge_faces(faces, detector):
            yield perturbation, severity, row


def _load(folder: Path) -> Detector:
    thing: Detector = DETECTORS.get(read_card(folder, "detector")["detector"]).load(folder)
    return thing


def _check_hash(path: str, digest: str) -> None:
    if sha256(read(path)) != digest:
        raise _other_picture(path)


def _other_picture(path: str) -> ManifestError:
    return ManifestError(f"{path} is not the picture its manifest names by hash; restore it, or index the folder again")


def _explain(error: ValidationError) -> str:
    """Return the first fault in one line; of an unknown key, with the nearest valid one."""
    first: Any = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}"
    known: Sequence[str] = list(Suite.model_fields)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0)
    return f"there is no key {key!r}; did you mean {near[0]!r}?"
