"""llama.cpp servers inside this process, one for each model file."""

from __future__ import annotations

import atexit
import os
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

# Three proposers of one model answer at once, and the aggregator need not wait for a straggler of them.
_SLOTS = 4

CONTEXT = 4096
"""Tokens for one conversation and its answer; llama.cpp splits a context over its slots."""


@dataclass(frozen=True)
class Server:
    """A server that runs until the process ends.

    Attributes:
        url: The address of its OpenAI-compatible API, on the loopback interface.
        key: The key that it asks for, so that other users of the machine cannot use it.
    """

    url: str
    key: str = field(repr=False)
    _handle: Any = field(repr=False, compare=False)


_servers: dict[Path, Server] = {}
_lock = threading.Lock()


def serve(path: Path, *, name: str, template: str | None) -> Server:
    """Return the server of a model, started if it is not running.

    Args:
        path: The GGUF file.
        name: What the server calls the model.
        template: The chat template (Jinja) of a model that comes without one.

    Raises:
        RuntimeError: llama.cpp cannot load the file.
    """
    with _lock:
        if path not in _servers:
            _servers[path] = _start(path, name, template)
        return _servers[path]


def _start(path: Path, name: str, template: str | None) -> Server:
    import xllamacpp

    key = secrets.token_urlsafe(32)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {name}
    params.api_keys = [key]
    params.n_parallel = _SLOTS
    params.n_ctx = CONTEXT * _SLOTS
    # By default llama.cpp keeps up to 8 GB of old prompts.
    params.cache_ram_mib = 0
    params.verbosity = -1
    params.ui = False
    params.warmup = False
    # Several models answer at once: more threads than cores, and threads that wait by spinning, only get in each other's way.
    threads = max(1, (os.cpu_count() or 2) // 2)
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads, cpu.poll = threads, 0
    if template is not None:
        params.chat_template = template
    try:
        handle = xllamacpp.Server(params)
    except Exception as error:
        msg = f"llama.cpp cannot load {path}; is it a whole GGUF file?"
        raise RuntimeError(msg) from error
    return Server(url=f"{handle.listening_address}/v1", key=key, _handle=handle)


def _forget() -> None:
    """After a fork, the child has the servers' memory and none of their threads: it starts its own."""
    global _servers, _lock
    _orphans.append(_servers)
    _servers, _lock = {}, threading.Lock()


_orphans: list[dict[Path, Server]] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

# Before the interpreter takes the library apart under the servers' feet.
atexit.register(lambda: _servers.clear())  # noqa: PLW0108  # those that are there at the end
