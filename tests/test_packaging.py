"""Packaging: one version, development tools in a group, offline hooks, a container without privileges."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib

import pytest
from conftest import LONG, ROOT, SLOW

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_stands_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["project"]["version"])
    assert "__version__ =" not in (ROOT / "detector" / "__init__.py").read_text()
    assert f"version: {PROJECT['project']['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_development_tools_are_a_group_and_no_extra() -> None:
    group = {re.split(r"[<>=]", name)[0] for name in PROJECT["dependency-groups"]["dev"]}
    assert {"pytest", "ruff", "mypy", "import-linter", "pre-commit"} <= group
    assert "test" not in PROJECT["project"]["optional-dependencies"]
    assert "--group dev" in (ROOT / "Makefile").read_text()
    assert "--group dev" in (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_the_site_is_built_with_warnings_as_errors_and_its_tools_are_a_group() -> None:
    shown = subprocess.run(["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--group docs" in shown
    assert "mkdocs build --strict" in shown
    assert {re.split(r"[<>=\[]", name)[0] for name in PROJECT["dependency-groups"]["docs"]} == {
        "mkdocs-material", "mkdocstrings"
    }  # fmt: skip
    assert "font: false" in (ROOT / "mkdocs.yml").read_text()


def test_hooks_download_nothing() -> None:
    config = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: (\S+)", config) == ["local"]
    assert set(re.findall(r"language: (\S+)", config)) == {"system"}
    assert len(re.findall(r"- id: ", config)) == len(re.findall(r"language: system", config)) == 4


def test_the_image_runs_without_rights() -> None:
    stage = (ROOT / "Dockerfile").read_text().split("\nFROM ")[-1]
    user, entry = stage.index("\nUSER 10001:10001"), stage.index("\nENTRYPOINT")
    assert user < entry
    assert not re.search(r"^(RUN|COPY|ADD|USER root)", stage[user + 1 :], re.M)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    allowed = (ROOT / ".dockerignore").read_text()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert f"!{name}\n" in allowed


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_check_leaves_out_the_slow_tests_and_each_listed_file_exists() -> None:
    shown = subprocess.run(["make", "-n", "check"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert '-m "not slow"' in shown
    for tool in ("ruff check", "ruff format --check", "mypy", "lint-imports"):
        assert tool in shown
    assert [name for name in (*SLOW, *LONG) if not (ROOT / "tests" / name).exists()] == []


def test_no_option_skips_test_modules_that_cannot_be_imported() -> None:
    """With this option pytest skips such a module, and all of its tests, and the suite passes."""
    assert "--doctest-ignore-import-errors" not in PROJECT["tool"]["pytest"]["ini_options"]["addopts"]
