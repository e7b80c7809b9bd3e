"""`record_moa`: record the answers of mixtures inside a block."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from langchain_core.tracers.context import register_configure_hook

from langchain_moa.runs.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Generator

    from langchain_moa.runs.run import MoARun

_recorder: ContextVar[Recorder | None] = ContextVar("moa_recorder", default=None)

# LangChain then asks this variable, with each call, for a handler; by default there is none.
register_configure_hook(_recorder, inheritable=True)


@contextmanager
def record_moa(*, first_tokens: bool = False) -> Generator[list[MoARun]]:
    """Record every answer that mixtures give inside the block, by `ChatMoA` or by a graph, sync, async, streamed or in batches.

    It sees what is called in this context and in the tasks and threads that LangChain starts from it; code elsewhere, and
    another block at the same time, record for themselves, but for a block inside a block, whose runs are the inner one's. A
    thread of your own has them in its own context, so begin the block there, or hand on `langchain_moa.runs.Recorder` as a
    callback. Nothing is recorded, and nothing costs anything, outside of such a block.

    Args:
        first_tokens: Whether proposers are called so that they stream, where they can: only then is the time of their first
            token known. It changes the requests that they send. Default: False; whoever streams anyway is seen anyway.

    Yields:
        The runs, each added when it ends: with its answer, with its error, or when its caller leaves a stream.

    Example:
        ```python
        from langchain_moa import ChatMoA, record_moa

        moa = ChatMoA.from_preset("local", max_tokens=32)
        with record_moa() as runs:
            moa.invoke("Why is the sky blue?")
            moa.batch(["What do bees make?", "What is a shadow?"])
        print([(run.status, run.seconds) for run in runs])
        runs[0].to_html("run.html")
        ```
    """
    recorder = Recorder(first_tokens=first_tokens)
    token = _recorder.set(recorder)
    try:
        yield recorder.runs
    finally:
        _recorder.reset(token)
