"""The share of small changes to the source ("mutants") that the tests notice, over random samples of four groups.

    pip install --group mutation
    python benchmarks/mutants.py -o build/mutants                                # 40 mutants of each group
    python benchmarks/mutants.py --each 10 --groups scoring -o build/mutants

The mutants are those of cosmic-ray: another operator, comparison, number or truth value, a decorator or `not` left
out, a loop that never runs. A place in the source is drawn first and then one of its mutants, because some places have
eleven and others one. Changes of annotations alone are left out: nothing evaluates them.

Each mutant is written into a copy of the repository. The tests that ran its line then run there, the quickest first,
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
GROUPS: dict[str, dict[str, list[str]]] = {  # group -> module -> the test files that have to notice
    "statistics": {
        "statistics/autocorrelation": ["statistics/test_autocorrelation.py"],
        "statistics/averages": ["statistics/test_averages.py"],
        "statistics/calibration": ["statistics/test_calibration.py"],
        "statistics/fairness": ["statistics/test_fairness.py"],
        "statistics/intervals": ["statistics/test_intervals.py"],
        "statistics/metrics": ["statistics/test_metrics.py"],
        "statistics/power": ["evaluation/test_power.py"],
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
SIMULATIONS = ("coverage", "uniform", "spread")  # names of tests that simulate for half a minute; they do not run here
CPU_LIMIT = 3  # times the CPU time of the unchanged tests, and CPU_SLACK seconds more
CPU_SLACK = 20
WALL_LIMIT = 900  # seconds for the tests of one mutant: some mutants wait for ever without computing


@dataclass
class Mutant:
    """A module with one change."""

    module: str
    source: str
    line: int
    change: str  # the changed lines, as `- before` and `+ after`


@dataclass
class Timed:
    """A pytest plug-in that notes the seconds of each test, and its name for every line that it runs."""

    switch: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def pytest_runtest_setup(self, item: Any) -> None:
        self.switch(item.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] += report.duration


@dataclass
class Chosen:
    """A pytest plug-in that runs the named tests alone, in the order of the names."""

    names: list[str]

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        order = {name: place for place, name in enumerate(self.names)}
        items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])


def list_places(source: str) -> list[list[tuple[str, int]]]:
    """Return the mutants of each place that can change, as the name of a cosmic-ray operator and its occurrence."""
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
    """Return the module with that change, or None if it changes annotations alone or is no Python."""
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
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
    return ast.dump(tree)


def sample(modules: dict[str, list[str]], number: int, rng: random.Random) -> list[Mutant]:
    """Return so many mutants of these modules, each place of them equally likely."""
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
    """Return whether a function returns 0 within so many CPU seconds, in a fork of this process with its libraries."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1), os.dup2(nowhere, 2)
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
    """Run the tests of an unchanged module; write their seconds, and the tests of each line, to `notes`."""
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
    """Return the tests that ran a line, the quickest first: all of them if it ran at import."""
    seconds: dict[str, float] = notes["seconds"]
    names = set(notes["lines"].get(str(line), []))
    return sorted(seconds if "" in names or not names else names & set(seconds), key=lambda name: seconds[name])


def copy_repository(out: Path) -> Path:
    copied = out.resolve() / "copy"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(ROOT, copied, ignore=shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".venv", "build"))
    return copied


def is_killed(copied: Path, mutant: Mutant, files: list[str], notes: dict[str, Any]) -> bool:
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
    parser.add_argument("--each", type=int, default=40, help="mutants of each group")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many minutes")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the copy of the repository")
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    import coverage  # noqa: F401  libraries are imported once, before the forks
    import pandas  # noqa: F401
    import PIL.Image  # noqa: F401
    import scipy.stats

    copied = copy_repository(given.out)
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    sys.dont_write_bytecode = True
    notes: dict[str, dict[str, Any]] = {}
    drawn = [(group, mutant) for group in given.groups
             for mutant in sample(GROUPS[group], given.each, random.Random(given.seed))]  # fmt: skip
    random.Random(given.seed).shuffle(drawn)  # so that a run that is stopped has seen all groups
    outcomes: dict[str, list[bool]] = defaultdict(list)
    for group, mutant in drawn:
        files, written = GROUPS[group][mutant.module], given.out / "notes.json"
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
