"""Measure: evaluations, suites, and what gives the labels of a dataset away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from detector.dataset.foreign import read_tables
from detector.dataset.manifest import complete, describe_data, read_manifest, write_manifest
from detector.detectors import load_detector
from detector.evaluation.alignment import look_behind
from detector.evaluation.joining import join_scores
from detector.evaluation.naming import Source, file_names, name_apart
from detector.files import check_folder, sweep
from detector.scoring.checkpoint import digest_checkpoint, find_checkpoint
from detector.scoring.tables import score_manifest
from detector.scoring.targets import as_list
from detector.statistics.fairness import measure_fairness
from detector.tasks.catalogue import describe_environment
from detector.types import Detector, Label, Progress, silent

if TYPE_CHECKING:
    from detector.dataset.findings import AuditFinding
    from detector.evaluation.gate import GateReport


def evaluate(
    manifest: Path | str,
    *,
    out: Path | str,
    detectors: Path | str | Sequence[Path | str] = (),
    runtime: str = "onnx",
    scores: Path | str | Sequence[Path | str] = (),
    split: str = "test",
    seed: int = 0,
    command: str = "",
    faces: Mapping[str, Sequence[str]] | None = None,
    audited: bool = True,
    by: str | Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return a table of every metric with its 95 % interval, and write a report (HTML, JSON, Markdown) below `out`.

    One row for each detector, generator, source of photographs (column `real`) and metric, with value, low and high.

    manifest: the path of a table with one row for each picture, as `index` writes it. split: which of its pictures are
    measured. detectors: folders of weights, one or several. scores: tables of scores by any tool, with the columns
    path or sha256, and score. Without either, the shipped detector is measured. Detectors of one name are told apart by
    the folders that they or their scores lie in. runtime: what runs the networks, "onnx" or "openvino". by: columns of
    the manifest by whose values errors are compared. audited: whether the report also says what gives the labels away
    besides the face, and the AUC after every picture is re-encoded alike; of a larger set, a random sample of
    `alignment.AUDITED` pictures is used. faces: caption -> paths of pictures to show. columns: our name of a column ->
    its name in these tables. command: what to record as the command that made the report.

    Raises ManifestError for a table that cannot be read or a picture with another hash, ScoresError for scores that
    cannot be measured, CheckpointError for weights that cannot be read, OSError if `out` cannot be written.
    """
    from detector.evaluation import figures, measuring
    from detector.evaluation.pairs import find_pairs, measure_pairs

    out, manifest = Path(out), Path(manifest)
    detectors, scores, by = as_list(detectors), as_list(scores), as_list(by)
    check_folder(out)
    sweep(out, out / "scores", out / "aligned")
    first, *others = read_tables([manifest, *scores], columns or {})
    table = complete(first, manifest)
    wanted = table[table.split == split]
    chosen: list[Path | str | None] = list(detectors) or ([] if scores else [None])
    loaded = [load_detector(given, runtime=runtime) for given in chosen]
    theirs, named = _name_all(scores, others, loaded)
    joined = _score_all(table, theirs, named, split, out, progress)
    progress("measuring", 0, 1)
    results = measuring.measure_scores(joined, seed=seed)
    progress("measuring", 1, 1)
    metadata = {
        "command": command, "split": split, "runtime": runtime,
        "pictures": {label.name.lower(): int((wanted.label == label).sum()) for label in Label},
        "manifest": manifest.name, "manifest_sha256": describe_data(wanted)["manifest_sha256"], "seed": seed,
        "resamples": 2000, "versions": describe_environment(),
    }  # fmt: skip
    fairness = measure_fairness(joined, by, seed=seed) if by else None
    findings, aligned = look_behind(wanted, joined, named, out, seed, progress) if audited else ([], None)
    figures.publish(joined, results, out, pairs=measure_pairs(find_pairs(wanted), joined), metadata=metadata,
                    faces=faces, aligned=aligned, fairness=fairness, audit=findings)  # fmt: skip
    return results


def run_suite(
    name: Path | str,
    *,
    out: Path | str,
    detectors: Sequence[Path | str] = (),
    baseline: Path | str | None = None,
    update_baseline: bool = False,
    seed: int | None = None,
    command: str = "",
    audited: bool = True,
    progress: Progress = silent,
) -> tuple[pd.DataFrame, GateReport | None]:
    """Run a suite; return its results and, against a baseline, what the gate says of them.

    name: of a suite in `benchmarks/suites`, or the path of a TOML file. detectors: folders of weights, in place of the
    suite's; a suite that names none measures the shipped detector. update_baseline: write the baseline instead.
    audited: as `evaluate`.

    Writes the report below `out`, and beside it junit.xml and gate.md where there is a gate.
    """
    from detector.evaluation import figures, gate, running, suites

    out, suite = Path(out), suites.read_suite(name)
    check_folder(out)
    sweep(out, out / "scores", out / "aligned")
    apart = name_apart([Source(Path(folder), folder=True) for folder in detectors])
    chosen = {names[""]: Path(folder) for names, folder in zip(apart, detectors, strict=True)}
    if not chosen and not suite.detectors:
        chosen = {"default": find_checkpoint("detector", "default")}
    run = running.run_suite(suite, out, detectors=chosen or None, progress=progress)
    metadata = {
        "command": command, "suite": suite.name, "failed": run.failed, "versions": describe_environment(),
    }  # fmt: skip
    findings: list[dict[str, Any]] = []
    aligned = None
    if audited:
        measured = {name: load_detector(folder) for name, folder in run.detectors.items()}
        findings, aligned = look_behind(run.pictures, run.joined, measured, out, suite.seed, progress)
    figures.publish(run.joined, run.results, out, pairs=run.pairs, metadata=metadata, fairness=run.fairness,
                    flips=run.flips, audit=findings, aligned=aligned)  # fmt: skip
    if baseline is None:
        return run.results, None
    if update_baseline:
        gate.write_baseline(gate.make_baseline(suite.name, run.joined, run.results), Path(baseline))
        return run.results, None
    report = gate.compare(
        suite.name, run.joined, run.results, gate.read_baseline(Path(baseline)), suite.tolerances,
        seed=suite.seed if seed is None else seed, resamples=suite.resamples,
    )  # fmt: skip
    gate.write_junit(report, out / "junit.xml")
    gate.write_summary(report, out / "gate.md")
    return run.results, report


def read_headline(folder: Path | str) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the headline of each detector in a report's folder, in words, and the findings on picture sources."""
    from detector.evaluation.markdown import describe_headline
    from detector.evaluation.report import read_metadata

    metadata = read_metadata(Path(folder))
    return [f"{h['detector']}: {describe_headline(h)}" for h in metadata["headline"]], metadata["sources"]


def audit(
    manifest: Path | str,
    *,
    fixed: Path | str | None = None,
    size: int = 128,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> list[AuditFinding]:
    """Return what gives the labels of a manifest away besides the face, serious findings first.

    Each finding has a name, a severity ("serious" or "note"), a summary and a fix. fixed: a folder for a balanced copy
    of the pictures, all re-encoded alike, `size` pixels a side, with its manifest. columns: our name of a column ->
    its name in the manifest.

    Raises ManifestError for a table that cannot be read, OSError if `fixed` cannot be written.
    """
    from detector.dataset.audit import audit as find_shortcuts
    from detector.dataset.audit import mend
    from detector.dataset.reencoding import reencode

    if fixed is not None:
        check_folder(fixed)
        sweep(Path(fixed), Path(fixed) / "pictures")
    table = read_manifest(manifest, check=False, columns=columns)
    findings = find_shortcuts(table, seed=seed, progress=progress)
    if fixed is not None:
        copy = reencode(mend(table, findings, seed=seed), Path(fixed) / "pictures", size=size, progress=progress)
        write_manifest(copy, Path(fixed) / "manifest.csv")
    return findings


def _score_all(
    table: pd.DataFrame, theirs: Sequence[pd.DataFrame], named: Mapping[str, tuple[Path, Detector]], split: str,
    out: Path, progress: Progress,
) -> pd.DataFrame:  # fmt: skip
    """Return scores of other tools and of detectors, which are written below `out`, beside the manifest's split."""
    parts = [join_scores(scores, table, split=split) for scores in theirs]
    for file, (name, (folder, thing)) in zip(file_names(list(named)), named.items(), strict=True):
        scores = score_manifest(table[table.split == split], thing, name, out / "scores" / f"{file}.csv",
                                fingerprint=digest_checkpoint(folder), progress=progress)  # fmt: skip
        parts.append(join_scores(scores, table, split=split))
    return pd.concat(parts, ignore_index=True)


def _name_all(
    paths: Sequence[Path | str], tables: Sequence[pd.DataFrame], loaded: Sequence[tuple[Path, Detector]]
) -> tuple[list[pd.DataFrame], dict[str, tuple[Path, Detector]]]:
    """Return tables of scores with their column `detector`, and name -> detector, no two names alike."""
    given = [tuple(map(str, table.detector.unique())) if "detector" in table else () for table in tables]
    sources = [Source(Path(path), names) for path, names in zip(paths, given, strict=True)]
    sources += [Source(folder, (thing.name,), folder=True) for folder, thing in loaded]
    apart = name_apart(sources)
    named = [
        table.assign(detector=table.detector.astype(str).map(names) if "detector" in table else names[""])
        for table, names in zip(tables, apart, strict=False)
    ]
    own = apart[len(tables) :]
    return named, {names[thing.name]: (folder, thing) for names, (folder, thing) in zip(own, loaded, strict=True)}
