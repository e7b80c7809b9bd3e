"""Keep the run inside a `ChatMoA` to itself: its callers see one chat model, only tracers see the tree."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import (
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    UsageMetadataCallbackHandler,
)
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers._streaming import _StreamingCallbackHandler, _V2StreamingCallbackHandler
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer
from langchain_core.tracers.context import _configure_hooks

from langchain_moa.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from uuid import UUID


@dataclass(frozen=True)
class OuterRun:
    """The run of the `ChatMoA` itself, as far as its inner run must know it.

    Attributes:
        handlers: Those that look inside: tracers, which draw the tree, watchers, which record it, and usage counters, which
            count by model.
        run_id: The parent of the inner run in traces; `None` if nobody traces.
    """

    handlers: Sequence[BaseCallbackHandler] = ()
    run_id: UUID | None = None

    @classmethod
    def of(cls, handlers: Sequence[BaseCallbackHandler], run_id: UUID) -> OuterRun:
        """Pick the handlers that look inside from all that watch a run."""
        return cls([handler for handler in handlers if _looks_inside(handler)], run_id)

    def callbacks(self) -> CallbackManager:
        """Return the callbacks of the inner run."""
        return CallbackManager(list(self.handlers), inheritable_handlers=list(self.handlers), parent_run_id=self.run_id)


_NOBODY = OuterRun()

outer_run: ContextVar[OuterRun] = ContextVar("outer_run", default=_NOBODY)
"""The run that `_stream` belongs to: LangChain hands `_stream` no run manager where it streams an `invoke`."""


@contextmanager
def entered(run: OuterRun) -> Generator[None]:
    """Let `_stream`, called inside, know its run."""
    token = outer_run.set(run)
    try:
        yield
    finally:
        outer_run.reset(token)


def counts_usage(handler: BaseCallbackHandler) -> bool:
    """Tell whether a handler adds up tokens by model; such a one counts the members' calls, not the sum again."""
    return isinstance(handler, UsageMetadataCallbackHandler)


def configured(callbacks: Any, run_id: UUID) -> tuple[BaseCallbackManager, OuterRun]:
    """Return a call's callbacks, usage counters taken out, and its run.

    Args:
        callbacks: A config's `callbacks`; those of the context (`get_usage_metadata_callback`, tracing) are added.
        run_id: The run's id.
    """
    manager = CallbackManager.configure(callbacks)
    run = OuterRun.of(manager.handlers, run_id)
    for handler in filter(counts_usage, run.handlers):
        manager.remove_handler(handler)
    return manager, run


@contextmanager
def isolated() -> Generator[None]:
    """Hide the caller's config and the handlers of the context from whatever starts inside."""
    # LangChain merges both into every run that starts below: the caller's checkpointer, tags, recursion limit and stream
    # handlers would reach the members, and a handler of the context would see one chat model start for every member.
    hidden: list[ContextVar[Any]] = [var_child_runnable_config, *(hook[0] for hook in _configure_hooks)]
    tokens = [(variable, variable.set(None)) for variable in hidden]
    try:
        yield
    finally:
        for variable, token in reversed(tokens):
            variable.reset(token)


def _looks_inside(handler: BaseCallbackHandler) -> bool:
    # The tracers behind `astream_log` and `astream_events` stream tokens to users; inside, they would show the proposers'.
    streams = isinstance(handler, (_StreamingCallbackHandler, _V2StreamingCallbackHandler))
    return counts_usage(handler) or (isinstance(handler, (BaseTracer, AsyncBaseTracer, Watcher)) and not streams)
