"""A loopback server in its own process, so that only the client is measured."""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection


@contextmanager
def served(serve: Callable[..., None], *args: Any) -> Iterator[tuple[str, Connection]]:
    """Run a server in another process, and yield its address and a pipe to it.

    Args:
        serve: A module-level function, called with its end of the pipe. It sends the address, and returns when it gets `end`.
        *args: Further arguments of the function.
    """
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    process = processes.Process(target=serve, args=(theirs, *args), daemon=True)
    process.start()
    try:
        yield ours.recv(), ours
    finally:
        ours.send("end")
        process.join()
