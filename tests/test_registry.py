"""Registries: names, files, facts, and plug-ins of other packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run_command

from detector.errors import UnknownName
from detector.registry import Registry


def test_unknown_name_suggests_a_near_one() -> None:
    registry: Registry[object] = Registry("thing", "detector.types")
    registry.register("spectrum")(object())
    with pytest.raises(UnknownName, match="did you mean 'spectrum'"):
        registry.get("spectrun")
    with pytest.raises(UnknownName, match="there are: spectrum"):
        registry.get("zzz")


def test_a_name_is_taken_once() -> None:
    registry: Registry[object] = Registry("thing", "detector.types")
    registry.register("a")(len)
    registry.register("a")(len)
    with pytest.raises(ValueError, match="two things"):
        registry.register("a")(max)


def test_facts_stand_beside_the_name() -> None:
    registry: Registry[object] = Registry("thing", "detector.types")
    registry.register("a", higher=True)(len)
    assert registry.facts("a") == {"higher": True}


@pytest.mark.parametrize(("home", "name"), [("generators", "GENERATORS"), ("detectors", "DETECTORS")])
def test_every_file_registers_its_own_name(home: str, name: str) -> None:
    module = __import__(f"detector.{home}", fromlist=[name])
    registry = getattr(module, name)
    for thing in registry:
        assert registry.get(thing).__module__ == f"detector.{home}.{thing}"
        assert registry.get(thing).name == thing
        assert registry.facts(thing)["summary"]


def test_listing_files_imports_none(tmp_path: object) -> None:
    code = (
        "import sys; from detector.generators import GENERATORS as g; print(g.names());sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'style'" in done.stdout


def install(site: Path, package: str, entry_points: str, source: str) -> None:
    """Write a package as pip would install it."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    (site / f"{package}.py").write_text(source)


PLUGIN = """
import numpy as np
from detector.detectors import DETECTORS
from detector.evidence.checks import CHECKS
from detector.generators import GENERATORS
from detector.types import Finding, Opinion, Outcome

@GENERATORS.register("plain", year=2026, summary="one grey face")
class Plain:
    name = "plain"

    def sample(self, n, *, seed):
        return np.stack([np.full((64, 64, 3), (seed + i) % 256, np.uint8) for i in range(n)])

@DETECTORS.register("brightness", summary="bright pictures are fake")
class Brightness:
    name = "brightness"

@CHECKS.register("size", limits="It looks at the size of the file and at nothing else.", reference="none")
def check_size(exhibit):
    return Finding("size", Outcome.NEUTRAL, "The file has a size.", {"bytes": len(exhibit.bytes)})
"""
POINTS = """[detector.generators]
plain = tiny_plugin:Plain
[detector.detectors]
brightness = tiny_plugin
[detector.checks]
size = tiny_plugin
"""


def test_a_plug_in_of_another_package_is_listed_and_used(tmp_path: Path) -> None:
    install(tmp_path / "site", "tiny_plugin", POINTS, PLUGIN)
    install(tmp_path / "site", "bad_plugin", "[detector.generators]\nbad = bad_plugin\n", "raise OSError('no\\nluck')")
    listed = run_command("list", PYTHONPATH=f"{tmp_path / 'site'}{os.pathsep}{ROOT}")
    assert listed.returncode == 0, listed.stderr
    assert "one grey face" in listed.stdout
    assert "bright pictures are fake" in listed.stdout
    (warning,) = listed.stderr.splitlines()
    assert warning == ("detector: warning: the generator 'bad' of bad_plugin cannot be loaded: OSError: no luck")
    site = {"PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}"}
    made = run_command("generate", "plain", "-n", 2, "-o", tmp_path / "out", "--no-label", **site)
    assert (made.returncode, made.stderr) == (0, "")
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    done = run_command("generate", "bad", "-o", tmp_path / "out", **site)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "bad_plugin" in done.stderr
    code = "from detector.evidence.checks import CHECKS; assert 'size' in CHECKS; assert CHECKS.facts('size')['limits']"
    subprocess.run([sys.executable, "-c", code], env=os.environ | site, check=True)


@pytest.mark.parametrize("name", ["crude", "shared"])
def test_two_things_of_one_name_are_an_error_that_names_both(name: str, tmp_path: Path) -> None:
    points = f"[detector.generators]\n{name} = first_plugin\n"
    install(tmp_path, "first_plugin", points, PLUGIN.replace("plain", name))
    owners = {"first_plugin", "detector"}
    if name == "shared":
        install(tmp_path, "second_plugin", points.replace("first", "second"), PLUGIN.replace("plain", name))
        owners = {"first_plugin", "second_plugin"}
    done = run_command("list", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert f"two generators are named '{name}'" in done.stderr
    assert all(owner in done.stderr for owner in owners)
