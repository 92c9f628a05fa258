"""Rules of the house that a reader would otherwise have to check by eye."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run_command

SOURCES = sorted((ROOT / "detector").rglob("*.py"))
OWNERS = {  # heavy library -> the modules and packages that may import it
    "torch": {"generators", "detectors", "learning"},
    "timm": {"learning.backbones"},
    "torchvision": {"learning.backbones"},
    "albumentations": {"learning.augment"},
    "cv2": {
        "learning.augment",
        "learning.batches",
        "learning.pairs",
        "pictures.faces",
        "pictures.features",
        "pictures.perturbations",
    },
    "matplotlib": {"evaluation.plots"},
    "openvino": {"generators"},
    "ray": {"scoring.engines"},
    "av": {"pictures.frames"},
    "pi_heif": {"pictures.images"},
    "fastapi": {"service"},
    "starlette": {"service"},
    "uvicorn": {"service"},
    "sqlalchemy": {"service"},
    "alembic": {"service"},
    "python_multipart": {"service"},
    "prometheus_client": {"service"},
    "pydantic_settings": {"service"},
    "typer": {"cli"},
    "rich": {"cli"},
    "pickle": set(),
    "dill": set(),
    "joblib": set(),
    "socket": set(),
    "urllib": set(),
    "requests": set(),
    "httpx": set(),
}


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def is_in(module: str, owner: str) -> bool:
    return f"{module}.".startswith(f"{owner}.")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_libraries_stay_with_their_owners(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT / "detector").with_suffix("").parts)
    strays = {name for name in imports(path) & set(OWNERS) if not any(is_in(module, owner) for owner in OWNERS[name])}
    assert not strays


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_print_outside_the_command_line_and_no_global_seed(path: Path) -> None:
    text = path.read_text()
    if path.parent.name != "cli" and path.name != "__main__.py":
        assert not re.search(r"^\s*print\(", text, re.M)
        assert "sys.exit" not in text
    assert "np.random.seed" not in text
    assert not re.search(r"(?<!fork_rng\(devices=\[\]\):\n        )torch\.manual_seed", text)


def test_layers_import_downwards_only() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def list_names(path: Path) -> set[str]:
    """Return the names that a module defines or imports at its top level."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        else:
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_import_what_the_package_has(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("detector."):
            place = ROOT / str(node.module).replace(".", "/")
            module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            names = list_names(module) | {child.stem for child in place.glob("*")}
            assert not (missing := {alias.name for alias in node.names} - names), f"{node.module} has no {missing}"


def test_types_check() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_style() -> None:
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "."], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def list_imports(*arguments: str) -> set[str]:
    """Return the modules that a command line imports after Typer, without Typer's own."""
    code = (
        f"import sys, typer; sys.argv = ['detector', *{arguments}]; before = set(sys.modules)\n"
        "from detector.__main__ import run\n"
        "try: run()\nexcept SystemExit: pass\n"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines()[-1].split() if not name.startswith("typer.")}


def test_help_imports_only_typer_and_the_command_line() -> None:
    """The help page takes at most twice the CPU time of importing Typer; Rich alone would double that."""
    ours = {"detector", "detector.__main__", "detector.errors"}
    assert {name for name in list_imports("--help") if not name.startswith("detector.cli")} == {"__future__", *ours}
    heavy = {"rich", "numpy", "pandas", "torch", "cv2", "sklearn", "scipy", "matplotlib", "onnxruntime", "PIL"}
    for words in (["score", "--help"], ["train"]):  # here Typer itself imports pydantic
        assert list_imports(*words) & {*heavy, "detector.tasks"} == set()


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    listed = re.findall(r"^  ([a-z]+)  +[A-Z]", run_command("--help").stdout, re.M)
    assert len(listed) >= 6
    assert [name for name in listed if f"detector {name}" not in readme] == []


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert [line for line in lines if len(line) > 120] == []


def test_no_module_has_a_vague_name() -> None:
    vague = {"utils", "helpers", "common", "base", "misc"}
    assert not [p for p in SOURCES if p.stem in vague or p.stem.endswith("_v2")]


def test_no_absolute_path_and_no_host_of_a_registry() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    texts = [ROOT / name for name in tracked if name.endswith((".py", ".md", ".toml", ".json", ".ipynb", ".yml"))]
    if not texts:
        pytest.skip("not a git checkout")
    pattern = re.compile("/" + r"(?:work|root|home)/\w|py" + r"pi\.org|file" + r"s\.pythonhosted")
    assert [p.name for p in texts if p.is_file() and pattern.search(p.read_text())] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_exceeds_400_lines_and_no_function_60(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    assert [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 60] == []


def test_seven_modules_lie_beside_the_packages() -> None:
    assert sorted(path.stem for path in (ROOT / "detector").glob("*.py")) == [
        "__init__", "__main__", "errors", "files", "quickstart", "registry", "types"
    ]  # fmt: skip
