"""An exported network: the same numbers in any batch and thread, and clear errors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_picture, run_command

from detector.errors import CheckpointError
from detector.pictures.images import encode
from detector.scoring.checkpoint import MODEL, SHIPPED, read_card
from detector.scoring.runtime import Session

DEFAULT = SHIPPED / "default"
SIDE = read_card(DEFAULT, "detector")["arguments"]["size"]
FACES = np.stack([draw_picture(i, size=SIDE, fake=i % 2 == 1) for i in range(9)])


def test_a_logit_does_not_depend_on_batch_or_thread() -> None:
    session = Session(DEFAULT, threads=1)
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


@pytest.mark.parametrize("damage", ["absent", "empty", "text", "torn"])
def test_a_broken_network_is_a_clear_error(damage: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = {"empty": b"", "text": b"This is no network.", "torn": (DEFAULT / MODEL).read_bytes()[:100_000]}
    if damage in data:
        (tmp_path / MODEL).write_bytes(data[damage])
    with pytest.raises(CheckpointError, match=MODEL) as caught:
        Session(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr().err == ""
