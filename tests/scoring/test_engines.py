"""All engines write the same bytes, with any number of workers, and also if a run is interrupted and resumed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from bright import Bright, load
from conftest import draw_picture, run_inside

from detector.errors import DetectorError, ManifestError, MissingExtra
from detector.pictures.images import encode
from detector.pictures.perturbations import Condition
from detector.scoring import engines
from detector.scoring.engines import CHUNK, find_engine
from detector.scoring.tables import score_to_file
from detector.scoring.targets import Target

PATHS = os.pathsep.join((str(Path(__file__).parents[1]), str(Path(engines.__file__).parents[2])))  # for workers
RAY = pytest.param("ray", marks=pytest.mark.skipif(not find_spec("ray"), reason="Ray, an extra, is not installed"))


@pytest.fixture
def targets(tmp_path: Path) -> list[Target]:
    """Five chunks of pictures: among them one that is no picture, one that is absent, and several of the same bytes."""
    (tmp_path / "in").mkdir()
    for i in range(4 * CHUNK):
        data = b"no picture" if i == 7 else encode(draw_picture(i % 50, size=24))
        (tmp_path / "in" / f"{i:03d}.png").write_bytes(data)
    named = [Target(str(path)) for path in sorted((tmp_path / "in").iterdir())]
    pixels = [Target(f"picture {i}", pixels=draw_picture(i, size=24)) for i in range(CHUNK)]
    return [*named, Target(str(tmp_path / "absent.png")), *pixels]


def write(targets: list[Target], name: str, out: Path, workers: int = 2) -> tuple[bytes, bytes]:
    """Return both tables that an engine writes, under two conditions."""
    conditions, faces = [Condition(), Condition("blur", 2)], out.with_name(f"faces-{out.name}")
    engine = find_engine(name, load, workers)
    score_to_file(targets, Bright(), out, faces=faces, engine=engine, conditions=conditions)
    return out.read_bytes(), faces.read_bytes()


@pytest.mark.parametrize("name", ["process", RAY])
def test_every_engine_writes_the_same_bytes(
    name: str, targets: list[Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    assert write(targets, name, tmp_path / "a.csv") == write(targets, "threads", tmp_path / "b.csv")


def test_a_run_whose_worker_was_killed_ends_with_an_error_and_is_resumed_to_the_same_bytes(
    targets: list[Target], tmp_path: Path
) -> None:
    kill = tmp_path / "kill"
    expected = write(targets, "threads", tmp_path / "b.csv")
    kill.touch()
    with pytest.raises(DetectorError, match="a worker process was killed"):
        score_to_file(targets, Bright(), tmp_path / "a.csv", faces=tmp_path / "faces-a.csv",
                      conditions=[Condition(), Condition("blur", 2)],
                      engine=find_engine("process", partial(load, kill), 1))  # fmt: skip
    assert write(targets, "process", tmp_path / "a.csv", 1) == expected


def test_workers_end_with_a_program_that_is_killed() -> None:
    code = (
        "import sys, time; from multiprocessing import active_children\n"
        "from bright import Bright, load; from detector.scoring.engines import find_engine\n"
        "from detector.scoring.targets import Target\n"
        "if __name__ == '__main__':\n"
        "    answers = find_engine('process', load, 1)([Target('absent.png')] * 99, Bright())\n"
        "    next(answers); print(active_children()[0].pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                          env=os.environ | {"PYTHONPATH": PATHS}) as program:  # fmt: skip
        assert program.stdout is not None
        worker = int(program.stdout.readline())
        os.kill(worker, 0)
        program.kill()
    for _ in range(500):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":  # ended; nobody has asked for its status
            return
        time.sleep(0.02)
    os.kill(worker, 9)
    pytest.fail("the worker lives on")


@pytest.mark.parametrize("name", ["process", RAY])
def test_what_a_worker_raises_ends_the_run(name: str, targets: list[Target], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    wrong = [*targets[: CHUNK + 1], Target(targets[0].path, sha256="0" * 64)]
    with pytest.raises(ManifestError, match="does not have the hash in its manifest"):
        list(find_engine(name, load, 1)(wrong, Bright()))


def test_few_chunks_are_submitted_ahead(targets: list[Target]) -> None:
    taken = 0

    def count() -> object:
        nonlocal taken
        for target in targets * 4:
            taken += 1
            yield target

    answers = engines._in_order(count(), lambda chunk: lambda: [[t] for t in chunk], most=2)  # type: ignore[arg-type,return-value,misc]
    next(answers)
    assert taken == 2 * CHUNK


def test_an_engine_that_is_unknown_or_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DetectorError, match="there are threads, process, ray"):
        find_engine("spark", load)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match="distributed"):
        find_engine("ray", load)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_the_command_line_takes_an_engine(targets: list[Target], tmp_path: Path) -> None:
    names = [target.path for target in targets[:CHUNK]]
    for name, words in (("a.csv", ("--engine", "process", "--workers", 1)), ("b.csv", ())):
        done = run_inside("score", *names, "-o", tmp_path / name, *words)
        assert done.returncode == 3, done.stderr  # one is no picture
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
