"""The share of small changes to the source that the tests notice: a comparison, a sign, a constant, a returned value.

    python benchmarks/mutants.py --minutes 25 -o build/mutants
    python benchmarks/mutants.py --minutes 5 -o build/mutants scoring/targets statistics/metrics

Mutants are drawn at random from all places of the modules below, each module equally often. Each is written into a copy
of the repository, whose tests of that module then run until one fails: it is killed if one does, or if they take TIMES
as long as without it. Prints the survivors, with their lines, and the share killed of each module.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = {  # module -> the tests that have to notice
    "statistics/proportions": ["statistics/test_fairness.py", "statistics/test_intervals.py"],
    "statistics/calibration": ["statistics/test_calibration.py"],
    "statistics/metrics": ["statistics/test_metrics.py"],
    "statistics/sources": ["statistics/test_sources.py"],
    "evidence/custody": ["evidence/test_custody.py", "evidence/test_folders.py"],
    "evidence/integrity": ["evidence/test_integrity.py", "evidence/test_folders.py"],
    "scoring/engine": ["scoring/test_engine.py"],
    "scoring/targets": ["scoring/test_targets.py", "tasks/test_scoring.py"],
    "pictures/faces": ["pictures/test_faces.py"],
}
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
QUICK = "not coverage and not uniform and not spread"  # tests that simulate for half a minute are left out
TIMES = 6
SLACK = 30  # seconds more


def sites(tree: ast.Module) -> Iterator[tuple[ast.AST, str, object]]:
    """Yield what can be changed: a node, the name of its field, and the value that the field then has."""
    skipped = {id(part) for node in ast.walk(tree) for part in _inert(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            yield node, "ops", [SWAPS[type(node.ops[0])](), *node.ops[1:]]
        elif isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPS:
            yield node, "op", SWAPS[type(node.op)]()
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node, "op", ast.UAdd()  # `+x` of a condition is its truth, of anything else an error
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield node, "op", ast.UAdd()
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield node, "value", not node.value
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            yield node, "value", node.value + 1 if isinstance(node.value, int) else node.value * 1.5 + 0.01
        elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
            yield node, "value", ast.Constant(None)


def _inert(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a node that do nothing at run time: annotations, messages of errors, imports for types."""
    for field in ("annotation", "returns"):
        if isinstance(part := getattr(node, field, None), ast.AST):
            yield from ast.walk(part)
    if isinstance(node, ast.Raise):
        yield from ast.walk(node)
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        yield from ast.walk(node)
    if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id[0].isupper() and not t.id.isupper()
                                            for t in node.targets):  # fmt: skip
        yield from ast.walk(node)  # a type by another name


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def mutate(source: str, number: int) -> tuple[str, int, str]:
    """Return the source with one place changed, the number of its line, and that line as it then is."""
    tree = ast.parse(source)
    node, field, value = list(sites(tree))[number]
    before = ast.unparse(node)
    changed = copy.deepcopy(value)
    setattr(node, field, changed)
    after = ast.unparse(ast.fix_missing_locations(node))
    return ast.unparse(ast.fix_missing_locations(tree)), node.lineno, f"{before[:70]} -> {after[:70]}"


def run_tests(copied: Path, tests: list[str], limit: float) -> bool:
    """Return whether all tests pass within so many seconds, in a fork of this process, which has the libraries."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1), os.dup2(nothing, 2)
        os.chdir(copied)
        os.environ |= {"PYTHONPATH": str(copied), "DETECTOR_SHARED": str(ROOT.parent / "shared")}
        sys.path[:0] = [str(copied), str(copied / "tests"), str(copied / "benchmarks")]
        import pytest

        words = ["-q", "-x", "-p", "no:cacheprovider", "-k", QUICK, *(str(copied / "tests" / t) for t in tests)]
        os._exit(int(pytest.main(words)) != 0)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="all of MODULES by default")
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True, help="for the copy of the repository")
    given = parser.parse_args()
    end, rng = time.monotonic() + 60 * given.minutes, random.Random(given.seed)
    copied = given.out.resolve() / "copy"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(ROOT, copied, ignore=shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".venv", "build"))
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    sys.dont_write_bytecode = True
    import pandas  # noqa: F401  libraries are imported once, before the forks; not those that pytest rewrites
    import PIL.Image  # noqa: F401
    import scipy.stats  # noqa: F401

    queues: dict[str, list[int]] = {}
    limits: dict[str, float] = {}
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name in given.modules or MODULES:
        source = (copied / "detector" / f"{name}.py").read_text()
        queues[name] = list(range(len(list(sites(ast.parse(source))))))
        rng.shuffle(queues[name])
    while any(queues.values()) and time.monotonic() < end:
        for name in [name for name, queue in queues.items() if queue]:
            path = copied / "detector" / f"{name}.py"
            whole = path.read_text()
            if name not in limits:
                began = time.monotonic()
                if not run_tests(copied, MODULES[name], 600):
                    raise SystemExit(f"the tests of {name} fail without any change")
                limits[name] = TIMES * (time.monotonic() - began) + SLACK
            changed, line, what = mutate(whole, queues[name].pop())
            path.write_text(changed)
            survived = run_tests(copied, MODULES[name], limits[name])
            path.write_text(whole)
            counts[name][0] += not survived
            counts[name][1] += 1
            if survived:
                print(f"survived: {name}.py:{line}: {what}", flush=True)
            if time.monotonic() > end:
                break
    for name, (killed, tried) in counts.items():
        print(f"{name}: {killed} of {tried} killed")
    killed, tried = (sum(column) for column in zip(*counts.values(), strict=True))
    print(f"all: {killed} of {tried} killed, {killed / tried:.0%}")


if __name__ == "__main__":
    main()
