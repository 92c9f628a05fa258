"""Measure the share of small changes to the source ("mutants") that the tests notice, on samples of four groups.

    pip install --group mutation
    python benchmarks/mutants.py -o build/mutants                                # 40 mutants of each group
    python benchmarks/mutants.py --each 10 --groups scoring -o build/mutants

The mutants are those of cosmic-ray: another operator, comparison, number or truth value, a removed decorator or `not`,
a loop that never runs. A place in the source is drawn first and then one of its mutants, because some places have
eleven mutants and others one. Changes of annotations are left out, because annotations are not evaluated.

Each mutant is written into a copy of the repository. Then the tests that execute its line run there, the fastest first,
until one fails: the mutant is killed. It is also killed if the tests need more CPU time than CPU_LIMIT allows, or do
not end. The script prints every survivor and, for each group, the share killed with its 95 % interval (Clopper and
Pearson).
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
GROUPS: dict[str, dict[str, list[str]]] = {  # group -> module -> test files that must notice changes
    "statistics": {
        "statistics/autocorrelation": ["statistics/test_autocorrelation.py"],
        "statistics/averages": ["statistics/test_averages.py"],
        "statistics/calibration": ["statistics/test_calibration.py"],
        "statistics/fairness": ["statistics/test_fairness.py"],
        "statistics/intervals": ["statistics/test_intervals.py"],
        "statistics/metrics": ["statistics/test_metrics.py"],
        "statistics/power": ["statistics/test_power.py"],
        "statistics/proportions": ["statistics/test_fairness.py", "statistics/test_intervals.py"],
        "statistics/sources": ["statistics/test_sources.py"],
        "statistics/thresholds": ["statistics/test_metrics.py", "statistics/test_calibration.py"],
    },
    "evidence": {
        "evidence/custody": ["evidence/test_custody.py", "evidence/test_folders.py"],
        "evidence/integrity": ["evidence/test_integrity.py", "evidence/test_folders.py"],
    },
    "scoring": {"scoring/engine": ["scoring/test_engine.py"]},
    "pictures": {"pictures/faces": ["pictures/test_faces.py"]},
}
SIMULATIONS = ("coverage", "uniform", "spread")  # parts of the names of slow tests, which are skipped
CPU_LIMIT = 3  # limit of the CPU time, as a multiple of that of the tests without a mutant
CPU_SLACK = 20  # CPU seconds that are added to this limit
WALL_LIMIT = 900  # limit of the time on the clock for one mutant, seconds; some mutants wait for ever


@dataclass
class Mutant:
    """A module with one change."""

    module: str
    source: str
    line: int
    change: str  # the changed lines, as `- before` and `+ after`


@dataclass
class Timed:
    """A pytest plug-in that records the seconds of each test, and marks the lines that it executes with its name."""

    switch: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def pytest_runtest_setup(self, item: Any) -> None:
        self.switch(item.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] += report.duration


@dataclass
class Chosen:
    """A pytest plug-in that runs only the named tests, in the order of the names."""

    names: list[str]

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        order = {name: place for place, name in enumerate(self.names)}
        items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])


def list_places(source: str) -> list[list[tuple[str, int]]]:
    """Return the mutants of each place in the source, as the name of a cosmic-ray operator and its occurrence."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    places: dict[tuple[int, int], list[tuple[str, int]]] = defaultdict(list)
    nodes = list(ast_nodes(get_ast(source)))
    for name in operator_names():
        operator = get_operator(name)
        if operator.arguments() or name.endswith("NoOp"):
            continue
        starts = (start for node in nodes for start, _ in operator().mutation_positions(node))
        for occurrence, start in enumerate(starts):
            places[start].append((name, occurrence))
    return [places[start] for start in sorted(places)]


def mutate(module: str, source: str, name: str, occurrence: int) -> Mutant | None:
    """Return the mutant, or None if it changes only annotations or is not valid Python."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    changed = mutate_code(source, get_operator(name)(), occurrence)
    try:
        if changed is None or strip_annotations(changed) == strip_annotations(source):
            return None
    except SyntaxError:
        return None
    lines = list(difflib.unified_diff(source.splitlines(), changed.splitlines(), n=0, lineterm=""))[2:]
    return Mutant(module, changed, int(lines[0].split()[1].lstrip("-").split(",")[0]), "\n".join(lines[1:]))


def strip_annotations(source: str) -> str:
    """Return the syntax tree of the source without annotations, as text."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
    return ast.dump(tree)


def sample(modules: dict[str, list[str]], number: int, rng: random.Random) -> list[Mutant]:
    """Return `number` mutants of the modules; all places are equally likely."""
    sources = {module: (ROOT / "detector" / f"{module}.py").read_text() for module in modules}
    places = [(module, place) for module, source in sources.items() for place in list_places(source)]
    rng.shuffle(places)
    drawn: list[Mutant] = []
    for module, place in places:
        mutant = mutate(module, sources[module], *rng.choice(place))
        if mutant is not None:
            drawn.append(mutant)
        if len(drawn) == number:
            break
    return drawn


def run_forked(action: Callable[[], int], seconds: float) -> bool:
    """Return whether a function returns 0 within a number of CPU seconds; it runs in a fork of this process."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        os._exit(int(action() != 0))
    end = time.monotonic() + WALL_LIMIT
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def run_tests(copied: Path, files: list[str], plugin: object = None) -> int:
    """Run test files of the copy in this process; returns 0 if all pass."""
    os.chdir(copied)
    os.environ |= {"PYTHONPATH": str(copied), "DETECTOR_SHARED": str(ROOT.parent / "shared")}
    sys.path[:0] = [str(copied), str(copied / "tests"), str(copied / "benchmarks")]
    import pytest

    left_out = " and ".join(f"not {name}" for name in SIMULATIONS)
    return int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-k", left_out,
                            *(f"tests/{name}" for name in files)], plugins=[plugin] if plugin else None))  # fmt: skip


def time_tests(copied: Path, module: str, files: list[str], notes: Path) -> int:
    """Run the tests of an unchanged module; write their seconds, and the tests that execute each line, to `notes`."""
    import coverage

    path = copied / "detector" / f"{module}.py"
    watch = coverage.Coverage(data_file=None, include=[str(path)])
    watch.start()
    timed = Timed(watch.switch_context)
    status = run_tests(copied, files, timed)
    watch.stop()
    lines = watch.get_data().contexts_by_lineno(str(path))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    notes.write_text(json.dumps({"lines": lines, "seconds": timed.seconds, "used": used}))
    return status


def choose_tests(notes: dict[str, Any], line: int) -> list[str]:
    """Return the tests that execute a line, the fastest first; all tests if it is executed by an import."""
    seconds: dict[str, float] = notes["seconds"]
    names = set(notes["lines"].get(str(line), []))
    return sorted(seconds if "" in names or not names else names & set(seconds), key=lambda name: seconds[name])


def copy_repository(out: Path) -> Path:
    """Copy the repository to a folder below `out`, and return the path of the copy."""
    copied = out.resolve() / "copy"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(ROOT, copied, ignore=shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".venv", "build"))
    return copied


def is_killed(copied: Path, mutant: Mutant, files: list[str], notes: dict[str, Any]) -> bool:
    """Return whether a test fails with the mutant in the copy of the repository."""
    path = copied / "detector" / f"{mutant.module}.py"
    whole = path.read_text()
    path.write_text(mutant.source)
    chosen = Chosen(choose_tests(notes, mutant.line))
    passed = run_forked(lambda: run_tests(copied, files, chosen), CPU_LIMIT * notes["used"] + CPU_SLACK)
    path.write_text(whole)
    return not passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", nargs="*", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--each", type=int, default=40, help="number of mutants of each group")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this many minutes")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the copy of the repository")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    import coverage  # noqa: F401  libraries are imported once, before the forks
    import pandas  # noqa: F401
    import PIL.Image  # noqa: F401
    import scipy.stats

    copied = copy_repository(arguments.out)
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    sys.dont_write_bytecode = True
    notes: dict[str, dict[str, Any]] = {}
    drawn = [(group, mutant) for group in arguments.groups
             for mutant in sample(GROUPS[group], arguments.each, random.Random(arguments.seed))]  # fmt: skip
    random.Random(arguments.seed).shuffle(drawn)  # so that a run that is stopped has tested mutants of all groups
    outcomes: dict[str, list[bool]] = defaultdict(list)
    for group, mutant in drawn:
        files, written = GROUPS[group][mutant.module], arguments.out / "notes.json"
        if mutant.module not in notes:
            if not run_forked(lambda m=mutant, f=files, w=written: time_tests(copied, m.module, f, w.resolve()), 3600):
                raise SystemExit(f"the tests of {mutant.module} fail without any change")
            notes[mutant.module] = json.loads(written.read_text())
        killed = is_killed(copied, mutant, files, notes[mutant.module])
        outcomes[group].append(killed)
        print(f"{'killed' if killed else 'SURVIVED'} {mutant.module}.py:{mutant.line}", flush=True)
        if not killed:
            print(mutant.change, flush=True)
        if time.monotonic() > end:
            break
    for group, results in [*outcomes.items(), ("all", list(chain(*outcomes.values())))]:
        share = scipy.stats.binomtest(sum(results), len(results)).proportion_ci(method="exact")
        print(f"{group}: {sum(results)} of {len(results)} killed, {sum(results) / len(results):.0%} "
              f"[{share.low:.0%}, {share.high:.0%}]")  # fmt: skip


if __name__ == "__main__":
    main()
