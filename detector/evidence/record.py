"""One questioned picture -> one record: what every check saw, and what the detector's ratio is worth.

A file that declares that it was generated gets that opinion, whatever the detector says. Otherwise the calibrated
detector decides, which alone carries a likelihood ratio. The other findings stand beside it and are never multiplied
in: they are not independent of it, nor of each other. "No opinion" is an ordinary conclusion.
Source: ENFSI Guideline for Evaluative Reporting in Forensic Science, 2015, version 3.0 (propositions, ratio, words).
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit

from detector.errors import DetectorError
from detector.evidence.checks import CHECKS, read_reference, weigh
from detector.files import sha256
from detector.pictures.marks import Declaration
from detector.statistics.calibration import SMALLEST_WIDTH, VERBAL_SCALE, Calibration, describe
from detector.types import Detector, Exhibit, Finding, Opinion, Outcome

if TYPE_CHECKING:
    from detector.evidence.checks.duplicates import KnownPicture
    from detector.evidence.checks.provenance import TrustList

LOG = logging.getLogger("detector")
SCHEMA = Path(__file__).with_name("evidence.schema.json")
VERSION: Literal["detector-evidence/1"] = "detector-evidence/1"
PROPOSITIONS = {
    "H1": "The face was produced or altered by a generator of the covered families.",
    "H2": "The face is part of a photograph that was processed as photographs ordinarily are.",
}
PRIORS = (0.001, 0.01, 0.1, 0.5)  # shares of generated faces among pictures like this one, before the examination
SIMILAR = 2  # factor by which a face may be smaller or larger than those of a source and still resemble them in size
MIN_SOURCES = 2  # sources of photographs with faces of an exhibit's size on which the detector must have been measured
WORST_QUALITY = 30  # JPEG quality below which nothing was measured
STABLE = 3  # mild recompressions, of five, that must not change a verdict
ALTERNATIVES = (
    "A photograph after beauty filters, portrait modes, heavy noise reduction or enlargement by a neural network.",
    "A photograph of a print or a screen, a drawing, a render or a wax figure.",
    "A face from a generator of a family that was not measured; it can look like a photograph to the detector.",
    "A photograph that is genuine and shown out of its context: nothing here speaks to that.",
)
DECLARING = ("provenance", "metadata", "duplicates")  # checks that `find_declaration` reads
LIMITS = (
    "The ratio compares two propositions about how the face was made. It is not the probability that it was generated.",
    "It holds for faces and processing like those of the validation set, and is bounded by that set's size.",
    "Findings without a ratio are observations. They are neither independent of it nor of each other.",
)


class Closed(BaseModel):
    """Base class of the parts of the record; they have no other keys and no NaN."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ExhibitRecord(Closed):
    """The examined file."""

    path: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]
    width: int | None
    height: int | None


class FindingRecord(Closed):
    """The finding of one check, and what the check cannot detect."""

    check: str
    outcome: Outcome
    summary: str
    details: dict[str, Any]
    limits: str
    reference: str | dict[str, Any]


class Posterior(Closed):
    """One base rate before and after the detector's likelihood ratio."""

    prior: float
    posterior: float


class Conclusion(Closed):
    """The conclusion from the detector's likelihood ratio; log10_lr is null outside of what was validated."""

    statement: str
    opinion: Opinion
    log10_lr: float | None
    interval: Annotated[
        list[float] | None, Field(description="95 %, of the calibration alone; both ends at a bound: no end beyond it")
    ]
    bounds: Annotated[list[float] | None, Field(description="smallest and largest log10_lr that the data support")]
    in_domain: bool
    reasons: list[str]
    posteriors: list[Posterior]
    alternatives: list[str]


class Evidence(Closed):
    """The content of report.json. `sha256` is the hash of the canonical form of all other fields."""

    version: Literal["detector-evidence/1"]
    case: str
    examiner: str
    exhibit: ExhibitRecord
    propositions: dict[str, str]
    conclusion: Conclusion
    findings: list[FindingRecord]
    backing: Annotated[dict[str, Any], Field(description="the data and the validation on which the numbers are based")]
    verbal_scale: list[dict[str, Any]]
    limits: list[str]
    components: dict[str, str]
    made: Annotated[dict[str, str], Field(description="time and command; only these differ in a repetition")]
    sha256: str = ""


def examine(
    exhibit: Exhibit, detector: Detector, *, known: Sequence[KnownPicture] = (), trust: Sequence[TrustList] = (),
    registry: Path | None = None, weights: str = "", false_alarms: Mapping[str, Any] | None = None,
) -> list[FindingRecord]:  # fmt: skip
    """Return the finding of every check of an exhibit with its reference, the detector's finding first.

    known: pictures that the user knows. trust: trust lists for Content Credentials. registry: the registry of our own
    fakes; None takes that of this installation. weights: digest of the detector's weights, as `digest_checkpoint`.
    false_alarms: those of the detector's card, for weights that are not in `reference.json`.

    Raises ManifestError if the registry is not one. Damaged exhibits raise nothing.
    """
    given: dict[str, dict[str, Any]] = {
        "detector": {"detector": detector}, "provenance": {"trust": trust},
        "duplicates": {"known": known, "registry": registry},
    }  # fmt: skip
    measured = read_reference()
    if measured.get("detector", {}).pop("weights", "") != weights:
        measured.pop("detector", None)
    if false_alarms and "detector" not in measured:
        n, alarms = false_alarms["pictures"], false_alarms["likely_fake"]
        measured["detector"] = {"n": n, "alarms": alarms, "rate": alarms / n, "high": false_alarms["upper_95"]}
    names = sorted(CHECKS, key=lambda name: (name != "detector", name))
    records = []
    for name in names:
        check: Callable[..., Finding] = functools.partial(CHECKS.get(name), **given.get(name, {}))
        facts = CHECKS.facts(name)
        finding = _run(name, check, exhibit)
        if name != "detector" or name in measured:
            finding = weigh(finding, measured)
        records.append(
            FindingRecord(
                check=name,
                outcome=finding.outcome,
                summary=finding.summary,
                details=dict(finding.details),
                limits=facts["limits"],
                reference=facts["reference"],
            )
        )
    return records


def _run(name: str, check: Callable[[Exhibit], Finding], exhibit: Exhibit) -> Finding:
    """Return the finding of a check; one that breaks says so in its place, and the report keeps all the others."""
    try:
        return check(exhibit)
    except (DetectorError, OSError):  # a registry that cannot be read
        raise
    except Exception as error:
        if name == "detector":
            raise
        LOG.warning("the check %s failed: %s: %s", name, type(error).__name__, error)
        return Finding(name, Outcome.NOT_APPLICABLE, f"This check failed: {type(error).__name__}.")


def conclude(
    findings: Sequence[FindingRecord],
    calibration: Calibration | None,
    domain: Mapping[str, Sequence[int]] | None = None,
) -> Conclusion:
    """Return the conclusion: what the file declares, else what the detector says of the most suspicious face.

    The other findings say whether that face lies in the domain. A declaration leaves the detector's ratio as it is.

    domain: source of photographs -> the smallest and the largest side of the face squares, in pixels, on which the
    detector was measured. A face that fewer than MIN_SOURCES of them resemble gets no opinion. None on old cards.
    """
    seen = {finding.check: finding for finding in findings}
    concluded = _conclude_on_face(seen, calibration, domain)
    declared = find_declaration(seen)
    if not declared:
        return concluded
    statement = f"{declared} The detector alone: {concluded.statement}"
    return concluded.model_copy(update={"opinion": Opinion.DECLARED, "statement": statement})


def read_declaration(data: bytes) -> str:
    """Return in one sentence who says that a file was generated, as its report will; empty if nobody does.

    Nothing is decoded: of the known pictures, only one with the very bytes is found, and only that one counts.
    """
    exhibit = Exhibit(Path(), data, sha256(data), None)
    return find_declaration({name: _run(name, CHECKS.get(name), exhibit) for name in DECLARING})


def find_declaration(seen: Mapping[str, Finding | FindingRecord]) -> str:
    """Return in one sentence who says that the exhibit was generated; empty if nobody does.

    Content Credentials that fit the file come first, then the fields of the file, then a list that holds its very bytes
    as a fake. seen: findings by the name of their check.
    """
    for check in ("provenance", "metadata"):
        details = seen[check].details if check in seen else {}
        for declared in details.get("declared_generated", ()):
            who = "Content Credentials declare" if declared["signed_by"] else "The file declares"
            return f"{who} that it was generated: {Declaration(**declared).describe()}."
    match = (seen["duplicates"].details.get("match") if "duplicates" in seen else None) or {}
    if match.get("exact") and seen["duplicates"].outcome is Outcome.SUPPORTS_FAKE:
        where = "registry of generated files" if match.get("list") == "registry" else f"list {match.get('list')}"
        return f"The {where} holds these very bytes as a fake."
    return ""


def _conclude_on_face(
    seen: Mapping[str, FindingRecord], calibration: Calibration | None, domain: Mapping[str, Sequence[int]] | None
) -> Conclusion:
    faces = seen["detector"].details["faces"]
    reasons = []
    if not faces:
        reasons.append(seen["detector"].summary)
    elif faces[0]["reason"]:
        reason = faces[0]["reason"]
        reasons.append(f"{reason[0].upper()}{reason[1:]}.")
    if faces and domain is not None and (reason := _unlike(faces[0]["crop"], domain)):
        reasons.append(reason)
    header = (seen["compression"].details or {}).get("jpeg")
    if header and header["quality"] is not None and header["quality"] < WORST_QUALITY:
        reasons.append(f"JPEG of about quality {header['quality']}, below {WORST_QUALITY}.")
    if calibration is None:
        reasons.append("The detector is not calibrated.")
    common: dict[str, Any] = {"alternatives": list(ALTERNATIVES), "reasons": reasons, "in_domain": not reasons}
    if reasons or calibration is None:
        opinion = Opinion.INCONCLUSIVE if faces else Opinion.NOT_APPLICABLE
        statement = f"No opinion: outside of what was validated. {' '.join(reasons)}"
        return Conclusion(statement=statement, opinion=opinion, log10_lr=None, interval=None, bounds=None,
                          posteriors=[], **common)  # fmt: skip
    face = faces[0]
    ratio, opinion, kept = face["log10_lr"], Opinion(face["opinion"]), face["stability"]["kept"]
    if opinion is not Opinion.INCONCLUSIVE and kept < STABLE:
        opinion = Opinion.INCONCLUSIVE
        statement = f"No opinion: only {kept} of 5 mild recompressions leave the verdict as it is."
    elif opinion is Opinion.INCONCLUSIVE:
        statement = "No opinion: the score lies between the thresholds."
    elif calibration.high - calibration.low < SMALLEST_WIDTH:
        side = "above the upper" if opinion is Opinion.LIKELY_FAKE else "below the lower"
        statement = f"The score lies {side} threshold; the measured sources of photographs differ too much for a ratio."
    else:
        statement = f"The detector's result gives {describe(ratio, 'H1', 'H2')}."
    if (count := seen["detector"].details.get("located", 1)) > 1:
        statement += f" This is about the most suspicious of {count} faces, at {' '.join(map(str, face['box']))}."
    posteriors = [
        Posterior(prior=p, posterior=round(float(expit(np.log(p / (1 - p)) + ratio * np.log(10))), 6)) for p in PRIORS
    ]
    return Conclusion(
        statement=statement, opinion=opinion, log10_lr=ratio, interval=face["interval"],
        bounds=[calibration.low, calibration.high], posteriors=posteriors, **common,
    )  # fmt: skip


def _unlike(crop: Sequence[int], domain: Mapping[str, Sequence[int]]) -> str:
    """Return why a face square lies outside of what was measured; empty if enough sources have faces of its size."""
    side = crop[2] - crop[0]
    alike = [source for source, (low, high) in domain.items() if low / SIMILAR <= side <= high * SIMILAR]
    if len(alike) >= MIN_SOURCES:
        return ""
    return (
        f"The face square is {side} pixels wide; {len(alike)} of the {len(domain)} measured sources of photographs "
        f"have faces of about this size (within a factor of {SIMILAR})."
    )


def make_record(
    exhibit: Exhibit, findings: list[FindingRecord], conclusion: Conclusion, *, backing: dict[str, Any],
    components: dict[str, str], made: dict[str, str], case: str = "", examiner: str = "",
) -> Evidence:  # fmt: skip
    """Return the record, not yet sealed."""
    size = (None, None) if exhibit.decoded is None else (exhibit.decoded.width, exhibit.decoded.height)
    return Evidence(
        version=VERSION, case=case, examiner=examiner,
        exhibit=ExhibitRecord(path=str(exhibit.path), sha256=exhibit.sha256, bytes=len(exhibit.bytes),
                              width=size[0], height=size[1]),
        propositions=PROPOSITIONS, conclusion=conclusion, findings=findings, backing=backing,
        verbal_scale=[{"from": ratio, "words": words} for ratio, words in VERBAL_SCALE], limits=list(LIMITS),
        components=components, made=made,
    )  # fmt: skip


def make_schema() -> str:
    """Return the published JSON schema of the record, as `evidence.schema.json` holds it."""
    return json.dumps(Evidence.model_json_schema(), indent=1, sort_keys=True) + "\n"
