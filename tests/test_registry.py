"""Names and things."""

from __future__ import annotations

import sys

import pytest

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
    import subprocess

    code = (
        "import sys; from detector.generators import GENERATORS as g; print(g.names());sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'style'" in done.stdout
