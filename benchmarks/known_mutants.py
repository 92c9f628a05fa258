"""Make 27 changes of the source that were chosen by hand, and check that a test notices each of them.

    pip install --group mutation
    python benchmarks/known_mutants.py -o build/mutants

Each changes a rule that a review found to be untested. A change is made in a copy of the repository, in which the tests
of the module then run. The script ends with status 1 if a change is not noticed, or if its line no longer exists.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mutants import WALL_LIMIT, copy_repository, run_forked, run_tests

MUTANTS = (  # module, part of a line before the change, the same part after it, test file
    ("evidence/custody", "!= previous or entry.get", "!= previous and entry.get", "evidence/test_custody.py"),
    ("evidence/folders", 'reports[-1]["settings"]', 'reports[0]["settings"]', "evidence/test_folders.py"),
    ("evidence/folders", "{digest[:DIGITS]}", "{digest[:0]}", "evidence/test_folders.py"),
    ("scoring/engine", "first = max(faces", "first = min(faces", "scoring/test_engine.py"),
    ("scoring/engine", "Opinion.INCONCLUSIVE if face.reason", "Opinion.LIKELY_REAL if face.reason",
     "scoring/test_engine.py"),
    ("scoring/tables", "json.dumps(_describe(target)).encode()", 'b""', "scoring/test_engine.py"),
    ("pictures/faces", "key=_area, reverse=True", "key=_area, reverse=False", "pictures/test_faces.py"),
    ("pictures/faces", "np.argsort(-kept[:, 2]", "np.argsort(kept[:, 2]", "pictures/test_faces.py"),
    ("pictures/faces", "if width < MIN_WIDTH", "if width > MIN_WIDTH", "pictures/test_faces.py"),
    ("pictures/faces", "MIN_WIDTH = 40", "MIN_WIDTH = 4", "pictures/test_faces.py"),
    ("pictures/faces", "TIGHT_CROP_RATIO = 1.1", "TIGHT_CROP_RATIO = 1.4", "pictures/test_faces.py"),
    ("generators/style", "mixed[:, chosen] =", "mixed[:1, chosen] =", "generators/test_style.py"),
    ("generators/style", "(w - net.w_mean)", "(w + net.w_mean)", "generators/test_style.py"),
    ("statistics/calibration", "1.96 *", "1.76 *", "statistics/test_calibration.py"),
    ("statistics/calibration", "+ 2 * raw * both", "- 2 * raw * both", "statistics/test_calibration.py"),
    ("statistics/calibration", "np.where(fake, (n + 1)", "np.where(fake, (n + 0)", "statistics/test_calibration.py"),
    ("statistics/calibration", "MIN_FAKES = 30", "MIN_FAKES = 90", "statistics/test_calibration.py"),
    ("statistics/metrics", "BINS = 15", "BINS = 25", "statistics/test_metrics.py"),
    ("statistics/metrics", "np.floor(fpr * t.n_real * (1 + 1e-12))", "np.floor(fpr * t.n_real * (1 - 1e-12))",
     "statistics/test_metrics.py"),
    ("statistics/intervals", 'better = 1 if', 'better = -1 if', "statistics/test_intervals.py"),
    ("statistics/intervals", "0.5**groups)", "0.5 ** (groups + 8))", "statistics/test_intervals.py"),
    ("statistics/proportions", "(1 - 2 * share)", "(1 + 2 * share)", "statistics/test_intervals.py"),
    ("dataset/shortcuts", "CLEAR = 0.6", "CLEAR = 0.8", "dataset/test_shortcuts.py"),
    ("dataset/leaks", "LEAK = 0.005", "LEAK = 0.105", "dataset/test_audit.py"),
    ("dataset/leaks", "high < overall - 0.1", "high < overall - 0.9", "dataset/test_audit.py"),
    ("pictures/labelling", "header[0] |= 0x04", "header[0] |= 0x08", "pictures/test_labelling.py"),
    ("pictures/labelling", "perceptual_hash(decode(data))", "perceptual_hash(decode(data)[:, ::-1])",
     "pictures/test_labelling.py"),
)  # fmt: skip


def is_noticed(copied: Path, module: str, before: str, after: str, file: str) -> bool:
    """Return whether a test fails after `before` is replaced by `after`; SystemExit unless `before` occurs once."""
    path = copied / "detector" / f"{module}.py"
    whole = path.read_text()
    if whole.count(before) != 1:
        raise SystemExit(f"{module}.py has {whole.count(before)} times: {before}")
    path.write_text(whole.replace(before, after))
    passed = run_forked(lambda: run_tests(copied, [file]), WALL_LIMIT)
    path.write_text(whole)
    return not passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the copy of the repository")
    copied = copy_repository(parser.parse_args().out)
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    sys.dont_write_bytecode = True
    missed = 0
    for module, before, after, file in MUTANTS:
        noticed = is_noticed(copied, module, before, after, file)
        missed += not noticed
        print(f"{'noticed' if noticed else 'MISSED'}: {module}.py: {before} -> {after}", flush=True)
    print(f"{len(MUTANTS) - missed} of {len(MUTANTS)} noticed")
    raise SystemExit(missed > 0)


if __name__ == "__main__":
    main()
