"""A process with limits on memory and CPU time, for bytes whose decoding may cost too much.

One process serves all jobs, one at a time, and lives as long as the program; it starts with the first job, and anew
after one that was stopped or where a job is of another module. Both sides talk through pipes: lines of JSON, some
followed by bytes.

    python -m detector.pictures.sandbox MODULE       the limited side; `stream` starts it
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from detector import errors
from detector.errors import ImageError, TooCostly

MEMORY = 680 * 2**20  # bytes that a job may take beside the idle process, less what the caller holds of the file
SECONDS = 6  # CPU time that a job may take, rounded up; the rest of scoring is not included
PATIENCE = 600  # seconds to wait for a job: on a busy machine those of the CPU may take that long

_lock = threading.Lock()
_process: subprocess.Popen[bytes] | None = None


def stream(task: str, data: bytes, *, seconds: int | None = None, **options: Any) -> Iterator[Any]:
    """Yield what a generator yields in the limited process: dicts of plain values, and bytes.

    task: "module:function", called with `data` and the options, which are plain values too. seconds: of CPU time, in
    place of SECONDS.

    Raises the ImageError that the function raises; TooCostly if a limit stops it, or if no process can be started.
    """
    seconds = SECONDS if seconds is None else seconds
    with _lock:
        process = _started(task.partition(":")[0])
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        whole = False
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            _send(process.stdin, {"task": task, "options": options, "memory": MEMORY, "seconds": seconds}, data)
            while (item := _receive(process.stdout)) is not None and "done" not in item:
                if "error" in item:
                    raise getattr(errors, item["error"])(item["message"])
                yield item.get("value", item.get("bytes"))
            if item is None:
                raise EOFError
            whole = True
        except (OSError, EOFError):
            raise TooCostly(_why(process, seconds)) from None
        except ImageError:
            whole = True
            raise
        finally:
            timer.cancel()
            if not whole:  # stopped, or nobody wants the rest of its answer
                close()


def close() -> None:
    """End the limited process; the next job starts another."""
    global _process
    if _process is not None:
        _process.kill()
        _process.communicate()
        _process = None


def main() -> None:
    """Serve jobs from standard input until it closes."""
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program; its end closes the pipe
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a decoder that prints does not write into the answer
    import_module(sys.argv[1])  # before the first job, whose limits do not count it
    idle = _address_space()
    _send(sink, {"value": "ready"})
    while (job := _receive(source)) is not None:
        _limit(idle + job["memory"] - len(job["bytes"]), job["seconds"])
        try:
            module, _, function = job["task"].partition(":")
            for item in getattr(import_module(module), function)(job["bytes"], **job["options"]):
                _send(sink, {}, item) if isinstance(item, bytes) else _send(sink, {"value": item})
            answer: dict[str, Any] = {"done": True}
        except ImageError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        except MemoryError:
            answer = {"error": "TooCostly", "message": "it takes more memory than a picture may"}
        _send(sink, answer)


def _started(module: str) -> subprocess.Popen[bytes]:
    """Return the limited process, started with the module imported if there is none, if it ended or has another."""
    global _process
    command = [sys.executable, "-P", "-m", __name__, module]
    if _process is not None and _process.poll() is None and _process.args == command:
        return _process
    close()
    # With -P the current folder, which may hold strangers' files, is searched only if this program searches it.
    paths = [str(Path(__file__).parents[__name__.count(".")]), *filter(None, sys.path)]
    settings = {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        _process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | settings,
        )  # fmt: skip
        assert _process.stdout is not None
        if _receive(_process.stdout) is None:
            raise OSError(f"it ended with status {_process.wait()}")
    except OSError as error:
        close()
        raise TooCostly(f"the process that would decode it does not start: {error}") from None
    return _process


def _why(process: subprocess.Popen[bytes], seconds: int) -> str:
    status = process.wait()
    if hasattr(signal, "SIGXCPU") and status == -signal.SIGXCPU:
        return f"it takes more than {seconds} seconds of CPU time"
    if hasattr(signal, "SIGKILL") and status == -signal.SIGKILL:
        return f"it takes more than {PATIENCE} seconds, or more memory than there is"
    return f"its decoder ended with status {status}"


def _limit(memory: int, seconds: int) -> None:
    """Set the limits of one job: bytes of address space, and seconds of CPU time from now."""
    try:
        import resource
    except ImportError:  # Windows has none of these; there PATIENCE ends a job
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    end = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory, resource.RLIM_INFINITY))


def _address_space() -> int:
    """Return the bytes of address space this process has; as many as no process has where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 2**48


def _send(pipe: IO[bytes], item: dict[str, Any], data: bytes | None = None) -> None:
    if data is not None:
        item = item | {"size": len(data)}
    pipe.write(json.dumps(item).encode() + b"\n")
    if data is not None:
        pipe.write(data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> dict[str, Any] | None:
    """Return the next item, its bytes under "bytes"; None where the pipe ends."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        return None
    item: dict[str, Any] = json.loads(line)
    if "size" in item:
        item["bytes"] = pipe.read(item["size"])
        if len(item["bytes"]) < item["size"]:
            return None
    return item


def _forget() -> None:
    """Leave the process to the parent: a fork must not talk through its pipes, nor wait for its lock."""
    global _lock, _process
    _lock, _process = threading.Lock(), None


atexit.register(close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

if __name__ == "__main__":
    main()
