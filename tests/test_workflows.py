"""The workflow and the action are YAML, and name what exists."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
from conftest import ROOT

from detector.evaluation.suites import find_baseline, read_suite

yaml = pytest.importorskip("yaml")
GATE = ROOT / ".github" / "actions" / "detector-gate" / "action.yml"
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def test_the_action_declares_what_it_uses_and_uses_what_it_declares() -> None:
    text = GATE.read_text()
    action = yaml.safe_load(text)
    assert set(re.findall(r"inputs\.([a-z-]+)", text)) == set(action["inputs"])
    assert action["runs"]["using"] == "composite"
    assert all("shell" in step for step in action["runs"]["steps"] if "run" in step)
    assert not [step for step in action["runs"]["steps"] if "${{" in step.get("run", "")]  # inputs never become code
    suite = action["inputs"]["suite"]["default"]
    assert read_suite(suite).name == suite
    assert find_baseline(suite).is_file()


def test_the_script_of_the_action_passes_its_inputs_whole() -> None:
    (script,) = (
        step["run"] for step in yaml.safe_load(GATE.read_text())["runs"]["steps"] if "SUITE" in step.get("env", {})
    )
    code = "detector() { printf '%s\\n' \"$@\"; }\n" + script
    inputs = {"SUITE": "s", "BASELINE": "", "DETECTOR": "my weights", "OUTPUT": "o", "GITHUB_ACTION_PATH": "a"}
    done = subprocess.run(["bash", "-euc", code], env=inputs, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == [
        "evaluate", "--suite", "s", "--baseline", "s", "--output", "o",
        "--detector", "my weights",
    ]  # fmt: skip
    done = subprocess.run(["bash", "-euc", code], env=inputs | {"DETECTOR": "", "BASELINE": "b.json"},
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.split()[3:] == ["--baseline", "b.json", "--output", "o"]


def test_the_workflow_runs_the_tests_and_the_gate() -> None:
    jobs: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    assert "make test" in [step.get("run") for step in jobs["test"]["steps"]]
    assert "make docs" in [step.get("run") for step in jobs["docs"]["steps"]]
    (gate,) = (step for step in jobs["smoke"]["steps"] if step["uses"].startswith("./"))
    assert (ROOT / gate["uses"] / "action.yml").resolve() == GATE
    assert set(gate["with"]) <= set(yaml.safe_load(GATE.read_text())["inputs"])
    assert find_baseline(gate["with"]["baseline"]).is_file()


def test_what_runs_here_is_the_command_of_the_readme_and_the_gate() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "\nmake test " in script
    assert "make test " in (ROOT / "README.md").read_text()
    assert "evaluate --suite smoke --baseline smoke " in script
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=False).returncode == 0
