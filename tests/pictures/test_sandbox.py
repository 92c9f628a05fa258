"""The process with limits: results are complete, limits are enforced, and a job does not affect the next."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from detector.errors import DamagedImage, ProcessDied, ProcessKilled, TooCostly
from detector.pictures import sandbox


def ask(task: str, data: bytes = b"abc", **options: object) -> list[object]:
    return list(sandbox.stream(f"greedy:{task}", data, **options))


@pytest.mark.parametrize("data", [b"", b"ab\n{}\n", bytes(range(256)) * 5000])
def test_the_items_of_a_task_are_returned(data: bytes) -> None:
    half = len(data) // 2
    assert ask("echo", data, number=3, words=["a", "ä\n"]) == [
        {"number": 3, "words": ["a", "ä\n"]}, data[:half], data[half:],
    ]  # fmt: skip


def test_too_much_cpu_time_stops_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0)
    with pytest.raises(TooCostly, match="more than 0 seconds of CPU time"):
        ask("spin")


def test_a_job_may_have_its_own_time() -> None:
    with pytest.raises(TooCostly, match="more than 0 seconds of CPU time"):
        list(sandbox.stream("greedy:spin", b"", seconds=0))


def test_a_job_of_another_module_has_a_process_of_its_own() -> None:
    pytest.importorskip("av")
    ask("echo")
    process = sandbox._shared.process
    with pytest.raises(DamagedImage, match="changed"):
        list(sandbox.stream("detector.pictures.frames:sample", b"", path=__file__, stamp=[], kind="mov", count=1))
    assert sandbox._shared.process is not process
    assert process is not None
    assert process.poll() is not None


def test_too_much_memory_ends_a_job_and_not_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ask("echo")
    process = sandbox._shared.process
    with pytest.raises(TooCostly, match="more memory than a picture may"):
        ask("grow")
    assert sandbox._shared.process is process
    monkeypatch.setattr(sandbox, "MEMORY", 2**31)
    assert ask("grow") == [{"bytes": 2**30}]


def test_memory_of_the_caller_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MEMORY", 2**30 + 2**28)
    assert ask("grow") == [{"bytes": 2**30}]
    with pytest.raises(TooCostly, match="memory"):
        ask("grow", bytes(2**28))


def test_a_job_that_sleeps_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    ask("echo")
    monkeypatch.setattr(sandbox, "PATIENCE", 0.5)
    with pytest.raises(TooCostly, match=r"more than 0\.5 seconds"):
        ask("sleep")


def test_a_decoder_that_dies_only_ends_its_job() -> None:
    with pytest.raises(TooCostly, match="ended with status 7"):
        ask("die")
    assert ask("echo", b"ab") == [{}, b"a", b"b"]


@pytest.mark.parametrize(
    ("number", "killed"), [(signal.SIGKILL, True), (signal.SIGALRM, True), (signal.SIGSEGV, False)]
)
def test_a_kill_from_outside_is_told_from_a_crash(number: int, killed: bool) -> None:
    with pytest.raises(ProcessDied) as found:
        ask("end", number=int(number))
    assert isinstance(found.value, ProcessKilled) is killed


def test_errors_keep_their_kind_and_the_process_lives_on() -> None:
    ask("echo")
    process = sandbox._shared.process
    with pytest.raises(DamagedImage, match="found late"):
        ask("refuse")
    assert ask("echo", b"ab") == [{}, b"a", b"b"]
    assert sandbox._shared.process is process


def test_an_answer_that_is_not_read_to_its_end_does_not_mix_with_the_next() -> None:
    items = sandbox.stream("greedy:echo", b"left unread")
    assert next(items) == {}
    items.close()
    assert ask("echo", b"ab") == [{}, b"a", b"b"]


def test_jobs_of_several_threads_wait_for_each_other() -> None:
    texts = [str(i).encode() * 1000 for i in range(20)]
    with ThreadPoolExecutor(4) as pool:
        for text, (_, *parts) in zip(texts, pool.map(lambda text: ask("echo", text), texts), strict=True):
            assert b"".join(parts) == text


def test_output_of_a_decoder_is_discarded(capfd: pytest.CaptureFixture[str]) -> None:
    assert ask("talk") == [{}]
    assert capfd.readouterr() == ("", "")


def test_a_process_that_does_not_start_is_an_error_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.close()
    monkeypatch.setattr(sandbox.sys, "executable", "/nowhere/python")
    with pytest.raises(TooCostly, match="does not start"):
        ask("echo")
