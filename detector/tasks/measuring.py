"""The tasks `evaluate`, `run_suite` and `audit`: measure detectors, and find what reveals the labels of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from detector.dataset.foreign import read_tables
from detector.dataset.manifest import complete, describe_data, read_manifest, write_manifest
from detector.detectors import find_detector
from detector.evaluation.alignment import look_behind
from detector.evaluation.joining import read_probabilities
from detector.evaluation.measuring import METRIC_NAMES
from detector.evaluation.naming import Source, name_apart
from detector.files import check_folder, sweep
from detector.scoring.checkpoint import read_card
from detector.scoring.targets import as_list
from detector.tasks.catalogue import describe_environment
from detector.types import Label, Progress, silent

if TYPE_CHECKING:
    from detector.dataset.findings import AuditFinding
    from detector.evaluation.gate import GateReport
    from detector.evaluation.running import Run
    from detector.evaluation.suites import Suite

WRITTEN = ("scores", "aligned", "alike", "pictures", "embedded")  # subfolders that an evaluation writes


def evaluate(
    manifest: Path | str,
    *,
    out: Path | str,
    detectors: Path | str | Sequence[Path | str] = (),
    scores: Path | str | Sequence[Path | str] = (),
    split: str = "test",
    seed: int = 0,
    command: str = "",
    faces: Mapping[str, Sequence[str]] | None = None,
    audited: bool = True,
    by: str | Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    probabilities: bool = False,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return a table of every metric with its 95 % interval, and write a report (HTML, JSON, Markdown) below `out`.

    The table has a row for each detector, generator, source of photographs (column `real`) and metric, with value, low
    and high.

    manifest: path of a table with one row for each picture, as `index` writes it. split: split whose pictures are
    measured. detectors: folders of weights, one or several. scores: tables of scores by any tool, with the columns path
    or sha256, and score. Without detectors and scores, the shipped detector is measured. Detectors of the same name are
    distinguished by the folders of their weights or scores. by: columns of the manifest; errors are compared between
    their values. audited: whether the report also lists what reveals the labels besides the face, and the AUC after
    every picture is re-encoded alike; of a larger set, a random sample of `alignment.AUDITED` pictures is used. faces:
    caption -> paths of pictures to show. columns: our name of a column -> its name in these tables. probabilities:
    whether the tables of scores have probabilities of a fake, from 0 to 1, instead of log-odds. command: command line
    that the report records.

    Raises ManifestError for a table that cannot be read or a picture with another hash, ScoresError for scores that
    cannot be measured, CheckpointError for weights that cannot be read, OSError if `out` cannot be written.
    """
    from detector.evaluation.running import run_suite as run
    from detector.evaluation.suites import Suite

    out, manifest = Path(out), Path(manifest)
    detectors, scores, by = as_list(detectors), as_list(scores), as_list(by)
    _prepare(out)
    first, *others = read_tables([manifest, *scores], columns or {})
    if probabilities:
        others = [read_probabilities(table, Path(path).name) for table, path in zip(others, scores, strict=True)]
    suite = Suite(name=manifest.name, manifests=[str(manifest)], split=split, metrics=list(METRIC_NAMES), by=list(by),
                  seed=seed)  # fmt: skip
    chosen = [find_detector(folder) for folder in detectors] or ([] if scores else [find_detector()])
    tables, named = _name_all(scores, others, chosen)
    found = run(suite, out, table=complete(first, manifest), detectors=named, scores=tables,
                strict=True, progress=progress)  # fmt: skip
    facts = {"manifest": manifest.name}
    _publish(suite, found, out, facts, command=command, faces=faces, audited=audited,
             progress=progress)  # fmt: skip
    return found.results


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
    """Run a suite, write its report below `out`, and return its results and the report of the gate.

    The gate compares the results with a baseline, and writes junit.xml and gate.md below `out`; without a baseline its
    report is None.

    name: name of a suite, or path of a TOML file. baseline: path of a .json file, or name of a shipped suite that has
    a baseline. detectors: folders of weights that replace those of the suite; a suite without detectors measures the
    shipped one. update_baseline: write the baseline instead of comparing with it. audited: as in `evaluate`.
    """
    from detector.evaluation import gate, running, suites

    out, suite = Path(out), suites.read_suite(name)
    _prepare(out)
    kept = None if baseline is None else suites.find_baseline(baseline)
    if kept is not None and not suite.tolerances:
        raise suites.SuiteError(
            f"the suite {suite.name!r} has no tolerances, so a gate would compare nothing; add them"
        )
    before = None if kept is None or update_baseline else gate.read_baseline(kept)
    folders = [find_detector(folder) for folder in detectors]
    apart = name_apart([Source(folder, folder=True) for folder in folders])
    chosen = {names[""]: folder for names, folder in zip(apart, folders, strict=True)}
    if not chosen and not suite.detectors:
        chosen = {"default": find_detector()}
    run = running.run_suite(suite, out, detectors=chosen or None, progress=progress)
    _publish(suite, run, out, {"suite": suite.name, "failed": run.failed}, command=command, audited=audited,
             gated=True, progress=progress)  # fmt: skip
    if kept is not None and update_baseline:
        gate.write_baseline(gate.make_baseline(suite.name, run.joined, run.results), kept)
    if before is None:
        return run.results, None
    report = gate.compare(
        suite.name, run.joined, run.results, before, suite.tolerances,
        seed=suite.seed if seed is None else seed, resamples=suite.resamples,
    )  # fmt: skip
    gate.write_junit(report, out / "junit.xml")
    gate.write_summary(report, out / "gate.md")
    return run.results, report


def read_headline(folder: Path | str) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the headline of each detector in a report's folder as text, and the findings on picture sources.

    The headlines are followed by which of several detectors is better, and those of a suite also by the smallest drop
    of the AUC that its gate could have noticed.
    """
    from detector.evaluation.differences import describe_differences
    from detector.evaluation.markdown import describe_headline
    from detector.evaluation.report import read_report

    report = read_report(Path(folder))
    metadata = report["metadata"]
    headlines = [f"{h['detector']}: {describe_headline(h)}" for h in metadata["headline"]]
    return [*headlines, *describe_differences(report["differences"]), *metadata["power"]], metadata["sources"]


def read_notes(folder: Path | str) -> list[str]:
    """Return the warnings of a report, such as that scores have another scale or are turned round."""
    from detector.evaluation.report import read_report

    notes: list[str] = read_report(Path(folder))["metadata"].get("notes", [])
    return notes


def audit(
    manifest: Path | str,
    *,
    fixed: Path | str | None = None,
    size: int = 128,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> list[AuditFinding]:
    """Return findings on what reveals the labels of a manifest besides the face, serious ones first.

    Each finding has a name, a severity ("serious" or "note"), a summary and a fix.

    fixed: folder for a balanced copy of the pictures with its manifest; all of them are re-encoded alike, with `size`
    pixels per side. columns: our name of a column -> its name in the manifest.

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


def _prepare(out: Path) -> None:
    """Create the folder of an evaluation, and remove temporary files that killed processes left in it."""
    check_folder(out)
    sweep(out, *(out / name for name in WRITTEN), *(out / "scores").glob("*/"))


def _publish(
    suite: Suite, run: Run, out: Path, facts: Mapping[str, Any], *, command: str, audited: bool, progress: Progress,
    faces: Mapping[str, Sequence[str]] | None = None, gated: bool = False,
) -> None:  # fmt: skip
    """Write the report of a run.

    facts: further entries of its metadata. gated: whether the report states the drop of the AUC that a gate could have
    noticed.
    """
    from detector.evaluation import figures
    from detector.evaluation.power import measure_power

    findings: list[dict[str, Any]] = []
    aligned = None
    if audited:
        findings, aligned = look_behind(run.pictures, run.joined, run.detectors, out, suite.seed, progress)
    metadata = {
        "command": command,
        **facts,
        "split": suite.split,
        "pictures": {label.name.lower(): int((run.pictures.label == label).sum()) for label in Label},
        "manifest_sha256": describe_data(run.pictures)["manifest_sha256"],
        "seed": suite.seed,
        "resamples": suite.resamples,
        "versions": describe_environment(),
    }
    drops = measure_power(run.joined, run.results, suite.tolerances) if gated else None
    figures.publish(run.joined, run.results, out, pairs=run.pairs, means=run.means, differences=run.differences,
                    drops=drops, metadata=metadata, faces=faces, fairness=run.fairness, flips=run.flips,
                    audit=findings, aligned=aligned)  # fmt: skip


def _name_all(
    paths: Sequence[Path | str], tables: Sequence[pd.DataFrame], folders: Sequence[Path]
) -> tuple[list[pd.DataFrame], dict[str, Path]]:
    """Return tables of scores with a column `detector`, and name -> folder of each detector; all names are unique."""
    listed = [tuple(map(str, table.detector.unique())) if "detector" in table else () for table in tables]
    sources = [Source(Path(path), names) for path, names in zip(paths, listed, strict=True)]
    sources += [Source(folder, (read_card(folder, "detector")["detector"],), folder=True) for folder in folders]
    apart = name_apart(sources)
    named = [
        table.assign(detector=table.detector.astype(str).map(names) if "detector" in table else names[""])
        for table, names in zip(tables, apart, strict=False)
    ]
    own = [name for names in apart[len(tables) :] for name in names.values()]
    return named, dict(zip(own, folders, strict=True))
