"""llama.cpp servers, one for each model file, which start when they are first needed and end with this process."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from langchain_moa.local.errors import ServerError

CONTEXT = 4096
"""Tokens for one conversation and its answer; llama.cpp splits a context over its slots."""

# Three proposers of one model answer at once, and the aggregator need not wait for a straggler of them.
_SLOTS = 4

# Threads wait for each other after every step: with many of them, a small model is slower and not faster.
_THREADS_OF_SMALL = 8

_HOST = Path(__file__).with_name("host.py")
_GRACE = 2.0


@dataclass(frozen=True, eq=False)
class Server:
    """A running server.

    Attributes:
        address: Where it listens, on the loopback interface: `http://127.0.0.1:` and a port.
        key: What it asks for, so that other users of the machine cannot use it; it is in no text of this object.
    """

    address: str
    key: str = field(repr=False)
    _process: subprocess.Popen[str] = field(repr=False)

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
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
        """Leave the process to the parent of this one, which has started it."""
        _close(self._process.stdin)
        # Nobody but the parent can wait for it; without a code, Popen would complain of a process that still runs.
        self._process.returncode = 0


_servers: dict[Path, Server] = {}
_gates: dict[Path, threading.Lock] = {}
_lock = threading.Lock()


def serve(path: Path, *, name: str, template: str | None = None, small: bool = False) -> Server:
    """Return the server of a model, started if none is running; takes as long as loading the model.

    Args:
        path: The GGUF file.
        name: What the server calls the model.
        template: The chat template (Jinja) of a model that comes without one. Default: the file's own.
        small: Whether it is so small that it fits any machine. Default: no.

    Raises:
        ServerError: llama.cpp cannot load the file; the text has its reason.
    """
    with _lock:
        gate = _gates.setdefault(path, threading.Lock())
    # One gate for each file: a model that loads holds up nobody who wants another.
    with gate:
        server = _servers.get(path)
        if server is not None and server.is_running:
            return server
        if server is not None:
            server.stop()
        server = _servers[path] = _start(path, name, template, small=small)
        return server


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
    # Two models have twice as many threads as there are cores: those that wait must not spin in the way of those that work.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(  # noqa: S603  # our own file
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
    """Send a process a line, and return the line that it answers with; an empty one if it ends without."""
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
    """Return what went wrong: llama.cpp's first error, or the last line of a traceback."""
    lines = [line.strip() for line in log.replace(key, "***").splitlines() if line.strip()]
    errors = [line.partition(" E ")[2] for line in lines if " E " in line]
    return next(iter(errors or lines[-1:]), "")


def _threads(*, small: bool) -> int:
    # A container, or `taskset`, may give this process fewer cores than the machine has, which llama.cpp does not see.
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if small:
        return min(cores, _THREADS_OF_SMALL)
    # Its own choice, the physical cores.
    return cores if cores < (os.cpu_count() or 1) else -1


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        try:
            pipe.close()
        except OSError:
            # It is closed all the same: nobody reads it any more.
            return


def _stop_all() -> None:
    for server in _servers.values():
        server.stop()
    _servers.clear()


def _disown_all() -> None:
    """After a fork, the child starts servers of its own; those of its parent end with the parent."""
    global _lock  # noqa: PLW0603  # another thread may have held it, and is not in the child to let go
    _lock = threading.Lock()
    _gates.clear()
    for server in _servers.values():
        server.disown()
    _servers.clear()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
