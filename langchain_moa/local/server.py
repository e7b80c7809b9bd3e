"""llama.cpp servers: one process for each model file. It starts at the first call and ends with this process."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from langchain_moa.local.catalog import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

CONTEXT = 4096
"""Maximum number of tokens in a conversation and its answer. llama.cpp splits its context between its slots."""

# Enough for three proposers and an aggregator of the same model to answer at the same time.
_SLOTS = 4

# Threads synchronize after every step, so more threads make a small model slower.
_THREADS_OF_SMALL = 8

_HOST = Path(__file__).with_name("host.py")
_GRACE = 2.0


@dataclass(frozen=True, eq=False)
class Server:
    """A running server.

    Attributes:
        address: The server's address on the loopback interface: `http://127.0.0.1:` and a port.
        key: The API key that the server requires, so that other users of the machine cannot use it. `repr` does not show it.
    """

    address: str
    key: str = field(repr=False)
    _process: subprocess.Popen[str] = field(repr=False)

    @property
    def is_running(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the process."""
        _close(self._process.stdin)
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def disown(self) -> None:
        """Forget the process in a forked child; it belongs to the parent, which started it."""
        _close(self._process.stdin)
        # Only the parent can wait for the process. Without a return code, Popen would warn that it is still running.
        self._process.returncode = 0


_servers: dict[Path, Server] = {}
_gates: dict[Path, threading.Lock] = {}
_lock = threading.Lock()


def serve(
    path: Path, *, name: str, template: str | None = None, small: bool = False, check: Callable[[], object] = lambda: None
) -> Server:
    """Return the server of a model. If it is not running, start it, which takes as long as loading the model.

    Args:
        path: The GGUF file.
        name: The name under which the server offers the model.
        template: The chat template (Jinja). Default: the file's own.
        small: Whether the model fits into any machine's memory. Default: no.
        check: A callable that is called before the file is loaded. Its exceptions are raised. Default: no check.

    Raises:
        ServerError: llama.cpp cannot load the file; the message has the reason.
    """
    with _lock:
        gate = _gates.setdefault(path, threading.Lock())
    # Each file has its own lock, so that loading a model does not block calls to other models.
    with gate:
        server = _servers.get(path)
        if server is not None and server.is_running:
            return server
        if server is not None:
            server.stop()
        check()
        server = _servers[path] = _start(path, name, template, small=small)
        return server


async def aload(load: Callable[[], T]) -> T:
    """Load a model in a daemon thread, so that neither a cancelled caller nor the end of the program waits for it.

    `asyncio.to_thread` is not suitable: an event loop that closes waits for its threads, which takes a second or more for a
    model that is no longer needed.

    Args:
        load: A callable that loads the model and returns its server.

    Returns:
        The return value of `load`.
    """
    outcome: Future[T] = Future()
    # A future that is marked as running cannot be cancelled from outside.
    outcome.set_running_or_notify_cancel()

    def work() -> None:
        try:
            outcome.set_result(load())
        except BaseException as error:  # noqa: BLE001  # raised again where the future is awaited
            outcome.set_exception(error)

    threading.Thread(target=copy_context().run, args=(work,), name="moa-load", daemon=True).start()
    return await asyncio.wrap_future(outcome)


def _start(path: Path, name: str, template: str | None, *, small: bool) -> Server:
    key = secrets.token_urlsafe(32)
    settings = {
        "path": str(path),
        "name": name,
        "template": template,
        "key": key,
        "slots": _SLOTS,
        "context": CONTEXT,
        "small": small,
        "threads": _threads(small=small),
        "import_path": sys.path,
    }
    # Two models have twice as many threads as there are cores, so waiting threads must not use the processor.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(  # noqa: S603  # runs our own file
            [sys.executable, "-I", str(_HOST)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        answer = _ask(process, json.dumps(settings))
        if not answer:
            _close(process.stdin)
            process.wait()
            log.seek(0)
            msg = f"llama.cpp cannot serve {path}: {_reason(log.read(), key) or f'exit code {process.returncode}'}"
            raise ServerError(msg)
    return Server(json.loads(answer)["address"], key, process)


def _ask(process: subprocess.Popen[str], line: str) -> str:
    """Send a line to a process and return the line that it answers; an empty string if it ends without an answer."""
    assert process.stdin is not None  # noqa: S101  # for the type checker: it is a pipe
    assert process.stdout is not None  # noqa: S101
    with process.stdout:
        try:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
        except BrokenPipeError:
            return ""
        return process.stdout.readline()


def _reason(log: str, key: str) -> str:
    """Return the reason for a failure: llama.cpp's first error, or the last line of a traceback."""
    lines = [line.strip() for line in log.replace(key, "***").splitlines() if line.strip()]
    errors = [line.partition(" E ")[2] for line in lines if " E " in line]
    return next(iter(errors or lines[-1:]), "")


def _threads(*, small: bool) -> int:
    # llama.cpp does not notice if a container or `taskset` limits this process to fewer cores than the machine has.
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if small:
        return min(cores, _THREADS_OF_SMALL)
    # -1 is llama.cpp's default, the number of physical cores.
    return cores if cores < (os.cpu_count() or 1) else -1


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        try:
            pipe.close()
        except OSError:
            # The other end is already closed.
            return


def _stop_all() -> None:
    # A thread may still add a server.
    while _servers:
        _servers.popitem()[1].stop()


def _disown_all() -> None:
    """Forget the parent's servers after a fork. The child starts its own; the parent's end with the parent."""
    global _lock  # noqa: PLW0603  # it may be held by a thread that does not exist in the child
    _lock = threading.Lock()
    _gates.clear()
    for server in _servers.values():
        server.disown()
    _servers.clear()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
