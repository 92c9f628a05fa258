"""The two runtimes of an exported network: the same numbers, the same errors."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_picture, run_command, run_inside

from detector import detectors, tasks
from detector.errors import CheckpointError, DetectorError, MissingExtra, UnknownName
from detector.evaluation import suites
from detector.pictures.images import encode
from detector.scoring.checkpoint import MODEL, SHIPPED, read_card
from detector.scoring.runtime import RUNTIMES, Session

DEFAULT, MISSING = SHIPPED / "default", "openvino is optional: pip install 'face-forgery-detector[openvino]'"
MOST, MOST_OF_A_PLACE = 0.5, 1.5  # that bf16 changes a logit, and a place of the map, of a drawn face; f32 does 1e-5
SIDE = read_card(DEFAULT, "detector")["arguments"]["size"]
FACES = np.stack([draw_picture(i, size=SIDE, fake=i % 2 == 1) for i in range(9)])


@pytest.fixture(scope="module")
def session() -> Session:
    """The shipped network under OpenVINO, on one thread."""
    pytest.importorskip("openvino")
    return Session(DEFAULT, threads=1, runtime="openvino")


def test_openvino_gives_the_logits_and_maps_of_onnx_runtime(session: Session) -> None:
    plain = Session(DEFAULT, threads=1)
    logits, maps = session.logits(FACES), session.maps(FACES)
    assert (session.mapped, logits.dtype, maps.dtype) == (plain.mapped, np.float64, np.float64)
    assert np.abs(logits - plain.logits(FACES)).max() < MOST
    assert np.corrcoef(logits, plain.logits(FACES))[0, 1] > 0.98
    assert np.abs(maps - plain.maps(FACES)).max() < MOST_OF_A_PLACE
    assert np.allclose(maps.mean((1, 2)), logits, atol=1e-3)


def test_a_logit_does_not_depend_on_batch_or_thread(session: Session) -> None:
    whole = session.logits(FACES)
    parts = [FACES[i : i + n] for n in (1, 2, 3) for i in range(0, 9, n)]
    with ThreadPoolExecutor(4) as pool:
        assert np.concatenate(list(pool.map(session.logits, parts))).tolist() == np.tile(whole, 3).tolist()
    assert session.logits(FACES[:0]).shape == (0,)


def test_a_logit_and_a_map_are_the_same_in_any_batch_and_order() -> None:
    plain = Session(DEFAULT, threads=1)
    whole, maps = plain.logits(FACES), plain.maps(FACES)
    for n in (1, 2, 4, 5):
        assert np.concatenate([plain.logits(FACES[i : i + n]) for i in range(0, 9, n)]).tolist() == whole.tolist()
    order = [3, 8, 0, 5, 1, 2, 7, 4, 6]
    assert plain.logits(FACES[order]).tolist() == whole[order].tolist()
    assert np.array_equal(plain.maps(FACES[order]), maps[order])
    assert plain.logits(FACES[:0]).shape == (0,)


@pytest.mark.parametrize("command", [["score", "in"], ["verify", "in/0.png", "-o", "report"]])
def test_no_runtime_leaves_an_identity_in_the_home_folder(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_bytes(encode(draw_picture(0, size=128)))
    (tmp_path / "home").mkdir()
    done = run_command(*command, cwd=tmp_path, HOME=str(tmp_path / "home"), ORT_DISABLE_TELEMETRY="")
    assert done.returncode == 0, done.stderr
    left = [path.name for path in (tmp_path / "home").rglob("*")]
    assert "deviceid" not in left  # by which ONNX Runtime tells its maker who this is
    assert "Microsoft" not in left


def test_the_command_takes_a_runtime_and_nothing_is_sent(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "in").mkdir()
    for i in range(3):
        (tmp_path / "in" / f"{i}.png").write_bytes(encode(draw_picture(i, size=128)))
    for name in RUNTIMES:
        words = ["score", "in", "--runtime", name, "-o", f"{name}.csv"]
        done = run_command(*words, cwd=tmp_path, HOME=str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert done.stderr == "3 scored: 3 not-applicable; status 0\n"
    onnx, openvino = (pd.read_csv(tmp_path / f"{name}.csv").score for name in ("onnx", "openvino"))
    assert 0 < np.abs(onnx - openvino).max() < MOST
    assert not (tmp_path / "intel").exists()  # where its maker's telemetry keeps who this is


def test_without_the_extra_there_is_one_line_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError\n")
    done = run_command("score", "x.jpg", "--runtime", "openvino", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (2, f"detector: {MISSING}\n")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra) as caught:
        tasks.score(["x.jpg"], runtime="openvino")
    assert str(caught.value) == MISSING
    assert Session(DEFAULT).mapped  # the other one works on


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "x.jpg", "--runtime", "onx"], "no runtime named 'onx'; did you mean 'onnx'?"),
        (["evaluate", "--suite", "smoke", "--runtime", "openvino"], "leave out --runtime"),
    ],
)
def test_another_runtime_is_one_line_and_status_2(tmp_path: Path, words: list[str], message: str) -> None:
    done = run_inside(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_detector_without_a_network_takes_no_runtime() -> None:
    with pytest.raises(UnknownName, match="there are: onnx, openvino"):
        Session(DEFAULT, runtime="tensors")
    with pytest.raises(DetectorError, match="spectrum takes no runtime; leave out --runtime"):
        detectors.load_detector(suites.SHIPPED / "spectrum", runtime="openvino")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("damage", ["absent", "empty", "text", "torn"])
def test_a_broken_network_is_a_clear_error(
    runtime: str, damage: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    data = {"empty": b"", "text": b"This is no network.", "torn": (DEFAULT / MODEL).read_bytes()[:100_000]}
    if damage in data:
        (tmp_path / MODEL).write_bytes(data[damage])
    with pytest.raises(CheckpointError, match=MODEL) as caught:
        Session(tmp_path, runtime=runtime)
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr().err == ""
