"""A process with limits on memory and CPU time, for files whose decoding may cost too much.

A `Sandbox` runs one job at a time and lives as long as the program. Its process starts with the first job. It starts
again after a job that was stopped, and for a job of another module than it was prepared for. Both sides exchange
lines of JSON through pipes; some lines are followed by bytes. `stream` uses the sandbox that decodes pictures.

    python -m detector.pictures.sandbox MODULE[:FUNCTION] [WORD ...]       the limited side; a `Sandbox` starts it
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
from detector.errors import ImageError, ProcessDied, ProcessKilled, TooCostly

MEMORY = 680 * 2**20  # bytes that a job may use in addition to the idle process, less the size of the file
SECONDS = 6  # CPU seconds that a job may use, rounded up
PATIENCE = 600  # seconds on the clock after which a job is stopped; on a busy machine CPU seconds take far longer
CRASHES = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")  # a program's own faults


class Sandbox:
    """One process with limits, for one job at a time; threads that share it wait for each other.

    prepare: "module:function", called with `words` when the process starts, before any limit is set, so that the memory
    of what it loads does not count. Empty: the module of the first task is imported. memory, seconds, patience: limits
    of one job in bytes, CPU seconds and seconds on the clock; None means MEMORY, SECONDS and PATIENCE.
    """

    def __init__(
        self, prepare: str = "", *words: str, memory: int | None = None, seconds: int | None = None,
        patience: float | None = None,
    ) -> None:  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self._prepare, self._words = prepare, words
        self._memory, self._seconds, self._patience = memory, seconds, patience
        self._lock = threading.Lock()

    def stream(self, task: str, data: bytes, *, seconds: int | None = None, **options: Any) -> Iterator[Any]:
        """Yield what a generator function yields in the limited process: dicts of plain values, and bytes.

        task: "module:function", called with `data` and the options, which are plain values. seconds: CPU seconds that
        this job may use, if not those of the sandbox.

        Raises the ImageError that the function raises; TooCostly if a limit stops it; ProcessDied, a kind of TooCostly,
        if no process can be started or if it ended for another reason, and ProcessKilled if another program or the
        system killed it.
        """
        memory = MEMORY if self._memory is None else self._memory
        if seconds is None:
            seconds = SECONDS if self._seconds is None else self._seconds
        patience = PATIENCE if self._patience is None else self._patience
        with self._lock:
            process, late = self._started(task.partition(":")[0]), threading.Event()

            def stop() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(patience, stop)
            timer.start()
            whole = False
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                _send(process.stdin, {"task": task, "options": options, "memory": memory, "seconds": seconds}, data)
                while (item := _receive(process.stdout)) is not None and "done" not in item:
                    if "error" in item:
                        raise getattr(errors, item["error"])(item["message"])
                    yield item.get("value", item.get("bytes"))
                if item is None:
                    raise EOFError
                whole = True
            except (OSError, EOFError):
                if late.is_set():
                    raise TooCostly(f"it takes more than {patience} seconds") from None
                raise _explain(process, seconds) from None
            except ImageError:
                whole = True
                raise
            finally:
                timer.cancel()
                if not whole:  # the job was stopped, or the caller does not read its whole answer
                    self.close()

    def start(self) -> None:
        """Start and prepare the limited process before the first job needs it; raises ProcessDied if that fails."""
        with self._lock:
            self._started("")

    def close(self) -> None:
        """End the limited process; the next job starts another."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _started(self, module: str) -> subprocess.Popen[bytes]:
        """Return the limited process; start it if there is none, if it has ended, or if it has another module."""
        command = [sys.executable, "-P", "-m", __name__, self._prepare or module, *self._words]
        if self.process is not None and self.process.poll() is None and self.process.args == command:
            return self.process
        self.close()
        # With -P, no module is imported from the current folder, which may hold files of others; what this program
        # searches, the process searches too.
        paths = [str(Path(__file__).parents[__name__.count(".")]), *filter(None, sys.path)]
        settings = {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | settings,
            )  # fmt: skip
            assert self.process.stdout is not None
            if _receive(self.process.stdout) is None:
                raise OSError(f"it ended with status {self.process.wait()}")
        except OSError as error:
            self.close()
            raise ProcessDied(f"the process that would decode it does not start: {error}") from None
        return self.process


_shared = Sandbox()


def stream(task: str, data: bytes, *, seconds: int | None = None, **options: Any) -> Iterator[Any]:
    """Yield what a task yields in the sandbox that the whole program shares; see `Sandbox.stream`."""
    return _shared.stream(task, data, seconds=seconds, **options)


def close() -> None:
    """End the shared limited process; the next job starts another."""
    _shared.close()


def main() -> None:
    """Serve jobs from standard input until it closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the program handles these signals, and its end closes the pipe
        with suppress(ValueError):
            signal.signal(number, signal.SIG_IGN)
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints must not get into the answer
    module, _, function = sys.argv[1].partition(":")
    loaded = import_module(module)  # loaded before the first job, so that the limits do not count it
    if function:
        getattr(loaded, function)(*sys.argv[2:])
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


def _explain(process: subprocess.Popen[bytes], seconds: int) -> TooCostly:
    """Return the error that says why a process ended in the middle of a job."""
    status = process.wait()
    if hasattr(signal, "SIGXCPU") and status == -signal.SIGXCPU:
        return TooCostly(f"it takes more than {seconds} seconds of CPU time")
    if status < 0 and not any(status == -getattr(signal, name, 0) for name in CRASHES):
        return ProcessKilled("its decoder was killed; it may take more memory than there is")
    return ProcessDied(f"its decoder ended with status {status}")


def _limit(memory: int, seconds: int) -> None:
    """Set the limits of one job: bytes of address space, and seconds of CPU time from now."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; there only PATIENCE stops a job
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    end = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory, resource.RLIM_INFINITY))


def _address_space() -> int:
    """Return the address space of this process, bytes; 2**48, more than any limit, if the system does not say."""
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
    """Return the next item, with its bytes under "bytes"; None at the end of the pipe."""
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
    """Leave the process to the parent: a fork must neither use its pipes nor wait for its lock."""
    global _shared
    _shared = Sandbox()


atexit.register(close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

if __name__ == "__main__":
    main()
