"""The public functions, one a task: names and paths in, tables out. `import detector` offers them, the CLI calls them.

Only here and in suites are names turned into things; everything below takes objects.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from detector import __version__
from detector.dataset.manifest import (
    COLUMNS,
    describe_data,
    index_folder,
    read_crops,
    read_manifest,
    read_table,
    write_manifest,
)
from detector.detectors import DETECTORS, load_detector
from detector.errors import DetectorError, ImageError, ManifestError
from detector.files import sha256, write_bytes
from detector.generators import GENERATORS, load_generator
from detector.pictures.faces import prepare
from detector.pictures.images import encode, load
from detector.registry import check_options
from detector.scoring.checkpoint import CARD, SHIPPED, digest_checkpoint, find_checkpoint, read_card
from detector.scoring.engine import Row, score_pictures
from detector.scoring.tables import score_manifest, score_to_file
from detector.scoring.targets import expand
from detector.statistics.fairness import measure_fairness
from detector.types import Detector, Label, Progress, silent

if TYPE_CHECKING:
    from detector.dataset.findings import AuditFinding
    from detector.evaluation.gate import GateReport


AUDITED = 2000  # pictures an evaluation looks at for shortcuts


def index(
    folder: Path | str,
    out: Path | str,
    *,
    label: Label | None = None,
    generator: str = "",
    dataset: str = "",
    group_by: str = "file",
    licence: str = "unknown",
    layout: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Write and return the manifest of the pictures below a folder; as `manifest.index_folder`.

    layout: of another tool's data set, a name in `layouts.LAYOUTS`; as `layouts.read_layout`.
    """
    if layout is not None:
        from detector.dataset.layouts import read_layout

        copies = Path(out).parent / "pictures"
        table = read_layout(folder, layout, copies=copies, dataset=dataset, licence=licence, seed=seed,
                            progress=partial(progress, "hashing"))  # fmt: skip
    else:
        table = index_folder(folder, label=label, generator=generator, dataset=dataset, group_by=group_by,
                             licence=licence, seed=seed, progress=partial(progress, "hashing"))  # fmt: skip
    write_manifest(table, out)
    return table


def generate(
    name: str,
    n: int,
    folder: Path | str,
    *,
    seed: int = 0,
    weights: Path | str | None = None,
    format: str = "png",
    label: bool = True,
    signer: Path | str | None = None,
    progress: Progress = silent,
    **options: Any,
) -> pd.DataFrame:
    """Write n fakes that say so and their manifest below a folder, and return the manifest.

    name: of a generator. weights: a folder with its checkpoint; None takes the shipped one or quickstart's.
    options: passed to the generator's `sample`, such as truncation=0.7. Picture i is that of seed + i.
    label: as `labelling.label_file`: XMP, a C2PA manifest where c2pa-python is installed, and a line in the fingerprint
    registry. The pixels of a seed are always the same; a signed file has an identifier and a time of its own, and
    `sha256` is that of the file. signer: a PEM file, as `labelling.read_signer`; None is the local certificate.
    """
    folder = Path(folder)
    source = load_generator(name, weights)
    if not hasattr(source, "sample"):
        raise DetectorError(f"{name} alters real pictures; name a manifest of them with --from")
    check_options(name, source.sample, options)
    mark = _labeller(name, weights, label, signer)
    licence = getattr(source, "licence", "made by detector")
    rows, plain = [], []
    for start in range(0, n, 64):
        count = min(64, n - start)
        for i, image in enumerate(source.sample(count, seed=seed + start, **options), seed + start):
            data = encode(image, format.upper().replace("JPG", "JPEG"))
            plain.append(sha256(data))
            data = mark(data, i)
            path = folder / f"{i:08d}.{format}"
            write_bytes(path, data)
            rows.append((str(path.resolve()), sha256(data), int(Label.FAKE), name, f"generated-{name}",
                         f"{name}/seed-{i}", "train", licence))  # fmt: skip
        progress("generating", start + count, n)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table[~pd.Series(plain, dtype=str).duplicated()].reset_index(drop=True)
    write_manifest(table, folder / "manifest.csv")
    return table


def alter(
    name: str,
    originals: pd.DataFrame | Path | str,
    folder: Path | str,
    *,
    n: int | None = None,
    seed: int = 0,
    size: int = 128,
    weights: Path | str | None = None,
    label: bool = True,
    signer: Path | str | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Write fakes that a generator makes of real pictures, as PNG with their manifest, and return it.

    originals: a manifest; its first n real pictures are cut, resized to `size` pixels a side and altered. A fake keeps
    the group and split of its original, so that a pair never straddles two splits. label, signer: as `generate`.

    Raises DetectorError if the generator makes faces from nothing, or there is no real picture.
    """
    table = originals if isinstance(originals, pd.DataFrame) else read_manifest(originals)
    reals = table[table.label == Label.REAL].iloc[:n]
    if reals.empty:
        raise DetectorError("the manifest has no real picture to alter")
    source: Any = load_generator(name, weights)
    if not hasattr(source, "alter"):
        raise DetectorError(f"{name} makes faces from nothing; leave out --from")
    mark = _labeller(name, weights, label, signer)
    folder = Path(folder)
    made = reals.drop(columns="crop", errors="ignore").assign(label=int(Label.FAKE), generator=name)
    paths, hashes = [], []
    for i, (path, crop) in enumerate(zip(reals.path, read_crops(reals), strict=True)):
        data = mark(encode(source.alter(prepare(load(path), size, crop)[None], seed=seed + i)[0]), seed + i)
        out = folder / f"{i:08d}.png"
        write_bytes(out, data)
        paths.append(str(out.resolve()))
        hashes.append(sha256(data))
        progress(f"altering with {name}", i + 1, len(reals))
    made["path"], made["sha256"] = paths, hashes
    write_manifest(made, folder / "manifest.csv")
    return made.reset_index(drop=True)


def train(
    kind: str,
    name: str,
    manifest: Path | str | pd.DataFrame,
    folder: Path | str,
    *,
    seed: int = 0,
    device: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Any:
    """Train a "generator" or a "detector" on a manifest into a folder, resuming what it holds, and return it.

    arguments: of the constructor. options: of its `fit`.
    """
    registry = {"generator": GENERATORS, "detector": DETECTORS}[kind]
    table = manifest if isinstance(manifest, pd.DataFrame) else read_manifest(manifest)
    if not hasattr(registry.get(name), "fit"):
        raise DetectorError(f"{name} has nothing to learn; use it as it is, without training")
    try:
        thing = registry.get(name)(**(arguments or {}))
    except TypeError as error:
        raise DetectorError(f"{name} takes no such argument: {str(error).split('()')[-1].strip()}") from None
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    thing.fit(table, seed=seed, folder=folder, device=device, progress=progress, **options)
    if int(os.environ.get("RANK", 0)) == 0:  # under torchrun, one process writes
        thing.save(folder, seed=seed, version=__version__, data=describe_data(table))
    return thing


def score(
    inputs: Sequence[str | Path],
    *,
    detector: Path | str | None = None,
    runtime: str = "onnx",
    out: Path | str | None = None,
    lines: Iterable[str] = (),
    progress: Progress = silent,
) -> list[Row] | int:
    """Score files, folders and manifests, in order; return the rows, or with `out` write them and count the errors.

    detector: a folder of weights; None takes the shipped ones or quickstart's. lines: what `-` stands for.
    runtime: what runs an exported network, "onnx" or "openvino", as `load_detector`.
    """
    folder, thing = load_detector(detector, runtime=runtime)
    targets = expand([str(i) for i in inputs], lines=lines)
    if out is None:
        rows = []
        for row in score_pictures(targets, thing):
            rows.append(row)
            progress("scoring", len(rows), len(targets))
        return rows
    return score_to_file(
        targets, thing, Path(out), fingerprint=digest_checkpoint(folder),
        progress=partial(progress, "scoring"),
    )  # fmt: skip


def verify(
    inputs: Sequence[str | Path],
    out: Path | str,
    *,
    detector: Path | str | None = None,
    known: Path | None = None,
    trust: Path | None = None,
    case: str = "",
    examiner: str = "",
    key: Path | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Write a folder of evidence for each picture, the custody log and index.html; return one row each, by priority.

    Rows: name, folder ("" if the file could not be read), opinion, log10_lr, others (checks beside the detector that
    point to H1), statement. An exhibit that has its report from the same weights keeps it.

    known: a list of known pictures. trust: trust lists for Content Credentials. key: Ed25519, signs the log's entries.
    """
    from detector import casefile, filing, verification
    from detector.evidence import read_exhibit

    out = Path(out)
    folder, thing = load_detector(detector)
    card, weights = read_card(folder, "detector"), digest_checkpoint(folder)
    backing = verification.read_backing(folder, card)
    components = describe_environment() | {"weights": weights}
    log = casefile.CustodyLog(out / casefile.LOG, key=None if key is None else casefile.read_key(key))
    given = {"--detector": detector, "--known": known, "--trust": trust, "--case": case, "--examiner": examiner}
    options = [word for name, value in given.items() if value for word in (name, str(value))]
    targets = expand([str(i) for i in inputs])
    rows: list[dict[str, Any]] = []
    for done, target in enumerate(targets, 1):
        try:
            exhibit = read_exhibit(Path(target.path).resolve())
            name = os.fsencode(exhibit.path).decode("utf-8", "backslashreplace")  # names that are no text
            exhibit = replace(exhibit, path=Path(name))
        except ImageError as error:
            rows.append({"name": target.path, "folder": "", "opinion": "error", "log10_lr": None, "others": [],
                         "statement": f"{error.reason}: {error}", "jpeg": b""})  # fmt: skip
            progress("verifying", done, len(targets))
            continue
        home = out / casefile.name_folder(exhibit.path, exhibit.sha256)
        record = filing.find_record(home, components=components, case=case, examiner=examiner)
        if record is None:
            findings = verification.examine(
                exhibit, thing, known=known, trust=trust, weights=weights, false_alarms=card.get("false_alarms")
            )
            conclusion = verification.conclude(findings, getattr(thing, "calibration", None))
            evidence = verification.make_record(
                exhibit, findings, conclusion, backing=backing, components=components, case=case, examiner=examiner,
                made={"at": casefile.now(), "command": shlex.join(["detector", "verify", str(exhibit.path), *options])},
            )  # fmt: skip
            record = casefile.seal(evidence.model_dump(mode="json"))
            filing.file_record(home, record, exhibit.image, log)
        rows.append(filing.summarise(record, home, exhibit.image))
        progress("verifying", done, len(targets))
    rows.sort(key=filing.rank)
    filing.file_index(out, rows, case)
    return [{k: v for k, v in row.items() if k != "jpeg"} for row in rows]


def evaluate(
    manifest: Path | str,
    *,
    out: Path | str,
    detectors: Sequence[Path | str] = (),
    runtime: str = "onnx",
    scores: Sequence[Path | str] = (),
    split: str = "test",
    seed: int = 0,
    command: str = "",
    faces: Mapping[str, Sequence[str]] | None = None,
    audited: bool = True,
    by: Sequence[str] = (),
    progress: Progress = silent,
) -> pd.DataFrame:
    """Measure detectors (folders of weights) and scores (tables of any tool) on a manifest; return the tidy results.

    Writes report.json, report.html, report.md and plots below `out`. Without either, the shipped detector is measured.
    faces: caption -> paths of pictures to show in the report. audited: whether the report says what gives the labels
    away besides the face, and what each detector's AUC is once all pictures are re-encoded alike; of a larger set,
    AUDITED pictures drawn at random are looked at. by: columns by whose values the detectors are compared.
    runtime: as `load_detector`.
    """
    from detector.evaluation import figures, joining, measuring
    from detector.evaluation.pairs import find_pairs, measure_pairs

    out, manifest = Path(out), Path(manifest)
    table = read_manifest(manifest)
    wanted = table[table.split == split]
    parts = [joining.join_scores(_named(read_table(path), Path(path)), table, split=split) for path in scores]
    chosen: list[Path | str | None] = list(detectors) or ([] if scores else [None])
    loaded = [load_detector(given, runtime=runtime) for given in chosen]
    for folder, thing in loaded:
        kept = score_manifest(wanted, thing, thing.name, out / "scores" / f"{thing.name}.csv",
                              fingerprint=digest_checkpoint(folder), progress=progress)  # fmt: skip
        parts.append(joining.join_scores(kept, table, split=split))
    joined = pd.concat(parts, ignore_index=True)
    progress("measuring", 0, 1)
    results = measuring.measure_scores(joined, seed=seed)
    pairs = measure_pairs(find_pairs(wanted), joined)
    progress("measuring", 1, 1)
    metadata = {
        "command": command,
        "split": split,
        "runtime": runtime,
        "pictures": {label.name.lower(): int((wanted.label == label).sum()) for label in Label},
        "manifest": manifest.name,
        "manifest_sha256": describe_data(wanted)["manifest_sha256"],
        "seed": seed,
        "resamples": 2000,
        "versions": describe_environment(),
    }
    fairness = measure_fairness(joined, by, seed=seed) if by else None
    findings: list[dict[str, Any]] = []
    aligned = None
    if audited:
        named = {thing.name: (folder, thing) for folder, thing in loaded}
        findings, aligned = _look_behind(wanted, joined, named, out, seed, progress)
    figures.publish(joined, results, out, pairs=pairs, metadata=metadata, faces=faces, aligned=aligned,
                    fairness=fairness, audit=findings)  # fmt: skip
    return results


def _look_behind(
    pictures: pd.DataFrame, joined: pd.DataFrame, detectors: Mapping[str, tuple[Path, Detector]], out: Path, seed: int,
    progress: Progress,
) -> tuple[list[dict[str, Any]], pd.DataFrame]:  # fmt: skip
    """Return what gives the labels away, the gravest first, and each detector's AUC on pictures re-encoded alike."""
    from detector.dataset import audit
    from detector.dataset.findings import AuditFinding, Severity
    from detector.evaluation import alignment

    some = pictures.sample(min(len(pictures), AUDITED), random_state=seed)
    findings: list[AuditFinding] = []
    again = {}
    for name, (folder, thing) in detectors.items():
        try:
            copies = alignment.align(some, thing, out / "aligned", progress=progress)
        except ManifestError as error:
            findings.append(AuditFinding("aligned AUC", Severity.NOTE, f"{name}: {error}"))
            continue
        kept = score_manifest(copies, thing, name, out / "scores" / f"{name}-aligned.csv",
                              fingerprint=digest_checkpoint(folder), progress=progress)  # fmt: skip
        again[name] = kept.merge(copies[["sha256", "original", "saved"]], on="sha256")
    aligned = alignment.compare_aligned(joined, again)
    findings += [*alignment.find_losses(aligned), *audit.audit(some, progress=progress)]
    findings.sort(key=lambda finding: -list(Severity).index(finding.severity))
    return [asdict(finding) | {"rows": len(finding.rows)} for finding in findings], aligned


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
    chosen = {Path(folder).name: Path(folder) for folder in detectors}
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
        findings, aligned = _look_behind(run.pictures, run.joined, measured, out, suite.seed, progress)
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


def check_data(
    manifest: Path | str,
    *,
    fixed: Path | str | None = None,
    size: int = 128,
    seed: int = 0,
    progress: Progress = silent,
) -> list[AuditFinding]:
    """Return what gives a manifest's labels away besides the face, serious findings first; as `audit.audit`.

    fixed: a folder for a balanced copy of the pictures, all re-encoded alike, `size` pixels a side.
    """
    from detector.dataset import audit
    from detector.dataset.reencoding import reencode

    table = read_manifest(manifest, check=False)
    findings = audit.audit(table, seed=seed, progress=progress)
    if fixed is not None:
        copy = reencode(audit.mend(table, findings, seed=seed), Path(fixed) / "pictures", size=size, progress=progress)
        write_manifest(copy, Path(fixed) / "manifest.csv")
    return findings


def draw_mixing(
    name: str,
    sources: Sequence[int],
    destinations: Sequence[int],
    out: Path | str,
    *,
    weights: Path | str | None = None,
    label: bool = True,
    signer: Path | str | None = None,
    **options: Any,
) -> None:
    """Write the source x destination grid of a generator that mixes styles, as a PNG; options go to its `sample`.

    label, signer: as `generate`; the seed it names is the first source's.
    """
    from detector.evaluation import plots

    source: Any = load_generator(name, weights)
    if not hasattr(source, "mix"):
        able = [n for n in GENERATORS if hasattr(GENERATORS.get(n), "mix")]
        raise DetectorError(f"{name} has no styles to mix; these have: {', '.join(able)}")
    check_options(name, source.mix, options)
    ends = [np.concatenate([source.sample(1, seed=s, **options) for s in seeds]) for seeds in (sources, destinations)]
    mixed = {
        layers: source.mix(sources, destinations, layers=layers, **options) for layers in ("coarse", "middle", "fine")
    }
    data = plots.to_png(plots.mixing_figure(ends[0], ends[1], mixed), dpi=140)
    write_bytes(out, _labeller(name, weights, label, signer)(data, sources[0]))


def describe_licence(name: str) -> str:
    """Return a line on where a generator's weights come from and what may be done with them; empty for our own.

    Raises MissingExtra if they are someone else's and not installed.
    """
    kind = GENERATORS.get(name)
    return f"{kind.notice()}\n" if hasattr(kind, "notice") else ""


def list_things() -> dict[str, dict[str, str]]:
    """Return what there is, kind -> name -> what it is; imports no more than that takes."""
    from detector.pictures.perturbations import PERTURBATIONS
    from detector.statistics.metrics import METRICS

    things = {registry.kind + "s": {name: str(registry.facts(name).get("summary", "")) for name in registry}
              for registry in (GENERATORS, DETECTORS, METRICS, PERTURBATIONS)}  # fmt: skip
    cards = sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}"))
    return things | {"shipped weights": dict.fromkeys(cards, "`detector list --card` shows its card")}


def describe_card(name: Path | str) -> list[tuple[str, str]]:
    """Return the card of shipped weights, or of a folder, as (what, value) lines; CheckpointError if there is none."""
    folder = SHIPPED / name if (SHIPPED / name / CARD).is_file() else Path(name)
    lines: list[tuple[str, str]] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                walk(f"{prefix}.{key}" if prefix else key, below)
        elif isinstance(value, list):
            lines.extend((prefix if i == 0 else "", str(item)) for i, item in enumerate(value))
        else:
            lines.append((prefix, f"{value:.4g}" if isinstance(value, float) else str(value)))

    walk("", read_card(folder))
    return lines


def describe_environment() -> dict[str, str]:
    """Return the versions that a figure depends on."""
    import platform
    from importlib.metadata import version

    packages = ("numpy", "scipy", "pandas", "pillow", "onnxruntime")
    return {"detector": __version__, "python": platform.python_version()} | {p: version(p) for p in packages}


def _labeller(
    name: str, weights: Path | str | None, wanted: bool, signer: Path | str | None
) -> Callable[[bytes, int], bytes]:
    """Return what labels a file that a generator made with a seed; if no label is wanted, what leaves it alone."""
    if not wanted:
        return lambda data, seed: data
    from detector.pictures.labelling import label_file, read_signer

    who = None if signer is None else read_signer(signer)
    folder = (weights or find_checkpoint("generator", name)) if hasattr(GENERATORS.get(name), "load") else None
    checkpoint = "none" if folder is None else digest_checkpoint(folder)
    return lambda data, seed: label_file(data, generator=name, seed=seed, checkpoint=checkpoint, signer=who)


def _named(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return scores under the name of their file, unless they carry one."""
    return table if "detector" in table else table.assign(detector=path.stem)
