"""`benchmarks/scale/equality.py`: its pictures, its kills, and that it ends with status 1 if a file differs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from detector.files import sha256
from detector.pictures.images import load

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends a signal")


@pytest.fixture
def equality(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "scale"))
    import equality

    return equality


def test_its_pictures_differ_but_for_copies_of_the_first_and_one_that_is_none(equality: Any, tmp_path: Path) -> None:
    equality.write_pictures(tmp_path / "in", 200)
    data = [path.read_bytes() for path in sorted((tmp_path / "in").iterdir())]
    assert sorted(Counter(map(sha256, data)).values())[-2:] == [1, 3]
    assert data[0] == data[97] == data[194]
    assert data[50] == b"no picture"
    assert load(tmp_path / "in" / "00001.jpg").shape == (256, 256, 3)


def test_it_kills_a_run_that_has_enough_rows_and_notices_one_that_ended(equality: Any, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("head\none\n")
    for seconds, running in (("60", True), ("0", False)):
        run = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])
        if not running:
            run.wait()
        assert equality.kill(run, tmp_path / "rows", 1, 0) is running
        assert run.returncode == (-9 if running else 0)


def test_a_file_that_differs_is_an_error(
    equality: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(place: Path, out: Path, shard: int, options: list[str]) -> None:
        (out / "out").mkdir(parents=True, exist_ok=True)
        (out / "out" / f"part-{shard}").write_text(" ".join(options) if shard == 2 else "")

    monkeypatch.setattr(equality, "start", write)
    monkeypatch.setattr(equality, "finish", lambda run: None)
    monkeypatch.setattr(sys, "argv", ["equality.py", "--pictures", "2", "--kills", "0"])
    with pytest.raises(SystemExit) as end:
        equality.main()
    assert end.value.code == 1
    assert "2 files, part-2 differs" in capsys.readouterr().out
