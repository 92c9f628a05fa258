"""Join scores to a manifest: one row per picture, detector and condition; errors name what does not match."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pandas as pd
from scipy.special import logit

from detector.dataset.manifest import SPLITS
from detector.errors import ScoresError, UnknownName
from detector.files import as_text
from detector.types import Label

KEYS = ["detector", "perturbation", "severity"]  # columns that, with the generator, identify a result
ANSWERS = ["score", "verdict", "reason"]  # columns about a picture; those of the manifest with such a name are replaced
DEFAULTS: dict[str, Any] = dict(zip(KEYS, ("scores", "none", 0), strict=True))
MAX_SCORE = 1e100  # largest size of a score; sums of larger squares would overflow
LEAST, MOST = 2.0**-149, 1 - 2.0**-53  # what stands for the probabilities 0 (as 32-bit numbers have it) and 1


def read_probabilities(scores: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the table with its column `score`, probabilities of a fake from 0 to 1, turned into natural log-odds.

    0 and 1, whose log-odds are infinite, count as the nearest probabilities that are neither (LEAST, MOST). A score
    that is missing stays so. name: of the table, for messages.

    Raises ScoresError that names the first row whose score is not between 0 and 1, or if there is no column `score`.
    """
    if "score" not in scores:
        there = ", ".join(map(str, scores.columns)) or "none"
        raise ScoresError(f"{name} has no column 'score' (it has {there}); name it with --column score=...")
    values = pd.to_numeric(scores.score, errors="coerce").astype(float)
    outside = scores.index[~values.between(0, 1) & scores.score.notna()]
    if len(outside):
        row, bad = outside[0], scores.loc[outside[0]]
        what = bad.get("path", bad.get("sha256", ""))
        raise ScoresError(
            f"{name}, row {row} ({what}): {bad.score} is no probability from 0 to 1; leave out --probabilities if the "
            "scores are log-odds"
        )
    return scores.assign(score=logit(values.clip(LEAST, MOST)))


def join_scores(scores: pd.DataFrame, manifest: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """Return the split's rows of the manifest with their scores, once for every detector, perturbation and severity.

    scores: a column score, and sha256 or path. A row is matched by its hash if it has one, else by its path: as it is,
    from the working folder, by its last parts, or by its file name if no other file has it. Optional columns: detector
    ("scores"), perturbation ("none"), severity (0), verdict, reason. Rows of other pictures are ignored. A picture that
    could not be read (no score, verdict "error") is kept as a row whose score is NaN, and is not measured.

    Raises ScoresError if a class is missing, a score is not finite, or a picture has no score or two of them, and
    UnknownName if there is no such split.
    """
    table = take_split(manifest, split)
    rows = _check_scores(scores)
    rows["sha256"] = _find_hashes(rows, manifest)
    parts = []
    names: Any
    for names, part in rows.groupby(KEYS, sort=False):
        name, condition = names[0], "" if names[1] == "none" else f" under {names[1]} {names[2]}"
        found = part.groupby("sha256").agg(score=("score", "first"), high=("score", "max"), low=("score", "min"),
                                           rows=("score", "size"), read=("score", "count"),
                                           verdict=("verdict", "first"), reason=("reason", "first"))  # fmt: skip
        joined = table.assign(**{column: table.sha256.map(found[column]) for column in ANSWERS})
        absent = table[~table.sha256.isin(found.index)]
        twice = (found.high - found.low > 1e-6) | ((found.read > 0) & (found.read < found.rows))
        torn = table[table.sha256.isin(found.index[twice])]
        if len(absent):
            raise ScoresError(
                f"{len(absent):,} of {len(table):,} pictures of the split {split!r} have no score by {name!r}"
                f"{condition}, the first: {absent.path.iloc[0]}; "
                "score them too (rows are matched by sha256 if given, else by path)"
            )
        if len(torn):
            raise ScoresError(f"{torn.path.iloc[0]} has two scores by {name!r}{condition}; keep one row per picture")
        _check_classes(joined, f"{name!r}{condition}")
        parts.append(joined.assign(detector=str(names[0]), perturbation=str(names[1]), severity=names[2]))
    return pd.concat(parts, ignore_index=True)


def take_split(manifest: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return the split's rows of the manifest; of rows with the same picture and crop, the first.

    Raises ScoresError if the split does not have both classes, UnknownName if there is no such split.
    """
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    table = manifest[manifest.split == split]
    both = [str(s) for s, rows in manifest.groupby("split") if rows.label.nunique() == 2]
    for label in Label:
        if not (table.label == label).any():
            other = f"only {Label(1 - label).name.lower()} pictures" if len(table) else "no picture at all"
            instead = f"these splits have both classes: {', '.join(both)}" if both else "no split has both classes"
            raise ScoresError(f"the split {split!r} has {other}, and a metric needs real and fake ones; {instead}")
    return table.drop_duplicates(["sha256", *(["crop"] if "crop" in table else [])], ignore_index=True)


def _check_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the needed columns, converted to their types."""
    if "score" not in scores or not {"sha256", "path"} & set(scores):
        there = ", ".join(str(c) for c in scores.columns if c not in DEFAULTS)
        raise ScoresError(
            f"scores need a column 'score', and 'sha256' or 'path'; these have: {there[:200] or 'none'}; name "
            "theirs with --column, such as score=COLUMN"
        )
    if scores.empty:
        raise ScoresError("the table of scores is empty")
    rows = pd.DataFrame({"score": pd.to_numeric(scores.score, errors="coerce").astype(float)}, index=scores.index)
    defaults: dict[str, Any] = {"sha256": "", "path": "", "verdict": "", "reason": ""} | DEFAULTS
    for column, value in defaults.items():
        rows[column] = scores[column].fillna(value) if column in scores else value
    severity = pd.to_numeric(rows.severity, errors="coerce").fillna(-1)
    if ((severity < 0) | (severity % 1 != 0)).any():
        raise ScoresError("a severity is not a whole number; 0 is untouched, 1 to 5 is mild to strong")
    rows["severity"] = severity.astype(int)
    bad = rows[~(rows.score.abs() <= MAX_SCORE) & ~(rows.score.isna() & (rows.verdict == "error"))]
    if len(bad):
        given = scores.score[bad.index[:3]]
        shown = ", ".join(
            f"row {i} ({path or sha256}: {score!s:.40})"
            for (i, score), path, sha256 in zip(given.items(), bad.path, bad.sha256, strict=False)
        )
        raise ScoresError(
            f"{len(bad):,} of {len(rows):,} scores are NaN, infinite, beyond {MAX_SCORE:g} or no numbers: {shown}"
            f"{' and others' if len(bad) > 3 else ''}; score them again, or say verdict=error if they cannot be read"
        )
    return rows


def _find_hashes(rows: pd.DataFrame, manifest: pd.DataFrame) -> pd.Series:
    """Return the hash of each row's picture: from the row, or from the row of the manifest that has its path."""
    hashes = dict(zip(map(as_text, manifest.path.astype(str)), manifest.sha256, strict=True))  # paths as in tables
    known = rows.sha256.astype(str).str.lower()
    paths = rows.path.astype(str)[known == ""].unique()
    meant = {path: guess for path in paths for guess in (path, os.path.abspath(path)) if guess in hashes}
    for whole in (True, False):  # first compare whole relative paths, then only file names
        rest = {path: _tail(os.path.normpath(path), whole) for path in paths if path and path not in meant}
        counts = Counter(rest.values())
        for depth in {tail.count("/") + 1 for tail in rest.values()}:
            tails: dict[str, str] = {}
            for path in hashes:
                tail = "/".join(path.split("/")[-depth:])
                tails[tail] = path if tail not in tails else ""
            meant |= {path: tails[tail] for path, tail in rest.items() if tails.get(tail) and counts[tail] == 1}
    return known.where(known != "", rows.path.map(lambda path: hashes.get(meant.get(path, ""), "")))


def _tail(path: str, whole: bool) -> str:
    path = path if "/" in path else path.replace("\\", "/")  # a path of Windows
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return "/".join(parts if whole else parts[-1:])


def _check_classes(joined: pd.DataFrame, what: str) -> None:
    """Raise ScoresError if all real pictures, or all fakes of a generator, are unreadable."""
    for generator, rows in joined.groupby("generator"):
        if rows.score.isna().all():
            kind = f"fakes of {generator!r}" if generator else "real pictures"
            raise ScoresError(f"{what} could read none of the {len(rows):,} {kind}; look at the column 'reason'")
