"""A loopback server in a process of its own, so that what is measured is the client's."""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection


@contextmanager
def served(serve: Callable[..., None], *args: Any) -> Iterator[tuple[str, Connection]]:
    """Run a server elsewhere; give its address, and a pipe to it.

    Args:
        serve: A function of a module, called with its end of the pipe: it sends the address, and ends on the word `end`.
        *args: Its other arguments.
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
