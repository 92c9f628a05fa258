"""The check by the trained detector: for each face a likelihood ratio, a score map and its stability.

The most suspicious face decides for the exhibit, by the rule of `types.rank_suspicion`, as in a table of scores.

The only check that carries a likelihood ratio. The score map is the network's own: the classifier at every place before
pooling, whose mean is the score, averaged over small displacements of the crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detector.evidence.checks import CHECKS
from detector.pictures.faces import MOST_FACES, Box, Face, find_faces, prepare
from detector.pictures.images import cut, resize
from detector.pictures.perturbations import perturb
from detector.types import (
    Calibrated,
    Decoded,
    Detector,
    Exhibit,
    Explaining,
    Finding,
    Image,
    Opinion,
    Outcome,
    rank_suspicion,
)

LIMITS = (
    "Answers for generators like those it was measured on; others it may miss. Retouching, beauty filters, heavy "
    "compression and pictures of screens can look generated. Faces are judged one by one, and not their surroundings. "
    "Of several the most suspicious decides, so that a false alarm is the more likely the more faces there are. "
    "The map is coarse and much the same from face to face: it shows where the detector looks, not what was altered."
)
REFERENCE = "thresholds for 1 % false alarms on photographs of a set it did not learn from; see the backing"
MILD = (("jpeg", 1), ("jpeg", 2), ("webp", 1), ("resize", 1), ("resize_jpeg", 1))  # changes that platforms make
FACES = 16  # largest number of faces that are described, the most suspicious first; all are judged
LARGEST = 512  # largest side of a face to which mild changes are applied, pixels
SHIFTS = (-0.06, 0.0, 0.06)  # shifts of the crop that are averaged in the score map, as a share of its side
OUTCOMES = {Opinion.LIKELY_FAKE: Outcome.SUPPORTS_FAKE, Opinion.LIKELY_REAL: Outcome.SUPPORTS_REAL}


@CHECKS.register("detector", limits=LIMITS, reference=REFERENCE)
def check(exhibit: Exhibit, *, detector: Detector | None = None) -> Finding:
    """Return box, score, bounded log10 likelihood ratio, stability and score map of each face, most suspicious first.

    Points the way the first one's verdict does. Where a manifest named a part of the exhibit, that is the face.
    Stability: the verdicts after five mild recompressions of the face.
    Source: Zhou et al. 2016, arXiv:1512.04150 (the map).
    """
    decoded = exhibit.decoded
    if detector is None or decoded is None:
        why = "No detector was given." if detector is None else f"It cannot be decoded ({exhibit.problem})."
        return Finding("detector", Outcome.NOT_APPLICABLE, why, {"faces": []})
    image, remark = decoded.image, f" Of this file {decoded.remark}." if decoded.remark else ""
    if exhibit.crop is None:
        found = find_faces(image)
    else:
        part = decoded.shrink(exhibit.crop)
        found = [Face(part, part)]
    if not found:
        return Finding("detector", Outcome.NOT_APPLICABLE, f"No face found.{remark}", {"faces": []})
    faces = [_judge(decoded, face, detector) for face in _rank(image, found[:MOST_FACES], detector)[:FACES]]
    if exhibit.crop is not None:
        faces = [face | {"box": list(exhibit.crop), "crop": list(exhibit.crop)} for face in faces]
    first = faces[0]
    said = f"Most suspicious of {len(found)} faces" if len(found) > 1 else "One face"
    said += f", at {' '.join(map(str, first['box']))}: score {first['score']:+.2f}, {first['opinion']}"
    said += f" ({first['reason']})" if first["reason"] else ""
    kept = first["stability"]["kept"]
    said += f"; {kept} of {len(MILD)} mild recompressions leave the verdict as it is.{remark}"
    details = {"faces": faces, "located": len(found)}
    return Finding("detector", OUTCOMES.get(Opinion(first["opinion"]), Outcome.NEUTRAL), said, details)


def map_scores(
    image: Image, crop: Box, detector: Detector, side: int = 32, turns: int = 0
) -> np.ndarray[Any, Any] | None:
    """Return a map of log-odds (side, side) of a crop, positive means fake; None if the detector draws no map.

    turns: quarter turns, counter-clockwise, after which the face is upright, as it is in the map.
    """
    if not isinstance(detector, Explaining) or not detector.explains:
        return None
    whole = prepare(image, LARGEST, crop, turns)
    padded = np.pad(whole, ((LARGEST // 8,) * 2, (LARGEST // 8,) * 2, (0, 0)), mode="reflect")
    total = np.zeros((side, side))
    for down in SHIFTS:
        for right in SHIFTS:
            top, left = (round(LARGEST * (1 / 8 + by)) for by in (down, right))
            window = np.ascontiguousarray(padded[top : top + LARGEST, left : left + LARGEST])
            places = detector.explain(resize(window, detector.size, detector.size)[None])[0]
            total += _sample(places, down, right, side)
    return np.asarray(total / len(SHIFTS) ** 2)


def _rank(image: Image, faces: Sequence[Face], detector: Detector) -> list[Face]:
    """Return the faces, the most suspicious first, and of equal ones the largest."""
    scores = detector.score(np.stack([prepare(image, detector.size, face.crop, face.turns) for face in faces]))
    answers = zip(faces, scores.tolist(), detector.judge(scores), strict=True)
    ranks = [rank_suspicion(opinion, score, face.reason) for face, score, opinion in answers]
    return [faces[i] for i in sorted(range(len(faces)), key=lambda i: ranks[i], reverse=True)]


def _judge(decoded: Decoded, found: Face, detector: Detector) -> dict[str, Any]:
    """Return the result of one face with boxes in pixels of the file; found: the face in decoded pixels."""
    image, shown = decoded.image, found.in_file(decoded)
    face = np.ascontiguousarray(np.rot90(cut(image, found.crop), found.turns))
    if len(face) > LARGEST:  # platforms reduce a large picture before they save it
        face = resize(face, LARGEST, LARGEST)
    changed = [perturb(face, name, severity, seed=0, key="") for name, severity in MILD]
    given = prepare(image, detector.size, found.crop, found.turns)
    scores = detector.score(np.stack([given, *(prepare(p, detector.size) for p in changed)]))
    opinions = detector.judge(scores)
    calibration = detector.calibration if isinstance(detector, Calibrated) else None
    places = map_scores(image, found.crop, detector, turns=found.turns)
    intervals = calibration.intervals(scores[:1]) if calibration else None
    return {
        "box": list(shown.box),
        "crop": list(shown.crop),
        "turns": found.turns,
        "score": round(float(scores[0]), 4),
        "log10_lr": round(float(calibration.log10_lr(scores[:1])[0]), 3) if calibration else None,
        "interval": None if intervals is None else np.round(intervals[0], 3).tolist(),
        "opinion": (Opinion.INCONCLUSIVE if found.reason else opinions[0]).value,
        "reason": shown.reason,
        "stability": {
            "kept": sum(opinion is opinions[0] for opinion in opinions[1:]),
            "scores": {f"{name} {severity}": round(float(s), 3)
                       for (name, severity), s in zip(MILD, scores[1:], strict=True)},
            "opinions": [opinion.value for opinion in opinions[1:]],
        },
        "map": None if places is None else np.round(places, 2).tolist(),
    }  # fmt: skip


def _sample(places: np.ndarray[Any, Any], down: float, right: float, side: int) -> np.ndarray[Any, Any]:
    """Return a map (h, w) of a displaced crop, bilinear at (side, side) points of the undisplaced one."""
    at = (np.arange(side) + 0.5) / side
    rows, columns = ((at - by) * n - 0.5 for by, n in zip((down, right), places.shape, strict=True))

    def weights(x: np.ndarray[Any, Any], n: int) -> np.ndarray[Any, Any]:
        return np.asarray(np.clip(1 - np.abs(np.clip(x, 0, n - 1)[:, None] - np.arange(n)), 0, 1))

    return np.asarray(weights(rows, places.shape[0]) @ places @ weights(columns, places.shape[1]).T)
